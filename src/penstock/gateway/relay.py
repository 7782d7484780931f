"""The answer on its way to the caller, and what it turns out to cost.

Promises: bytes of the vendor's own dialect pass unchanged; a client that reads slowly slows the vendor down
(one buffer of at most 64 KiB on either side); every 16 events or 250 ms a checkpoint tells the ledger the
cost so far, so that a crash leaves an estimate whose answer is at most one checkpoint old (its prompt counts at
its byte bound: an estimate errs upwards); an answer that ends badly after its first byte ends with an in-band
error and without the success mark, and what was generated is billed; one that an operator's stop has ended is whole
whatever its vendor comes to afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from penstock.gateway.attempt import Answer, StreamedAnswer, WholeAnswer
from penstock.gateway.cadence import Pace
from penstock.gateway.client import Client
from penstock.gateway.headers import money_headers, request_headers
from penstock.gateway.metering import Meter
from penstock.gateway.replay import as_stream
from penstock.gateway.routing import Target
from penstock.gateway.turn import Turn
from penstock.kernel.clock import Clock
from penstock.kernel.context import RequestContext
from penstock.kernel.errors import Broken, Cancelled, Overloaded, PenstockError, PolicyRefused, TimedOut
from penstock.kernel.money import Usage, cost_nanos
from penstock.mechanisms.resilience import Resilience
from penstock.mechanisms.tokens import estimate_output_tokens
from penstock.ports.ledger import Ledger
from penstock.ports.providers import ProviderFailure

CHECKPOINT_EVENTS = 16
CHECKPOINT_S = 0.25
JSON_TYPE = b"content-type: application/json\r\n"
STREAM_TYPE = (
    b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
)


class Relay:
    """Hands answers to callers. One per process."""

    def __init__(self, ledger: Ledger, resilience: Resilience, clock: Clock) -> None:
        """Checkpoint into `ledger`; tell `resilience` about answers that broke off."""
        self._ledger = ledger
        self._resilience = resilience
        self._clock = clock

    def answer(self, turn: Turn, target: Target, answer: Answer) -> Awaitable[None] | None:
        """Send `answer` and meter it: a whole one at once (None), a stream while what is returned is waited for. A
        whole answer is metered before it leaves, so that its headers carry the cost.
        """
        turn.story.first_token(target)
        if isinstance(answer, WholeAnswer):
            self._send_whole(turn, target, answer)
            return None
        return self._send_stream(turn, target, answer)

    def _send_whole(self, turn: Turn, target: Target, answer: WholeAnswer) -> None:
        facts, meter = answer.facts, turn.meter
        turn.story.finished(facts.finish, facts.tool_calls)
        self._resilience.answered(target.label)
        meter.whole(target, facts, len(answer.body))
        headers = request_headers(turn.context, turn.wording, meter.seat, target)
        # Some vendors answer whole where a stream was asked for.
        if turn.wording.replays or turn.wording.envelope.stream:
            turn.client.begin(200, STREAM_TYPE + headers)
            turn.client.finish(as_stream(turn.wording, answer.body))
        else:
            turn.client.send(200, JSON_TYPE + headers + money_headers(meter.spent_nanos), answer.body)

    async def _send_stream(self, turn: Turn, target: Target, answer: StreamedAnswer) -> None:
        resuming = turn.resuming
        try:
            turn.client.begin(
                200, STREAM_TYPE + request_headers(turn.context, turn.wording, turn.meter.seat, target)
            )
            while (failure := await self._sent(turn, target, answer)) is not None:
                if resuming is None:
                    raise failure
                target, answer = await resuming.go_on(target, answer, failure)
        except BaseException as error:  # because an answer that broke off must be told apart from a whole one
            self._end_badly(error, turn, answer)
            raise

    async def _sent(self, turn: Turn, target: Target, answer: StreamedAnswer) -> ProviderFailure | None:
        """Send what there is of an answer; returns what broke it off, None when it is whole."""
        outcome = "usage_missing"
        try:
            await self._pump(turn, target, answer)
            turn.client.finish(answer.end())
            self._resilience.answered(target.label)
            await answer.rest()
        except ProviderFailure as failure:
            outcome = failure.kind
            self._resilience.failed_later(target.label, failure)
            if not turn.wording.is_over:
                return failure
            turn.client.finish(answer.end())
        except BaseException as error:  # because the meter must know what ended it
            outcome = _outcome(error, turn.context)
            if isinstance(error, PolicyRefused):
                await answer.bill()
            raise
        finally:
            answer.close()
            turn.meter.streamed(target, answer.facts, outcome)
            turn.story.finished(answer.facts.finish, answer.facts.tool_calls)
        return None

    async def _pump(self, turn: Turn, target: Target, answer: StreamedAnswer) -> None:
        if turn.wording.cadence == "token":
            await self._pump_from(answer.next, turn, target, answer)
            return
        sign = turn.wording.face.codec.sign
        pace = Pace(answer, turn.wording.cadence, self._clock, lambda: sign(answer.facts.text_bytes))
        try:
            await self._pump_from(pace.next, turn, target, answer)
        finally:
            pace.close()

    async def _pump_from(
        self, read: Callable[[], Awaitable[bytes]], turn: Turn, target: Target, answer: StreamedAnswer
    ) -> None:
        client, facts = turn.client, answer.facts
        clock = self._clock
        marked, marked_s = 0, clock.monotonic_s()
        out, answer.pending = answer.pending, b""
        while not answer.ended and not facts.done:
            if out:
                client.write(out)
                out = b""  # the client's buffer has it: a slow reader must not cost it twice
            if client.paused and not client.gone:
                await self._caught_up(turn.context, client)
            if facts.deltas - marked >= CHECKPOINT_EVENTS or clock.monotonic_s() - marked_s >= CHECKPOINT_S:
                marked, marked_s = facts.deltas, clock.monotonic_s()
                self._checkpoint(turn.meter, target, answer)
            out = await read()
        if out:
            client.write(out)

    async def _caught_up(self, context: RequestContext, client: Client) -> None:
        """Wait for a slow client, at most until the request's deadline: a hold must not lapse under an answer."""
        try:
            async with asyncio.timeout(self._resilience.left_s(context.deadline_s)):
                await client.drain()
        except Cancelled:
            return  # whoever wants a vanished client's answer stopped cancels this task
        except TimeoutError:
            raise TimedOut("The answer was read too slowly to end in time.", code="slow_client") from None

    def _checkpoint(self, meter: Meter, target: Target, answer: StreamedAnswer) -> None:
        facts = answer.facts
        seat = meter.seat
        tokens = estimate_output_tokens(facts.text_bytes, facts.deltas).tokens
        usage = Usage(input_tokens=seat.input_tokens, output_tokens=tokens)
        amount = min(meter.spent_nanos + cost_nanos(target.price, usage), seat.held_nanos)
        self._ledger.checkpoint(seat.operation, amount)

    def _end_badly(self, error: BaseException, turn: Turn, answer: StreamedAnswer) -> None:
        """Tell the caller in-band, without the success mark, that the answer is not whole."""
        client = turn.client
        if client.gone or client.complete or not client.started:
            return
        if isinstance(error, asyncio.CancelledError):
            told = Overloaded("The server is shutting down.", code="draining")
        else:
            told = error if isinstance(error, PenstockError) else Broken("The answer could not be relayed.")
        codec, renderer = turn.wording.face.codec, answer.renderer
        if codec.break_off is None or renderer is None:
            client.finish(codec.render_error_event(told))
        else:
            client.finish(codec.break_off(told, renderer))


def _outcome(error: BaseException, context: RequestContext) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "client_gone" if context.caller_left else "draining"
    return error.reason if isinstance(error, PenstockError) else "internal_error"
