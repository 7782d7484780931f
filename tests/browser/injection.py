"""Hostile text in every field that people or programs fill, and every page of the console looked at.

    planted = plant(house, key, session)        through the API and the gateway, as its callers do
    seen = Looker(page, house).look_at(planted)

Promise: a field counts as shown only where a page shows its text letter by letter, so that a field nobody shows, or a
payload that is refused everywhere, cannot pass for a safe one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import requests
from playwright.sync_api import Page

from tests.browser.theatre import PASSWORD, House
from tests.echo_upstream import REFUSE
from tests.hostile_text import ATTRIBUTES, EVERYTHING, PAYLOADS, SEEN

FEATURE_BYTES = 64
SETTLE_MS = 150
ORG, TEAM = "default", "search"
ANSWERED = """(turns) => document.querySelectorAll(".turn:not(.is-mine)").length === turns
  && document.querySelector("[data-playground]").ariaBusy !== "true"
"""
QUERIES = {
    "/requests": (
        "team",
        "project",
        "user",
        "key_id",
        "feature",
        "model",
        "provider",
        "outcome",
        "last",
        "after",
    ),
    "/costs": ("team", "model", "feature", "user", "by", "then", "last", "since_s"),
    "/keys": ("q", "state", "org"),
    "/keys/new": ("org", "team"),
    "/keys/limits": ("level", "org", "team", "project", "user"),
    "/people": ("q", "org"),
    "/changes": ("action", "actor", "subject", "org", "after"),
    "/settings": ("q", "show"),
    "/routes/explain": ("model", "org", "user", "tier", "task", "region", "text"),
    "/routes/stop": ("route",),
    "/alerts": ("org",),
    "/audit": ("example", "org"),
    "/cache": ("org",),
    "/reconciliation": ("org",),
    "/": ("org",),
}
"""What addresses of pages say, and pages may say back."""


@dataclass
class Field:
    """One field, what it took, and the pages that show it."""

    name: str
    taken: list[str] = field(default_factory=list[str])
    refused: int = 0
    pages: list[str] = field(default_factory=list[str])
    shown: set[str] = field(default_factory=set[str])


class Caller:
    """Whoever fills the fields: an owner's session for the API, a key for the gateway."""

    def __init__(self, it: House, session: str, key: str) -> None:
        self._it = it
        self._http = requests.Session()
        self._session, self._key = session, key

    def api(self, method: str, path: str, body: object = None) -> requests.Response:
        headers = {"authorization": f"Bearer {self._session}"}
        return self._http.request(
            method, f"{self._it.url}/api/v1{path}", json=body, headers=headers, timeout=10
        )

    def anyone(self, method: str, path: str, body: object) -> requests.Response:
        """Ask as nobody: a session under which somebody signs in would end."""
        return requests.request(method, f"{self._it.url}/api/v1{path}", json=body, timeout=10)

    def ask(self, model: str, text: str, **headers: str) -> requests.Response:
        """Ask a model under the key."""
        body = {
            "model": model,
            "messages": [{"role": "user", "content": text}],
            "user": headers.pop("user", None),
        }
        given = {"authorization": f"Bearer {self._key}", "content-type": "application/json", **headers}
        address = f"{self._it.url}/v1/chat/completions"
        data = json.dumps({name: value for name, value in body.items() if value is not None})
        return self._http.post(address, data=data, headers=given, timeout=20)


def _fill(name: str, texts: Sequence[str], give: Callable[[int, str], tuple[bool, Sequence[str]]]) -> Field:
    """Give a field every text; `give` returns whether it was taken, and the pages that show it."""
    filled = Field(name)
    for number, text in enumerate(texts):
        taken, pages = give(number, text)
        if taken:
            filled.taken.append(text)
            filled.pages += [page for page in pages if page not in filled.pages]
        else:
            filled.refused += 1
    return filled


def plant(caller: Caller, models: Sequence[str]) -> list[Field]:
    """Fill every field that the API and the gateway take."""
    return [
        _fill("name of a key", EVERYTHING, lambda _, text: _key(caller, {"name": text})),
        _fill(
            "models of a key", EVERYTHING, lambda n, text: _key(caller, {"name": f"m{n}", "models": [text]})
        ),
        _fill(
            "project of a key", EVERYTHING, lambda n, text: _key(caller, {"name": f"p{n}", "project": text})
        ),
        _fill("name of limits", EVERYTHING, lambda n, text: _limits(caller, n, text)),
        _fill("name of a person", EVERYTHING, lambda n, text: _person(caller, f"p{n}@example.org", text)),
        _fill(
            "email of a person", EVERYTHING, lambda n, text: _person(caller, f"{text}@example.org", f"E{n}")
        ),
        _fill("browser of a session", EVERYTHING, lambda n, text: _session(caller, n, text)),
        _fill(
            "feature of a request",
            [text[:FEATURE_BYTES] for text in EVERYTHING],
            lambda _, text: _feature(caller, text),
        ),
        _fill("model asked for", EVERYTHING, lambda _, text: _request(caller, text, "hello")),
        _fill(
            "end user of a request",
            EVERYTHING,
            lambda _, text: _request(caller, "gpt-4o-mini", "hello", user=text),
        ),
        _fill(
            "error of a provider", EVERYTHING, lambda _, text: _request(caller, "gpt-4o-mini", REFUSE + text)
        ),
        Field("name of a model", list(models), 0, ["/playground", "/keys/new", "/settings"]),
    ]


