"""Chats in every dialect, from request bytes to the pipeline and its errors back to bytes.

Promises: every reply, refusals included, carries `x-request-id`; an error is rendered in the caller's
dialect with its figures and, when waiting helps, `retry-after`; a client that vanishes stops the vendor at
once, or lets it finish within a cap, as the operator chose.
"""

from __future__ import annotations

import asyncio
from functools import partial

from penstock.edge.routes import Serve
from penstock.gateway.array_stream import ArrayClient
from penstock.gateway.client import Client
from penstock.gateway.faces import GEMINI, Face
from penstock.gateway.idempotency import Idempotency
from penstock.gateway.inquiry import Inquiry
from penstock.gateway.line import Line
from penstock.gateway.story import Story
from penstock.kernel.clock import Clock
from penstock.kernel.context import Principal, RequestContext
from penstock.kernel.errors import Overloaded, PenstockError
from penstock.kernel.ids import new_id
from penstock.kernel.trace_context import NO_TRACE, TraceParent, read_traceparent
from penstock.net.request import Request
from penstock.net.responder import Responder

DRAINS_MAX = 256


class Chats:
    """Serves chats from the pipeline, whatever dialect they are asked in. One per process."""

    def __init__(
        self,
        line: Line,
        idempotency: Idempotency,
        clock: Clock,
        *,
        deadline_s: float,
        drain_vanished: bool,
    ) -> None:
        """Give each request `deadline_s` seconds; `drain_vanished` lets the vendor finish for a client that
        left.
        """
        self.line = line
        self._idempotency = idempotency
        self._clock = clock
        self._deadline_s = deadline_s
        self._drain_vanished = drain_vanished
        self.draining = 0
        """Vendors being read to the end for clients that left; at most `DRAINS_MAX`."""

    def speaking(self, face: Face) -> Serve:
        """Return what serves chats asked in one dialect."""
        return partial(self.chat, face)

    async def generate(self, request: Request, responder: Responder, principal: Principal) -> None:
        """Serve one chat of Gemini's: events to a caller that asked for ``alt=sse``, else one array."""
        is_array = request.path.endswith(":streamGenerateContent") and b"alt=sse" not in request.query.split(
            b"&"
        )
        await self.chat(GEMINI, request, responder, principal, ArrayClient(responder) if is_array else None)

    async def chat(
        self,
        face: Face,
        request: Request,
        responder: Responder,
        principal: Principal,
        client: Client | None = None,
    ) -> None:
        """Serve one chat asked in the dialect of `face`; `client` stands before the responder where it is given."""
        context = RequestContext(
            new_id("req_"),
            principal,
            deadline_s=self._clock.monotonic_s() + self._deadline_s,
            received_ns=request.received_ns,
            feature=_feature(request),
        )
        context.header = request.header
        trace = request.header(b"traceparent")
        if trace is not None:
            context.trace_id, context.parent_span, context.parent_sampled = _trace(request, trace)
        key = request.header(b"idempotency-key")
        task = responder.task
        if task is not None:
            # A request with a key goes on to its end, so that the caller can come back for the answer it paid for.
            drain = key is not None or self._drain_vanished
            responder.on_gone(lambda: self._client_left(context, task, drain=drain))
        inquiry = Inquiry(face, request.path, request.body)
        client = client or responder
        try:
            if key is None:
                story = Story(context, self._clock, face.codec.name)
                await self.line.serve(context, inquiry, client, story)
            else:
                await self._idempotency.serve(context, key, inquiry, client, self.line)
        except PenstockError as error:
            if not responder.started:
                responder.send(*face.error_reply(error, context.request_id))
        except asyncio.CancelledError:
            if not responder.gone and not responder.started:
                error = Overloaded("The server is shutting down.", code="draining", retry_after_s=1)
                responder.send(*face.error_reply(error, context.request_id))

    def _client_left(self, context: RequestContext, task: asyncio.Task[None], *, drain: bool) -> None:
        context.caller_left = True
        if drain and self.draining < DRAINS_MAX:
            self.draining += 1
            task.add_done_callback(self._drained)
        else:
            task.cancel()

    def _drained(self, _task: asyncio.Task[None]) -> None:
        self.draining -= 1


def _feature(request: Request) -> str:
    """Return the caller's feature tag (`x-penstock-feature`), for attribution and the rules of features; 64 characters
    at most, and what is not ASCII is replaced.
    """
    raw = request.header(b"x-penstock-feature")
    return "" if raw is None else raw[:64].decode("ascii", "replace")


def _trace(request: Request, value: bytes) -> TraceParent:
    """Return where the request belongs in its caller's trace; several headers that could differ name no place."""
    if sum(name == b"traceparent" for name, _ in request.headers) > 1:
        return NO_TRACE
    return read_traceparent(value)
