"""Routes: exact, each under a policy, and honest about what is not there."""

from __future__ import annotations

import pytest

from penstock.edge.errors import render
from penstock.edge.routes import MethodNotAllowed, Policy, RouteEntry, Routes
from penstock.kernel.errors import Invalid, NotFound, Unauthenticated


async def serve(*_: object) -> None:
    """Serve nothing."""


def table() -> Routes:
    """Return a small table."""
    routes = Routes()
    routes.add("GET", "/a", Policy.PUBLIC, serve)
    routes.add("POST", "/a", Policy.METRICS, serve)
    routes.add("POST", "/b", Policy.CALLER, serve)
    routes.mount("/api/v1/", Policy.METRICS, serve)
    return routes


@pytest.mark.parametrize(
    ("method", "path", "policy"),
    [
        ("GET", "/a", Policy.PUBLIC),
        ("HEAD", "/a", Policy.PUBLIC),
        ("POST", "/a", Policy.METRICS),
        ("POST", "/b", Policy.CALLER),
        ("GET", "/api/v1/keys", Policy.METRICS),
        ("DELETE", "/api/v1/keys/k", Policy.METRICS),
    ],
)
def test_a_route_is_found_with_its_own_policy(method: str, path: str, policy: Policy) -> None:
    assert table().find(method, path).policy is policy


def test_a_mount_may_be_of_one_method_only() -> None:
    routes = Routes()
    routes.mount("/v1/models/", Policy.CALLER, serve, method="POST")
    assert routes.find("POST", "/v1/models/m:generateContent").policy is Policy.CALLER
    with pytest.raises(NotFound):
        routes.find("GET", "/v1/models/m")


@pytest.mark.parametrize(
    ("path", "member"),
    [
        ("/v1/chat/completions", b'"param":'),
        ("/v1/messages", b'"type":"error"'),
        ("/v1/messages/count_tokens", b'"type":"error"'),
        ("/v1beta/models/m:generateContent", b'"status":"UNAUTHENTICATED"'),
        ("/v1/models/m:generateContent", b'"status":"UNAUTHENTICATED"'),
        ("/v1/models/m", b'"param":'),
        ("/nowhere", b'"param":'),
    ],
)
def test_an_error_is_told_in_the_dialect_of_the_path(path: str, member: bytes) -> None:
    status, headers, body = render(Unauthenticated(), path)
    assert status == 401 and member in body and b"x-request-id: req_" in headers


@pytest.mark.parametrize("path", ["/", "/a/", "/A", "/ab", "/api/v1", "/api/v2/keys", "/x/api/v1/keys", ""])
def test_nothing_is_served_that_was_not_declared(path: str) -> None:
    with pytest.raises(NotFound) as caught:
        table().find("GET", path)
    assert not isinstance(caught.value, MethodNotAllowed)


@pytest.mark.parametrize(("method", "path", "allowed"), [("PUT", "/a", "GET, POST"), ("HEAD", "/b", "POST")])
def test_another_method_is_told_which_are_allowed_as_http_demands(
    method: str, path: str, allowed: str
) -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        table().find(method, path)
    status, headers, _ = render(caught.value, path)
    assert status == 405
    assert b"allow: %b\r\n" % allowed.encode() in headers


def test_a_route_is_declared_once() -> None:
    routes = table()
    with pytest.raises(Invalid):
        routes.add("GET", "/a", Policy.PUBLIC, serve)


def test_there_is_no_route_without_a_policy() -> None:
    with pytest.raises(TypeError):
        RouteEntry(method="GET", path="/a", serve=serve)  # pyright: ignore[reportCallIssue]  # that is the promise


def test_every_route_is_listed_for_the_reference() -> None:
    assert [(each.method, each.path) for each in table().entries()] == [
        ("GET", "/a"), ("POST", "/a"), ("POST", "/b"), ("*", "/api/v1/"),
    ]  # fmt: skip


def test_an_error_has_a_fresh_id_each_time_and_a_401_says_how_to_authenticate() -> None:
    headers = [render(Unauthenticated(), "/v1/x")[1] for _ in range(2)]
    assert headers[0] != headers[1]
    assert all(each.count(b"x-request-id: req_") == 1 for each in headers)
    assert all(b"www-authenticate: Bearer\r\n" in each for each in headers)
