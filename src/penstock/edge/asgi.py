"""The bridge to ASGI applications (asgi.readthedocs.io, HTTP 2.3), for what is not hot: management API and
pages.

Promises: the application sees a request that the server's own checks and the route's policy have already
passed; its caller's principal is in ``scope["state"]["principal"]``; a reply streams with the client's
back-pressure and carries `x-request-id`; a client that leaves is told as `http.disconnect`; an application
that fails is answered for with a 500, or cut if its reply had begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from penstock.edge.errors import request_id
from penstock.kernel.context import Principal
from penstock.kernel.errors import Broken, Cancelled
from penstock.net.request import Request
from penstock.net.responder import Responder

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Message, Receive, Send], Awaitable[None]]

# The server writes these itself.
_OURS = frozenset({b"content-length", b"transfer-encoding", b"connection", b"date"})


class AsgiBridge:
    """Serves an ASGI application behind our own server."""

    __slots__ = ("_app",)

    def __init__(self, app: AsgiApp) -> None:
        """Serve `app`."""
        self._app = app

    async def serve(self, request: Request, responder: Responder, principal: Principal) -> None:
        """Serve one request through the application."""
        exchange = _Exchange(request, responder)
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
            "state": {"principal": principal},
        }
        await self._app(scope, exchange.receive, exchange.send)
        exchange.end()


class _Exchange:
    """One request as ASGI's two callables see it."""

    __slots__ = ("_body_given", "_done", "_headers", "_parts", "_request", "_responder", "_status")

    def __init__(self, request: Request, responder: Responder) -> None:
        self._request = request
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
            self._headers = b"".join((*lines, request_id()))
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
