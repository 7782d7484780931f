"""One simulated chat, from request to truth row.

Promises: what was generated is in the row before it is written to the socket; generation waits while the client's
socket is full and stops when the client is gone; a reply that is not streamed is generated, and billed, to its end
even if nobody waits for it any more, as vendors do.
"""

from __future__ import annotations

import asyncio

from penstock.kernel.errors import Cancelled
from penstock.kernel.faults import Misbehaviour
from penstock.kernel.money import Usage
from penstock.net.server import Responder
from penstock.simulator.answers import Answer
from penstock.simulator.asked import Asked
from penstock.simulator.behaviour import Pace
from penstock.simulator.pen import HUGE_BYTES, REFUSALS, Pen, told_of
from penstock.simulator.truth import TruthRow

_SHORT_S = 0.05  # pauses up to this are slept through; longer ones end early when the client goes
_BURST = 16  # chunks written before other requests get their turn, when no pace is set


class Chat:
    """Serves one request. `row` collects the truth; whoever made the row closes it."""

    __slots__ = (
        "_answers",
        "_asked",
        "_fault",
        "_gone",
        "_pace",
        "_pen",
        "_responder",
        "_showed",
        "row",
    )

    def __init__(
        self,
        asked: Asked,
        answers: tuple[Answer, ...],
        pen: Pen,
        responder: Responder,
        row: TruthRow,
        *,
        fault: Misbehaviour,
        pace: Pace,
    ) -> None:
        """Bind what was decided to whom it is served."""
        self._asked = asked
        self._pen = pen
        self._answers = answers
        self._fault = fault
        self._pace = pace
        self._responder = responder
        self.row = row
        self._showed = False
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def serve(self) -> None:
        """Answer, or misbehave. Raises `Cancelled` when the client goes away during a stream."""
        kind, row = self._fault.kind, self.row
        row.behaviour = row.outcome = kind
        if kind == "none":
            row.outcome = "ok"
        row.reported = told_of(kind)
        self._responder.on_gone(self._client_gone)
        if kind in REFUSALS:
            row.status, headers, body = self._pen.refusal(kind, self._fault.seconds)
            self._responder.send(row.status, headers, body)
            return
        if kind == "reset":
            self._responder.abort()
            return
        if kind == "slow_first_byte":
            await self._sleep(self._fault.seconds)
        row.billed = True
        row.status = 200
        if self._asked.stream:
            await self._stream()
        else:
            await self._whole()

    # ------------------------------------------------------------------------------------------------ whole

    async def _whole(self) -> None:
        row, responder, pen, kind = self.row, self._responder, self._pen, self._fault.kind
        row.output_tokens = sum(answer.tokens for answer in self._answers)
        wait_s = self._pace.first_token_s + self._pace.between_s * row.output_tokens
        if wait_s > 0:
            await self._sleep(wait_s)
        usage = None if kind in ("usage_missing", "usage_late") else self._usage(wrong=kind == "usage_wrong")
        if usage is None:
            row.reported = "missing"
        body = pen.whole(self._answers, usage)
        if kind == "error_mid_stream":
            row.billed, row.output_tokens = False, 0
            body = pen.whole_error()
        elif kind == "malformed_line":
            body = body[: len(body) // 2]
        elif kind == "huge_event":
            body = body[:-1] + b',"padding":"%b"}' % (b"x" * HUGE_BYTES)
        elif kind in ("stall", "cut"):
            await self._halves(body)
            return
        responder.send(200, pen.headers(streamed=False), body)
        self._sent_all()

    async def _halves(self, body: bytes) -> None:
        """Send half a body, then stall or cut."""
        half = len(body) // 2
        self._responder.begin(200, self._pen.headers(streamed=False))
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
        responder, pen, row = self._responder, self._pen, self.row
        if self._pace.first_token_s > 0:
            await self._sleep(self._pace.first_token_s)
        responder.begin(200, pen.headers(streamed=True))
        written, paced = 0, self._pace.between_s > 0
        for index, answer in enumerate(self._answers):
            for event, tokens in pen.events(index, answer):
                if not self._showed and written >= self._fault.after_chunks and await self._misbehave():
                    return
                if paced or written % _BURST == _BURST - 1:
                    await self._pause(tokens, written)
                self._generate(event, tokens)
                if responder.paused:
                    await responder.drain()
                row.sent_tokens += tokens
                written += tokens
            if not self._showed and index + 1 == len(self._answers) and await self._misbehave():
                return
            self._generate(pen.finish(index, answer), 0)
        await self._end()

    async def _pause(self, tokens: int, written: int) -> None:
        """Keep the pace before a chunk; without one, let others have their turn."""
        if self._pace.between_s <= 0:
            await asyncio.sleep(0)
        elif tokens and written:
            await self._sleep(self._pace.between_s)

    def _generate(self, event: bytes, tokens: int) -> None:
        """Generate one chunk: note it, then write it."""
        if self._responder.gone:
            raise Cancelled(code="client_gone")
        self.row.output_tokens += tokens
        self._responder.write(event)

    async def _misbehave(self) -> bool:
        """Do what was ordered for the middle of a stream; tell whether the reply is over."""
        self._showed = True
        responder, pen, kind = self._responder, self._pen, self._fault.kind
        if kind == "stall":
            await self._sleep(self._fault.seconds)
        elif kind == "cut":
            await asyncio.sleep(0)  # what was written leaves first
            responder.abort()
            return True
        elif kind == "malformed_line":
            responder.write(pen.broken())
        elif kind == "error_mid_stream":
            responder.finish(pen.error())
            return True
        elif kind == "huge_event":
            responder.write(pen.huge())
            await responder.drain()
        return False

    async def _end(self) -> None:
        """Send usage as asked, or as ordered, and the end mark."""
        responder, row = self._responder, self.row
        if not self._asked.tells_usage or row.reported == "missing":
            row.reported = "missing"
            usage = None
        else:
            usage = self._usage(wrong=row.reported == "wrong")
        last, late = self._pen.end(usage)
        if late:
            responder.write(last)
            await self._sleep(min(self._fault.seconds, _SHORT_S))
        responder.finish(late or last)

    # ------------------------------------------------------------------------------------------------ common

    def _usage(self, *, wrong: bool) -> Usage:
        row = self.row
        output = row.output_tokens * 3 + 7 if wrong else row.output_tokens
        thoughts = sum([len(answer.thoughts) for answer in self._answers])
        return Usage(input_tokens=row.input_tokens, output_tokens=output, reasoning_tokens=thoughts)

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
