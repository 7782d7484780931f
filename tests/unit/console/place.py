"""A whole platform in this process with its console, and people of every role who use it by forms.

    with place(tmp_path) as it:
        ada = it.person("owner")
        reply = ada.post("/keys/new", {...})

Promise: nothing between the form and the store is made up: the application, the API, roles, ledger and records are the
product's own; only the socket to the browser is missing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlencode

import uvloop

from penstock.kernel.settings import ServerSettings, Settings, StoreSettings
from penstock.mechanisms.changes import THE_PLATFORM
from penstock.mechanisms.persons import Person
from penstock.mechanisms.scopes import ScopeDoc
from penstock.mechanisms.tenancy import KeyDoc
from penstock.wiring.app import start
from penstock.wiring.console import console
from penstock.wiring.platform import Platform
from tests.unit.console.support import Answered, Browser
from tests.unit.console.test_pages import Elements

PASSWORD = "correct horse battery staple 42"
CEILING_S = 20.0
T = TypeVar("T")


class Place:
    """A running platform on a loop of its own."""

    def __init__(self, folder: Path) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        settings = Settings(
            store=StoreSettings(data=str(folder)), server=ServerSettings(port=0), discover=False
        )
        self.platform: Platform = self.run(start(settings, {}))
        self.app = console(self.platform)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the platform's loop."""

        async def bounded() -> T:
            async with asyncio.timeout(CEILING_S):
                return await work

        return self._runner.run(bounded())

    def close(self) -> None:
        self.run(self.platform.close())
        self._runner.close()

    def person(self, role: str, *, org: str = "acme", team: str = "search", name: str = "Ada") -> Visitor:
        """Let somebody of a role come in."""
        return self.run(self._settle(role, org, team, name))

    def key(self, **rights: Any) -> KeyDoc:
        """Make a key."""
        names = {"org": "acme", "team": "search", "project": "web", "user": "kim"}
        made, _ = self.run(
            self.platform.tenancy.create_key(KeyDoc(id="", mac="", **{**names, **rights}), by=THE_PLATFORM)
        )
        return made

    def changes(self, org: str = "acme") -> list[str]:
        """Return what was done in an organisation, the latest first."""
        found = self.run(self.platform.changes.page(org, limit=1000))
        return [f"{change.action} {change.subject}" for change in found]

    def stored(self, key_id: str) -> KeyDoc:
        """Return a key as it is kept."""
        found = self.run(self.platform.tenancy.key(key_id))
        assert found is not None
        return found

    async def _settle(self, role: str, org: str, team: str, name: str) -> Visitor:
        people, number = self.platform.people, len(Visitor.made)
        person, link = await people.invite(
            THE_PLATFORM, f"{role}{number}@example.org", name, role, org=org, team=team
        )
        person = await people.accept(link, PASSWORD, peer=f"10.0.{number}.1")
        _, token = await self.platform.sessions.open(person, method="password", agent="Firefox")
        return Visitor(self, person, token)


class Visitor:
    """Somebody at the console."""

    made: ClassVar[list[str]] = []

    def __init__(self, place: Place, person: Person, token: str) -> None:
        self.made.append(person.id)
        self.place, self.person, self.token = place, person, token
        self._browser = Browser.__new__(Browser)
        self._browser.app = place.app
        self._browser.jar = {"penstock_session": token}
        self.csrf = place.platform.sessions.csrf_token(token.encode())

    def get(self, path: str, **headers: str) -> Answered:
        """Open a page."""
        return self.place.run(self._browser.call("GET", path, headers=headers))

    def post(self, path: str, form: dict[str, str] | None = None, *, csrf: str | None = None) -> Answered:
        """Send a form; `csrf` "" sends none."""
        given = self.csrf if csrf is None else csrf
        fields = dict(form or {}) | ({"csrf": given} if given else {})
        headers = {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}
        return self.place.run(self._browser.call("POST", path, urlencode(fields).encode(), headers=headers))

    def fill(self, path: str, **typed: str) -> Answered:
        """Open a page's last form of POST, type into it and send it."""
        form, where = filled(self.get(path).text)
        return self.post(where.removeprefix("/console"), form | typed)


def filled(html: str) -> tuple[dict[str, str], str]:
    """Return what the largest form of a page holds, and where it is sent."""
    forms = re.findall(r'<form[^>]*method="post"[^>]*action="([^"]*)"[^>]*>(.*?)</form>', html, re.DOTALL)
    where, inner = max(forms, key=lambda each: len(each[1]))
    fields: dict[str, str] = {}
    for tag in re.findall(r"<input[^>]*>", inner):
        attributes = dict(re.findall(r'([a-z-]+)="([^"]*)"', tag))
        if attributes.get("type") in ("radio", "checkbox") and " checked" not in tag:
            continue
        if "name" in attributes:
            fields[attributes["name"]] = unescape(attributes.get("value", ""))
    for name, body in re.findall(r'<textarea[^>]*name="([^"]*)"[^>]*>(.*?)</textarea>', inner, re.DOTALL):
        fields[name] = unescape(body)
    for name, body in re.findall(r'<select[^>]*name="([^"]*)"[^>]*>(.*?)</select>', inner, re.DOTALL):
        chosen = re.search(r'<option value="([^"]*)" selected>', body) or re.search(r'value="([^"]*)"', body)
        fields[name] = unescape(chosen[1]) if chosen else ""
    fields.pop("csrf", None)
    return fields, unescape(where)


def put_scope(it: Place, doc: ScopeDoc, org: str = "acme") -> None:
    it.run(it.platform.tenancy.put_scope(org, doc, by=THE_PLATFORM))


def scope_of(it: Place, path: str) -> ScopeDoc | None:
    return it.run(it.platform.tenancy.scope("acme", path))


def wrong_fields(html: str) -> set[str]:
    return {str(found["name"]) for _, found in Elements(html).found if found.get("aria-invalid") == "true"}


def must_be_tame(html: str) -> None:
    for tag, attributes in Elements(html).found:
        assert not (tag == "img" and not str(attributes.get("src")).startswith("/console/static/")), (
            attributes
        )
        assert not [name for name in attributes if name.startswith("on") or name == "style"], attributes
        assert tag != "script" or "src" in attributes
        for name in ("href", "src", "action"):
            assert str(attributes.get(name, "/")).startswith(("/", "#")), (tag, attributes)


@contextmanager
def place(folder: Path) -> Iterator[Place]:
    """Put a platform up."""
    made = Place(folder)
    try:
        yield made
    finally:
        made.close()
