"""The stage of the tests of people, sessions and changes: real embedded stores, a clock that is moved, cheap hashes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from penstock.adapters.records.sqlite import SqliteRecords
from penstock.adapters.signals.embedded import EmbeddedSignals
from penstock.adapters.state.embedded import EmbeddedState
from penstock.kernel.clock import ManualClock
from penstock.mechanisms import changes, persons, sessions, tenancy
from penstock.mechanisms.changes import Author, Changes
from penstock.mechanisms.passwords import Cost, Passwords
from penstock.mechanisms.people import People
from penstock.mechanisms.persons import Person
from penstock.mechanisms.sessions import Sessions
from penstock.mechanisms.tenancy import Tenancy
from tests.support import run

PEPPER = b"p" * 32
CHEAP = Cost(1, 64, 1)
PASSWORD = "correct horse battery"
PEER = "192.0.2.7"
COLLECTIONS = (*tenancy.COLLECTIONS, *persons.COLLECTIONS, *sessions.COLLECTIONS, *changes.COLLECTIONS)
OWNER = Author(
    kind="person", id="per_owner", name="Olga", role="owner", org="hq", user="per_owner", request_id="req_1"
)
ADMIN = Author(kind="key", id="key_admin", role="admin", org="acme", user="adam", peer=PEER)
TEAM_ADMIN = Author(kind="person", id="per_t", role="team-admin", org="acme", team="search", user="per_t")


class Stage:
    """One node on shared stores."""

    def __init__(
        self, records: SqliteRecords, signals: EmbeddedSignals, state: EmbeddedState, clock: ManualClock
    ) -> None:
        self.records, self.signals, self.state, self.clock = records, signals, state, clock
        self.passwords = Passwords(CHEAP)
        self.tenancy = Tenancy(records, signals, clock, PEPPER)
        self.sessions = Sessions(records, signals, self.tenancy, clock, pepper=PEPPER)
        self.people = People(records, state, clock, self.passwords, news=self.sessions.news, pepper=PEPPER)
        self.changes = Changes(records, b"s" * 32)

    def another(self, signals: EmbeddedSignals | None = None) -> Stage:
        """A second node on the same stores."""
        return Stage(self.records, signals or self.signals, self.state, self.clock)

    async def somebody(self, email: str = "ann@acme.test", role: str = "developer") -> Person:
        """Invite and accept somebody of acme's team search."""
        _, token = await self.people.invite(OWNER, email, "Ann", role, org="acme", team="search")
        return await self.people.accept(token, PASSWORD, peer=PEER)


def staged(folder: Path, case: Callable[[Stage], Awaitable[None]]) -> None:
    """Run a case on stores of its own."""

    async def opened() -> None:
        clock = ManualClock()
        records = await SqliteRecords.open(folder / "records.sqlite", COLLECTIONS, clock)
        stage = Stage(records, EmbeddedSignals(), EmbeddedState(clock), clock)
        try:
            await case(stage)
        finally:
            stage.passwords.close()
            await stage.signals.close()
            await records.close()

    run(opened())
