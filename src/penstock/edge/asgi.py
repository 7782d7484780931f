"""The bridge to ASGI applications (asgi.readthedocs.io, HTTP 2.3), for what is not hot: management API and
pages.

Promises: the application sees a request that the server's own checks and the route's policy have already
passed; ``scope["state"]`` holds its `principal`, its `caller` (who acts: edge/caller) and its `request_id`, which the
reply carries as `x-request-id`; a reply streams with the client's back-pressure; a client that leaves is told as
`http.disconnect`; an application that fails is answered for with a 500, or cut if its reply had begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from penstock.edge.caller import Caller
from penstock.kernel.context import Principal
from penstock.kernel.errors import Broken, Cancelled
from penstock.kernel.ids import new_id
from penstock.net.request import Request
from penstock.net.responder import Responder

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Message, Receive, Send], Awaitable[None]]
Identify = Callable[[Request, Principal, str], Awaitable[Caller]]
"""Tells who acts, of a request, the principal admitted and the request's id: `Authenticator.caller`."""

# The server writes these itself.
_OURS = frozenset({b"content-length", b"transfer-encoding", b"connection", b"date"})


async def unnamed(request: Request, principal: Principal, request_id: str) -> Caller:
    """Return a caller of whom only the principal is known."""
    kind = "key" if principal.key_id else "anyone"
    return Caller(principal=principal, kind=kind, request_id=request_id, peer=request.peer)


class AsgiBridge:
    """Serves an ASGI application behind our own server."""

    __slots__ = ("_app", "_identify")

    def __init__(self, app: AsgiApp, identify: Identify = unnamed) -> None:
        """Serve `app`, whose callers `identify` tells."""
        self._app = app
        self._identify = identify

    async def serve(self, request: Request, responder: Responder, principal: Principal) -> None:
        """Serve one request through the application."""
        request_id = new_id("req_")
        caller = await self._identify(request, principal, request_id)
        exchange = _Exchange(request, responder, request_id)
        scope: Message = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": "http",
            "path": unquote(request.path),
            "raw_path": request.path.encode(),
            "query_string": request.query,
            "root_path": "",
            "headers": request.headers,
            "client": (request.peer, 0),
            "server": None,
            "state": {"principal": caller.principal, "caller": caller, "request_id": request_id},
        }
        await self._app(scope, exchange.receive, exchange.send)
        exchange.end()


class _Exchange:
    """One request as ASGI's two callables see it."""

    __slots__ = ("_body_given", "_done", "_headers", "_id", "_parts", "_request", "_responder", "_status")

    def __init__(self, request: Request, responder: Responder, request_id: str) -> None:
        self._request = request
        self._id = b"x-request-id: %b\r\n" % request_id.encode()
        self._responder = responder
        self._body_given = False
        self._status = 0
        self._headers = b""
        self._parts: list[bytes] = []
        self._done = asyncio.Event()

    async def receive(self) -> Message:
        if not self._body_given:
            self._body_given = True
            return {"type": "http.request", "body": self._request.body, "more_body": False}
        self._responder.on_gone(self._done.set)
        await self._done.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = int(message["status"])
            lines = [
                b"%b: %b\r\n" % (name, value)
                for name, value in message.get("headers", ())
                if name not in _OURS
            ]
            self._headers = b"".join((*lines, self._id))
            return
        if message["type"] != "http.response.body":
            raise Broken(f"An application sent {message['type']!r}.")
        await self._body(bytes(message.get("body", b"")), more=bool(message.get("more_body", False)))

    async def _body(self, data: bytes, *, more: bool) -> None:
        responder = self._responder
        if not more:
            self._done.set()
            if responder.started:
                responder.finish(data)
            else:
                responder.send(self._status, self._headers, data)
            return
        if not responder.started:
            responder.begin(self._status, self._headers)
        responder.write(data)
        if responder.paused and not responder.gone:
            try:
                await responder.drain()
            except Cancelled:
                self._done.set()

    def end(self) -> None:
        """Check that the application answered."""
        if not self._done.is_set():
            if self._responder.started:
                self._responder.abort()
            else:
                raise Broken("An application returned without answering.")
