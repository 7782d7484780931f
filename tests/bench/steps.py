"""The steps of the request path as the pipeline takes them, one by one, on real parts: the rows of the rung table.

Promise: each step calls the product's own functions with the bench's own request, under a caller with limits and
budgets at every level; nothing is stubbed. What the ledger and the audit pipe do later, on other threads and tasks, is
counted too: those rungs take the CPU of the whole process over many concurrent operations.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import uvloop

from penstock.adapters.ledger.sqlite import SqliteLedger
from penstock.adapters.records.sqlite import SqliteRecords
from penstock.adapters.signals.embedded import EmbeddedSignals
from penstock.adapters.state.embedded import EmbeddedState
from penstock.adapters.stream.embedded import SegmentStream
from penstock.adapters.traces.sqlite import SqliteTraces
from penstock.dialects.codecs import CODECS
from penstock.dialects.openai_envelope import open_chat
from penstock.dialects.openai_facts import read_reply_facts
from penstock.gateway.admission import Seat, worst_nanos
from penstock.gateway.ask import Ask
from penstock.gateway.faces import OPENAI
from penstock.gateway.headers import money_headers, request_headers
from penstock.gateway.routing import Endpoint, RouteTable
from penstock.gateway.story import Story
from penstock.gateway.wording import Wording
from penstock.kernel.clock import SystemClock
from penstock.kernel.context import Cap, Principal, Rate, RequestContext
from penstock.kernel.ids import new_id
from penstock.kernel.money import cost_nanos
from penstock.mechanisms.audit import AuditPipe
from penstock.mechanisms.limits import Plan, Plans
from penstock.mechanisms.price_data import PriceOverride, PriceOverrides
from penstock.mechanisms.prices import PriceBook
from penstock.mechanisms.recent import Recent
from penstock.mechanisms.scopes import ScopeDoc, scope_paths
from penstock.mechanisms.telemetry import Metrics
from penstock.mechanisms.tenancy import COLLECTIONS, KeyDoc, Tenancy
from penstock.mechanisms.trace_feed import TraceFeed
from penstock.ports.ledger import Attempt, Hold, Posting
from tests.bench import payload
from tests.bench.rungs import BUDGET_US, Rung, measure
from tests.unit.gateway.doubles import NamedProvider

PLENTY = Rate(requests_per_minute=10**9, tokens_per_minute=10**9)
RICH = (Cap(window="day", limit_nanos=10**15),)
REPLY = payload.reply_body()
CONCURRENT = 64
ROUNDS = 300
OUTPUT_TOKENS = 1_000


@dataclass(slots=True)
class Parts:
    """Everything one request meets."""

    tenancy: Tenancy
    token: bytes
    principal: Principal
    plan: Plan
    table: RouteTable
    state: EmbeddedState
    ledger: SqliteLedger
    audit: AuditPipe
    clock: SystemClock


@asynccontextmanager
async def prepared(*, seen: bool = False) -> AsyncIterator[Parts]:
    """Open the embedded stores in a temporary folder, with one caller limited at every level; `seen` keeps traces."""
    clock = SystemClock()
    with tempfile.TemporaryDirectory(prefix="bench-steps-") as name:
        folder = Path(name)
        records = await SqliteRecords.open(folder / "records.sqlite", COLLECTIONS, clock)
        ledger = await SqliteLedger.open(folder / "ledger.sqlite", clock)
        stream = await SegmentStream.open(folder / "stream", clock)
        traces = await SqliteTraces.open(folder / "traces.sqlite")
        feed = TraceFeed(traces, clock)
        looking = [feed, Recent(clock)] if seen else []
        audit = AuditPipe(stream, clock, listeners=[Metrics(), *looking], capacity=100_000)
        feed.start()
        audit.start()
        try:
            tenancy = Tenancy(records, EmbeddedSignals(), clock, b"p" * 32)
            for level, path in scope_paths("default", "default", "default", "default", "")[:4]:
                rate = PLENTY if level in ("org", "team") else Rate()
                await tenancy.put_scope("default", ScopeDoc(path=path, level=level, rate=rate, caps=RICH))
            limited = msgspec.structs.replace(PLENTY, concurrency=100_000)
            draft = KeyDoc(id="", mac="", org="default", team="default", project="default", user="default",
                           rate=limited, caps=RICH)  # fmt: skip
            _, token = await tenancy.create_key(draft)
            principal = await tenancy.principal(token.encode())
            yield Parts(tenancy, token.encode(), principal, Plans(clock).of(principal), _table(), EmbeddedState(clock),
                        ledger, audit, clock)  # fmt: skip
        finally:
            await audit.close()
            await feed.close()
            await traces.close()
            await stream.close()
            await ledger.close()
            await records.close()


def _table() -> RouteTable:
    price = PriceOverride(provider="bench", model=payload.UPSTREAM_MODEL, input="0.15", output="0.60")
    book = PriceBook.load(PriceOverrides(prices=(price,)))
    endpoints = {"bench": Endpoint(provider=NamedProvider("bench"), models=(payload.UPSTREAM_MODEL,))}
    return RouteTable(endpoints, (), book, int(time.time()) // 86_400)


def rungs(*, seen: bool = False) -> list[Rung]:
    """Measure every step but `net`, which is a target of its own; `seen` as in a deployment that keeps traces."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        shared = runner.run(_shared(seen=seen))
    return [*_alone(), *shared]


