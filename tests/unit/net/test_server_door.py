"""The door of the server: it sees whole requests before anybody works for them, and what it says is the reply."""

from __future__ import annotations

import pytest

from penstock.net.server import Request, Responder
from tests.support import run
from tests.unit.net.rig import TEXT, H, dial, post, serving

REFUSAL = (503, b"retry-after: 1\r\n", b"full")
SEPARATE = 70_000


def refuse_low(request: Request) -> tuple[int, bytes, bytes] | None:
    """Refuse what says it is low."""
    return REFUSAL if request.header(b"urgency") == b"low" else None


def low(body: bytes) -> bytes:
    """Return a request that is refused."""
    return post(body, lines=b"urgency: low\r\n")


@pytest.mark.parametrize("body", [b"", b"x" * 10, b"x" * SEPARATE])
def test_a_refused_request_is_answered_without_a_handler_and_the_connection_serves_on(body: bytes) -> None:
    served: list[bytes] = []

    async def handler(request: Request, responder: Responder) -> None:
        served.append(request.body)
        responder.send(200, TEXT, b"in")

    async def scene() -> None:
        async with serving(handler) as server:
            server.guard(refuse_low)
            wire = await dial(server.port)
            wire.send(low(body))
            status, fields, said = await wire.reply()
            assert (status, fields[b"retry-after"], said) == (503, b"1", b"full")
            wire.send(post(b"me"))
            assert (await wire.reply())[2] == b"in"
            assert served == [b"me"]
            assert (server.stats.requests, server.stats.refused, server.stats.in_flight) == (2, 1, 0)
            assert server.stats.buffered_body_bytes == 0
            wire.close()

    run(scene())


def test_refusals_of_pipelined_requests_keep_their_order() -> None:
    async def handler(_request: Request, responder: Responder) -> None:
        responder.send(200, TEXT, b"in")

    async def scene() -> None:
        async with serving(handler) as server:
            server.guard(refuse_low)
            wire = await dial(server.port)
            wire.send(low(b"1") + post(b"2") + low(b"3") + low(b"4") + post(b"5"))
            assert [(await wire.reply())[0] for _ in range(5)] == [503, 200, 503, 503, 200]
            wire.close()

    run(scene())


def test_a_chunked_body_is_read_and_then_refused() -> None:
    async def handler(_request: Request, responder: Responder) -> None:
        responder.send(200, TEXT, b"in")

    async def scene() -> None:
        async with serving(handler) as server:
            server.guard(refuse_low)
            wire = await dial(server.port)
            wire.send(b"POST /x HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\nurgency: low\r\n\r\n")
            wire.send(b"3\r\nabc\r\n0\r\n\r\n" + post(b"next"))
            assert [(await wire.reply())[0] for _ in range(2)] == [503, 200]
            wire.close()

    run(scene())


def test_without_a_door_everybody_is_let_in_again() -> None:
    async def handler(_request: Request, responder: Responder) -> None:
        responder.send(200, TEXT, b"in")

    async def scene() -> None:
        async with serving(handler) as server:
            server.guard(refuse_low)
            server.guard(None)
            wire = await dial(server.port)
            wire.send(low(b""))
            assert (await wire.reply())[0] == 200
            wire.close()

    run(scene())
