"""The OpenAI face: every reply is told apart by its id, and a client that leaves is heard."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
import pytest

from penstock.gateway import http
from penstock.gateway.faces import OPENAI
from penstock.gateway.http import Chats
from penstock.gateway.story import Story
from penstock.kernel.context import Principal, RequestContext
from penstock.net.request import Request
from penstock.ports.providers import ProviderFailure
from tests.support import run
from tests.unit.gateway.rig import (
    DONE,
    FINISH,
    HANG,
    ROLE,
    USAGE,
    Caller,
    House,
    Vendor,
    chat,
    full,
    stream,
    text,
    whole,
)
from tests.unit.gateway.test_admission import principal

TOLD = {"usage": {"prompt_tokens": 9, "completion_tokens": 3}}


class Desk:
    """The face over a house, and clients that come to it."""

    def __init__(self, *vendors: Vendor, drain_vanished: bool = False) -> None:
        self.house = House(*vendors)
        idempotency: Any = Kept(self.house)
        self.chats = Chats(
            self.house.pipeline,
            idempotency,
            self.house.clock,
            deadline_s=60.0,
            drain_vanished=drain_vanished,
        )

    def post(
        self, caller: Caller, body: bytes | None = None, who: Principal | None = None, **headers: str
    ) -> asyncio.Task[None]:
        """Send one chat in a task of its own, as the server does."""
        client: Any = caller
        request = asked("POST", "/v1/chat/completions", chat(stream=True) if body is None else body, headers)
        task = asyncio.get_running_loop().create_task(
            self.chats.chat(OPENAI, request, client, who or principal())
        )
        caller.task = task
        return task


class Kept:
    """Idempotency that keeps nothing: only that a request with a key goes through here."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def serve(
        self, context: RequestContext, _key: bytes, inquiry: Any, client: Any, _line: Any
    ) -> None:
        await self._house.pipeline.serve(context, inquiry, client, Story(context, self._house.clock))


def asked(method: str, path: str, body: bytes, headers: dict[str, str]) -> Request:
    """Return a parsed request."""
    fields = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    request = Request(method, path, b"", list(fields.items()), fields)
    request.body = body
    return request


def posted(desk: Desk, body: bytes, **headers: str) -> Caller:
    """Send one chat and return what its client got."""
    caller = Caller()

    async def send() -> None:
        await desk.post(caller, body, **headers)

    run(send())
    return caller


def ids(caller: Caller) -> list[bytes]:
    """Return the request ids on a reply."""
    return re.findall(rb"x-request-id: (req_[0-9a-zA-Z]+)\r\n", caller.headers)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (full(whole(**TOLD)), 200),
        (stream(ROLE, text("Hi"), FINISH, USAGE, DONE), 200),
        (ProviderFailure("no", kind="invalid"), 400),
        (ProviderFailure("busy", kind="overloaded"), 503),
    ],
)
def test_every_reply_carries_one_request_id_which_is_the_audits(answer: Any, status: int) -> None:
    desk = Desk(Vendor("sim", answer))
    caller = posted(desk, chat())
    assert caller.status == status
    assert ids(caller) == [desk.house.events[0].request_id.encode()]


def test_a_refusal_names_field_and_remedy_and_nothing_is_called() -> None:
    desk = Desk(Vendor("sim", HANG))
    caller = posted(desk, b'{"model":"small"}')
    error = msgspec.json.decode(caller.body)["error"]
    assert (caller.status, error["param"], error["type"]) == (400, "messages", "invalid_request_error")
    assert error["remedy"]
    assert len(ids(caller)) == 1
    assert desk.house.ledger.holds == []


@pytest.mark.parametrize("drain", [False, True])
def test_a_client_that_leaves_stops_the_vendor_or_lets_it_finish_as_the_operator_chose(drain: bool) -> None:
    vendor = Vendor("sim", stream(text("Hi"), text(" there"), FINISH, USAGE, DONE))
    desk = Desk(vendor, drain_vanished=drain)

    async def leave() -> None:
        caller = Caller(paused=True)
        task = desk.post(caller)
        while not caller.drained:
            await asyncio.sleep(0)
        caller.vanish()
        assert desk.chats.draining == drain
        await task

    run(leave())
    [posting] = desk.house.ledger.postings
    assert posting.estimated != drain
    assert posting.amount_nanos > 0
    assert desk.chats.draining == 0
    assert vendor.replies[0].closed
    assert desk.house.events[0].status == (200 if drain else 499)


def test_the_vendors_read_for_nobody_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "DRAINS_MAX", 1)
    desk = Desk(Vendor("sim", stream(text("Hi"), HANG)), drain_vanished=True)

    async def leave() -> None:
        callers = [Caller() for _ in range(2)]
        tasks = [desk.post(caller) for caller in callers]
        while not all(caller.body for caller in callers):
            await asyncio.sleep(0)
        for caller in callers:
            caller.vanish()
        for _ in range(100):
            await asyncio.sleep(0)
        assert (desk.chats.draining, tasks[0].done(), tasks[1].done()) == (1, False, True)
        tasks[0].cancel()
        await asyncio.wait(tasks)
        assert desk.chats.draining == 0

    run(leave())
    assert len(desk.house.ledger.postings) == 2


def test_a_request_with_a_key_goes_on_for_a_client_that_left() -> None:
    desk = Desk(Vendor("sim", stream(text("Hi"), text(" there"), FINISH, USAGE, DONE)))

    async def leave() -> None:
        caller = Caller(paused=True)
        task = desk.post(caller, idempotency_key="k1")
        while not caller.drained:
            await asyncio.sleep(0)
        caller.vanish()
        await task

    run(leave())
    assert not desk.house.ledger.postings[0].estimated


def test_a_drain_before_the_first_byte_is_a_503_that_says_when_to_come_back() -> None:
    desk = Desk(Vendor("sim", HANG))

    async def drained() -> Caller:
        caller = Caller()
        task = desk.post(caller)
        while not desk.house.ledger.holds:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await task
        return caller

    caller = run(drained())
    assert caller.status == 503
    assert b'"draining"' in caller.body
    assert b"retry-after: 1\r\n" in caller.headers
    assert len(ids(caller)) == 1
    assert (desk.house.events[0].status, desk.house.events[0].error) == (503, "draining")


@pytest.mark.parametrize(
    ("leaves", "status", "error"), [(False, 503, "draining"), (True, 499, "client_gone")]
)
def test_a_cut_stream_is_in_the_books_as_what_its_caller_was_told(
    leaves: bool, status: int, error: str
) -> None:
    desk = Desk(Vendor("sim", stream(text("Hi"), HANG)))

    async def cut() -> Caller:
        caller = Caller()
        task = desk.post(caller)
        while not caller.body:
            await asyncio.sleep(0)
        caller.vanish() if leaves else task.cancel()
        await asyncio.wait([task])
        return caller

    caller = run(cut())
    assert (b"draining" in caller.body) is not leaves
    assert (desk.house.events[0].status, desk.house.events[0].error) == (status, error)
    assert [attempt.outcome for attempt in desk.house.ledger.postings[0].attempts] == [error]


@pytest.mark.parametrize(("tag", "kept"), [("search", "search"), ("x" * 64, "x" * 64), ("x" * 65, "x" * 64)])
def test_the_feature_tag_reaches_the_audit_bounded(tag: str, kept: str) -> None:
    desk = Desk(Vendor("sim", full(whole(**TOLD))))
    posted(desk, chat(), x_penstock_feature=tag)
    assert desk.house.events[0].feature == kept
