"""The client's calls: the request on the wire, bodies whole, connections reused safely."""

from __future__ import annotations

import asyncio

import pytest

from penstock.kernel.errors import Invalid
from penstock.net.client import CallFailed
from tests.support import run
from tests.unit.net.rig import (
    CHUNKED,
    PATIENT,
    Call,
    calling,
    chunk,
    ok,
    saying,
    send_post,
    until,
    upstream,
    whole,
)

# -- requests and replies ------------------------------------------------------------------------------------


def test_the_request_on_the_wire_is_as_given() -> None:
    """Request line, host, the caller's lines, the length, the body."""
    seen: list[bytes] = []

    async def script(call: Call) -> None:
        while True:
            seen.append(await call.request())
            call.send(ok(b""))

    async def scene() -> None:
        async with upstream(script) as (up, origin), calling() as client:
            await (await send_post(client, origin)).read(10)
            await (await client.request(origin, b"GET", b"/y?z", b"", b"", PATIENT)).read(10)
            await (await client.request(origin, b"POST", b"/", b"", b"", PATIENT)).read(10)
            await (await send_post(client, origin, b"x" * 100_000)).read(10)
            host = b"127.0.0.1:%d" % up.port
            assert (
                seen[0] == b"POST /x HTTP/1.1\r\nhost: %b\r\nx-a: b\r\ncontent-length: 5\r\n\r\nhello" % host
            )
            assert seen[1] == b"GET /y?z HTTP/1.1\r\nhost: %b\r\n\r\n" % host
            assert seen[2] == b"POST / HTTP/1.1\r\nhost: %b\r\ncontent-length: 0\r\n\r\n" % host
            assert seen[3].endswith(b"x" * 100_000)
            assert up.connections == 1
            for target in (b"/a b", b"/a\r\nX: y", b"/a\n"):
                with pytest.raises(Invalid):
                    await client.request(origin, b"GET", target, b"", b"", PATIENT)

    run(scene())


BODIES = {
    "length": ok(b"hello world"),
    "chunked": CHUNKED + chunk(b"hello") + chunk(b" ") + chunk(b"world") + b"0\r\n\r\n",
    "chunked with extensions and trailers": CHUNKED + b"5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nX-T: 1\r\n\r\n",
    "after interim replies": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    + ok(b"hello world"),
}


