"""The edge: the one handler the HTTP server calls. It finds the route, then the caller, then lets the route serve.

Promise: a route's code runs only after its policy was met. What it raises before the reply has begun, the server
renders in the dialect of the path (`edge/errors`), but for who is not admitted: Anthropic's SDKs, which call paths of
OpenAI's too, are told so in their own; after that the route itself speaks the error in-band.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from penstock.dialects import anthropic
from penstock.edge import errors
from penstock.edge.auth import Authenticator
from penstock.edge.routes import RouteEntry, Routes
from penstock.kernel.errors import PenstockError, Unauthenticated
from penstock.net.request import Request
from penstock.net.responder import Responder


class Edge:
    """Routes and authentication, joined."""

    __slots__ = ("_authenticator", "_routes")

    def __init__(self, routes: Routes, authenticator: Authenticator) -> None:
        """Serve `routes` to the callers `authenticator` knows."""
        self._routes = routes
        self._authenticator = authenticator

    def handle(self, request: Request, responder: Responder) -> Coroutine[Any, Any, None]:
        """Serve one request. Who is known already costs no step of its own."""
        entry = self._routes.find(request.method, request.path)
        try:
            principal = self._authenticator.admitted(request, entry.policy)
        except Unauthenticated:
            principal = None  # who is asked for the caller finds the same, and says so
        if principal is None:
            return self._asked(entry, request, responder)
        return entry.serve(request, responder, principal)

    async def _asked(self, entry: RouteEntry, request: Request, responder: Responder) -> None:
        try:
            principal = await self._authenticator.principal(request, entry.policy)
        except PenstockError as refusal:
            if request.header(b"anthropic-version") is None or responder.gone:
                raise
            responder.send(*errors.told(refusal, anthropic.CODEC))
            return
        await entry.serve(request, responder, principal)
