"""Caps, back-pressure, closing, and the pool's bounds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.kernel.errors import Overloaded
from penstock.net.client import (
    CallFailed,
    CallRefused,
    CallTimedOut,
    Origin,
    Response,
    Timers,
)
from penstock.net.response import HIGH_WATER_BYTES
from tests.support import run
from tests.unit.net.rig import (
    CHUNKED,
    SOON,
    Call,
    Script,
    calling,
    chunk,
    ok,
    saying,
    send_post,
    serving,
    silent,
    stalling,
    until,
    upstream,
    whole,
)

# -- caps, back-pressure, closing ----------------------------------------------------------------------------


@pytest.mark.parametrize("reply", [ok(b"x" * 100), CHUNKED + chunk(b"x" * 50) * 2 + b"0\r\n\r\n"])
def test_read_takes_a_body_at_the_cap_and_refuses_one_byte_more(reply: bytes) -> None:
    """Announced or not."""

    async def scene() -> None:
        async with upstream(saying(reply)) as (_, origin), calling() as client:
            assert len(await (await send_post(client, origin)).read(100)) == 100
            with pytest.raises(CallFailed) as caught:
                await (await send_post(client, origin)).read(99)
            assert caught.value.reason == "reply_too_large"

    run(scene())


def test_an_unread_body_pauses_the_upstream() -> None:
    """Given a reader that stops, then 64 KiB at most are held, the upstream is blocked, and all arrives."""
    total = 30_000_000
    sent = 0

    async def script(call: Call) -> None:
        nonlocal sent
        await call.request()
        call.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
        while sent < total:
            call.send(b"x" * 100_000)
            await call.writer.drain()
            sent += 100_000
        await call.reader.read()

    async def scene() -> None:
        async with upstream(script) as (_, origin), calling() as client:
            response = await send_post(client, origin)
            await asyncio.sleep(0.2)
            assert HIGH_WATER_BYTES < response.buffered_bytes <= 64 * 1024 + 1000
            assert sent < total
            got = 0
            while piece := await response.chunk():
                got += len(piece)
                assert len(piece) <= 64 * 1024
            assert got == total
            assert client.connections(origin) == (1, 1)

    run(scene())


def test_closing_early_drops_the_connection_and_closing_late_keeps_it() -> None:
    """`close` is idempotent, and a read after it says so."""

    async def scene() -> None:
        async with upstream(stalling) as (up, origin), calling() as client:
            response = await send_post(client, origin)
            response.close()
            response.close()
            with pytest.raises(CallFailed) as caught:
                await response.chunk()
            assert caught.value.reason == "closed"
            await until(lambda: up.lost == 1)
            assert (client.connections(origin), client.active) == ((0, 0), 0)
        async with upstream(saying(ok(b"x"))) as (up, origin), calling() as client:
            for _ in range(2):
                response = await send_post(client, origin)
                response.close()
            assert up.connections == 1

    run(scene())


@pytest.mark.parametrize("script", [silent, stalling])
def test_a_cancelled_caller_leaves_nothing_behind(script: Script) -> None:
    """While waiting for the head or for a chunk: the connection is closed by whoever owns it."""

    async def scene() -> None:
        async with upstream(script) as (up, origin), calling() as client:

            async def call() -> None:
                response = await send_post(client, origin)
                try:
                    await whole(response)
                finally:
                    response.close()

            task = asyncio.ensure_future(call())
            await until(lambda: client.active == 1)
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: up.lost == 1)
            assert (client.connections(origin), client.active) == ((0, 0), 0)

    run(scene())


# -- the pool ------------------------------------------------------------------------------------------------


def answering_after(release: asyncio.Event) -> Script:
    """Answer every request once `release` is set."""

    async def script(call: Call) -> None:
        while True:
            await call.request()
            await release.wait()
            call.send(ok(b"x"))

    return script


def test_connections_and_the_queue_for_them_are_bounded() -> None:
    """Two connections, one waiter: the fourth caller is refused at once, the third is served when one is free."""
    release = asyncio.Event()

    async def scene() -> None:
        async with (
            upstream(answering_after(release)) as (up, origin),
            calling(connections_per_origin=2, max_waiting=1) as client,
        ):
            calls = [asyncio.ensure_future(send_post(client, origin)) for _ in range(3)]
            await until(lambda: up.connections == 2)
            with pytest.raises(CallRefused) as caught:
                await send_post(client, origin)
            assert (caught.value.reason, caught.value.dispatched) == ("pool_full", False)
            assert isinstance(caught.value, Overloaded)
            release.set()
            assert [await (await call).read(10) for call in calls] == [b"x"] * 3
            assert up.connections == 2

    run(scene())


def test_waiting_for_a_connection_is_bounded_in_time_and_cancellable() -> None:
    """`pool_timeout`; and neither it nor a cancelled waiter costs the pool a place."""

    async def scene() -> None:
        async with upstream(silent) as (_, origin), calling(connections_per_origin=1) as client:
            holder = asyncio.ensure_future(send_post(client, origin))
            await until(lambda: client.connections(origin)[0] == 1)
            with pytest.raises(CallRefused) as caught:
                await send_post(client, origin, timers=Timers(connect_s=SOON))
            assert caught.value.reason == "pool_timeout"
            waiter = asyncio.ensure_future(send_post(client, origin))
            next_in_line = asyncio.ensure_future(send_post(client, origin))
            await asyncio.sleep(0.01)
            waiter.cancel()
            holder.cancel()
            await until(lambda: client.active == 1)  # the place went past the cancelled one
            next_in_line.cancel()
            for task in (holder, waiter, next_in_line):
                with pytest.raises(asyncio.CancelledError):
                    await task
            await until(lambda: client.connections(origin) == (0, 0))

    run(scene())


def test_idle_connections_are_bounded_in_number_and_time() -> None:
    """Four at once, two kept, none after `idle_s`."""
    release = asyncio.Event()

    async def scene() -> None:
        async with (
            upstream(answering_after(release)) as (up, origin),
            calling(idle_max=2, idle_s=SOON) as client,
        ):
            calls = [asyncio.ensure_future(send_post(client, origin)) for _ in range(4)]
            await until(lambda: up.connections == 4)
            release.set()
            for call in calls:
                await (await call).read(10)
            assert client.connections(origin)[1] == 2
            await until(lambda: up.lost == 4)
            assert client.connections(origin) == (0, 0)

    run(scene())


def test_a_closed_client_ends_its_calls() -> None:
    """Callers are told, connections closed."""

    async def scene() -> None:
        async with upstream(silent) as (up, origin), calling() as client:
            call = asyncio.ensure_future(send_post(client, origin))
            await until(lambda: client.active == 1)
            await client.close()
            with pytest.raises(CallFailed):
                await call
            await until(lambda: up.lost == 1)
            with pytest.raises(CallRefused, match="closed"):
                await send_post(client, origin)

    run(scene())


def test_a_proxied_stream_passes_both_sides_whole() -> None:
    """Server and client together: 300 streams through one pool, each its own bytes."""

    async def scene() -> None:
        async with (
            upstream(saying(CHUNKED, chunk(b"a") * 20, chunk(b"b"), b"0\r\n\r\n")) as (_, origin),
            calling() as client,
        ):

            async def handler(request: Any, responder: Any) -> None:
                response = await send_post(client, origin, request.body)
                responder.begin(response.status, b"")
                while piece := await response.chunk():
                    responder.write(piece)
                responder.finish()

            async with serving(handler) as server, calling() as outer:
                here = Origin("http", "127.0.0.1", server.port)
                for _ in range(3):
                    replies = await asyncio.gather(*(send_post(outer, here) for _ in range(100)))
                    assert [await whole(reply) for reply in replies] == [b"a" * 20 + b"b"] * 100
                assert client.active == outer.active == 0

    run(scene())


def test_silence_while_reading_was_paused_is_not_held_against_the_upstream() -> None:
    """Given a buffer over its mark and a long pause, when the reader resumes, then the stall timer starts anew."""

    class Wired:
        """Stands for a connection that is only paused and resumed."""

        pause = resume = drop = staticmethod(lambda: None)

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        response = Response(loop, Timers(between_chunks_s=5), loop.time() + 60, lambda _: None)
        response.sent_on(Wired(), loop.time() - 20)
        response.status = 200
        response.check_head()
        response.body(b"x" * 100_000)
        assert len(await response.chunk()) == 100_000
        reader = asyncio.ensure_future(response.chunk())
        await asyncio.sleep(0)
        response.check(loop.time() + 1)
        await asyncio.sleep(0.01)
        assert not reader.done()
        response.check(loop.time() + 6)
        with pytest.raises(CallTimedOut, match="silent"):
            await reader

    run(scene())
