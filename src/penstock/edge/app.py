"""The edge: the one handler the HTTP server calls. It finds the route, then the caller, then lets the route serve.

Promise: a route's code runs only after its policy was met. What it raises before the reply has begun, the server
renders in the dialect of the path (`edge/errors`); after that the route itself speaks the error in-band.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from penstock.edge.auth import Authenticator
from penstock.edge.routes import RouteEntry, Routes
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
        principal = self._authenticator.admitted(request, entry.policy)
        if principal is None:
            return self._asked(entry, request, responder)
        return entry.serve(request, responder, principal)

    async def _asked(self, entry: RouteEntry, request: Request, responder: Responder) -> None:
        principal = await self._authenticator.principal(request, entry.policy)
        await entry.serve(request, responder, principal)
