"""The edge: the one handler the HTTP server calls. It finds the route, then the caller, then lets the route serve.

Promise: a route's code runs only after its policy was met. What it raises before the reply has begun, the server
renders in the dialect of the path (`edge/errors`); after that the route itself speaks the error in-band.
"""

from __future__ import annotations

from penstock.edge.auth import Authenticator
from penstock.edge.routes import Routes
from penstock.net.request import Request
from penstock.net.responder import Responder


class Edge:
    """Routes and authentication, joined."""

    __slots__ = ("_authenticator", "_routes")

    def __init__(self, routes: Routes, authenticator: Authenticator) -> None:
        """Serve `routes` to the callers `authenticator` knows."""
        self._routes = routes
        self._authenticator = authenticator

    async def handle(self, request: Request, responder: Responder) -> None:
        """Serve one request."""
        entry = self._routes.find(request.method, request.path)
        principal = await self._authenticator.principal(request, entry.policy)
        await entry.serve(request, responder, principal)
