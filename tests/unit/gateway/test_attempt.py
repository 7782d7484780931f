"""One attempt: until the first content nothing has left, so every failure is one that can still be cured elsewhere."""

from __future__ import annotations

import asyncio

import pytest

from penstock.dialects.openai import CODEC
from penstock.gateway.attempt import (
    HELD_BACK_BYTES_MAX,
    Answer,
    StreamedAnswer,
    WholeAnswer,
    attempt,
)
from penstock.gateway.metering import MAYBE_BILLED
from penstock.gateway.routing import Endpoint, RouteTable
from penstock.gateway.wording import Passage
from penstock.kernel.faults import FAILURE_KINDS, RETRY_NEVER
from penstock.net.sse import MAX_EVENT_BYTES
from penstock.ports.providers import CallTimers, ChatCall, ProviderFailure
from tests.support import run
from tests.unit.gateway.rig import (
    DONE,
    ERROR,
    FINISH,
    HANG,
    PRICES,
    ROLE,
    USAGE,
    Step,
    Vendor,
    full,
    stream,
    text,
    whole,
)

CALL = ChatCall(model="small", body=b"{}", stream=True, request_id="req_1", timers=CallTimers())


async def tried(vendor: Vendor, *, keep_usage: bool = False) -> Answer:
    """Make one attempt at `vendor`."""
    table = RouteTable({"sim": Endpoint(provider=vendor, models=("small",))}, (), PRICES, 20_000)
    return await attempt(table.find("small").targets[0], CALL, Passage(CODEC), keep_usage=keep_usage)


def failed(*steps: Step, streamed: bool = True) -> ProviderFailure:
    """Expect the attempt to fail with the vendor let go."""
    vendor = Vendor("sim", stream(*steps) if streamed else full(*steps))
    with pytest.raises(ProviderFailure) as caught:
        run(tried(vendor))
    assert vendor.replies[0].closed
    return caught.value


def broken(kind: str) -> ProviderFailure:
    return ProviderFailure("scripted", kind=kind)


def test_a_whole_reply_is_read_to_its_end_and_the_vendor_let_go() -> None:
    vendor = Vendor("sim", full(whole("Hi.", usage={"prompt_tokens": 4, "completion_tokens": 2})))
    answer = run(tried(vendor))
    assert isinstance(answer, WholeAnswer)
    assert answer.facts.usage is not None
    assert answer.facts.usage.output_tokens == 2
    assert vendor.replies[0].closed


def test_a_stream_begins_with_its_first_content_and_what_came_before_waits_with_it() -> None:
    vendor = Vendor("sim", stream(b": comment\n\n", ROLE, text("One"), text(" two"), FINISH, DONE))
    answer = run(tried(vendor))
    assert isinstance(answer, StreamedAnswer)
    assert answer.pending == b": comment\n\n" + ROLE + text("One")
    assert not vendor.replies[0].closed


@pytest.mark.parametrize("kind", ["cut", "stalled"])
def test_an_end_before_the_first_content_may_be_tried_again(kind: str) -> None:
    failure = failed(ROLE, broken(kind))
    assert FAILURE_KINDS[failure.kind] != RETRY_NEVER
    assert failure.reason == failure.kind
    assert failure.kind in MAYBE_BILLED


def test_an_error_event_before_the_first_content_may_be_tried_again() -> None:
    assert failed(ROLE, ERROR).kind == "server_error"


@pytest.mark.parametrize("end", [ERROR, b"data: {nonsense\n\n"])
def test_content_that_came_with_its_own_error_was_generated_and_so_is_billed(end: bytes) -> None:
    failure = failed(ROLE, text("lost") + end)
    assert FAILURE_KINDS[failure.kind] != RETRY_NEVER
    assert failure.kind in MAYBE_BILLED


def test_a_stream_that_ends_without_an_answer_is_no_answer() -> None:
    assert failed(ROLE, b"").kind == "connection_reset"


@pytest.mark.parametrize("answer", [b"", b"[1]", b'{"choices":', b'{"error":{"message":"no"}}'])
def test_a_whole_reply_that_is_none_is_a_failed_attempt(answer: bytes) -> None:
    assert failed(answer, streamed=False).kind in {"malformed_reply", "server_error"}


@pytest.mark.parametrize(("size", "fits"), [(HELD_BACK_BYTES_MAX, True), (HELD_BACK_BYTES_MAX + 1, False)])
def test_what_is_held_back_is_bounded(size: int, fits: bool) -> None:
    content = text("Hi")
    comment = b": %b\n\n" % (b"x" * (size - 4 - len(content)))
    if fits:
        assert isinstance(run(tried(Vendor("sim", stream(comment, content)))), StreamedAnswer)
    else:
        assert failed(comment, content).kind == "malformed_reply"


def test_an_event_over_the_bound_is_the_providers_failure_and_billed_as_one() -> None:
    failure = failed(ROLE, b"data: " + b"x" * (MAX_EVENT_BYTES + 1))
    assert failure.kind in MAYBE_BILLED


@pytest.mark.parametrize("streamed", [False, True])
def test_a_cancelled_attempt_lets_the_vendor_go(streamed: bool) -> None:
    vendor = Vendor("sim", stream(ROLE, HANG) if streamed else full(HANG))

    async def cancelled() -> None:
        task = asyncio.create_task(tried(vendor))
        while not vendor.replies:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(cancelled())
    assert vendor.replies[0].closed


@pytest.mark.parametrize("kept", [False, True])
def test_the_usage_chunk_is_for_who_asked_for_it_and_counted_for_all(kept: bool) -> None:
    async def read() -> tuple[bytes, StreamedAnswer]:
        vendor = Vendor("sim", stream(text("Hi"), FINISH + USAGE + DONE))
        answer = await tried(vendor, keep_usage=kept)
        assert isinstance(answer, StreamedAnswer)
        return await answer.next(), answer

    out, answer = run(read())
    assert out == (FINISH + USAGE if kept else FINISH)
    assert answer.facts.done
    assert answer.facts.usage is not None


@pytest.mark.parametrize(("end", "whole_"), [(FINISH, True), (text("more"), False)])
def test_a_stream_without_its_mark_is_whole_only_if_it_said_why_it_finished(end: bytes, whole_: bool) -> None:
    async def read() -> None:
        answer = await tried(Vendor("sim", stream(text("Hi"), end, b"")))
        assert isinstance(answer, StreamedAnswer)
        await answer.next()
        await answer.next()

    if whole_:
        run(read())
    else:
        with pytest.raises(ProviderFailure) as caught:
            run(read())
        assert caught.value.kind == "cut"


def test_a_late_usage_is_still_read_and_what_fails_after_the_end_harms_nobody() -> None:
    async def read() -> StreamedAnswer:
        answer = await tried(Vendor("sim", stream(text("Hi"), FINISH + DONE, USAGE, broken("cut"))))
        assert isinstance(answer, StreamedAnswer)
        await answer.next()
        assert answer.facts.usage is None
        await answer.rest()
        return answer

    usage = run(read()).facts.usage
    assert usage is not None
    assert usage.output_tokens == 3
