"""The way inside the process keeps the server's own bounds, checks and manners."""

from __future__ import annotations

import asyncio

import pytest

from penstock.kernel import errors
from penstock.sdk.in_process import HIGH_WATER_BYTES
from penstock.sdk.transport import REPLY_BYTES_MAX
from tests.support import run
from tests.unit.sdk.wires import JSON, WAYS, reaching

PIECE = b"x" * 1024
TEXT = b"content-type: text/plain\r\n"


async def say(request, responder):
    """Answer who asked, under what, and with what."""
    words = [request.method, request.path, request.query.decode(), request.peer]
    words += [(request.header(b"authorization") or b"").decode()]
    responder.send(200, TEXT, " ".join(words).encode() + request.body)


def test_a_request_is_the_one_a_server_would_have_read():
    async def ask():
        async with reaching("in-process", say, key="pen-a") as (transport, stats):
            reply = await transport.call("POST", "/api/v1/keys?a=b%20c", b"body")
            return reply, stats.requests, stats.in_flight

    reply, requests, in_flight = run(ask())
    assert reply.body == b"POST /api/v1/keys a=b%20c in-process Bearer pen-abody"
    assert reply.headers == [(b"content-type", b"text/plain"), (b"content-length", b"53")]
    assert (requests, in_flight) == (1, 0)


@pytest.mark.parametrize("way", WAYS)
def test_under_asks_with_the_other_token_and_lives_no_longer_than_the_first(way):
    async def ask():
        async with reaching(way, say, key="pen-a") as (transport, _):
            other = transport.under("pens-b", peer="10.0.0.9")
            nobody = transport.under("")
            told = [(await each.call("GET", "/x")).body.split() for each in (other, nobody, transport)]
            await other.close()
            told.append((await transport.call("GET", "/x")).body.split())
            await transport.close()
            with pytest.raises(errors.Unavailable):
                await other.call("GET", "/x")
            return told

    other, nobody, own, after = run(ask())
    assert other[-1] == b"pens-b"
    assert (other[2] == b"10.0.0.9") is (way == "in-process")  # over a socket, only the socket says who it is
    assert b"Bearer" not in nobody
    assert own == after
    assert own[-1] == b"pen-a"


def test_a_slow_reader_pauses_the_writer_and_gets_every_byte():
    async def read():
        written = 0
        paused = asyncio.Event()

        async def handle(request, responder):
            nonlocal written
            responder.begin(200, TEXT)
            for _ in range(200):
                responder.write(PIECE)
                written += len(PIECE)
                if responder.paused:
                    paused.set()
                    await responder.drain()
            responder.finish()

        async with reaching("in-process", handle) as (transport, stats):
            reply = await transport.stream("GET", "/x")
            await paused.wait()
            held = written
            size = 0
            while piece := await reply.chunk():
                size += len(piece)
            return held, size, stats.clients_gone

    held, size, gone = run(read())
    assert held <= HIGH_WATER_BYTES + len(PIECE)
    assert size == 200 * len(PIECE)
    assert gone == 0


def test_a_reader_that_takes_nothing_is_cut_and_told():
    async def read():
        left = asyncio.Event()

        async def handle(request, responder):
            responder.on_gone(left.set)
            responder.begin(200, TEXT)
            responder.write(PIECE * 64)
            await left.wait()

        async with reaching("in-process", handle, write_idle_s=0.02) as (transport, stats):
            reply = await transport.stream("GET", "/x")
            await left.wait()
            with pytest.raises(errors.Unavailable) as cut:
                await reply.chunk()
            return cut.value.reason, stats.clients_cut

    assert run(read()) == ("upstream_cut", 1)


def test_a_reader_that_goes_on_is_not_cut():
    async def read():
        async def handle(request, responder):
            responder.begin(200, TEXT)
            for _ in range(4):
                responder.write(PIECE * 64)
                await responder.drain()
            await asyncio.sleep(0.06)
            responder.finish()

        async with reaching("in-process", handle, write_idle_s=0.03) as (transport, stats):
            reply = await transport.stream("GET", "/x")
            size = 0
            while piece := await reply.chunk():
                size += len(piece)
            return size, stats.clients_cut

    assert run(read()) == (4 * 64 * len(PIECE), 0)


