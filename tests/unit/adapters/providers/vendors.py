"""One vendor behind a real socket, played by a test, and the adapter that calls it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from penstock.net.client import HttpClient
from penstock.net.server import Request, Responder, Server
from penstock.ports.providers import CallTimers, ChatCall
from tests.support import run

JSON = b"content-type: application/json\r\n"
SSE = b"content-type: text/event-stream\r\n"


class Vendor:
    """Keeps every request; answers each with the next of `replies` (status, headers, body), the last for ever."""

    def __init__(self, *replies: tuple[int, bytes, bytes]) -> None:
        self.requests: list[Request] = []
        self._replies = list(replies)

    async def handle(self, request: Request, responder: Responder) -> None:
        """Serve one request."""
        self.requests.append(request)
        responder.send(*self._replies.pop(0) if len(self._replies) > 1 else self._replies[0])


def at(
    played: Vendor,
    adapter: type[Any],
    work: Callable[[Any], Awaitable[Any]],
    *,
    path: str = "",
    **options: Any,
) -> Any:
    """Run `work(provider)` with an `adapter` in front of `played`, and return what it returns."""

    async def session() -> Any:
        server = Server(
            played.handle,
            allowed_hosts=None,
            cors=None,
            error_renderer=lambda error, path: (error.status, JSON, b"{}"),
        )
        await server.start("127.0.0.1", 0)
        provider = adapter(
            "mine", base_url=f"http://127.0.0.1:{server.port}{path}", client=HttpClient(), **options
        )
        try:
            return await work(provider)
        finally:
            await provider.close()
            await server.close()

    return run(session())


def call(body: bytes = b"{}", *, model: str = "m", stream: bool = False) -> ChatCall:
    """Return a call of `body`."""
    return ChatCall(model=model, body=body, stream=stream, request_id="req-7", timers=CallTimers())


async def whole(provider: Any, asked: ChatCall | None = None) -> tuple[bytes, Any]:
    """Return a whole answer and the rates told with it."""
    reply = await provider.chat(asked or call())
    try:
        return await reply.read(1 << 20), reply.rates
    finally:
        reply.close()


async def streamed(provider: Any, asked: ChatCall | None = None) -> bytes:
    """Return a whole stream."""
    reply = await provider.chat(asked or call(stream=True))
    got = b""
    try:
        while data := await reply.chunk():
            got += data
    finally:
        reply.close()
    return got
