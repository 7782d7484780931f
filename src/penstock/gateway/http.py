"""The OpenAI face: chat completions and models, from request bytes to the pipeline and its errors back to
bytes.

Promises: every reply, refusals included, carries `x-request-id`; an error is rendered in the caller's
dialect with its figures and, when waiting helps, `retry-after`; a client that vanishes stops the vendor at
once, or lets it finish within a cap, as the operator chose.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from penstock.dialects.openai_models import render_models
from penstock.gateway.client import JSON_TYPE, error_reply
from penstock.gateway.idempotency import Idempotency
from penstock.gateway.pipeline import Pipeline
from penstock.gateway.routing import RouteTable
from penstock.gateway.story import Story
from penstock.kernel.clock import Clock
from penstock.kernel.context import Principal, RequestContext
from penstock.kernel.errors import Overloaded, PenstockError
from penstock.kernel.ids import new_id
from penstock.kernel.trace_context import NO_TRACE, TraceParent, read_traceparent
from penstock.net.request import Request
from penstock.net.responder import Responder

DRAINS_MAX = 256


class OpenAiFace:
    """Serves OpenAI's chat API from the pipeline."""

    def __init__(
        self,
        pipeline: Pipeline,
        idempotency: Idempotency,
        routes: Callable[[], RouteTable],
        clock: Clock,
        *,
        deadline_s: float,
        drain_vanished: bool,
    ) -> None:
        """Give each request `deadline_s` seconds; `drain_vanished` lets the vendor finish for a client that
        left.
        """
        self._pipeline = pipeline
        self._idempotency = idempotency
        self._routes = routes
        self._clock = clock
        self._deadline_s = deadline_s
        self._drain_vanished = drain_vanished
        self.draining = 0
        """Vendors being read to the end for clients that left; at most `DRAINS_MAX`."""

    async def chat(self, request: Request, responder: Responder, principal: Principal) -> None:
        """Serve POST /v1/chat/completions."""
        context = RequestContext(
            new_id("req_"),
            principal,
            deadline_s=self._clock.monotonic_s() + self._deadline_s,
            received_ns=request.received_ns,
            feature=_feature(request),
        )
        trace = request.header(b"traceparent")
        if trace is not None:
            context.trace_id, context.parent_span, context.parent_sampled = _trace(request, trace)
        key = request.header(b"idempotency-key")
        task = responder.task
        if task is not None:
            # A request with a key goes on to its end, so that the caller can come back for the answer it paid for.
            responder.on_gone(lambda: self._client_left(task, drain=key is not None or self._drain_vanished))
        try:
            if key is None:
                await self._pipeline.serve(context, request.body, responder, Story(context, self._clock))
            else:
                await self._idempotency.serve(context, key, request.body, responder, self._pipeline)
        except PenstockError as error:
            if not responder.started:
                responder.send(*error_reply(error, context.request_id))
        except asyncio.CancelledError:
            if not responder.gone and not responder.started:
                error = Overloaded("The server is shutting down.", code="draining", retry_after_s=1)
                responder.send(*error_reply(error, context.request_id))

    async def models(self, request: Request, responder: Responder, principal: Principal) -> None:
        """Serve GET /v1/models: what this key may use."""
        listed = [
            (route.model, route.targets[0].price.provider)
            for route in self._routes().models()
            if principal.may_use(route.model)
        ]
        responder.send(
            200, JSON_TYPE + b"x-request-id: " + new_id("req_").encode() + b"\r\n", render_models(listed)
        )

    def _client_left(self, task: asyncio.Task[None], *, drain: bool) -> None:
        if drain and self.draining < DRAINS_MAX:
            self.draining += 1
            task.add_done_callback(self._drained)
        else:
            task.cancel()

    def _drained(self, _task: asyncio.Task[None]) -> None:
        self.draining -= 1


def _feature(request: Request) -> str:
    """Return the caller's feature tag (`x-penstock-feature`), for attribution; 64 printable ASCII characters
    at most.
    """
    raw = request.header(b"x-penstock-feature")
    return "" if raw is None else raw[:64].decode("ascii", "replace")


def _trace(request: Request, value: bytes) -> TraceParent:
    """Return where the request belongs in its caller's trace; several headers that could differ name no place."""
    if sum(name == b"traceparent" for name, _ in request.headers) > 1:
        return NO_TRACE
    return read_traceparent(value)
