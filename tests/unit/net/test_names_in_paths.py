"""Escaped slashes are refused everywhere but in the names of what is read, and there they hide nothing."""

from __future__ import annotations

import pytest

from penstock.net.limits import ServerLimits
from penstock.net.refusals import TargetRefused
from penstock.net.request import HeadParser

BELOW = ("/v1/models/",)


def path_of(target: str, method: str = "GET", below: tuple[str, ...] = BELOW) -> str:
    """Return the path of a request for `target`; raises what refuses it."""
    head = f"{method} {target} HTTP/1.1\r\nhost: gate\r\n\r\n".encode()
    return HeadParser(ServerLimits(), None, below).parse(head).path


@pytest.mark.parametrize(
    "target", ["/v1/models/meta%2Fllama", "/v1/models/meta%2fllama", "/v1/models/a%2Fb%2Fc%20d", "/v1/models/a%2Fb?x=1"]
)  # fmt: skip
def test_a_name_may_hold_escaped_slashes_and_stays_as_it_was_written(target: str) -> None:
    assert path_of(target) == target.partition("?")[0]


@pytest.mark.parametrize(
    ("target", "method", "below"),
    [
        ("/v1/models/meta%2Fllama", "GET", ()),
        ("/v1/models/meta%2Fllama", "POST", BELOW),
        ("/v1/models/meta%2Fllama", "HEAD", BELOW),
        ("/v1/models/meta%2Fllama", "DELETE", BELOW),
        ("/v1/models%2Fllama", "GET", BELOW),
        ("/v1%2Fmodels/llama", "GET", BELOW),
        ("/api/v1/models/meta%2Fllama", "GET", BELOW),
        ("/v1/models/..%2F..%2Fapi", "GET", BELOW),
        ("/v1/models/a%2F..%2Fb", "GET", BELOW),
        ("/v1/models/a%2F.", "GET", BELOW),
        ("/v1/models/%2Fa", "GET", BELOW),
        ("/v1/models/a%2F%2Fb", "GET", BELOW),
        ("/v1/models/a%2F/b", "GET", BELOW),
        ("/v1/models/%2e%2e%2Fapi", "GET", BELOW),
        ("/v1/models/a%2F%2E%2E%2Fb", "GET", BELOW),
        ("/v1/models/a%2F%5Cb", "GET", BELOW),
        ("/v1/models/a%2F%00b", "GET", BELOW),
        ("/v1/models/a%2", "GET", BELOW),
        ("http://gate/v1/models/..%2Fb", "GET", BELOW),
    ],
)
def test_what_two_programs_could_read_differently_is_refused(
    target: str, method: str, below: tuple[str, ...]
) -> None:
    with pytest.raises(TargetRefused):
        path_of(target, method, below)


def test_a_slash_that_is_escaped_twice_is_no_slash() -> None:
    """``%252F`` is a name that holds a percent sign: nobody unescapes twice."""
    assert path_of("/v1/models/a%252Fb") == "/v1/models/a%252Fb"
