"""What every chat provider must keep: the promises of `ports/providers.py` as cases.

`CASES` run on any provider that answers; `FAULTS` need one that can be told to misbehave (`ProviderHarness.order`), in
the words of `kernel.faults`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

import msgspec

from penstock.contracts.case import Contract, Harness, expect, expect_error, needs
from penstock.dialects import openai
from penstock.dialects.codec import Codec, Facts
from penstock.kernel.chat import ChatRequest, Message, Text
from penstock.kernel.faults import FAILURE_KINDS
from penstock.ports.providers import CallTimers, ChatCall, ChatProvider, ChatReplyStream, ProviderFailure

MAX_UNREAD_BYTES = (64 + 32 + 16) * 1024
"""64 KiB, the read that crosses the mark, and what the pieces themselves weigh."""
READ_BYTES = 8 * 1024 * 1024
QUICK = CallTimers(connect_s=2.0, first_byte_s=0.4, between_chunks_s=0.4, total_s=20.0)
"""Timers that run out while a harness waits; a healthy answer takes milliseconds."""
PATIENT = CallTimers()


@dataclass(slots=True)
class ProviderHarness(Harness[ChatProvider]):
    """A provider and what can be done to its vendor. `codec` is of its dialect, `turns` the member that holds the
    conversation there, `output_tokens` a bound of its answers where the dialect demands one.

    `order("cut;after=3;seconds=1;tokens=8")` says what the next call meets. `unread_bytes(reply)` tells how much waits
    unread; `open_sockets()` how many connections to the vendor are in use for answers. None where nobody can: the cases
    that need it do what they can without, and raise NotTried.
    """

    model: str = "sim/model"
    codec: Codec = openai.CODEC
    turns: str = "messages"
    output_tokens: int | None = None
    order: Callable[[str], Awaitable[None]] | None = None
    unread_bytes: Callable[[ChatReplyStream], int] | None = None
    open_sockets: Callable[[], Awaitable[int]] | None = None

    def call(self, *, stream: bool, timers: CallTimers = PATIENT, empty: bool = False) -> ChatCall:
        """Return a call that asks a question whose answer stands in the conversation; `empty` has none."""
        asked = ChatRequest(
            model=self.model,
            messages=(
                Message(
                    role="system",
                    content=(Text("The sluice opens at seven. The turbine needs oil every week."),),
                ),
                Message(role="user", content=(Text("When does the sluice open?"),)),
            ),
            dialect=self.codec.name,
            stream=stream,
            include_usage=stream,
            max_output_tokens=self.output_tokens,
        )
        body = self.codec.render_request(asked, self.port.limit_name).body
        if empty:
            body = msgspec.json.encode({**msgspec.json.decode(body), self.turns: []})
        return ChatCall(
            model=self.model,
            body=body,
            stream=stream,
            request_id=self.name("req"),
            timers=timers,
        )


CASES: Contract[ChatProvider] = Contract("providers")
FAULTS: Contract[ChatProvider] = Contract("providers")

Provided = Harness[ChatProvider]


def _own(h: Provided) -> ProviderHarness:
    """Return the harness as the one of this port, which is what every runner passes."""
    return cast("ProviderHarness", h)


async def _order(own: ProviderHarness, text: str) -> None:
    """Say what the next call meets."""
    await needs(own.order, "tell the vendor what to do")(text)


async def _none_in_use(own: ProviderHarness) -> None:
    """Let a moment pass: no connection to the vendor may be in use any more."""
    await own.advance(0.2)
    in_use = await needs(own.open_sockets, "count the vendor's connections")()
    expect(in_use == 0, "no connection is left in use", open=in_use)


async def _drained(own: ProviderHarness, reply: ChatReplyStream) -> Facts:
    """Read a stream to its true end."""
    facts = own.codec.facts()
    rest = b""
    while data := await reply.chunk():
        *blocks, rest = (rest + data).split(b"\n\n")
        for block in blocks:
            facts.feed(block + b"\n\n")
    expect(not rest, "a stream ends with a whole event", rest=rest[:80])
    return facts


@CASES.case(1, 6)
async def a_whole_answer_arrives(h: Provided) -> None:
    """The status is known, the body is a chat completion with usage, and somebody bills it."""
    own = _own(h)
    reply = await own.port.chat(own.call(stream=False))
    expect(reply.status == 200 and not reply.streamed, "a whole answer is not streamed", status=reply.status)
    facts = own.codec.read_facts(await reply.read(READ_BYTES))
    reply.close()
    expect(facts.choices == 1 and facts.finish == "stop", "one choice, finished", facts=facts)
    expect(facts.usage is not None and facts.usage.output_tokens > 0, "usage is told", facts=facts)
    expect(
        own.port.name and own.port.vendor and own.port.dialect == own.codec.name,
        "it says who bills",
        name=own.port.name,
    )


@CASES.case(1, 3)
async def a_streamed_answer_arrives_and_ends(h: Provided) -> None:
    """Chunks, a finish, usage because it was asked for, the end mark, and then nothing, however often one asks."""
    own = _own(h)
    reply = await own.port.chat(own.call(stream=True))
    expect(reply.status == 200 and reply.streamed, "an answer asked for as a stream is one")
    facts = await _drained(own, reply)
    expect(facts.deltas > 0 and facts.text_bytes > 0, "text arrives", deltas=facts.deltas)
    expect(facts.finish == "stop" and facts.done, "it is finished and marked", finish=facts.finish)
    expect(facts.usage is not None and not facts.usage_repeated, "usage is told once", usage=facts.usage)
    expect(await reply.chunk() == b"", "the end stays the end")
    reply.close()


@CASES.case(4)
async def closing_is_possible_at_any_time_and_again(h: Provided) -> None:
    """Before reading, in the middle, after the end, twice; nothing stays open and the next call is served."""
    own = _own(h)
    untouched = await own.port.chat(own.call(stream=True))
    untouched.close()
    untouched.close()
    begun = await own.port.chat(own.call(stream=True))
    expect(await begun.chunk(), "a first chunk")
    begun.close()
    begun.close()
    whole = await own.port.chat(own.call(stream=False))
    await whole.read(READ_BYTES)
    whole.close()
    whole.close()
    again = await own.port.chat(own.call(stream=False))
    expect(await again.read(READ_BYTES), "the next call is served")
    again.close()
    await _none_in_use(own)


@CASES.case(2)
async def a_wrong_request_is_refused_with_its_reason(h: Provided) -> None:
    """A vendor's 400 becomes a failure that is never retried and keeps what the vendor said."""
    own = _own(h)
    error = await expect_error(
        ProviderFailure, own.port.chat(own.call(stream=False, empty=True)), "no messages"
    )
    failure = cast("ProviderFailure", error)
    expect(failure.kind == "invalid" and failure.vendor_status == 400, "it is invalid", kind=failure.kind)
    expect(own.turns.encode() in failure.body, "the vendor's words are kept", body=failure.body[:200])
    expect(FAILURE_KINDS[failure.kind] == "never", "nobody should try again")


