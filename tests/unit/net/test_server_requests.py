"""Requests arrive whole, in order and within bounds, however their bytes come."""

from __future__ import annotations

import asyncio

import pytest

from penstock.net.server import Request, Responder
from tests.support import run
from tests.unit.net.rig import TEXT, H, ask, dial, post, serving, until

SHORT = 0.05


# -- bodies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_bodies_arrive_whole_however_they_are_cut(step: int) -> None:
    """With a length and in chunks, in pieces of any size, followed by another request on the same connection."""
    chunked = (
        b"POST /c HTTP/1.1\r\n"
        + H
        + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n00A\r\n0123456789\r\n0\r\n\r\n"
    )
    stream = post(b"hello") + chunked + post(b"", b"/e") + chunked + post(b"last", b"/l")

    async def scene() -> None:
        async with serving() as server:
            wire = await dial(server.port)
            for at in range(0, len(stream), step):
                wire.send(stream[at : at + step])
                await asyncio.sleep(0)
            bodies = [(await wire.reply())[2] for _ in range(5)]
            assert bodies == [
                b"POST /x  hello", b"POST /c  abc0123456789", b"POST /e  ", b"POST /c  abc0123456789", b"POST /l  last",
            ]  # fmt: skip
            assert server.stats.accepted == 1
            assert server.stats.buffered_body_bytes == 0
            wire.close()

    run(scene())


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_at_the_bound_is_served_and_one_byte_more_is_refused(framing: str) -> None:
    """1,000 bytes pass; 1,001 are 413, announced or not."""

    def request(size: int) -> bytes:
        if framing == "length":
            return post(b"x" * size)
        return (
            b"POST /x HTTP/1.1\r\n"
            + H
            + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size)
        )

    async def scene() -> None:
        async with serving(body_bytes=1000) as server:
            assert [(await ask(server.port, request(size)))[0] for size in (999, 1000, 1001)] == [
                200,
                200,
                413,
            ]
            assert server.stats.buffered_body_bytes == 0

    run(scene())


def test_heads_targets_and_field_counts_are_bounded() -> None:
    """Each at its bound and one over, whole and byte by byte."""

    async def scene() -> None:
        async with serving(header_bytes=400, header_count=5, target_bytes=100) as server:

            async def status(raw: bytes) -> int:
                whole = (await ask(server.port, raw))[0]
                wire = await dial(server.port)
                for at in range(len(raw)):
                    wire.send(raw[at : at + 1])
                    await asyncio.sleep(0)
                assert (await wire.reply())[0] == whole
                wire.close()
                return whole

            frame = len(b"GET /x HTTP/1.1\r\n" + H + b"X: \r\n\r\n")
            for size, expected in ((400, 200), (401, 431)):
                assert (
                    await status(b"GET /x HTTP/1.1\r\n" + H + b"X: " + b"x" * (size - frame) + b"\r\n\r\n")
                    == expected
                )
            for count, expected in ((5, 200), (6, 431)):
                assert (
                    await status(b"GET /x HTTP/1.1\r\n" + H + b"X: y\r\n" * (count - 1) + b"\r\n") == expected
                )
            for size, expected in ((100, 200), (101, 414)):
                assert await status(b"GET /" + b"x" * (size - 1) + b" HTTP/1.1\r\n" + H + b"\r\n") == expected

    run(scene())


@pytest.mark.parametrize("line", [b"X: " + b"x" * 4_000, b"X: y\r\n" * 600], ids=["one line", "many lines"])
def test_a_head_that_never_ends_is_refused_at_its_bound(line: bytes) -> None:
    """At the bound it may still end; the first byte past it is answered, without waiting for an end or a timer."""

    async def scene() -> None:
        async with serving(header_bytes=400, header_timeout_s=3_600.0) as server:
            wire = await dial(server.port)
            start = b"GET /x HTTP/1.1\r\n" + H
            wire.send((start + line)[:400])
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(SHORT):
                    await wire.reader.read(1)
            wire.send((start + line)[400:401])
            async with asyncio.timeout(5):
                assert (await wire.reply())[0] == 431
            wire.close()

    run(scene())


