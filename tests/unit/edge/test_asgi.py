"""The bridge to ASGI: an application sees the admitted request and its reply streams at the client's pace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from penstock.edge.asgi import AsgiApp, AsgiBridge, Message, Receive, Send
from penstock.edge.caller import Caller
from penstock.kernel.context import Principal
from penstock.kernel.errors import Broken, Unauthenticated
from penstock.net.request import Request
from tests.support import run
from tests.unit.edge.exchange import Replies, request

ADMIN = Principal(key_id="k", org="a", team="t", project="p", user="u", role="admin")


async def bridged(app: AsgiApp, asked: Request | None = None, replies: Replies | None = None) -> Replies:
    """Serve one request through `app`."""
    responder: Any = replies or Replies()
    await AsgiBridge(app).serve(asked or request(), responder, ADMIN)
    return responder


def start(status: int = 200, *headers: tuple[bytes, bytes]) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(data: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def says(*messages: Message) -> AsgiApp:
    """Return an application that sends `messages`."""

    async def app(_scope: Message, _receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


def test_the_application_sees_the_request_as_asgi_has_it_and_its_caller() -> None:
    seen: dict[str, Any] = {}

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        seen.update(scope)
        seen["received"] = await receive()
        await send(start(204))
        await send(body(b""))

    asked = request("PUT", "/api/v1/caf%C3%A9", query="a=1&b=%20", body=b"{}", x_one="1")
    assert run(bridged(app, asked)).status == 204
    assert (seen["method"], seen["path"], seen["raw_path"]) == (
        "PUT", "/api/v1/café", b"/api/v1/caf%C3%A9",
    )  # fmt: skip
    assert (seen["query_string"], seen["headers"]) == (b"a=1&b=%20", [(b"x-one", b"1")])
    assert seen["received"] == {"type": "http.request", "body": b"{}", "more_body": False}
    assert seen["state"]["principal"] is ADMIN
    assert seen["state"]["caller"].kind == "key"
    assert seen["client"] == ("192.0.2.1", 0)


def test_a_whole_reply_keeps_its_headers_but_those_the_server_writes_and_has_one_request_id() -> None:
    headers = ((b"content-type", b"text/plain"), (b"content-length", b"99"), (b"date", b"never"))
    replies = run(bridged(says(start(201, *headers), body(b"made"))))
    assert (replies.status, replies.body, replies.pieces) == (201, b"made", [])
    assert replies.header("content-type") == ["text/plain"]
    assert replies.header("content-length") == replies.header("date") == []
    assert len(replies.header("x-request-id")) == 1


def test_the_caller_is_who_was_identified_and_the_reply_has_the_id_that_changes_carry() -> None:
    seen: list[Any] = []

    async def app(scope: Message, _receive: Receive, send: Send) -> None:
        seen.append(scope["state"])
        await send(start(200))
        await send(body(b""))

    async def identify(asked: Request, principal: Principal, request_id: str) -> Caller:
        person = msgspec.structs.replace(principal, role="developer")
        return Caller(principal=person, kind="person", name="Ann", request_id=request_id, peer=asked.peer)

    async def case() -> list[str]:
        told: list[str] = []
        for _ in range(2):
            replies: Any = Replies()
            await AsgiBridge(app, identify).serve(request(), replies, ADMIN)
            told += replies.header("x-request-id")
        return told

    told = run(case())
    assert [state["request_id"] for state in seen] == told
    assert len(set(told)) == 2
    for state in seen:
        assert state["principal"] is state["caller"].principal
        author = state["caller"].author()
        assert (author.name, author.role, author.request_id) == ("Ann", "developer", state["request_id"])


def test_an_application_is_not_asked_when_nobody_can_be_identified() -> None:
    async def gone(_asked: Request, _principal: Principal, _request_id: str) -> Caller:
        raise Unauthenticated("This session has ended.")

    async def app(_scope: Message, _receive: Receive, _send: Send) -> None:
        raise AssertionError

    responder: Any = Replies()
    with pytest.raises(Unauthenticated):
        run(AsgiBridge(app, gone).serve(request(), responder, ADMIN))
    assert not responder.started


def test_a_stream_leaves_piece_by_piece() -> None:
    replies = run(bridged(says(start(), body(b"one", more=True), body(b"two", more=True), body(b"end"))))
    assert replies.pieces == [b"one", b"two", b"end"]
    assert replies.complete


def test_an_application_waits_for_a_slow_client() -> None:
    sent: list[bytes] = []

    async def app(_scope: Message, _receive: Receive, send: Send) -> None:
        await send(start())
        for data in (b"one", b"two"):
            await send(body(data, more=True))
            sent.append(data)
        await send(body(b""))

    async def slow() -> None:
        replies = Replies()
        replies.paused = True
        task = asyncio.create_task(bridged(app, replies=replies))
        for _ in range(5):
            await asyncio.sleep(0)
        assert (sent, replies.pieces) == ([], [b"one"])
        replies.resumed.set()
        await task
        assert sent == [b"one", b"two"]

    run(slow())


@pytest.mark.parametrize("waiting", ["receive", "send"])
def test_an_application_is_told_when_its_client_leaves(waiting: str) -> None:
    told: list[str] = []

    async def app(_scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        await send(start())
        await send(body(b"one", more=True))
        told.append((await receive())["type"])
        await send(body(b"", more=False))

    async def leave() -> None:
        replies = Replies()
        replies.paused = waiting == "send"
        task = asyncio.create_task(bridged(app, replies=replies))
        for _ in range(5):
            await asyncio.sleep(0)
        replies.vanish()
        await task

    run(leave())
    assert told == ["http.disconnect"]


async def _raises(_scope: Message, _receive: Receive, _send: Send) -> None:
    raise ValueError("a bug")


@pytest.mark.parametrize(("app", "error"), [(says(), Broken), (says(start()), Broken), (_raises, ValueError)])
def test_an_application_that_never_answers_is_answered_for(app: AsgiApp, error: type[Exception]) -> None:
    replies = Replies()
    with pytest.raises(error):
        run(bridged(app, replies=replies))
    assert not replies.started


def test_a_reply_that_stops_half_way_is_cut_and_never_looks_whole() -> None:
    replies = run(bridged(says(start(), body(b"half", more=True))))
    assert replies.aborted


def test_a_message_that_is_not_http_is_a_bug() -> None:
    with pytest.raises(Broken):
        run(bridged(says({"type": "websocket.accept"})))


def test_two_exchanges_do_not_meet() -> None:
    def app_of(name: bytes) -> Callable[[], Awaitable[Replies]]:
        return lambda: bridged(says(start(200, (b"x-name", name)), body(name)))

    async def both() -> list[Replies]:
        return list(await asyncio.gather(app_of(b"one")(), app_of(b"two")()))

    assert [each.body for each in run(both())] == [b"one", b"two"]
