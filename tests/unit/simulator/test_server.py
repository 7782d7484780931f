"""The simulated provider over real sockets: its truth says what really happened, whatever was ordered."""

from __future__ import annotations

import asyncio
import json

import pytest

from penstock.kernel.money import rates
from penstock.simulator.behaviour import Speeds
from tests.unit.simulator.calls import MESSAGES, facts_of, with_simulator


@pytest.mark.parametrize("stream", [True, False])
def test_an_honest_answer_is_billed_as_it_was_told(stream):
    async def work(caller):
        status, got, row = await caller.chat(stream=stream, max_tokens=6)
        told = facts_of(got).usage if stream else None
        usage = (told.input_tokens, told.output_tokens) if told else tuple(
            json.loads(got)["usage"][name] for name in ("prompt_tokens", "completion_tokens")
        )  # fmt: skip
        assert usage == (row.input_tokens, row.output_tokens)
        assert (status, row.status, row.outcome, row.behaviour, row.billed) == (200, 200, "ok", "none", True)
        assert (row.operation, row.stream, row.output_tokens, row.sent_tokens) == ("op-1", stream, 6, 6)
        assert row.sent_bytes == len(got)
        assert row.cost_nanos == row.input_tokens * 2000 + 6 * 3000

    with_simulator(work, prices={"m": rates(input=2 * 10**9, output=3 * 10**9)})


def test_parts_of_a_nano_dollar_are_rounded_up():
    async def work(caller):
        _, _, row = await caller.chat(max_tokens=1)
        assert row.cost_nanos == 1

    with_simulator(work, default_price=rates(input=1, output=1))


@pytest.mark.parametrize(
    ("order", "status", "billed", "generated"),
    [
        ("rate_limit", 429, False, 0), ("rate_limit_no_hint", 429, False, 0), ("quota", 429, False, 0),
        ("server_error", 500, False, 0), ("overloaded", 503, False, 0), ("reset", 0, False, 0),
        ("slow_first_byte;seconds=0.01;tokens=5", 200, True, 5), ("cut;after=2;tokens=9", 200, True, 2),
        ("cut;after=0;tokens=9", 200, True, 0), ("cut;after=99;tokens=9", 200, True, 9),
        ("error_mid_stream;after=2;tokens=9", 200, True, 2), ("malformed_line;tokens=5", 200, True, 5),
        ("stall;seconds=0.01;tokens=5", 200, True, 5), ("usage_missing;tokens=5", 200, True, 5),
        ("usage_twice;tokens=5", 200, True, 5), ("usage_late;tokens=5", 200, True, 5),
        ("usage_wrong;tokens=5", 200, True, 5), ("huge_event;tokens=5", 200, True, 5),
    ],
)  # fmt: skip
def test_what_was_generated_is_billed_and_nothing_else(order, status, billed, generated):
    async def work(caller):
        _, _, row = await caller.chat(order)
        assert (row.status, row.billed, row.output_tokens) == (status, billed, generated)
        assert row.outcome == row.behaviour == order.partition(";")[0]
        assert bool(row.cost_nanos) == billed

    with_simulator(work)


def test_streams_go_wrong_as_ordered():
    async def work(caller):
        async def facts(order):
            return facts_of((await caller.chat(order + ";tokens=6"))[1])

        assert (await facts("malformed_line")).malformed == 1
        assert (await facts("error_mid_stream")).error
        assert not (await facts("error_mid_stream")).done
        assert not (await facts("cut")).done
        assert (await facts("usage_missing")).usage is None
        assert (await facts("usage_twice")).usage_repeated
        assert (await facts("usage_wrong")).usage.output_tokens == 6 * 3 + 7
        assert (await facts("huge_event")).text_bytes > 2 * 1024 * 1024
        late = (await caller.chat("usage_late;tokens=6"))[1]
        assert late.index(b"[DONE]") < late.index(b'"usage":{')

    with_simulator(work)


def test_usage_is_told_only_to_who_asks():
    async def work(caller):
        _, got, row = await caller.chat(usage=False)
        assert b"usage" not in got
        assert row.reported == "missing"

    with_simulator(work)


@pytest.mark.parametrize(("order", "lines"), [("rate_limit;seconds=7", {"retry-after": "7", "retry-after-ms": "7000"}),
                                              ("rate_limit_no_hint", {})])  # fmt: skip
def test_hints_are_given_or_withheld(order, lines):
    async def work(caller):
        response = await caller.begin(order)
        names = {name.decode(): value.decode() for name, value in response.headers}
        assert {name: names[name] for name in names if name.startswith("retry")} == lines
        response.close()

    with_simulator(work)


def test_a_vanished_client_stops_a_stream_and_pays_for_what_was_generated():
    async def work(caller):
        response = await caller.begin("none;tokens=1000")
        await response.chunk()
        response.close()
        row = await caller.last_row()
        assert (row.outcome, row.billed) == ("client_gone", True)
        assert 0 < row.output_tokens < 1000

    with_simulator(work, speeds=Speeds(tokens_per_s=200))


