"""An upstream that sends exactly the bytes a test writes, however wrong: for what no well-behaved server can do.

    async with RawUpstream({"model-name": script}) as upstream: ... upstream.url
    async def script(wire: Wire) -> None: await wire.stream(); await wire.send(b"data: …")

Promise: one connection per request (it closes after each); `Wire.send` waits while the reader is behind, at most
64 KiB plus the kernel's buffers ahead of it; `sent_bytes` and `open` say what was written and who is still served.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Self

from penstock.kernel.money import Usage
from penstock.simulator.wire import Chunks, usage_member

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
WINDOW_BYTES = 64 * 1024
CHUNKS = Chunks("chatcmpl-raw", 1_700_000_000, "raw", usage_asked=True)
FIRST = CHUNKS.delta(0, b'{"role":"assistant","content":""}')
LAST = CHUNKS.delta(0, b"{}", "stop")
DONE = b"data: [DONE]\n\n"


def text(piece: str) -> bytes:
    """Return one event of text."""
    return CHUNKS.text(0, piece)


def usage(input_tokens: int, output_tokens: int) -> bytes:
    """Return the event that tells usage."""
    return CHUNKS.usage(Usage(input_tokens=input_tokens, output_tokens=output_tokens))


class Wire:
    """One reply being written."""

    def __init__(
        self, upstream: RawUpstream, writer: asyncio.StreamWriter, head: bytes, asked: dict[str, Any]
    ) -> None:
        """`head` is the request's, as it came; `asked` its body."""
        self.head = head
        self.asked = asked
        self.sent_bytes = 0
        self._upstream = upstream
        self._writer = writer

    async def whole(self, text: str = "ok", input_tokens: int = 8, output_tokens: int = 1) -> None:
        """Send a whole, correct reply."""
        message = {"role": "assistant", "content": text}
        body = json.dumps(
            {
                "id": "chatcmpl-raw",
                "object": "chat.completion",
                "created": 1_700_000_000,
                "model": self.asked["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": usage_member(Usage(input_tokens=input_tokens, output_tokens=output_tokens)),
            }
        ).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        await self.send(head.encode() + b"connection: close\r\n\r\n" + body)

    async def reply(self, status: int, body: bytes, kind: str = "application/json") -> None:
        """Send a whole reply as it is."""
        head = f"HTTP/1.1 {status} So\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
        await self.send(head.encode() + b"connection: close\r\n\r\n" + body)

    async def stream(self) -> None:
        """Send the head of a stream that ends when the connection does."""
        await self.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")

    async def send(self, data: bytes) -> None:
        """Send bytes as they are, and wait while the reader is behind. Raises ConnectionError when it left."""
        self._writer.write(data)
        self.sent_bytes += len(data)
        self._upstream.sent_bytes += len(data)
        await self._writer.drain()


Script = Callable[[Wire], Awaitable[None]]


class RawUpstream:
    """Serves POST /v1/chat/completions by the script of the model asked for."""

    def __init__(self, scripts: Mapping[str, Script], *, send_buffer_bytes: int = 0) -> None:
        """`send_buffer_bytes` (0: the kernel's choice) bounds what the kernel takes ahead of the reader."""
        self._scripts = scripts
        self._send_buffer_bytes = send_buffer_bytes
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.sent_bytes = 0
        """Handed to sockets, all replies together."""
        self.open = 0
        """Replies being written."""
        self.url = ""

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, limit=WINDOW_BYTES, backlog=1024
        )
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Drop everything under way."""
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open += 1
        try:
            if self._send_buffer_bytes:
                sock: socket.socket = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._send_buffer_bytes)
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(found[1]) if (found := _LENGTH.search(head)) else 0
                asked = json.loads(await reader.readexactly(length) or b"{}")
                wire = Wire(self, writer, head, asked)
                script = self._scripts.get(asked.get("model", ""))
                await (wire.reply(404, b"{}") if script is None else script(wire))
        except asyncio.CancelledError:
            pass
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.transport.abort() if task.cancelling() else writer.close()
