"""The proxy of the drills does the harm it is asked for, and no other."""

from __future__ import annotations

import asyncio
from typing import Self

import pytest

from tests.fleet.toxy import WELL, Ill, Toxy
from tests.support import run

pytestmark = pytest.mark.fleet


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
    writer.close()


class Line:
    """An echo server, a proxy before it, and a connection through it."""

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_server(echo, "127.0.0.1", 0)
        self.toxy = await Toxy(self.server.sockets[0].getsockname()[1]).__aenter__()
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.toxy.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()
        await self.toxy.__aexit__()
        self.server.close()

    async def say(self, data: bytes) -> bytes:
        self.writer.write(data)
        return await self.reader.readexactly(len(data))


def test_a_well_proxy_carries_everything_unchanged() -> None:
    async def scene() -> None:
        async with Line() as line:
            assert await line.say(b"x" * 500_000) == b"x" * 500_000

    run(scene())


def test_latency_delays_open_connections_too() -> None:
    async def scene() -> None:
        async with Line() as line:
            await line.say(b"quick")
            line.toxy.ill = Ill(latency_s=0.1)
            loop = asyncio.get_running_loop()
            began = loop.time()
            assert await line.say(b"late") == b"late"
            assert loop.time() - began >= 0.15  # 0.1 s each way, whatever the grain of the clock

    run(scene())


def test_a_black_hole_keeps_everything_and_gives_it_back_in_order() -> None:
    async def scene() -> None:
        async with Line() as line:
            line.toxy.ill = Ill(blackhole=True)
            line.writer.write(b"one ")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await line.reader.read(1)
            line.toxy.ill = WELL
            assert await line.say(b"two") + await line.reader.readexactly(4) == b"one two"

    run(scene())


def test_a_slicer_changes_no_byte() -> None:
    async def scene() -> None:
        async with Line() as line:
            line.toxy.ill = Ill(slice_bytes=1)
            assert await line.say(b"sliced thin") == b"sliced thin"

    run(scene())


def test_a_reset_is_seen_by_the_client_and_refusing_ends_new_connections() -> None:
    async def scene() -> None:
        async with Line() as line:
            await line.say(b"there")
            line.toxy.ill = Ill(refuse=True)
            line.toxy.reset()
            with pytest.raises(ConnectionResetError):
                await line.reader.readexactly(1)
            reader, writer = await asyncio.open_connection("127.0.0.1", line.toxy.port)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await reader.readexactly(1)
            writer.close()

    run(scene())
