"""The three routes that machines ask: alive, ready, metrics.

Promise: `/healthz` says the process answers; `/readyz` says whether new traffic should come here (503 while
draining or while the ledger is unreachable); `/metrics` is Prometheus text. None of them tells a secret or a
tenant's name to a stranger: the first two name nobody, and metrics need an owner's key. Each carries `x-request-id`.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from penstock.edge.errors import request_id
from penstock.kernel.context import Principal
from penstock.net.request import Request
from penstock.net.responder import Responder

JSON_TYPE = b"content-type: application/json\r\n"
METRICS_TYPE = b"content-type: text/plain; version=0.0.4; charset=utf-8\r\n"


class Probes:
    """Answers probes from callables, so that it knows nothing of what it reports."""

    def __init__(
        self, dependencies: Callable[[], dict[str, bool]], render_metrics: Callable[[], bytes]
    ) -> None:
        """`dependencies()` maps each dependency to whether it works; the key "draining" is true while
        shutting down.
        """
        self._dependencies = dependencies
        self._render_metrics = render_metrics

    async def alive(self, _request: Request, responder: Responder, _principal: Principal) -> None:
        """Serve GET /healthz."""
        responder.send(200, JSON_TYPE + request_id(), b'{"status":"alive"}')

    async def ready(self, _request: Request, responder: Responder, _principal: Principal) -> None:
        """Serve GET /readyz."""
        state = self._dependencies()
        ready = state.get("ledger", True) and not state.get("draining", False)
        body = msgspec.json.encode({"status": "ready" if ready else "not ready", "dependencies": state})
        responder.send(200 if ready else 503, JSON_TYPE + request_id(), body)

    async def metrics(self, _request: Request, responder: Responder, _principal: Principal) -> None:
        """Serve GET /metrics."""
        responder.send(200, METRICS_TYPE + request_id(), self._render_metrics())
