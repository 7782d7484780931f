"""Two hundred requests, and what is kept of them: the totals are the ledger's, each can be looked up, and a trace store
that is down meanwhile costs no request anything and loses no total.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from penstock.net.client import HttpClient, Origin, Response, Timers
from penstock.ports.traces import Total, TraceFilter
from penstock.simulator.behaviour import Speeds
from penstock.simulator.server import SimulatorOptions
from tests.contracts.file_harness import locked
from tests.stage import MODEL, Caller, Stage, stage, until
from tests.support import run

INSTANT = Speeds(tokens_per_s=0, answer_tokens=12)
EACH = 50
"""Requests of one key in one half."""


async def ask(it: Stage, client: HttpClient, caller: Caller, *, stream: bool) -> str:
    """Send one chat; return its request id."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "How full is it?"}], "stream": stream}
    headers = b"authorization: Bearer %b\r\ncontent-type: application/json\r\n" % caller.token.encode()
    origin, _ = Origin.parse(it.url)
    response = await client.request(
        origin, b"POST", b"/v1/chat/completions", headers, json.dumps(body).encode(), Timers()
    )
    assert response.status == 200, await response.read(1 << 16)
    await response.read(1 << 20)
    return request_id(response)


def request_id(response: Response) -> str:
    [value] = [value for name, value in response.headers if name.lower() == b"x-request-id"]
    return value.decode()


async def half(it: Stage, client: HttpClient, callers: list[Caller]) -> list[str]:
    """Send `EACH` requests of each caller, ten at a time; return their ids."""
    ids: list[str] = []
    for _ in range(EACH // 5):
        asked = [ask(it, client, caller, stream=bool(turn % 2)) for turn in range(5) for caller in callers]
        ids += await asyncio.gather(*asked)
    return ids


async def by_key(it: Stage, **wanted: str) -> dict[str, Total]:
    assert it.platform.traces is not None
    rows = await it.platform.traces.totals(TraceFilter(**wanted), ("key_id",))
    return {row.group[0]: row for row in rows}


def test_what_is_kept_of_requests_is_what_the_ledger_says(tmp_path: Path) -> None:
    async def scene() -> None:
        async with stage(tmp_path, simulator=SimulatorOptions(speeds=INSTANT)) as it:
            traces, feed = it.platform.traces, it.platform.trace_feed
            assert traces is not None
            assert feed is not None
            callers = [await it.caller(), await it.caller()]
            client = HttpClient()
            try:
                ids = await half(it, client, callers)
                with locked(tmp_path / "data" / "traces.sqlite"):
                    ids += await half(it, client, callers)
                    await until(lambda: _is(feed.failures > 0 and not feed.healthy), 15.0)
                await until(lambda: _is(feed.delivered == len(ids) and not feed.kept_queued), 15.0)
            finally:
                await client.close()
            assert (feed.produced, feed.dropped, feed.kept_dropped, feed.sampled_out) == (len(ids), 0, 0, 0)

            totals = await by_key(it, org="acme")
            assert len(totals) == len(callers)
            for caller in callers:
                spent, total = await it.settled(caller, 2 * EACH), totals[caller.id]
                assert (total.requests, total.failed, total.refused) == (2 * EACH, 0, 0)
                assert total.cost_nanos == spent.posted_nanos > 0
            assert await by_key(it, org="bolt") == {}

            events = [await traces.get(each) for each in ids]
            assert [event and event.request_id for event in events] == ids
            assert sum(event.cost_nanos for event in events if event) == sum(
                total.cost_nanos for total in totals.values()
            )
            for event in filter(None, events):
                assert [call.outcome for call in event.calls] == ["ok"]
                assert 0 < event.routed_ms <= event.admitted_ms <= event.first_token_ms <= event.latency_ms
            window = it.platform.recent.window("acme")
            assert (window.requests, window.failed) == (len(ids), 0)

    run(scene(), 60.0)


async def _is(fact: bool) -> bool:
    return fact
