"""A platform with a collector of OpenTelemetry behind it: what a caller asks arrives there as a part of its own trace.

Promise: the caller's span is the parent of ours, tokens and cost are those of the reply; a collector that is away costs
no request anything, and what becomes of every trace is counted.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from penstock.net.client import HttpClient, Origin, Response, Timers
from tests.collector import Collector
from tests.contracts.test_spans import TIMEOUT_S
from tests.stage import MODEL, Caller, Stage, stage, until
from tests.support import run

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "How much water?"}], "max_tokens": 50}


class Customer:
    """Asks one platform with one key."""

    def __init__(self, it: Stage, caller: Caller) -> None:
        self._origin, _ = Origin.parse(it.url)
        self._token = caller.token
        self._client = HttpClient()

    async def ask(self, headers: str = "", **members: object) -> tuple[Response, bytes]:
        """Return the reply's head and its body."""
        lines = f"authorization: Bearer {self._token}\r\ncontent-type: application/json\r\n{headers}"
        body = json.dumps(ASK | members).encode()
        response = await self._client.request(
            self._origin, b"POST", b"/v1/chat/completions", lines.encode(), body, Timers()
        )
        return response, await response.read(1 << 20)

    async def close(self) -> None:
        await self._client.close()


def usage(body: bytes) -> dict[str, int]:
    """Return what a reply, streamed or whole, says was used."""
    events = [line[6:] for line in body.splitlines() if line.startswith(b"data: {")] or [body]
    return next(used for event in reversed(events) if (used := json.loads(event).get("usage")))


def metric(it: Stage, name: str) -> int:
    """Read one figure off the metrics page."""
    page = it.platform.metrics.render().decode()
    (figure,) = re.findall(rf"^{re.escape(name)} (\S+)$", page, re.MULTILINE)
    return int(float(figure))


def counters(it: Stage) -> dict[str, int]:
    """Read what became of the spans off the metrics page."""
    names = ("produced_total", "delivered_total", "dropped_total", "skipped_total", "queued")
    return {name.removesuffix("_total"): metric(it, f"penstock_spans_{name}") for name in names}


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_arrives_as_a_part_of_its_callers_trace(tmp_path: Path, stream: bool) -> None:
    async def story() -> None:
        with Collector() as collector:
            async with stage(tmp_path, otel={"endpoint": collector.url}) as it:
                customer = Customer(it, await it.caller())
                more = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
                response, body = await customer.ask(f"traceparent: 00-{TRACE}-{SPAN}-01\r\n", **more)
                assert response.status == 200
                await customer.close()
            root, *others = collector.spans()
            assert (root.trace_id, root.parent_id, root.remote_parent) == (TRACE, SPAN, True)
            assert root.kind == "server"
            assert {each.trace_id for each in others} == {TRACE}
            assert {each.parent_id for each in others} == {root.span_id}
            (call,) = (each for each in others if each.kind == "client")
            told = usage(body)
            assert call.attributes["gen_ai.usage.input_tokens"] == told["prompt_tokens"] > 0
            assert call.attributes["gen_ai.usage.output_tokens"] == told["completion_tokens"] > 0
            if not stream:
                cost_nanos = int(response.header(b"x-penstock-cost-nanos") or b"")
                assert root.attributes["penstock.cost_nanos"] == cost_nanos > 0
            (row,) = it.simulator.truth.rows()
            assert (
                row.cost_nanos
                == call.attributes["penstock.cost_nanos"]
                == root.attributes["penstock.cost_nanos"]
            )
            assert (row.input_tokens, row.output_tokens) == (told["prompt_tokens"], told["completion_tokens"])
            request_id = (response.header(b"x-request-id") or b"").decode()
            assert root.attributes["penstock.request_id"] == request_id
            assert [each.name for each in others[:2]] == ["parse and route", "admit"]
            assert collector.faults == []

    run(story())


def test_a_collector_that_is_away_costs_no_request_anything(tmp_path: Path) -> None:
    async def story() -> None:
        with Collector() as collector:
            collector.always = "503"
            otel = {"endpoint": collector.url, "buffer_requests": 20, "timeout_s": TIMEOUT_S}
            async with stage(tmp_path, otel=otel) as it:
                customer = Customer(it, await it.caller())
                replies = [await customer.ask() for _ in range(50)]
                assert {response.status for response, _ in replies} == {200}

                async def all_heard() -> bool:
                    return counters(it)["produced"] == 50 and metric(it, "penstock_spans_failures_total") > 0

                await until(all_heard, 10.0)
                found = counters(it)
                assert found == {"produced": 50, "delivered": 0, "dropped": 30, "skipped": 0, "queued": 20}
                assert metric(it, 'penstock_dependency_up{dependency="spans"}') == 0
                collector.always = ""
                await customer.close()
                feed = it.platform.span_feed
            assert feed is not None
            assert (feed.produced, feed.delivered, feed.dropped, feed.queued) == (50, 20, 30, 0)
            roots = [each for each in collector.spans() if each.kind == "server"]
            assert len({each.trace_id for each in roots}) == len(roots) == 20

    run(story())


def test_a_caller_that_keeps_its_trace_to_itself_is_followed(tmp_path: Path) -> None:
    async def story() -> None:
        with Collector() as collector:
            async with stage(tmp_path, otel={"endpoint": collector.url}) as it:
                customer = Customer(it, await it.caller())
                await customer.ask(f"traceparent: 00-{TRACE}-{SPAN}-00\r\n")
                await customer.ask(f"traceparent: 00-{TRACE}-{SPAN}-00\r\n", model="nobody/serves-this")
                await customer.close()
            (root,) = (each for each in collector.spans() if each.kind == "server")
            assert root.attributes["penstock.outcome"] == "refused"

    run(story())


def test_without_a_collector_nothing_is_sent_and_no_figure_is_shown(tmp_path: Path) -> None:
    async def story() -> None:
        async with stage(tmp_path) as it:
            assert it.platform.span_feed is None
            assert b"penstock_spans" not in it.platform.metrics.render()
            assert b'dependency="spans"' not in it.platform.metrics.render()

    run(story())
