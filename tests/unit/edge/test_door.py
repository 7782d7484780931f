"""The door of a process that cannot keep up: who is refused, in which words, and that each is counted."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.edge.auth import Authenticator
from penstock.edge.door import RETRY_AFTER_S, Door
from penstock.edge.routes import Policy, Routes
from penstock.kernel.context import Principal
from penstock.mechanisms.priorities import Priority
from penstock.net.request import Request
from tests.unit.edge.exchange import request

CRITICAL, HIGH, NORMAL, LOW = Priority
CHAT = "/v1/chat/completions"
GEMINI = "/v1beta/models/gemini-2:generateContent"


class Strict:
    """A shedder that admits some classes and remembers who asked."""

    def __init__(self, *admitted: Priority) -> None:
        self.admitted = admitted
        self.asked: list[Priority] = []

    def admits(self, priority: Priority) -> bool:
        self.asked.append(priority)
        return priority in self.admitted


class Book:
    """Notes who was turned away."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, Priority, str]] = []

    def note(self, principal: Principal | None, priority: Priority, request_id: str) -> None:
        self.noted.append(("" if principal is None else principal.key_id, priority, request_id))


class Keys:
    """Keys in memory: `pen-<tier>` is one of that tier."""

    def known(self, token: bytes) -> Principal | None:
        tier = token.decode().removeprefix("pen-")
        if tier == "stranger":
            return None
        return Principal(key_id=f"key of {tier}", org="a", team="t", project="p", user="u", tier=tier)


async def nothing(*_: Any) -> None:
    """Serve nothing."""


def door(*admitted: Priority) -> tuple[Door, Strict, Book]:
    """Return a door, what it asks and what it notes."""
    routes = Routes()
    routes.add("POST", CHAT, Policy.CALLER, nothing)
    routes.add("POST", "/v1/messages", Policy.CALLER, nothing)
    routes.add("GET", "/v1/models", Policy.CALLER, nothing)
    routes.mount("/v1beta/models/", Policy.CALLER, nothing, method="POST")
    routes.mount("/api/v1", Policy.DECLARED, nothing)
    shedder, book = Strict(*admitted), Book()
    keys: Any = Keys()
    made: Any = (routes, Authenticator(keys), shedder, book)
    return Door(*made), shedder, book


def call(path: str = CHAT, tier: str = "premium", **headers: str) -> Request:
    """Return a call for a model."""
    return request("POST", path, body=b"not even JSON", authorization=f"Bearer pen-{tier}", **headers)


@pytest.mark.parametrize(
    ("tier", "said", "is_taken_for"),
    [
        ("premium", "critical", CRITICAL),
        ("standard", "critical", HIGH),
        ("standard", "low", LOW),
        ("batch", "critical", LOW),
        ("standard", None, NORMAL),
        ("stranger", "critical", NORMAL),
        ("stranger", "low", LOW),
    ],
)
def test_the_class_is_what_was_asked_for_as_far_as_the_caller_is_known_to_go(
    tier: str, said: str | None, is_taken_for: Priority
) -> None:
    guard, shedder, _ = door(*Priority)
    assert guard(call(tier=tier, **({} if said is None else {"x_penstock_priority": said}))) is None
    assert shedder.asked == [is_taken_for]


@pytest.mark.parametrize(
    "asked",
    [
        request("GET", "/v1/models", authorization="Bearer pen-premium"),
        request("POST", "/api/v1/keys", authorization="Bearer pen-premium"),
        request("POST", "/nowhere"),
        request("POST", "/v1/models"),
        request("GET", "/healthz"),
    ],
    ids=lambda asked: f"{asked.method} {asked.path}",
)
def test_nothing_but_calls_for_models_is_refused(asked: Request) -> None:
    guard, shedder, _ = door()
    assert guard(asked) is None
    assert shedder.asked == []


@pytest.mark.parametrize("priority", list(Priority))
def test_a_refusal_is_in_openais_words_and_says_when_to_come_back(priority: Priority) -> None:
    guard, _, book = door()
    refused = guard(call(x_penstock_priority=priority.name.lower()))
    assert refused is not None
    status, headers, body = refused
    assert status == 503
    assert b"retry-after: %d\r\n" % RETRY_AFTER_S[priority] in headers
    assert b"x-should-retry: true\r\n" in headers
    assert msgspec.json.decode(body)["error"]["code"] == "overloaded"
    ((who, noted, request_id),) = book.noted
    assert (who, noted) == ("key of premium", priority)
    assert b"x-request-id: %b\r\n" % request_id.encode() in headers


def test_a_refusal_is_in_the_words_of_the_callers_sdk() -> None:
    guard, _, book = door()
    anthropic, google = guard(call("/v1/messages")), guard(call(GEMINI))
    assert anthropic is not None
    assert google is not None
    told = book.noted[0][2].encode()
    for name in (b"x-request-id", b"request-id"):  # the second is what Anthropic's SDKs read
        assert b"\r\n%b: %b\r\n" % (name, told) in anthropic[1]
    assert b"\r\nrequest-id" not in google[1]
    assert msgspec.json.decode(anthropic[2])["error"]["type"] == "overloaded_error"
    assert msgspec.json.decode(google[2])["error"]["status"] == "UNAVAILABLE"


def test_the_lower_the_class_the_later_it_is_asked_back() -> None:
    assert list(RETRY_AFTER_S) == sorted(RETRY_AFTER_S)
    assert list(RETRY_AFTER_S.values()) == sorted(RETRY_AFTER_S.values())


def test_each_refusal_has_an_id_of_its_own_and_a_stranger_is_counted_without_a_name() -> None:
    guard, _, book = door()
    for _ in range(3):
        assert guard(call(tier="stranger")) is not None
    assert guard(request("POST", CHAT)) is not None
    assert [who for who, _, _ in book.noted] == [""] * 4
    assert len({request_id for _, _, request_id in book.noted}) == 4