def _alone() -> list[Rung]:
    """The steps that are pure functions, or coroutines that never wait."""

    async def run() -> Parts:
        async with prepared() as path:
            return path

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        path = runner.run(run())
    body = payload.request_body(payload.UPSTREAM_MODEL, stream=False)
    envelope = open_chat(body)
    targets = path.table.find(envelope.model).targets
    ask = Ask(envelope, 0, 0)
    context = RequestContext("req_1", path.principal, deadline_s=0.0, received_ns=time.monotonic_ns())
    seat = Seat("req_1", path.plan, ask.input_tokens, OUTPUT_TOKENS, ask.input_tokens + OUTPUT_TOKENS)

    def parse() -> None:
        path.tenancy.known(path.token)
        Ask(open_chat(body), 0, 0)

    async def limits() -> None:
        seat.taken = await path.state.take(path.plan.asks_for(seat.asks_tokens), "req_1")
        await path.state.give_back(path.plan.refund(OUTPUT_TOKENS), "req_1")

    def route() -> None:
        chosen = path.table.find(envelope.model).order(7)
        wording = Wording(OPENAI, envelope, CODECS, "req_1", path.clock)
        wording.body(wording.sayable(chosen)[0], OUTPUT_TOKENS)
        worst_nanos(chosen, ask, OUTPUT_TOKENS)
        wording.passage(chosen[0])

    said = Wording(OPENAI, envelope, CODECS, "req_1", path.clock)

    def usage() -> None:
        facts = read_reply_facts(REPLY)
        assert facts.usage is not None
        cost = cost_nanos(targets[0].price, facts.usage.mended())
        request_headers(context, said, seat, targets[0])
        money_headers(cost)

    names = list(BUDGET_US)
    return measure([(names[1], parse), (names[2], limits), (names[3], route), (names[6], usage)])


async def _shared(*, seen: bool) -> list[Rung]:
    """The steps that go on elsewhere: process CPU over `CONCURRENT` operations at a time."""
    async with prepared(seen=seen) as path:
        names = list(BUDGET_US)
        return [
            Rung(names[4], await _process_us(path, _money), BUDGET_US[names[4]]),
            Rung(names[5], await _process_us(path, _tell), BUDGET_US[names[5]]),
        ]


async def _process_us(path: Parts, step: object) -> float:
    assert callable(step)
    await asyncio.gather(*[step(path) for _ in range(CONCURRENT)])
    start = time.process_time_ns()
    for _ in range(ROUNDS):
        await asyncio.gather(*[step(path) for _ in range(CONCURRENT)])
    await asyncio.sleep(0.3)  # what was left for later is done by then
    return (time.process_time_ns() - start) / 1e3 / ROUNDS / CONCURRENT


async def _money(path: Parts) -> None:
    operation = new_id("req_")
    await path.ledger.hold(Hold(operation, 1_000_000, path.plan.lines, 900, 0, "bench/model v"))
    attempt = Attempt(1, "bench", "model", 70_000, 212, 0, 64)
    path.ledger.post_soon(Posting(operation, 70_000, (attempt,)))


async def _tell(path: Parts) -> None:
    context = RequestContext("req_1", path.principal, deadline_s=0.0, received_ns=time.monotonic_ns())
    path.audit.offer(Story(context, path.clock).event())
