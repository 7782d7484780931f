"""Slow clients, vanishing clients, and draining: nothing leaks, nothing is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.kernel.errors import Cancelled
from penstock.net.server import Request, Responder
from tests.support import run
from tests.unit.net.rig import TEXT, Wire, ask, dial, post, serving, until

SHORT = 0.05


# -- slow and vanishing clients ------------------------------------------------------------------------------


def test_a_slow_client_pauses_its_handler_and_resumes_it() -> None:
    """Unsent bytes stay near the high-water mark, and the whole stream arrives once the client reads."""
    most = 0

    async def handler(request: Request, responder: Responder) -> None:
        nonlocal most
        responder.begin(200, TEXT)
        for _ in range(2000):
            responder.write(b"x" * 10_000)
            most = max(most, responder._transport.get_write_buffer_size())
            if responder.paused:
                await responder.drain()
        responder.finish()

    async def scene() -> None:
        async with serving(handler) as server:
            wire = await dial(server.port)
            wire.send(post(b""))
            await asyncio.sleep(0.2)
            assert server.stats.in_flight == 1  # 20 MB do not fit in the kernel's buffers
            assert len((await wire.reply())[2]) == 20_000_000
            assert most <= 64 * 1024 + 11_000
            wire.close()

    run(scene())


def test_a_client_that_takes_nothing_is_cut() -> None:
    """After `write_idle_s` without a byte taken, `drain` raises Cancelled and the connection is gone."""
    ends: list[str] = []

    async def handler(request: Request, responder: Responder) -> None:
        responder.on_gone(lambda: ends.append("told"))
        responder.begin(200, TEXT)
        while not responder.paused:
            responder.write(b"x" * 100_000)
            await asyncio.sleep(0)
        try:
            await responder.drain()
        except Cancelled as error:
            ends.append(error.reason)

    async def scene() -> None:
        async with serving(handler, write_idle_s=0.2) as server:
            wire = await dial(server.port)
            wire.send(post(b""))
            await until(lambda: server.stats.connections == 0)
            await until(lambda: server.stats.in_flight == 0)
            assert ends == ["told", "client_gone"]
            assert server.stats.clients_cut == 1
            wire.reset()

    run(scene())


@pytest.mark.parametrize("end", [Wire.close, Wire.reset])
@pytest.mark.parametrize("streaming", [True, False])
def test_a_client_that_leaves_is_noticed_at_once_and_the_handler_lives_on(end: Any, streaming: bool) -> None:
    """FIN or RST while a reply is owed: `on_gone` once, nothing cancelled, writes dropped, nothing leaked."""
    told: list[str] = []
    lived = asyncio.Event()

    async def handler(request: Request, responder: Responder) -> None:
        if streaming:
            responder.begin(200, TEXT)
            responder.write(b"x")
        gone = asyncio.Event()
        responder.on_gone(lambda: told.append("first"))
        responder.on_gone(gone.set)
        await gone.wait()
        assert responder.gone
        responder.on_gone(lambda: told.append("late"))
        if streaming:
            responder.write(b"y")
            with pytest.raises(Cancelled):
                await responder.drain()
            responder.finish(b"z")
        else:
            responder.send(200, TEXT, b"z")
        assert responder.bytes_sent == (1 if streaming else 0)
        lived.set()

    async def scene() -> None:
        async with serving(handler) as server:
            wire = await dial(server.port)
            wire.send(post(b""))
            await until(lambda: server.stats.in_flight == 1)
            await asyncio.sleep(0.01)
            end(wire)
            await lived.wait()
            await until(lambda: server.stats.connections == server.stats.in_flight == 0)
            assert told == ["first", "late"]
            assert server.stats.clients_gone == 1

    run(scene())


def test_a_half_closed_client_is_gone_although_its_reply_is_stuck() -> None:
    """Given FIN from a client that reads nothing, then the handler hears at once, and the socket is cut in time."""
    told = asyncio.Event()

    async def handler(request: Request, responder: Responder) -> None:
        responder.on_gone(told.set)
        responder.begin(200, TEXT)
        while not responder.paused:
            responder.write(b"x" * 100_000)
            await asyncio.sleep(0)
        with pytest.raises(Cancelled):
            await responder.drain()

    async def scene() -> None:
        async with serving(handler, write_idle_s=1) as server:
            wire = await dial(server.port)
            wire.send(post(b""))
            await until(lambda: server.stats.in_flight == 1)
            await asyncio.sleep(0.05)
            wire.writer.write_eof()
            await told.wait()
            assert server.stats.connections == 1  # what was written is still on its way
            await until(lambda: server.stats.connections == server.stats.in_flight == 0)
            assert server.stats.clients_cut == 1
            wire.reset()

    run(scene())


def test_a_client_that_leaves_after_its_reply_is_not_gone() -> None:
    """A handler that settles after its reply does not hear of the close."""
    told: list[int] = []
    settled = asyncio.Event()

    async def handler(request: Request, responder: Responder) -> None:
        responder.on_gone(lambda: told.append(1))
        responder.send(200, TEXT, b"")
        await asyncio.sleep(0.05)
        settled.set()

    async def scene() -> None:
        async with serving(handler) as server:
            await ask(server.port, post(b""))
            await settled.wait()
            assert not told
            assert server.stats.clients_gone == 0

    run(scene())


def test_abort_cuts_and_does_not_count_as_the_clients_leaving() -> None:
    """The client sees an incomplete reply, never a complete one."""

    async def handler(request: Request, responder: Responder) -> None:
        responder.begin(200, TEXT)
        responder.write(b"half")
        responder.abort()

    async def scene() -> None:
        async with serving(handler) as server:
            wire = await dial(server.port)
            wire.send(post(b""))
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await wire.reply()
            assert server.stats.clients_gone == 0
            wire.close()

    run(scene())


# -- draining ------------------------------------------------------------------------------------------------


def test_a_drain_answers_what_is_under_way_and_what_still_arrives() -> None:
    """In flight: answered. On an idle connection within the grace: answered with `connection: close`. New: refused."""
    release = asyncio.Event()

    async def handler(request: Request, responder: Responder) -> None:
        if request.path == "/slow":
            await release.wait()
        responder.send(200, TEXT, request.body)

    async def scene() -> None:
        async with serving(handler, drain_grace_s=0.3) as server:
            slow, idle, unused = [await dial(server.port) for _ in range(3)]
            slow.send(post(b"slow", b"/slow"))
            idle.send(post(b"before"))
            assert (await idle.reply())[1].get(b"connection") is None
            drain = asyncio.ensure_future(server.drain(5))
            await asyncio.sleep(0.05)
            with pytest.raises(OSError, match="refused"):
                await dial(server.port)
            idle.send(post(b"during"))
            status, fields, body = await idle.reply()
            assert (status, fields[b"connection"], body) == (200, b"close", b"during")
            assert await unused.ended()
            release.set()
            status, fields, body = await slow.reply()
            assert (status, fields[b"connection"], body) == (200, b"close", b"slow")
            for wire in (slow, idle, unused):
                wire.close()
            await drain
            assert server.stats.connections == server.stats.in_flight == 0

    run(scene())


def test_a_connection_gets_the_whole_grace_from_its_last_answer_on() -> None:
    """An answer that began before the drain said keep-alive and ends late in the grace: its client's next request,
    sent at once but arriving after the others' grace, is answered; a connection that stays silent is closed.
    """
    release = asyncio.Event()

    async def handler(request: Request, responder: Responder) -> None:
        if request.path == "/stream":
            responder.begin(200, TEXT)
            await release.wait()
            responder.finish(b"told")
            return
        responder.send(200, TEXT, request.body)

    async def scene() -> None:
        async with serving(handler, drain_grace_s=1.0) as server:
            stream, unused = await dial(server.port), await dial(server.port)
            stream.send(post(b"", b"/stream"))
            await until(lambda: server.stats.in_flight == 1)
            drain = asyncio.ensure_future(server.drain(30))
            await asyncio.sleep(0.8)
            release.set()
            assert (await stream.reply())[2] == b"told"
            assert await unused.ended()  # the others' grace is over
            stream.send(post(b"next"))
            status, fields, body = await stream.reply()
            assert (status, fields[b"connection"], body) == (200, b"close", b"next")
            stream.close()
            unused.close()
            await drain
            assert server.stats.connections == 0

    run(scene())


def test_a_connection_that_falls_silent_in_a_drain_does_not_hold_it_up() -> None:
    """Idle after its answer, its client keeps it open: closed after the grace, long before the drain's deadline."""
    release = asyncio.Event()

    async def handler(request: Request, responder: Responder) -> None:
        responder.begin(200, TEXT)
        await release.wait()
        responder.finish(b"told")

    async def scene() -> None:
        async with serving(handler, drain_grace_s=0.1) as server:
            stream = await dial(server.port)
            stream.send(post(b""))
            await until(lambda: server.stats.in_flight == 1)
            drain = asyncio.ensure_future(server.drain(600))
            await asyncio.sleep(0.15)
            release.set()
            assert (await stream.reply())[2] == b"told"
            assert await stream.ended()
            await drain
            assert server.stats.connections == 0
            stream.close()

    run(scene())


def test_a_drain_past_its_deadline_lets_streams_say_so() -> None:
    """A handler is cancelled, sends its in-band error, and the client reads it; one not started gets 503."""

    async def handler(request: Request, responder: Responder) -> None:
        if request.path == "/silent":
            await asyncio.sleep(60)
        responder.begin(200, TEXT)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            responder.finish(b"the server is going away")
            raise

    async def scene() -> None:
        async with serving(handler) as server:
            stream, silent = await dial(server.port), await dial(server.port)
            stream.send(post(b""))
            silent.send(post(b"", b"/silent"))
            await until(lambda: server.stats.in_flight == 2)
            drain = asyncio.ensure_future(server.drain(0.1))
            assert (await stream.reply())[2] == b"the server is going away"
            assert (await silent.reply())[0] == 503
            stream.close()
            silent.close()
            await drain

    run(scene())
