"""The management API with traces kept and requests followed: events made by hand, live views read as they come.

Promise: what is found was added through the ports; a live view is read from the edge's own bytes; time stands still
unless it is moved.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from penstock.adapters.traces.sqlite import SqliteTraces
from penstock.kernel.errors import PenstockError
from penstock.kernel.events import RequestEvent
from penstock.mechanisms.recent import Recent
from penstock.ports.traces import HOUR_S, Batch, Delta
from tests.unit.edge.exchange import Replies, request
from tests.unit.gateway.management.office import ORG, TEAM, Office, Somebody, office

NOW_S = 1_800_000_000.0
"""Where a ManualClock begins: 2027-01-15T08:00:00Z."""
_numbers = count(1)


def event(**fields: Any) -> RequestEvent:
    """Return an event of the organisation and team of the office, a new one each time."""
    told = {"request_id": f"req_{next(_numbers):06}", "at_s": NOW_S, "org": ORG, "team": TEAM, "user": "u"}
    return RequestEvent(**(told | fields))


def delta(each: RequestEvent) -> Delta:
    """Return what one event adds to the totals."""
    return Delta(
        hour_s=int(each.at_s // HOUR_S * HOUR_S),
        org=each.org,
        team=each.team,
        project=each.project,
        user=each.user,
        key_id=each.key_id,
        feature=each.feature,
        model=each.model_served,
        provider=each.provider,
        outcome=each.outcome,
        requests=1,
        estimated=int(each.estimated),
        input_tokens=each.input_tokens,
        cached_tokens=each.cached_tokens,
        output_tokens=each.output_tokens,
        cost_nanos=each.cost_nanos,
        latency_ms=round(each.latency_ms),
    )


@dataclass
class Sighted:
    """An office whose requests are kept and followed."""

    it: Office
    traces: SqliteTraces
    recent: Recent

    async def keep(self, *events: RequestEvent) -> None:
        """Have these requests kept, with their totals."""
        await self.traces.add(
            Batch(id=f"b{next(_numbers)}", at_s=NOW_S, events=events, deltas=[delta(each) for each in events])
        )

    async def ids(self, path: str, by: Somebody) -> list[str]:
        """Return which requests a list shows somebody."""
        told = await self.it.ask("GET", f"/api/v1{path}", by=by)
        assert told.status == 200, told.text
        return [row["request_id"] for row in told.json["requests"]]

    @asynccontextmanager
    async def live(self, path: str, by: Somebody) -> AsyncIterator[Looking]:
        """Look on at a live view until the block ends; it then vanishes."""
        replies = Replies()
        route, _, query = path.partition("?")
        asked = request(path=f"/api/v1{route}", query=query, authorization=f"Bearer {by.token}")
        looking = Looking(replies)
        looking.task = asyncio.create_task(looking.serve(self.it.edge.handle(asked, replies)))
        try:
            await until(lambda: replies.started or looking.task.done())
            yield looking
        finally:
            replies.vanish()
            await looking.task


@dataclass
class Looking:
    """One who looks on."""

    replies: Any
    refusal: PenstockError | None = None
    task: asyncio.Task[None] = field(init=False)

    async def serve(self, work: Awaitable[None]) -> None:
        """Serve to the end, keeping a refusal."""
        try:
            await work
        except PenstockError as error:
            self.refusal = error

    @property
    def events(self) -> list[tuple[str, Any]]:
        """What came: the name and the data of each event, ":" for a comment."""
        found: list[tuple[str, Any]] = []
        for block in self.replies.body.decode().split("\n\n"):
            lines = dict(line.partition(": ")[::2] for line in block.split("\n"))
            if "event" in lines:
                found.append((lines["event"], msgspec.json.decode(lines["data"])))
            elif "" in lines and block:
                found.append((":", lines[""]))
        return found

    def named(self, name: str) -> list[Any]:
        """The data of the events of a name."""
        return [data for called, data in self.events if called == name]

    @property
    def skipped(self) -> int:
        """How many requests were said to be left out."""
        return sum(data["count"] for data in self.named("skipped"))


async def until(met: Callable[[], object]) -> None:
    """Wait until something holds; the test's ceiling bounds it."""
    while not met():
        await asyncio.sleep(0.001)


async def breathe() -> None:
    """Let whatever can go on without time go on."""
    for _ in range(30):
        await asyncio.sleep(0)


def sighted(folder: Path, case: Callable[[Sighted], Awaitable[None]], **parts: Any) -> None:
    """Run a case."""

    async def opened(it: Office) -> None:
        traces = await SqliteTraces.open(folder / "traces.sqlite")
        recent = Recent(it.clock)
        it.passwords.close()
        it.parts |= {"traces": traces, "recent": recent} | parts
        it.__post_init__()
        try:
            await case(Sighted(it, traces, recent))
        finally:
            it.passwords.close()
            await traces.close()

    office(folder, opened)
