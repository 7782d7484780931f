"""The audit of changes: who changed what, when, and how it was before and after.

Promises: newest first, page by page, everything the platform says and nothing that looks like a secret; every name
leads to what it is the name of, as far as the reader may open it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

from starlette.responses import Response

from penstock.console.differences import Difference, difference
from penstock.console.security import PREFIX
from penstock.console.tree import edit_address, names_of
from penstock.console.visits import Page, Visit
from penstock.sdk.people import ChangeView

ROWS: Final = 50
VALUE_CHARS_MOST: Final = 200
OPEN_LINES_MOST: Final = 4
"""A change of so few lines is shown open."""
ACTIONS: Final = {
    "key.create": "made the key",
    "key.adopt": "took in the key",
    "key.change": "changed the key",
    "key.rotate": "rotated the key",
    "key.revoke": "revoked the key",
    "scope.put": "set the limits of",
    "person.invite": "invited",
    "person.link": "made a new link for",
    "person.accept": "accepted the invitation as",
    "person.claim-ownership": "claimed the ownership for",
    "person.bind": "joined through OpenID as",
    "person.change": "changed",
    "person.disable": "shut out",
    "person.enable": "let in again",
    "person.end-sessions": "ended the sessions of",
    "session.revoke": "ended the session",
}
"""What can be done, as a sentence goes on after who did it."""
_TONES: Final = {"revoke": "bad", "disable": "bad", "create": "ok", "invite": "ok", "enable": "ok"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A change as its row shows it. Addresses are "" where there is nothing to open."""

    change: ChangeView
    words: str
    tone: str
    actor: str
    actor_page: str
    only_actor: str
    subject: str
    subject_page: str
    only_subject: str
    what: Difference

    @property
    def is_open(self) -> bool:
        """Whether its difference is short enough to be shown at once."""
        return len(self.what.lines) <= OPEN_LINES_MOST


async def index(visit: Visit) -> Response:
    """Show a page of changes."""
    wanted = sought(visit)
    found = await visit.client.changes.list(**wanted, after=visit.query("after"), limit=ROWS + 1)
    shown = found[:ROWS]
    return visit.render(
        "pages/changes.html",
        entries=[entry(visit, change, wanted) for change in shown],
        wanted=wanted,
        is_open=not any(wanted.values()),
        actions=[
            ("", "Anything"),
            *((name, f"{name.partition('.')[0]}: {name.partition('.')[2]}") for name in ACTIONS),
        ],
        is_owner=visit.me.role == "owner",
        next_page=address(wanted | {"after": shown[-1].id}) if len(found) > ROWS else "",
        first_page=address(wanted) if visit.query("after") else "",
    )


def sought(visit: Visit) -> dict[str, str]:
    """Return what the address asks for; an organisation only for whoever sees more than one."""
    names = ("actor", "subject", "action", "org")[: 4 if visit.me.role == "owner" else 3]
    return {name: visit.query(name).strip()[:VALUE_CHARS_MOST] for name in names}


def address(wanted: Mapping[str, str]) -> str:
    """Return the address of the changes that are wanted."""
    query = urlencode({name: value for name, value in wanted.items() if value})
    return f"{PREFIX}/changes" + (f"?{query}" if query else "")


def entry(visit: Visit, change: ChangeView, wanted: Mapping[str, str]) -> Entry:
    """Return a change as it is shown."""
    verb = change.action.partition(".")[2]
    return Entry(
        change=change,
        words=ACTIONS.get(change.action, change.action),
        tone=_TONES.get(verb, ""),
        actor=change.actor_name or change.actor_id or "somebody",
        actor_page=page_of(visit, change.actor_kind, change.actor_id, change.org),
        only_actor=address({**wanted, "actor": change.actor_id}),
        subject=subject_name(change),
        subject_page=page_of(visit, change.action.partition(".")[0], change.subject, change.org),
        only_subject=address({**wanted, "subject": change.subject}),
        what=difference(change.before, change.after),
    )


def subject_name(change: ChangeView) -> str:
    """Return what was changed by the name it had or got, else by its id."""
    for document in (change.after, change.before):
        if isinstance(document, dict):
            name = document.get("name") or document.get("email") or ""
            if isinstance(name, str) and name:
                return name
    if change.action == "scope.put":
        names = names_of(change.subject)
        return " / ".join(names.values()) or change.subject
    return change.subject


def page_of(visit: Visit, kind: str, name: str, org: str) -> str:
    """Return the page of a key, person or level of limits; "" where there is none that the reader may open."""
    if not name:
        return ""
    if kind == "key" and visit.may("read keys"):
        return f"{PREFIX}/keys/{quote(name, safe='')}"
    if kind == "person" and visit.may("read people"):
        elsewhere = f"?{urlencode({'org': org})}" if org and org != visit.me.org else ""
        return f"{PREFIX}/people/{quote(name, safe='')}{elsewhere}"
    if kind == "scope" and visit.may("write limits of organisations, teams and users"):
        return edit_address(name)
    return ""


PAGES: Final = (Page(path="/changes", serve=index, needs="read changes"),)