def _key(caller: Caller, more: dict[str, Any]) -> tuple[bool, list[str]]:
    told = caller.api("POST", "/keys", {"org": ORG, "team": TEAM, "project": "web", "user": "kim", **more})
    if told.status_code != 201:
        return False, []
    name = told.json()["key"]["id"]
    return True, ["/keys", f"/keys/{name}", f"/keys/{name}/edit", "/changes"]


def _limits(caller: Caller, number: int, text: str) -> tuple[bool, list[str]]:
    where = {"level": "project", "org": ORG, "team": TEAM, "project": f"p{number}"}
    cap = {"window": "day", "limit_nanos": 10**9 + number}
    told = caller.api("PUT", "/scopes", {**where, "name": text, "caps": [cap]})
    return told.status_code == 200, ["/keys", f"/keys/limits?{urlencode(where)}", "/changes"]


def _person(caller: Caller, email: str, name: str) -> tuple[bool, list[str]]:
    body = {"email": email, "name": name, "role": "developer", "org": ORG, "team": TEAM}
    told = caller.api("POST", "/people", body)
    if told.status_code != 201:
        return False, []
    return True, ["/people", f"/people/{told.json()['person']['id']}", "/changes"]


def _session(caller: Caller, number: int, text: str) -> tuple[bool, list[str]]:
    """Have somebody of their own sign in: a person keeps only so many sessions."""
    email = f"browser-{number}@example.org"
    made = caller.api(
        "POST", "/people", {"email": email, "name": "B", "role": "developer", "org": ORG, "team": TEAM}
    )
    link = {"token": made.json()["link_token"], "password": PASSWORD, "agent": text}
    told = caller.anyone("POST", "/sessions/link", link)
    return told.status_code == 201, [f"/people/{made.json()['person']['id']}"]


def _feature(caller: Caller, text: str) -> tuple[bool, list[str]]:
    try:
        told = caller.ask("gpt-4o-mini", "hello", **{"x-penstock-feature": text})
    except (requests.RequestException, UnicodeError):
        return False, []  # no header can carry it
    return told.status_code == 200, _pages_of(told)


def _request(caller: Caller, model: str, text: str, **more: str) -> tuple[bool, list[str]]:
    told = caller.ask(model, text, **more)
    return "x-request-id" in told.headers, _pages_of(told)


def _pages_of(told: requests.Response) -> list[str]:
    costs = [f"/costs?by={by}" for by in ("feature", "model", "user")]
    return ["/", "/requests", f"/requests/{told.headers['x-request-id']}", *costs]


@dataclass
class Looker:
    """Opens pages and asks each what became of the texts."""

    page: Page
    it: House
    fields: list[Field]
    pages: int = 0
    wrong: list[str] = field(default_factory=list[str])
    kinds: Counter[str] = field(default_factory=Counter[str])

    def open(self, path: str) -> str:
        """Open a page, look at it, and return everything it shows."""
        self.page.goto(self.it.console(path), wait_until="load")
        self.page.wait_for_timeout(SETTLE_MS)
        return self.look(path)

    def look(self, path: str) -> str:
        """Look at the page that is open."""
        self.pages += 1
        seen = self.page.evaluate(SEEN)
        for kind in ("nodes", "handlers"):
            self.kinds[kind] += len(seen[kind])
            self.wrong += [f"{path[:120]}: {kind}: {each}" for each in seen[kind]]
        if seen["ran"]:
            self.kinds["ran"] += 1
            self.wrong.append(f"{path[:120]}: a script ran")
        for each in self.fields:
            each.shown.update(text for text in each.taken if text in seen["text"])
        return str(seen["text"])

    def look_at_all(self, most: int) -> None:
        """Open the pages of every field; of pages that differ by one text only, `most` for each field."""
        paths: dict[str, None] = {}
        for each in self.fields:
            paths |= dict.fromkeys(each.pages[:most])
            paths |= dict.fromkeys(page for page in each.pages if "/" not in page[1:].partition("?")[0])
        for path in paths:
            self.open(path)
            self._go_on(path)

    def _go_on(self, path: str) -> None:
        """Read on to the next pages of a list."""
        if path not in ("/requests", "/changes"):
            return
        following = self.page.get_by_role("link", name="Earlier")
        while following.count():
            following.click()
            self.page.wait_for_load_state()
            self.look(path)


def addresses(texts: Sequence[str]) -> Iterator[str]:
    """Yield addresses of pages that hold a hostile text."""
    turn = 0
    for path, names in QUERIES.items():
        for name in names:
            for text in (texts[turn % len(texts)], texts[(turn * 7 + 3) % len(texts)]):
                turn += 1
                yield f"{path}?{urlencode({name: text})}"
    for text in texts:
        for path in ("/requests/", "/keys/", "/people/", "/no/such/"):
            yield path + quote(text, safe="")


