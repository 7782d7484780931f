"""One simulated chat, from request to truth row.

Promises: what was generated is in the row before it is written to the socket; generation waits while the client's
socket is full and stops when the client is gone; a reply that is not streamed is generated, and billed, to its end
even if nobody waits for it any more, as vendors do.
"""

from __future__ import annotations

import asyncio

from penstock.dialects.openai_envelope import ChatEnvelope
from penstock.kernel.errors import Cancelled
from penstock.kernel.faults import Misbehaviour
from penstock.kernel.money import Usage
from penstock.net.server import Responder
from penstock.simulator.answers import Answer
from penstock.simulator.behaviour import Order, Pace
from penstock.simulator.truth import TruthRow
from penstock.simulator.wire import (
    DONE,
    HUGE_BYTES,
    JSON,
    MID_STREAM_ERROR,
    RATES,
    REFUSALS,
    SSE,
    Chunks,
    refusal,
    whole_reply,
)

_SHORT_S = 0.05  # pauses up to this are slept through; longer ones end early when the client goes
_BURST = 16  # chunks written before other requests get their turn, when no pace is set
_USAGE_FAULTS = {
    "usage_missing": "missing",
    "usage_twice": "twice",
    "usage_late": "late",
    "usage_wrong": "wrong",
}


class Chat:
    """Serves one request. `row` collects the truth; whoever made the row closes it."""

    __slots__ = (
        "_answers",
        "_chunks",
        "_envelope",
        "_fault",
        "_gone",
        "_pace",
        "_responder",
        "_showed",
        "row",
    )

    def __init__(
        self,
        envelope: ChatEnvelope,
        answers: tuple[Answer, ...],
        order: Order,
        pace: Pace,
        responder: Responder,
        row: TruthRow,
    ) -> None:
        """Bind what was decided to whom it is served."""
        self._envelope = envelope
        self._answers = answers
        self._fault: Misbehaviour = order.misbehaviour
        self._pace = pace
        self._responder = responder
        self.row = row
        self._showed = False
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._chunks = Chunks(row.id, int(row.received_s), envelope.model, usage_asked=envelope.include_usage)

    async def serve(self) -> None:
        """Answer, or misbehave. Raises `Cancelled` when the client goes away during a stream."""
        kind, row = self._fault.kind, self.row
        row.behaviour = row.outcome = kind
        if kind == "none":
            row.outcome = "ok"
        row.reported = _USAGE_FAULTS.get(kind, "usage")
        self._responder.on_gone(self._client_gone)
        if kind in REFUSALS:
            row.status, headers, body = refusal(kind, self._fault.seconds)
            self._responder.send(row.status, headers, body)
            return
        if kind == "reset":
            self._responder.abort()
            return
        if kind == "slow_first_byte":
            await self._sleep(self._fault.seconds)
        row.billed = True
        row.status = 200
        if self._envelope.stream:
            await self._stream()
        else:
            await self._whole()

    # ------------------------------------------------------------------------------------------------ whole

    async def _whole(self) -> None:
        row, responder, kind = self.row, self._responder, self._fault.kind
        row.output_tokens = sum(answer.tokens for answer in self._answers)
        wait_s = self._pace.first_token_s + self._pace.between_s * row.output_tokens
        if wait_s > 0:
            await self._sleep(wait_s)
        usage = None if kind in ("usage_missing", "usage_late") else self._usage(wrong=kind == "usage_wrong")
        if usage is None:
            row.reported = "missing"
        body = whole_reply(row.id, int(row.received_s), row.model, self._answers, usage)
        if kind == "error_mid_stream":
            row.billed, row.output_tokens = False, 0
            body = MID_STREAM_ERROR
        elif kind == "malformed_line":
            body = body[: len(body) // 2]
        elif kind == "huge_event":
            body = body[:-1] + b',"padding":"%b"}' % (b"x" * HUGE_BYTES)
        elif kind in ("stall", "cut"):
            await self._halves(body)
            return
        responder.send(200, self._headers(JSON), body)
        self._sent_all()

    async def _halves(self, body: bytes) -> None:
        """Send half a body, then stall or cut."""
        half = len(body) // 2
        self._responder.begin(200, self._headers(JSON))
        self._responder.write(body[:half])
        if self._fault.kind == "cut":
            self._responder.abort()
            return
        await self._sleep(self._fault.seconds)
        self._responder.finish(body[half:])
        self._sent_all()

    def _sent_all(self) -> None:
        if self._responder.gone:
            self.row.outcome = "client_gone"
        else:
            self.row.sent_tokens = self.row.output_tokens

    # ------------------------------------------------------------------------------------------------ stream

    async def _stream(self) -> None:
        responder, chunks = self._responder, self._chunks
        if self._pace.first_token_s > 0:
            await self._sleep(self._pace.first_token_s)
        responder.begin(200, self._headers(SSE))
        written = 0
        for index, answer in enumerate(self._answers):
            for event, tokens in chunks.events(index, answer):
                if written == self._fault.after_chunks and await self._misbehave():
                    return
                await self._emit(event, tokens, written)
                written += tokens
            if not self._showed and index + 1 == len(self._answers) and await self._misbehave():
                return
            await self._emit(chunks.delta(index, b"{}", answer.finish), 0, written)
        await self._end()

    async def _emit(self, event: bytes, tokens: int, written: int) -> None:
        """Generate one chunk: pace, note, write, and wait while the client's socket is full."""
        if tokens and written and self._pace.between_s > 0:
            await self._sleep(self._pace.between_s)
        elif written % _BURST == _BURST - 1:
            await asyncio.sleep(0)
        responder, row = self._responder, self.row
        if responder.gone:
            raise Cancelled(code="client_gone")
        row.output_tokens += tokens
        responder.write(event)
        if responder.paused:
            await responder.drain()
        row.sent_tokens += tokens

    async def _misbehave(self) -> bool:
        """Do what was ordered for the middle of a stream, once; tell whether the reply is over."""
        if self._showed:
            return False
        self._showed = True
        responder, kind = self._responder, self._fault.kind
        if kind == "stall":
            await self._sleep(self._fault.seconds)
        elif kind == "cut":
            await asyncio.sleep(0)  # what was written leaves first
            responder.abort()
            return True
        elif kind == "malformed_line":
            responder.write(self._chunks.broken())
        elif kind == "error_mid_stream":
            responder.finish(b"data: " + MID_STREAM_ERROR + b"\n\n")
            return True
        elif kind == "huge_event":
            responder.write(self._chunks.text(0, "x" * HUGE_BYTES))
            await responder.drain()
        return False

    async def _end(self) -> None:
        """Send usage as asked, or as ordered, and the end mark."""
        responder, chunks, kind, row = self._responder, self._chunks, self._fault.kind, self.row
        if not self._envelope.include_usage or kind == "usage_missing":
            row.reported = "missing"
            responder.finish(DONE)
            return
        last = chunks.usage(self._usage(wrong=kind == "usage_wrong"))
        if kind == "usage_twice":
            half = Usage(input_tokens=row.input_tokens, output_tokens=row.output_tokens // 2)
            responder.write(chunks.usage(half))
        if kind == "usage_late":
            responder.write(DONE)
            await self._sleep(min(self._fault.seconds, _SHORT_S))
            responder.finish(last)
            return
        responder.write(last)
        responder.finish(DONE)

    # ------------------------------------------------------------------------------------------------ common

    def _usage(self, *, wrong: bool) -> Usage:
        row = self.row
        output = row.output_tokens * 3 + 7 if wrong else row.output_tokens
        return Usage(input_tokens=row.input_tokens, output_tokens=output)

    def _headers(self, kind: bytes) -> bytes:
        return b"%bx-request-id: %b\r\nopenai-processing-ms: 1\r\n%b" % (kind, self.row.id.encode(), RATES)

    def _client_gone(self) -> None:
        if not self._gone.done():
            self._gone.set_result(None)

    async def _sleep(self, seconds: float) -> None:
        """Let `seconds` pass. Raises `Cancelled` as soon as the client is gone."""
        if seconds <= _SHORT_S:
            await asyncio.sleep(seconds)
        else:
            await asyncio.wait([self._gone], timeout=seconds)
        if self._responder.gone:
            raise Cancelled(code="client_gone")