def test_bytes_buffered_for_all_clients_together_are_bounded() -> None:
    """Given one slow handler holding its body, when another body would pass the sum, then 503; room again later."""
    release = asyncio.Event()

    async def handler(request: Request, responder: Responder) -> None:
        if request.path == "/hold":
            await release.wait()
        responder.send(200, TEXT, b"%d" % len(request.body))

    async def scene() -> None:
        async with serving(handler, buffered_body_bytes=1000) as server:
            holder = await dial(server.port)
            holder.send(post(b"x" * 900, b"/hold"))
            await until(lambda: server.stats.buffered_body_bytes == 900)
            late = await dial(server.port)
            late.send(post(b"y" * 200)[:-50])
            status, _, body = await late.reply()
            assert status == 503, body
            release.set()
            assert (await holder.reply())[0] == 200
            await until(lambda: server.stats.buffered_body_bytes == 0)
            assert (await ask(server.port, post(b"y" * 200)))[2] == b"200"
            holder.close()
            late.close()

    run(scene())


def test_expect_is_met_before_the_body_and_refused_when_the_body_would_be() -> None:
    """100 only after the head passed its checks; 413 without it when the announced length is over."""
    lines = b"Expect: 100-continue\r\n"

    async def scene() -> None:
        async with serving(body_bytes=10) as server:
            wire = await dial(server.port)
            wire.send(post(b"", lines=lines).replace(b"Length: 0", b"Length: 5"))
            assert (await wire.reply())[0] == 100
            wire.send(b"hello")
            assert (await wire.reply())[2] == b"POST /x  hello"
            wire.send(post(b"hello", lines=lines))  # the client did not wait: no 100
            assert (await wire.reply())[0] == 200
            wire.send(post(b"", lines=lines).replace(b"Length: 0", b"Length: 11"))
            assert (await wire.reply())[0] == 413
            assert await wire.ended()
            wire.close()

    run(scene())


def test_a_refused_upload_can_still_read_its_refusal() -> None:
    """Given a client that sends its whole large body first, then the 413 is not lost to a reset."""

    async def scene() -> None:
        async with serving(body_bytes=1000) as server:
            wire = await dial(server.port)
            wire.send(post(b"x" * 4_000_000))
            await wire.writer.drain()
            assert (await wire.reply())[0] == 413
            wire.close()

    run(scene())


# -- order and connections -----------------------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order_one_at_a_time() -> None:
    """Given many requests in one write, then replies in order, with never two handlers at once."""
    running = 0

    async def handler(request: Request, responder: Responder) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0 if int(request.body) % 2 else 0.001)
        running -= 1
        responder.send(200, TEXT, request.body)

    async def scene() -> None:
        async with serving(handler) as server:
            wire = await dial(server.port)
            wire.send(b"".join(post(b"%d" % n) for n in range(100)))
            assert [(await wire.reply())[2] for _ in range(100)] == [b"%d" % n for n in range(100)]
            wire.close()

    run(scene())


def test_reading_ahead_is_bounded() -> None:
    """Given a handler at work and a client that floods, then the socket is no longer read past the bound."""
    release = asyncio.Event()

    async def handler(request: Request, responder: Responder) -> None:
        await release.wait()
        responder.send(200, TEXT, b"")

    async def scene() -> None:
        async with serving(handler, pipeline_bytes=1000) as server:
            wire = await dial(server.port)
            one = post(b"x" * 100_000)
            wire.send(one * 200)
            drained = asyncio.ensure_future(wire.writer.drain())
            await asyncio.sleep(0.2)
            assert not drained.done()  # 20 MB: the kernel's buffers are full and nobody reads
            release.set()
            for _ in range(200):
                assert (await wire.reply())[0] == 200
            await drained
            wire.close()

    run(scene())


@pytest.mark.parametrize(
    ("version", "connection", "stays"),
    [
        (b"1.1", b"", True), (b"1.1", b"close", False), (b"1.1", b"x, Close", False), (b"1.1", b"keep-alive", True),
        (b"1.0", b"", False), (b"1.0", b"Keep-Alive", True), (b"1.0", b"close, keep-alive", False),
    ],
)  # fmt: skip
def test_the_connection_stays_when_both_sides_want_it(version: bytes, connection: bytes, stays: bool) -> None:
    """HTTP/1.1 stays unless told, HTTP/1.0 leaves unless told."""
    line = b"Connection: " + connection + b"\r\n" if connection else b""

    async def scene() -> None:
        async with serving() as server:
            wire = await dial(server.port)
            wire.send(b"GET /x HTTP/" + version + b"\r\n" + H + line + b"\r\n")
            status, fields, _ = await wire.reply()
            assert status == 200
            assert (fields.get(b"connection") == b"close") is (not stays)
            wire.send(post(b"again"))
            if stays:
                assert (await wire.reply())[2] == b"POST /x  again"
            else:
                assert await wire.ended()
            wire.close()

    run(scene())
