"""Replies, their framing and errors; bounds on work and time; browsers."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from penstock.kernel.errors import OverLimit
from penstock.net.server import Cors, Request, Responder
from tests.support import run
from tests.unit.net.rig import TEXT, H, ask, dial, echo, post, serving, until

SHORT = 0.05


# -- replies -------------------------------------------------------------------------------------------------


async def streamer(request: Request, responder: Responder) -> None:
    """Three chunks, the last with the end."""
    responder.begin(200, TEXT)
    responder.write(b"one")
    responder.write(b"")
    await asyncio.sleep(0.001)
    responder.write(b"two")
    responder.finish(b"three")
    assert responder.bytes_sent == (0 if request.method == "HEAD" else 11)


def test_streams_are_chunked_for_1_1_and_end_by_closing_for_1_0() -> None:
    """And HEAD gets the head alone."""

    async def scene() -> None:
        async with serving(streamer) as server:
            wire = await dial(server.port)
            for _ in range(2):
                wire.send(b"GET /x HTTP/1.1\r\n" + H + b"\r\n")
                head = await wire.reader.readuntil(b"\r\n\r\n")
                assert b"transfer-encoding: chunked\r\n" in head
                assert b"content-length" not in head
                assert [chunk async for chunk in wire.chunks()] == [b"one", b"two", b"three"]
            wire.send(b"HEAD /x HTTP/1.1\r\n" + H + b"\r\n")
            await wire.reader.readuntil(b"\r\n\r\n")
            wire.send(b"GET /x HTTP/1.1\r\n" + H + b"\r\n")
            assert (await wire.reply())[2] == b"onetwothree"
            wire.close()
            status, fields, body = await ask(
                server.port, b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
            )
            assert (status, body) == (200, b"onetwothree")
            assert b"transfer-encoding" not in fields
            assert fields[b"connection"] == b"close"

    run(scene())


def test_whole_replies_carry_their_length_and_head_keeps_it() -> None:
    """HEAD answers with the length GET would have; 204 and 304 have none; large bodies survive."""

    async def handler(request: Request, responder: Responder) -> None:
        if request.path == "/none":
            responder.send(204, b"", b"")
        else:
            responder.send(200, TEXT, b"x" * 300_000)

    async def scene() -> None:
        async with serving(handler) as server:
            wire = await dial(server.port)
            wire.send(b"HEAD /x HTTP/1.1\r\n" + H + b"\r\n")
            head = await wire.reader.readuntil(b"\r\n\r\n")
            assert b"content-length: 300000\r\n" in head
            assert b"date: " in head
            wire.send(b"GET /none HTTP/1.1\r\n" + H + b"\r\n")
            status, fields, _ = await wire.reply()
            assert status == 204
            assert b"content-length" not in fields
            wire.send(b"GET /x HTTP/1.1\r\n" + H + b"\r\n")
            assert len((await wire.reply())[2]) == 300_000
            wire.close()

    run(scene())


def test_errors_of_handlers_become_replies_until_bytes_have_left(caplog: pytest.LogCaptureFixture) -> None:
    """Kernel errors by the renderer, others as 500 without their text in reply or log, a cut once started."""

    async def handler(request: Request, responder: Responder) -> None:
        if request.path == "/limit":
            raise OverLimit(retry_after_s=3)
        if request.path == "/bug":
            raise ValueError("sk-secret")
        if request.path == "/late":
            responder.begin(200, TEXT)
            responder.write(b"some")
            await asyncio.sleep(0.01)
            raise ValueError("sk-secret")
        if request.path == "/unfinished":
            responder.begin(200, TEXT)

    async def scene() -> None:
        async with serving(handler) as server:
            wire = await dial(server.port)
            wire.send(post(b"", b"/limit") + post(b"", b"/bug") + post(b"", b"/silent"))
            assert [(await wire.reply())[0] for _ in range(3)] == [429, 500, 500]
            wire.close()
            for path in (b"/late", b"/unfinished"):
                wire = await dial(server.port)
                wire.send(post(b"", path))
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await wire.reply()
                wire.close()
            assert server.stats.failed == 2
            await until(lambda: server.stats.in_flight == 0)

    with caplog.at_level(logging.DEBUG):
        run(scene())
    assert "ValueError at" in caplog.text
    assert "sk-secret" not in caplog.text


# -- bounds on work ------------------------------------------------------------------------------------------


def test_requests_in_flight_and_connections_are_bounded_with_503() -> None:
    """At the bound served, over it 503, and room again afterwards."""
    release = asyncio.Event()

    async def handler(request: Request, responder: Responder) -> None:
        await release.wait()
        responder.send(200, TEXT, b"")

    async def scene() -> None:
        async with serving(handler, in_flight=2, connections=3) as server:
            held = [await dial(server.port) for _ in range(2)]
            for wire in held:
                wire.send(post(b""))
            await until(lambda: server.stats.in_flight == 2)
            third = await dial(server.port)
            third.send(post(b""))
            assert (await third.reply())[0] == 503
            fourth = await dial(server.port)
            assert (await fourth.reply())[0] == 503
            assert await fourth.ended()
            release.set()
            assert [(await wire.reply())[0] for wire in held] == [200, 200]
            third.send(post(b""))
            assert (await third.reply())[0] == 200
            assert server.stats.refused == 2
            for wire in (*held, third, fourth):
                wire.close()
            await until(lambda: server.stats.connections == 0)

    run(scene())


@pytest.mark.parametrize(
    ("sent", "limits"),
    [
        (b"POST /x HTT", {"header_timeout_s": SHORT}),
        (b"POST /x HTTP/1.1\r\nHost: a\r\nX: y\r\n", {"header_timeout_s": SHORT}),
        (post(b"x" * 10)[:-5], {"body_timeout_s": SHORT}),
        (
            b"POST /x HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
            {"body_timeout_s": SHORT},
        ),
    ],
)
def test_a_request_that_trickles_is_ended_with_408(sent: bytes, limits: dict[str, Any]) -> None:
    """Slowloris: a head or a body that does not come to its end in time."""

    async def scene() -> None:
        async with serving(**limits) as server:
            status, _, body = await ask(server.port, sent)
            assert status == 408, body
            assert server.stats.timed_out == 1
            await until(lambda: server.stats.connections == 0)
            assert server.stats.buffered_body_bytes == 0

    run(scene())


def test_a_slow_body_that_keeps_the_least_rate_is_not_cut() -> None:
    """Past the grace, the average rate decides."""

    async def scene() -> None:
        async with serving(body_timeout_s=0.05, body_rate_bytes_per_s=100) as server:
            wire = await dial(server.port)
            raw = post(b"x" * 50)
            wire.send(raw[:-25])  # 25 bytes earn a quarter of a second
            await asyncio.sleep(0.15)
            wire.send(raw[-25:])
            assert (await wire.reply())[0] == 200
            wire.close()

    run(scene())


def test_an_idle_connection_is_closed_quietly() -> None:
    """Before a first request and after one."""

    async def scene() -> None:
        async with serving(idle_timeout_s=SHORT) as server:
            fresh, used = await dial(server.port), await dial(server.port)
            used.send(post(b""))
            assert (await used.reply())[0] == 200
            assert await fresh.ended()
            assert await used.ended()
            fresh.close()
            used.close()
            await until(lambda: server.stats.connections == 0)
            assert server.stats.timed_out == 2

    run(scene())


# -- browsers ------------------------------------------------------------------------------------------------


def test_cors_denies_unless_the_origin_is_listed() -> None:
    """Preflights answered here, replies marked for listed origins only."""
    preflight = b"OPTIONS /x HTTP/1.1\r\n" + H + b"Access-Control-Request-Method: POST\r\nOrigin: "
    good, bad = b"https://app.example", b"https://evil.example"

    async def scene() -> None:
        async with serving(cors=Cors(origins=frozenset({good.decode()}))) as server:
            status, fields, _ = await ask(server.port, preflight + good + b"\r\n\r\n")
            assert status == 204
            assert fields[b"access-control-allow-origin"] == good
            assert b"POST" in fields[b"access-control-allow-methods"]
            status, fields, _ = await ask(server.port, preflight + bad + b"\r\n\r\n")
            assert status == 403
            assert b"access-control-allow-origin" not in fields
            for origin, listed in ((good, True), (bad, False)):
                _, fields, _ = await ask(server.port, post(b"", lines=b"Origin: " + origin + b"\r\n"))
                assert (fields.get(b"access-control-allow-origin") == origin) is listed
                assert fields[b"vary"] == b"origin"
            _, fields, _ = await ask(server.port, post(b""))
            assert b"access-control-allow-origin" not in fields
        async with serving(echo) as server:
            assert (await ask(server.port, preflight + good + b"\r\n\r\n"))[0] == 403
        async with serving(cors=Cors(origins=frozenset({"*"}))) as server:
            assert (await ask(server.port, preflight + bad + b"\r\n\r\n"))[0] == 204

    run(scene())


def test_many_pipelined_preflights_do_not_nest() -> None:
    """Given replies that need no handler, thousands in one write, then all are answered."""
    one = (
        b"OPTIONS /x HTTP/1.1\r\n"
        + H
        + b"Access-Control-Request-Method: POST\r\nOrigin: https://a.example\r\n\r\n"
    )

    async def scene() -> None:
        async with serving(cors=Cors(origins=frozenset({"*"}))) as server:
            wire = await dial(server.port)
            wire.send(one * 2000)
            assert {(await wire.reply())[0] for _ in range(2000)} == {204}
            wire.close()

    run(scene())
