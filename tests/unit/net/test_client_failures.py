"""Every way a call can fail: each has its code, says if it was dispatched, and leaves nothing open."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from penstock.kernel.errors import TimedOut, Upstream
from penstock.net.client import (
    CallError,
    CallFailed,
    CallTimedOut,
    Origin,
    Response,
    Timers,
)
from tests.support import run
from tests.unit.net.rig import (
    CHUNKED,
    PATIENT,
    SOON,
    Call,
    Script,
    calling,
    chunk,
    saying,
    send_post,
    silent,
    stalling,
    until,
    upstream,
    whole,
)


def failing(
    script: Script, timers: Timers = PATIENT, read: Callable[[Response], Any] | None = None
) -> CallError:
    """The error of one call against a script; nothing may be left open after it."""

    async def scene() -> CallError:
        async with upstream(script) as (up, origin), calling() as client:

            async def call() -> None:
                await (read or whole)(await send_post(client, origin, timers=timers))

            with pytest.raises((CallFailed, CallTimedOut)) as caught:
                await call()
            await until(lambda: client.connections(origin) == (0, 0) and up.lost == up.connections)
            assert client.active == 0
            return caught.value

    return run(scene())


# -- failures ------------------------------------------------------------------------------------------------


def test_connecting_can_fail_and_nothing_was_dispatched() -> None:
    """Refused port, unknown name."""

    async def scene() -> None:
        async with upstream(saying(b"")) as (_, origin):
            pass
        async with calling() as client:
            for where in (origin, Origin("http", "no-such-host.invalid", 80)):
                with pytest.raises(CallFailed) as caught:
                    await send_post(client, where)
                assert (caught.value.reason, caught.value.dispatched) == ("connect_failed", False)
                assert isinstance(caught.value, Upstream)
                assert client.connections(where) == (0, 0)

    run(scene())


def test_a_connection_that_does_not_come_about_times_out() -> None:
    """Given a listener whose queue is full, then `connect_timeout`, not dispatched."""

    async def scene() -> None:
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            deaf.listen(0)
            origin = Origin("http", "127.0.0.1", deaf.getsockname()[1])
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                with suppress(BlockingIOError):
                    filler.connect(deaf.getsockname())
            async with calling() as client:
                with pytest.raises(CallTimedOut) as caught:
                    await send_post(client, origin, timers=Timers(connect_s=SOON))
                assert (caught.value.reason, caught.value.dispatched) == ("connect_timeout", False)
                assert isinstance(caught.value, TimedOut)
                assert client.connections(origin) == (0, 0)
            for filler in fillers:
                filler.close()

    run(scene())


MALFORMED = {
    "not HTTP": b"hello there\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
    "length and chunks": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\nx",
    "folded field": b"HTTP/1.1 200 OK\r\nx: y\r\n z\r\ncontent-length: 0\r\n\r\n",
    "bad status": b"HTTP/1.1 abc OK\r\n\r\n",
    "endless head": b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000,
    "endless fields": b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 300 + b"\r\n",
    "bad chunk": CHUNKED + b"zz\r\n",
    "endless trailer": CHUNKED + chunk(b"x") + b"0\r\nx: " + b"y" * 100_000,
    "endless extension": CHUNKED + b"1;x=" + b"y" * 100_000,
    "switch of protocols": b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
}


@pytest.mark.parametrize("reply", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_reply_that_is_not_http_is_refused(reply: bytes) -> None:
    """`malformed_reply`, and the connection is dropped."""

    async def script(call: Call) -> None:
        await call.request()
        call.send(reply)
        await call.reader.read()

    error = failing(script)
    assert (error.reason, error.dispatched) == ("malformed_reply", True)


CUTS = {
    "length": b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
    "between chunks": CHUNKED + chunk(b"hello"),
    "inside a chunk": CHUNKED + b"a\r\nhello",
    "before the last chunk's end": CHUNKED + chunk(b"hello") + b"0\r\n",
}


@pytest.mark.parametrize("reply", CUTS.values(), ids=CUTS.keys())
@pytest.mark.parametrize("end", ["fin", "rst"])
def test_a_body_that_ends_early_never_looks_complete(reply: bytes, end: str) -> None:
    """What came is readable, then `upstream_cut`."""

    async def script(call: Call) -> None:
        await call.request()
        call.send(reply)
        await asyncio.sleep(0.05)
        if end == "rst":
            call.reset()

    async def read(response: Response) -> None:
        assert await response.chunk() == b"hello"
        await response.chunk()

    error = failing(script, read=read)
    assert (error.reason, error.dispatched) == ("upstream_cut", True)
    assert failing(script, read=lambda response: response.read(100)).reason == "upstream_cut"


async def trickling(call: Call) -> None:
    """Never end, never pause for long."""
    await call.request()
    call.send(CHUNKED)
    while True:
        call.send(chunk(b"x"))
        await asyncio.sleep(0.01)


async def half_a_head(call: Call) -> None:
    """Begin a head and stop."""
    await call.request()
    call.send(b"HTTP/1.1 200 OK\r\nx:")
    await call.reader.read()


TIMERS = [
    (silent, Timers(first_byte_s=SOON), "first_byte_timeout"),
    (half_a_head, Timers(first_byte_s=SOON), "first_byte_timeout"),
    (stalling, Timers(between_chunks_s=SOON), "upstream_stalled"),
    (silent, Timers(total_s=SOON), "upstream_total_timeout"),
    (stalling, Timers(total_s=SOON), "upstream_total_timeout"),
    (trickling, Timers(total_s=0.2, between_chunks_s=0.15), "upstream_total_timeout"),
]


@pytest.mark.parametrize(("script", "timers", "code"), TIMERS)
def test_each_timer_ends_the_call_and_closes_the_connection(
    script: Script, timers: Timers, code: str
) -> None:
    """With `chunk` and with `read`."""
    for read in (whole, lambda response: response.read(1_000_000)):
        error = failing(script, timers, read)
        assert isinstance(error, CallTimedOut)
        assert (error.reason, error.dispatched) == (code, True)


def test_a_reader_that_takes_its_time_is_not_a_stalled_upstream() -> None:
    """Given a slow reader, when it reads on, then the silence was its own and the stream goes on."""

    async def script(call: Call) -> None:
        await call.request()
        call.send(CHUNKED + chunk(b"x" * 200_000))
        await asyncio.sleep(0.5)
        call.send(b"0\r\n\r\n")
        await call.reader.read()

    async def scene() -> None:
        async with upstream(script) as (_, origin), calling() as client:
            response = await send_post(client, origin, timers=Timers(between_chunks_s=0.3))
            await asyncio.sleep(0.4)
            assert len(await whole(response)) == 200_000

    run(scene())
