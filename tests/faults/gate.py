"""The vendor of the fault suite: a TCP door before the simulator, where every back end of every case has its script.

A back end's base URL begins with ``/<case>/<back end>``; each call takes the script's next step. An order goes to the
simulator (`x-simulate`) and its bytes come back untouched, breaks included; raw bytes are sent as they are.

Promise: one connection per call; a caller that leaves is noticed by the simulator; nothing outlives `close`.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress

from tests.faults.case import Case, Raw, Step

DRIP_S = 0.05
_TLS_HELLO = b"\x16"
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_PLACE = re.compile(rb"^([A-Z]+) /(\d+)/(\d+)(/[^ ]*) HTTP/1\.1\r\n")


class Gate:
    """Listens on three ports: its own, one with `tls` (a certificate of no known authority), one that never answers."""

    def __init__(self, cases: Sequence[Case], tls: ssl.SSLContext | None) -> None:
        """Serve the back ends of `cases`."""
        self._cases = cases
        self._tls = tls
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.simulator_port = 0
        """Set before the first call."""
        self.calls: Counter[tuple[int, int]] = Counter()
        """Calls by case and back end."""

    async def open(self) -> None:
        """Listen."""
        for serve, tls in ((self._serve, None), (self._serve, self._tls), (self._say_nothing, None)):
            self._servers.append(await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls, backlog=256))

    def url(self, case: int, back_end: int) -> str:
        """Return the address of a back end, without its wire's own path."""
        plain, strange, mute = (server.sockets[0].getsockname()[1] for server in self._servers)
        place = self._cases[case].fault.places[back_end].place
        origins = {
            "refused": "http://127.0.0.1:1",
            "nameless": "http://nobody.invalid",
            "plain": f"https://127.0.0.1:{plain}",
            "stranger": f"https://127.0.0.1:{strange}",
            "mute": f"https://127.0.0.1:{mute}",
        }
        return f"{origins.get(place, f'http://127.0.0.1:{plain}')}/{case}/{back_end}"

    async def close(self) -> None:
        """Drop everything under way."""
        for server in self._servers:
            server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _say_nothing(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await self._answer(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(1)
        if first == _TLS_HELLO:
            await _send(Raw(b"HTTP/1.1 400 Plain HTTP only\r\ncontent-length: 0\r\n\r\n"), reader, writer)
            return
        head = first + await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        body = await reader.readexactly(int(length[1]) if length else 0)
        asked = _PLACE.match(head)
        assert asked is not None
        case, back_end = int(asked[2]), int(asked[3])
        self.calls[case, back_end] += 1
        steps = self._cases[case].fault.places[back_end].steps
        step = self._on_wire(steps[min(self.calls[case, back_end], len(steps)) - 1], case)
        if isinstance(step, Raw):
            await _send(step, reader, writer)
        else:
            line = b"%b %b HTTP/1.1\r\nx-simulate: %b\r\nconnection: close\r\n" % (
                asked[1],
                asked[4],
                step.encode(),
            )
            await self._relay(line + head[asked.end() :] + body, reader, writer)

    def _on_wire(self, step: Step, case: int) -> str | Raw:
        return step[self._cases[case].wire] if isinstance(step, Mapping) else step

    async def _relay(
        self, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Hand the simulator's bytes on until either side ends."""
        theirs, ours = await asyncio.open_connection("127.0.0.1", self.simulator_port)
        ours.write(request)
        left = asyncio.create_task(reader.read(1))
        try:
            while True:
                more = asyncio.create_task(theirs.read(65_536))
                done, _ = await asyncio.wait((more, left), return_when=asyncio.FIRST_COMPLETED)
                if more not in done:
                    more.cancel()
                    return
                data = more.result()
                if not data:
                    return
                writer.write(data)
                await writer.drain()
        finally:
            left.cancel()
            await asyncio.gather(left, return_exceptions=True)
            ours.transport.abort()


async def _send(step: Raw, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(step.data)
    await writer.drain()
    if step.hangs:
        await reader.read(1)
    while step.drip:
        writer.write(step.drip)
        await writer.drain()
        await asyncio.sleep(DRIP_S)