# ----------------------------------------------------------------------------------------- what a browser fills itself


def live(looker: Looker, caller: Caller) -> None:
    """Have hostile requests come in while somebody looks on."""
    page = looker.page
    for path in ("/", "/requests"):
        page.goto(looker.it.console(path))
        if path != "/":
            page.keyboard.press("p")
        page.get_by_role("button", name="Live").wait_for()
        for text in PAYLOADS:
            _feature(caller, text)
            _request(caller, text, "hello", user=text)
        page.wait_for_function("() => document.querySelector('[data-paints]')")
        page.wait_for_timeout(1_200)
        looker.look(f"{path} live")


def told_back(looker: Looker, most: int) -> None:
    """Open addresses that hold hostile text; what a page says back of it stays text."""
    kept = Field("addresses of pages")
    for path in list(addresses(PAYLOADS))[:: 1 if most > 10 else 9]:
        text = looker.open(path)
        given = [
            each for each in PAYLOADS if quote(each, safe="") in path or urlencode({"": each})[1:] in path
        ]
        kept.taken += given
        kept.shown.update(each for each in given if each in text)
    looker.fields.append(kept)


def forms(looker: Looker) -> None:
    """Type hostile text into forms: those that come back wrong, and those that are taken."""
    page, typed = looker.page, Field("fields of forms")
    looker.fields.append(typed)
    for text in PAYLOADS[::6]:
        typed.taken.append(text)
        for path, send, names in (
            (
                "/keys/new",
                "Make the key",
                ("name", "org", "team", "project", "user", "models", "max_request_dollars"),
            ),
            ("/people/invite", "Invite", ("name", "email", "org", "team")),
            (
                "/keys/limits?level=team&org=default&team=search",
                "Save",
                ("name", "requests_per_minute", "day_dollars"),
            ),
        ):
            page.goto(looker.it.console(path))
            page.evaluate("document.querySelectorAll('form').forEach((each) => { each.noValidate = true; })")
            for name in names:
                page.locator(f"#field-{name}").fill(text)
            page.get_by_role("button", name=send, exact=True).click()
            page.get_by_role("alert").first.wait_for()
            looker.look(f"{path} sent")
        _person_acted_on(looker, text)


def _person_acted_on(looker: Looker, text: str) -> None:
    """Rename somebody; their name is in a question, in a dialog and in what is said afterwards."""
    page = looker.page
    page.goto(looker.it.console("/people?q=p0@example.org"))
    page.locator("#people tbody tr", has_text="p0@example.org").locator("th a").click()
    page.locator("#field-name").fill(text)
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("status").first.wait_for()
    looker.look("a person renamed")
    page.get_by_role("button", name="End all", exact=True).click()
    page.locator("#confirm[open]").wait_for()
    looker.look("the question about a person")
    page.locator("[data-confirm-yes]").click()
    page.get_by_text("has ended").wait_for()
    looker.look("what is said of a person")
    page.get_by_role("button", name="Make a link", exact=True).click()
    page.get_by_role("heading", name="Their link").wait_for()
    looker.look("a link for a person")


def playground(looker: Looker, model: str) -> None:
    """Ask everything hostile at once of a model with a hostile name; the answer is the same, then a refusal."""
    page, asked = looker.page, Field("prompt and answer", list(EVERYTHING))
    refusals = Field("refusal in the playground", [PAYLOADS[0], PAYLOADS[30]])
    looker.fields += [asked, refusals]
    page.goto(looker.it.console("/playground"))
    page.locator("[data-model]").first.select_option(model)
    page.locator("[data-model]").last.select_option("gpt-4o-mini")
    turns = 0
    for text in ("\n".join(EVERYTHING), *(REFUSE + each for each in refusals.taken)):
        page.locator("[data-message]").fill(text)
        page.get_by_role("button", name="Send", exact=True).click()
        turns += 2
        page.wait_for_function(ANSWERED, arg=turns)
        page.wait_for_timeout(SETTLE_MS)
        looker.look("playground")


def door(looker: Looker) -> None:
    """The pages for anybody: the provider's name, an address that comes back, a link's token."""
    page, named = looker.page, Field("name of the OpenID provider", [ATTRIBUTES[0]])
    email = Field("email of a sign-in", list(PAYLOADS[::9]))
    looker.fields += [named, email]
    page.context.clear_cookies()
    for text in email.taken:
        looker.open(f"/sign-in?{urlencode({'next': text})}")
        page.evaluate("document.querySelectorAll('form').forEach((each) => { each.noValidate = true; })")
        page.get_by_label("Email").fill(text)
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Sign in", exact=True).click()
        page.get_by_role("alert").wait_for()
        looker.look("sign-in refused")
        looker.open(f"/link?{urlencode({'token': text})}")
        back = {"error": text, "error_description": text, "state": text}
        looker.open(f"/sign-in/oidc/back?{urlencode(back)}")
