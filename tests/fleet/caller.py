"""A caller on one keep-alive connection that tells exactly what became of each request, and never tries twice.

Promise: a reply counts as whole only when its last byte came (for a stream, its `[DONE]`); a connection that the server
closed between two requests is replaced, as every client does; one that breaks with a request on it is a broken request.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from typing import Any

import msgspec

CONNECT_S = 5.0


class Reply(msgspec.Struct, kw_only=True):
    """What became of one request. `status` 0: no reply's head came. `whole`: its end came too."""

    status: int = 0
    operation: str = ""
    streamed: bool = False
    whole: bool = False
    begun_s: float = 0.0
    seconds: float = 0.0
    cost_nanos: int = -1
    body: bytes = b""
    failure: str = ""
    """How the connection failed, or ""."""

    @property
    def error(self) -> dict[str, Any]:
        """The error object of a refusal or of a stream that ended badly; {} when there is none."""
        text = self.body.rpartition(b"data: ")[2] if self.streamed and self.status == 200 else self.body
        with suppress(ValueError):
            found = json.loads(text).get("error", {})
            return found if isinstance(found, dict) else {}
        return {}

    @property
    def good(self) -> bool:
        """Answered with 200 and complete."""
        return self.status == 200 and self.whole


class Caller:
    """One client with one connection at a time."""

    def __init__(self, port: int, token: str = "", *, timeout_s: float = 60.0) -> None:
        """Call 127.0.0.1:`port` with a key; a request is given up after `timeout_s`."""
        self._port = port
        self._timeout_s = timeout_s
        self._authorization = f"authorization: Bearer {token}\r\n" if token else ""
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def chat(self, body: bytes) -> Reply:
        """POST a chat completion."""
        return await self.send("POST", "/v1/chat/completions", body)

    async def get(self, path: str) -> Reply:
        """GET `path`."""
        return await self.send("GET", path)

    async def send(self, method: str, path: str, body: bytes = b"") -> Reply:
        """Send one request and read its reply; failures of the connection are told in the reply, not raised."""
        reply = Reply(begun_s=time.monotonic())
        try:
            async with asyncio.timeout(self._timeout_s):
                reader, writer = await self._connection()
                head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{self._authorization}"
                kind = "content-type: application/json\r\n" if body else ""
                writer.write(f"{head}{kind}content-length: {len(body)}\r\n\r\n".encode() + body)
                await self._read(reader, reply)
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            reply.failure = f"{type(error).__name__}: {error}"
            await self.close()
        reply.seconds = time.monotonic() - reply.begun_s
        return reply

    async def close(self) -> None:
        """Hang up."""
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is not None and self._reader.at_eof():
            await self.close()
        if self._reader is None or self._writer is None:
            async with asyncio.timeout(CONNECT_S):
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self._reader, self._writer

    async def _read(self, reader: asyncio.StreamReader, reply: Reply) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        reply.status = int(first.split(" ", 2)[1])
        reply.operation = fields.get("x-request-id", "")
        reply.cost_nanos = int(fields.get("x-penstock-cost-nanos", "-1"))
        reply.streamed = fields.get("content-type", "").startswith("text/event-stream")
        if fields.get("transfer-encoding") == "chunked":
            await self._read_chunks(reader, reply)
        else:
            reply.body = await reader.readexactly(int(fields.get("content-length", "0")))
        reply.whole = not reply.streamed or reply.body.rstrip().endswith(b"data: [DONE]")
        if fields.get("connection") == "close":
            await self.close()

    async def _read_chunks(self, reader: asyncio.StreamReader, reply: Reply) -> None:
        """Collect a chunked body; of a stream only the end is kept."""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            piece = (await reader.readexactly(size + 2))[:-2]
            reply.body = (reply.body + piece)[-8192:] if reply.streamed else reply.body + piece
        await reader.readuntil(b"\r\n")