@pytest.mark.parametrize("way", WAYS)
def test_a_handler_that_fails_is_answered_for_and_mid_reply_it_is_cut(way):
    async def ask(begun):
        async def handle(request, responder):
            if begun:
                responder.begin(200, TEXT)
                responder.write(PIECE)
                await asyncio.sleep(0.02)
            raise RuntimeError("a secret of the handler")

        async with reaching(way, handle) as (transport, stats):
            with pytest.raises(errors.PenstockError) as failure:
                await transport.call("GET", "/x")
            return failure.value, stats.failed

    whole, cut = run(ask(False)), run(ask(True))
    assert (whole[0].reason, whole[1]) == ("internal_error", 1)
    assert (type(cut[0]), cut[1]) == (errors.Unavailable, 1)
    assert "secret" not in str(whole[0]) + str(cut[0])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("size", "fits"),
    [(0, True), (REPLY_BYTES_MAX, True), (REPLY_BYTES_MAX + 1, False)],
    ids=["0", "at", "over"],
)
def test_a_reply_is_read_up_to_its_bound(way, size, fits):
    async def handle(request, responder):
        responder.send(200, JSON, bytes(size))

    async def ask():
        async with reaching(way, handle) as (transport, _):
            return len((await transport.call("GET", "/x")).body)

    if fits:
        assert run(ask()) == size
    else:
        with pytest.raises(errors.Unavailable) as refusal:
            run(ask())
        assert refusal.value.reason == "reply_too_large"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [(b"x" * 65, b"", 413), (b"x" * 64, b"", 0), (b"", b"x-y: " + b"z" * 40_000 + b"\r\n", 431)],
)
def test_the_bounds_of_a_request_are_the_servers(way, body, headers, status):
    async def ask():
        async with reaching(way, say, body_bytes=64) as (transport, stats):
            try:
                await transport.call("POST", "/x", body, headers=headers)
            except errors.PenstockError as error:
                return error, stats.refused
            return None, stats.refused

    error, refused = run(ask())
    assert (error is None) is (status == 0)
    assert refused == (1 if status else 0)
    if status == 413:
        assert isinstance(error, errors.TooLarge)


@pytest.mark.parametrize("target", ["/a b", "/a\r\nx: y", "/\u00e9"])
@pytest.mark.parametrize("way", WAYS)
def test_a_target_that_would_break_the_request_line_is_refused(way, target):
    async def ask():
        async with reaching(way, say) as (transport, stats):
            with pytest.raises(errors.Invalid):
                await transport.call("GET", target)
            return stats.requests

    assert run(ask()) == 0


@pytest.mark.parametrize("way", WAYS)
def test_one_request_too_many_at_a_time_is_overloaded(way):
    async def ask():
        go = asyncio.Event()

        async def handle(request, responder):
            await go.wait()
            responder.send(200, JSON, b"{}")

        async with reaching(way, handle, in_flight=1) as (transport, stats):
            first = asyncio.create_task(transport.call("GET", "/x"))
            while not stats.in_flight:
                await asyncio.sleep(0.001)
            with pytest.raises(errors.Overloaded) as refusal:
                await transport.call("GET", "/x")
            go.set()
            return (await first).status, refusal.value.retry_after_s

    assert run(ask()) == (200, 1.0)


def test_closing_counts_out_a_handler_that_has_not_begun():
    async def ask():
        async def handle(request, responder):
            await asyncio.Event().wait()

        async with reaching("in-process", handle) as (transport, stats):
            caller = asyncio.create_task(transport.call("GET", "/x"))
            await asyncio.sleep(0)
            assert stats.in_flight == 1  # its task is made and has had no turn
            await transport.close()
            with pytest.raises(errors.Unavailable):
                await caller
            return stats.in_flight

    assert run(ask()) == 0


def test_closing_ends_what_is_under_way_and_refuses_what_comes_after():
    async def ask():
        cancelled = asyncio.Event()

        async def handle(request, responder):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        async with reaching("in-process", handle) as (transport, stats):
            caller = asyncio.create_task(transport.call("GET", "/x"))
            while not stats.in_flight:
                await asyncio.sleep(0.001)
            await transport.close()
            with pytest.raises(errors.Unavailable):
                await caller
            with pytest.raises(errors.Unavailable) as refusal:
                await transport.call("GET", "/x")
            return cancelled.is_set(), stats.in_flight, refusal.value.reason

    assert run(ask()) == (True, 0, "client_closed")


def test_two_readers_of_one_reply_are_a_bug_that_is_told():
    async def ask():
        async def handle(request, responder):
            responder.begin(200, TEXT)
            await asyncio.Event().wait()

        async with reaching("in-process", handle) as (transport, _):
            reply = await transport.stream("GET", "/x")
            first = asyncio.create_task(reply.chunk())
            await asyncio.sleep(0)
            with pytest.raises(errors.Broken):
                await reply.chunk()
            first.cancel()
            reply.close()

    run(ask())
