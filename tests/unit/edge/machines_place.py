"""The place where machines are tried: real records and signals, a clock that is moved, issuers that can be down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from penstock.adapters.records.sqlite import SqliteRecords
from penstock.adapters.signals.embedded import EmbeddedSignals
from penstock.edge.machines import Issuer, Machines
from penstock.kernel.clock import ManualClock
from penstock.kernel.context import Principal
from penstock.kernel.errors import Unauthenticated, Upstream
from penstock.kernel.settings import IssuerSettings
from penstock.mechanisms import tenancy
from penstock.mechanisms.changes import COLLECTIONS as CHANGES
from penstock.mechanisms.tenancy import Tenancy
from tests.support import run
from tests.unit.edge.jwt_mint import Mint, documents, issuer_keys
from tests.unit.edge.jwt_mint import settings as issuers

WALL_S = 1_800_000_000.25
MINT = Mint(issuer_keys(), WALL_S)


class Published:
    """What an issuer publishes, and how often it was asked; `down` has it fail, `held` has it wait."""

    def __init__(self, document: object) -> None:
        self.document = document
        self.asked = 0
        self.down = False
        self.held: asyncio.Event | None = None

    async def load(self) -> object:
        self.asked += 1
        if self.held is not None:
            await self.held.wait()
        if self.down:
            raise Upstream("The issuer is down.")
        return self.document


class Place:
    """Machines over a real directory, with a clock that is moved."""

    def __init__(self, directory: Tenancy, clock: ManualClock, named: tuple[IssuerSettings, ...]) -> None:
        self.tenancy, self.clock = directory, clock
        self.published = {name: Published(document) for name, document in documents(issuer_keys()).items()}
        self.machines = self.another(named)

    def another(self, named: tuple[IssuerSettings, ...]) -> Machines:
        """Return machines that remember nothing yet."""
        found = [Issuer(each, self.published[each.issuer].load, self.clock) for each in named]
        return Machines(found, self.tenancy, self.clock)

    async def ask(self, token: str) -> str:
        """Return who calls by a token, or why nobody does."""
        try:
            return (await self.whom(token)).user
        except Unauthenticated as error:
            return error.message

    async def whom(self, token: str) -> Principal:
        """Return the caller as the edge asks for it."""
        raw = token.encode()
        return self.machines.known(raw) or await self.machines.principal(raw)


def placed(folder: Path, case: Callable[[Place], Awaitable[None]], **changed: Any) -> None:
    """Run a case; `changed` replaces settings of the first issuer."""

    async def opened() -> None:
        clock = ManualClock(wall_s=WALL_S)
        records = await SqliteRecords.open(folder / "r.sqlite", (*tenancy.COLLECTIONS, *CHANGES), clock)
        signals = EmbeddedSignals()
        try:
            first, second = issuers()
            named = (msgspec.structs.replace(first, **changed), second)
            place = Place(Tenancy(records, signals, clock, b"p" * 32), clock, named)
            await case(place)
            await place.machines.close()
        finally:
            await signals.close()
            await records.close()

    run(opened())


async def ticked(place: Place) -> None:
    """Let the keys be looked after once."""
    task = asyncio.create_task(place.machines.watch())
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
