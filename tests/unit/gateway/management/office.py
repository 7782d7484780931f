"""The management API over real embedded stores, asked as clients ask it: by a bearer token, through the edge.

Promise: whoever asks has a real token of the role, organisation and team named; time stands still unless it is moved.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec
from fastapi import FastAPI

from penstock.adapters.ledger.sqlite import SqliteLedger
from penstock.adapters.records.sqlite import SqliteRecords
from penstock.adapters.signals.embedded import EmbeddedSignals
from penstock.adapters.state.embedded import EmbeddedState
from penstock.edge import errors
from penstock.edge.app import Edge
from penstock.edge.asgi import AsgiApp, AsgiBridge
from penstock.edge.auth import Authenticator
from penstock.edge.routes import Policy, Routes
from penstock.gateway.management.application import application
from penstock.gateway.management.parts import Management
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import PenstockError
from penstock.kernel.ids import new_id
from penstock.kernel.settings import Settings
from penstock.mechanisms import changes, feedback, persons, sessions, tenancy
from penstock.mechanisms.changes import THE_PLATFORM, Changes
from penstock.mechanisms.contents import rules as content_rules
from penstock.mechanisms.feedback import Feedback
from penstock.mechanisms.headroom import Headroom
from penstock.mechanisms.limits import Plans
from penstock.mechanisms.passwords import Cost, Passwords
from penstock.mechanisms.people import People
from penstock.mechanisms.persons import Person
from penstock.mechanisms.prices import PriceBook
from penstock.mechanisms.sessions import Sessions
from penstock.mechanisms.tenancy import KeyDoc, Tenancy
from penstock.ports.ledger import NO_LIMIT, Hold, Line, Posting
from penstock.sdk.replies import Status
from tests.support import run
from tests.unit.edge.exchange import Replies, request

PRICES = PriceBook.load()
PEPPER = b"p" * 32
PASSWORD = "correct horse battery"
PEER = "192.0.2.1"  # as tests/unit/edge/exchange has it
ORG, TEAM = "acme", "search"
COLLECTIONS = (
    *tenancy.COLLECTIONS,
    *persons.COLLECTIONS,
    *sessions.COLLECTIONS,
    *changes.COLLECTIONS,
    *feedback.COLLECTIONS,
    *content_rules.COLLECTIONS,
)
STATUS = Status(
    version="1", uptime_s=2.5, draining=False, dependencies={"ledger": True}, in_flight=0, connections=1,
    providers={}, breakers={}, models=0, unpriced={}, audit_waiting=0, audit_dropped=0,
)  # fmt: skip


@functools.cache
def built() -> FastAPI:
    """Return the application, built once: it holds nothing but what it is given for each case."""
    return application(cast("Management", None))


@dataclass
class Told:
    """A reply."""

    status: int
    text: str
    headers: dict[str, list[str]]

    @property
    def json(self) -> Any:
        """Return the decoded body."""
        return msgspec.json.decode(self.text)

    @property
    def error(self) -> dict[str, Any]:
        """Return the error in the house's form."""
        return self.json["error"]


@dataclass
class Somebody:
    """Somebody signed in, or a key (then `person` is None)."""

    token: str
    id: str
    person: Person | None = None