@pytest.mark.parametrize("reply", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_bodies_arrive_whole_however_they_are_cut(reply: bytes, step: int) -> None:
    """By `chunk` and by `read`, and the connection serves again."""
    pieces = [reply[at : at + step] for at in range(0, len(reply), step)]

    async def scene() -> None:
        async with upstream(saying(*pieces)) as (up, origin), calling() as client:
            for _ in range(2):
                response = await send_post(client, origin)
                assert response.status == 200
                assert response.header(b"link") is None
                assert response.header(b"x-t") is None
                assert await whole(response) == b"hello world"
                assert await response.chunk() == b""
                assert await (await send_post(client, origin)).read(11) == b"hello world"
            assert up.connections == 1
            assert client.connections(origin) == (1, 1)

    run(scene())


def test_a_body_that_ends_with_the_connection_is_whole() -> None:
    """No length, no chunks: the close is the end, and the connection is not reused."""

    async def script(call: Call) -> None:
        await call.request()
        call.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await asyncio.sleep(0.01)
        call.send(b" world")

    async def scene() -> None:
        async with upstream(script) as (up, origin), calling() as client:
            for _ in range(2):
                assert await whole(await send_post(client, origin)) == b"hello world"
            assert up.connections == 2

    run(scene())


def test_replies_without_a_body_leave_the_connection_usable() -> None:
    """HEAD with a length, 204, 304."""
    replies = [b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", b"HTTP/1.1 204 None\r\n\r\n"]
    replies += [b"HTTP/1.1 304 Same\r\ncontent-length: 5\r\n\r\n", ok(b"last")]

    async def script(call: Call) -> None:
        for reply in replies:
            await call.request()
            call.send(reply)
        await call.request()

    async def scene() -> None:
        async with upstream(script) as (up, origin), calling() as client:
            for method, body in ((b"HEAD", b""), (b"GET", b""), (b"GET", b""), (b"GET", b"last")):
                response = await client.request(origin, method, b"/", b"", b"", PATIENT)
                assert await response.read(10) == body
            assert up.connections == 1

    run(scene())


# -- reuse ---------------------------------------------------------------------------------------------------


def test_a_stale_connection_is_replaced_once_unseen() -> None:
    """Given a kept connection that the upstream closes on the next request, then one fresh attempt answers."""

    async def script(call: Call) -> None:
        await call.request()
        call.send(ok(b"%d" % call.number))
        await call.request()
        call.reset()

    async def scene() -> None:
        async with upstream(script) as (up, origin), calling() as client:
            for n in range(1, 4):
                assert await (await send_post(client, origin)).read(10) == b"%d" % n
            assert up.connections == 3
            assert client.connections(origin) == (1, 1)

    run(scene())


def test_a_fresh_connection_is_never_retried() -> None:
    """A reset before the reply, on a new connection, is the caller's to judge: it may have been served."""

    async def script(call: Call) -> None:
        await call.request()
        call.reset()

    async def scene() -> None:
        async with upstream(script) as (up, origin), calling() as client:
            with pytest.raises(CallFailed) as caught:
                await send_post(client, origin)
            assert (caught.value.reason, caught.value.dispatched) == ("connection_reset", True)
            assert up.connections == 1

    run(scene())


def test_a_retry_that_fails_too_is_the_end() -> None:
    """One replacement, not a loop; and a reused connection that began to answer is not retried."""

    async def resets(call: Call) -> None:
        await call.request()
        if call.number == 1:
            call.send(ok(b""))
            await call.request()
        call.reset()

    async def cuts(call: Call) -> None:
        await call.request()
        call.send(ok(b""))
        await call.request()
        call.send(b"HTTP/1.1 200")

    async def scene() -> None:
        for script, connections, code in ((resets, 2, "connection_reset"), (cuts, 1, "upstream_cut")):
            async with upstream(script) as (up, origin), calling() as client:
                await (await send_post(client, origin)).read(1)
                with pytest.raises(CallFailed) as caught:
                    await send_post(client, origin)
                assert caught.value.reason == code
                assert up.connections == connections

    run(scene())


@pytest.mark.parametrize(
    "extra", [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", b"HTTP/1.1 20", b"garbage", b"H"]
)
def test_bytes_beyond_a_reply_never_become_the_next_callers(extra: bytes) -> None:
    """Given an upstream that says more than asked, then that connection is not used again."""

    async def scene() -> None:
        async with upstream(saying(ok(b"mine") + extra)) as (up, origin), calling() as client:
            for n in range(1, 4):
                assert await (await send_post(client, origin)).read(10) == b"mine"
                assert up.connections == n

    run(scene())


def test_a_close_announced_by_the_upstream_is_heeded() -> None:
    """`connection: close`: not kept."""

    async def scene() -> None:
        async with upstream(saying(ok(b"x", b"connection: close"))) as (up, origin), calling() as client:
            for _ in range(3):
                await (await send_post(client, origin)).read(10)
            assert up.connections == 3

    run(scene())


def test_an_early_reply_to_an_unfinished_upload_does_not_spoil_the_next() -> None:
    """Given a refusal before the body was taken, then the reply is read and the connection not reused."""

    async def script(call: Call) -> None:
        await call.reader.readuntil(b"\r\n\r\n")
        call.send(ok(b"early"))
        await asyncio.sleep(60)

    async def scene() -> None:
        async with upstream(script) as (up, origin), calling() as client:
            assert await (await send_post(client, origin, b"x" * 30_000_000)).read(10) == b"early"
            await until(lambda: client.connections(origin) == (0, 0))
            assert up.connections == 1

    run(scene())