def test_a_vanished_client_pays_for_a_whole_reply_in_the_making():
    async def work(caller):
        calling = asyncio.ensure_future(caller.begin("none;tokens=50", stream=False))
        await asyncio.sleep(0.1)
        calling.cancel()
        row = await caller.last_row()
        assert (row.outcome, row.billed, row.output_tokens, row.sent_tokens) == ("client_gone", True, 50, 0)

    with_simulator(work, speeds=Speeds(first_token_s=20.0))


def test_a_vanished_client_owes_nothing_before_generation():
    async def work(caller):
        calling = asyncio.ensure_future(caller.begin("slow_first_byte;seconds=20"))
        await asyncio.sleep(0.1)
        calling.cancel()
        row = await caller.last_row()
        assert (row.outcome, row.billed) == ("client_gone", False)

    with_simulator(work)


def test_a_client_that_does_not_read_pauses_generation():
    async def work(caller):
        response = await caller.begin("none;tokens=200000")
        await response.chunk()
        await asyncio.sleep(0.5)
        response.close()
        row = await caller.last_row()
        assert row.outcome == "client_gone"
        assert row.output_tokens < 150_000
        assert row.sent_tokens <= row.output_tokens

    with_simulator(work)


def test_a_malformed_request_has_its_row_too():
    async def work(caller):
        status, _, body = await caller.send(b"POST", b"/v1/chat/completions", b'{"model":"m","messages":[]}')
        row = await caller.last_row()
        assert (status, row.outcome, row.status, row.billed) == (400, "refused", 400, False)
        assert json.loads(body)["error"]["param"] == "messages"
        malformed_tools = json.dumps({"model": "m", "messages": MESSAGES, "tools": [{"x": 1}]}).encode()
        status, _, _ = await caller.send(b"POST", b"/v1/chat/completions", malformed_tools)
        assert status == 400

    with_simulator(work)


def test_truth_is_served_paged_summed_and_reset():
    async def work(caller):
        for order in ("none", "quota", "none"):
            await caller.chat(order)
        _, _, page = await caller.send(b"GET", b"/truth?after=1&limit=1")
        assert [row["behaviour"] for row in json.loads(page)["rows"]] == ["quota"]
        assert json.loads(page)["next"] == 2
        _, _, sums = await caller.send(b"GET", b"/truth/summary")
        assert json.loads(sums)["outcomes"] == {"ok": 2, "quota": 1}
        await caller.send(b"POST", b"/truth/reset")
        _, _, sums = await caller.send(b"GET", b"/truth/summary")
        assert json.loads(sums)["requests"] == 0
        assert (await caller.send(b"GET", b"/truth?after=x"))[0] == 400

    with_simulator(work)


def test_orders_and_weights_are_taken_over_http():
    async def work(caller):
        orders = json.dumps({"orders": ["quota", "none"], "weights": {"overloaded": 1.0}}).encode()
        assert (await caller.send(b"POST", b"/orders", orders))[0] == 200
        seen = []
        for _ in range(3):
            body = json.dumps({"model": "m", "messages": MESSAGES}).encode()
            seen.append((await caller.send(b"POST", b"/v1/chat/completions", body))[0])
        assert seen == [429, 200, 503]
        for wrong in (b"{", b'{"orders":["x"]}', b'{"weights":{"x":1}}', b'{"unknown":1}'):
            assert (await caller.send(b"POST", b"/orders", wrong))[0] == 400

    with_simulator(work)


def test_the_truth_file_has_every_row(tmp_path):
    path = tmp_path / "truth.jsonl"

    async def work(caller):
        for order in ("none", "cut", "reset"):
            await caller.chat(order)

    with_simulator(work, truth_path=path)
    assert [json.loads(line)["outcome"] for line in path.read_text().splitlines()] == ["ok", "cut", "reset"]


def test_the_same_seed_misbehaves_the_same_way():
    weights = {"quota": 0.3, "server_error": 0.3}

    async def work(caller):
        body = json.dumps({"model": "m", "messages": MESSAGES}).encode()
        return [(await caller.send(b"POST", b"/v1/chat/completions", body))[0] for _ in range(40)]

    first = with_simulator(work, seed=7, weights=weights)
    assert first == with_simulator(work, seed=7, weights=weights)
    assert first != with_simulator(work, seed=8, weights=weights)


def test_everything_else_is_not_found():
    async def work(caller):
        assert (await caller.send(b"GET", b"/nothing"))[0] == 404
        assert (await caller.send(b"GET", b"/v1/chat/completions"))[0] == 404
        assert (await caller.send(b"GET", b"/health"))[0] == 200

    with_simulator(work)