@dataclass
class Office:
    """The API, what is behind it, and callers of any role."""

    records: SqliteRecords
    ledger: SqliteLedger
    signals: EmbeddedSignals
    state: EmbeddedState
    clock: ManualClock
    parts: dict[str, Any] = field(default_factory=dict[str, Any])
    """What else the application is built over."""
    known: dict[tuple[str, str, str], Somebody] = field(default_factory=dict[tuple[str, str, str], Somebody])

    def __post_init__(self) -> None:
        records, clock = self.records, self.clock
        self.passwords = Passwords(Cost(1, 64, 1))
        self.tenancy = Tenancy(records, self.signals, clock, PEPPER)
        self.sessions = Sessions(records, self.signals, self.tenancy, clock, pepper=PEPPER)
        self.people = People(
            records, self.state, clock, self.passwords, news=self.sessions.news, pepper=PEPPER
        )
        self.changes = Changes(records, b"s" * 32)
        self.management = Management(**self._parts())
        self.app = built()
        self.app.state.management = self.management
        authenticator = Authenticator(self.tenancy, self.sessions)
        self.bridge = AsgiBridge(cast("AsgiApp", self.app), authenticator.caller)
        routes = Routes()
        routes.mount("/api/v1/", Policy.DECLARED, self.bridge.serve)
        self.edge = Edge(routes, authenticator)

    def _parts(self) -> dict[str, Any]:
        return {
            "clock": self.clock,
            "settings": Settings(),
            "tenancy": self.tenancy,
            "people": self.people,
            "sessions": self.sessions,
            "changes": self.changes,
            "ledger": self.ledger,
            "headroom": Headroom(Plans(self.clock), self.ledger, self.clock),
            "prices": PRICES,
            "feedback": Feedback(self.records, self.clock, days=30),
            "status": lambda: STATUS,
            "dropped": lambda: {"audit records": 0},
        } | self.parts

    # --- asking ----------------------------------------------------------------------------------------------------

    async def ask(
        self, method: str, path: str, body: object = None, *, by: Somebody | str = "", peer: str = PEER
    ) -> Told:
        """Ask as somebody, or with a bare token; "" brings none."""
        token = by if isinstance(by, str) else by.token
        path, _, query = path.partition("?")
        data = b"" if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
        named = {"authorization": f"Bearer {token}"} if token else {}
        asked = request(method, path, query=query, body=data, content_type="application/json", **named)
        asked.peer = peer
        replies: Any = Replies()
        try:
            await self.edge.handle(asked, replies)
        except PenstockError as error:  # which the server would render
            status, lines, told = errors.render(error, path)
            replies.send(status, lines, told)
        headers: dict[str, list[str]] = {}
        for line in replies.headers.decode().split("\r\n"):
            name, _, value = line.partition(": ")
            headers.setdefault(name, []).append(value)
        return Told(replies.status, replies.body.decode(), headers)

    async def as_(self, role: str, org: str = ORG, team: str = TEAM) -> Somebody:
        """Return somebody of a role: a person, or for "caller" a key; the same one each time."""
        if (role, org, team) not in self.known:
            made = self.key if role == "caller" else self.somebody
            self.known[role, org, team] = await made(role, org, team)
        return self.known[role, org, team]

    # --- behind the API's back -------------------------------------------------------------------------------------

    async def somebody(self, role: str, org: str = ORG, team: str = TEAM, email: str = "") -> Somebody:
        """Have a new person come in and sign in."""
        person = await self.person(role, org, team, email)
        _, token = await self.sessions.open(person, method="password", peer=PEER)
        return Somebody(token, person.id, person)

    async def person(self, role: str, org: str = ORG, team: str = TEAM, email: str = "") -> Person:
        """Have a new person come in."""
        name, email = f"{role} of {org}", email or f"{new_id('mail_')}@example.test"
        _, link = await self.people.invite(THE_PLATFORM, email, name, role, org=org, team=team)
        return await self.people.accept(link, PASSWORD, peer=new_id("peer_"))

    async def key(self, role: str = "caller", org: str = ORG, team: str = TEAM, **fields: Any) -> Somebody:
        """Make a key."""
        fields = {"project": "p", "user": "u"} | fields
        doc = KeyDoc(id="", mac="", org=org, team=team, role=role, **fields)
        made, token = await self.tenancy.create_key(doc)
        return Somebody(token, made.id)

    async def spend(self, account: str, amount_nanos: int) -> None:
        """Charge an account."""
        await self.ledger.hold(Hold(f"op-{account}", amount_nanos, (Line(account, NO_LIMIT),)))
        await self.ledger.post(Posting(f"op-{account}", amount_nanos))

    async def told(self) -> list[changes.Change]:
        """Return the audit of the organisation, oldest first."""
        return (await self.changes.page(ORG, limit=1000))[::-1]


def office(folder: Path, case: Callable[[Office], Awaitable[None]], **parts: Any) -> None:
    """Run a case; `parts` replace or add members of `Management`."""

    async def opened() -> None:
        clock = ManualClock()
        async with AsyncExitStack() as opening:
            records = await SqliteRecords.open(folder / "records.sqlite", COLLECTIONS, clock)
            opening.push_async_callback(records.close)
            ledger = await SqliteLedger.open(folder / "ledger.sqlite", clock)
            opening.push_async_callback(ledger.close)
            signals = EmbeddedSignals()
            opening.push_async_callback(signals.close)
            it = Office(records, ledger, signals, EmbeddedState(clock), clock, parts)
            opening.callback(it.passwords.close)
            await case(it)

    run(opened())