@CASES.case(2)
async def a_body_over_the_bound_is_refused(h: Provided) -> None:
    """`read` never returns, nor keeps, more than it was allowed."""
    own = _own(h)
    reply = await own.port.chat(own.call(stream=False))
    error = await expect_error(ProviderFailure, reply.read(16), "more than 16 bytes")
    expect(cast("ProviderFailure", error).kind == "reply_too_large", "too large", error=error)
    reply.close()


_REFUSALS = (
    # order, kind, retry hint in seconds
    ("rate_limit;seconds=2", "rate_limited", 2.0),
    ("rate_limit_no_hint", "rate_limited", None),
    ("quota", "quota_exhausted", None),
    ("spend_limit", "spend_limit", None),
    ("server_error", "server_error", None),
    ("overloaded", "overloaded", None),
    ("reset", "connection_reset", None),
    ("slow_first_byte;seconds=5", "first_byte_timeout", None),
)


@FAULTS.case(1, 2)
async def every_refusal_is_told_by_its_kind(h: Provided) -> None:
    """Streamed or not: the kind, the hint, and that the request may have reached the vendor."""
    own = _own(h)
    for order, kind, hint_s in _REFUSALS:
        for stream in (False, True):
            await _order(own, order)
            error = await expect_error(
                ProviderFailure, own.port.chat(own.call(stream=stream, timers=QUICK)), f"{order} is a failure"
            )
            failure = cast("ProviderFailure", error)
            expect(failure.kind == kind, f"{order} is {kind}", kind=failure.kind, stream=stream)
            expect(failure.retry_after_s == hint_s, f"{order} hints {hint_s}", hint=failure.retry_after_s)
            expect(failure.dispatched, f"{order} happens after the request left")
            expect(not failure.vendor_status or failure.body, f"{order} keeps the vendor's body")


@FAULTS.case(1, 3)
async def an_answer_cut_short_raises(h: Provided) -> None:
    """After its chunks, a stream that is cut or goes silent raises its kind; it never just ends."""
    own = _own(h)
    for order, kind in (("cut;after=3;tokens=8", "cut"), ("stall;after=3;seconds=5;tokens=8", "stalled")):
        await _order(own, order)
        reply = await own.port.chat(own.call(stream=True, timers=QUICK))
        facts = own.codec.facts()
        failure: ProviderFailure | None = None
        try:
            while data := await reply.chunk():
                for block in data.split(b"\n\n")[:-1]:
                    facts.feed(block + b"\n\n")
        except ProviderFailure as error:
            failure = error
        reply.close()
        expect(failure is not None and failure.kind == kind, f"{order} raises {kind}", failure=failure)
        expect(
            facts.deltas >= 2 and not facts.done, f"{order} lets what came first through", deltas=facts.deltas
        )


@FAULTS.case(2)
async def a_spoilt_whole_reply_is_a_failure(h: Provided) -> None:
    """Half a body, an error with status 200, a body cut on the way."""
    own = _own(h)
    for order, kind in (
        ("malformed_line", "malformed_reply"),
        ("error_mid_stream", "server_error"),
        ("cut", "cut"),
    ):
        await _order(own, order)
        reply = await own.port.chat(own.call(stream=False, timers=QUICK))
        error = await expect_error(ProviderFailure, reply.read(READ_BYTES), f"{order} is a failure")
        expect(cast("ProviderFailure", error).kind == kind, f"{order} is {kind}", error=error)
        reply.close()


@FAULTS.case(3)
async def an_error_inside_a_stream_comes_through(h: Provided) -> None:
    """The error event reaches the reader as it was sent; no end mark follows."""
    own = _own(h)
    await _order(own, "error_mid_stream;after=3;tokens=8")
    reply = await own.port.chat(own.call(stream=True, timers=QUICK))
    facts = await _drained(own, reply)
    reply.close()
    expect(facts.error and not facts.done, "the error is seen, the mark is not", error=facts.error)


@FAULTS.case(5)
async def an_answer_nobody_reads_does_not_pile_up(h: Provided) -> None:
    """A long answer waits at the vendor, not here; read in the end, it is whole."""
    own = _own(h)
    tokens = 40_000
    await _order(own, f"none;tokens={tokens}")
    reply = await own.port.chat(own.call(stream=True))
    await own.advance(0.5)
    waiting = own.unread_bytes(reply) if own.unread_bytes else None
    expect((waiting or 0) <= MAX_UNREAD_BYTES, "little waits unread", waiting=waiting)
    facts = await _drained(own, reply)
    reply.close()
    expect(facts.done and facts.usage is not None, "it ends", done=facts.done)
    expect(facts.deltas == tokens, "nothing is lost", deltas=facts.deltas)
    needs(waiting, "measure what waits unread")


@FAULTS.case(4)
async def closing_in_the_middle_lets_the_vendor_go(h: Provided) -> None:
    """A long answer that nobody wants any more frees its connection at once."""
    own = _own(h)
    await _order(own, "none;tokens=40000")
    reply = await own.port.chat(own.call(stream=True))
    expect(await reply.chunk(), "a first chunk")
    reply.close()
    await _none_in_use(own)
