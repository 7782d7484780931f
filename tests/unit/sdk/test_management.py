"""The client asks each route as the server expects it, pages to the end, and never pastes an argument into a path."""

from __future__ import annotations

import msgspec
import pytest

from penstock.kernel.context import Cap
from penstock.kernel.errors import Invalid, Upstream
from penstock.sdk.management import PAGE_ROWS, ManagementClient
from penstock.sdk.replies import KeyRequest, ScopeRequest
from penstock.sdk.transport import HttpTransport
from tests.support import run

KEY = {
    "id": "k1", "org": "default", "team": "t", "project": "p", "user": "u", "name": "", "role": "caller", "models": [],
    "rate": {}, "caps": [], "max_input_tokens": 0, "max_output_tokens": 0, "max_request_nanos": 0, "created_s": 1.0,
    "expires_s": 0.0, "revoked_s": 0.0, "end_users": False, "tier": "standard", "unknown_to_us": 1,
}  # fmt: skip


class Recorder:
    """A transport that answers from a list and remembers what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.calls = []
        self.closed = False

    async def call(self, method, target, body=b""):
        self.calls.append((method, target, body))
        answer = self.answers.pop(0)
        return answer if isinstance(answer, bytes) else msgspec.json.encode(answer)

    async def close(self):
        self.closed = True


def test_a_key_is_made_with_what_differs_from_the_defaults():
    wire = Recorder({"key": KEY, "token": "pen-x"})
    request = KeyRequest(team="search", caps=(Cap(window="day", limit_nanos=5),))
    made = run(ManagementClient(wire).create_key(request))
    method, target, body = wire.calls[0]
    assert (method, target) == ("POST", "/api/v1/keys")
    sent = msgspec.json.decode(body)
    assert sent["team"] == "search"
    assert sent["caps"][0]["limit_nanos"] == 5
    assert "role" not in sent
    assert made.token == "pen-x"


@pytest.mark.parametrize(
    ("rows", "calls"), [(0, 1), (1, 1), (PAGE_ROWS - 1, 1), (PAGE_ROWS, 2), (PAGE_ROWS + 1, 2)]
)
def test_a_list_is_read_to_its_end_and_not_past_it(rows, calls):
    keys = [KEY | {"id": f"k{number:05d}"} for number in range(rows)]
    wire = Recorder(keys[:PAGE_ROWS], keys[PAGE_ROWS:])
    found = run(ManagementClient(wire).keys("acme"))
    assert [key.id for key in found] == [key["id"] for key in keys]
    assert len(wire.calls) == calls
    if calls == 2:
        assert f"after={keys[PAGE_ROWS - 1]['id']}" in wire.calls[1][1]


def test_usage_asks_for_the_organisation_and_what_is_below_it_apart():
    row = {"account": "org:acme@total", "posted_nanos": 1, "held_nanos": 0, "requests": 1}
    wire = Recorder([row], [])
    assert len(run(ManagementClient(wire).usage("acme"))) == 1
    assert ["prefix=%40" in wire.calls[0][1], "prefix=%2F" in wire.calls[1][1]] == [True, True]


def test_arguments_are_encoded_never_pasted():
    wire = Recorder(KEY, [])
    client = ManagementClient(wire)
    run(client.revoke_key("../scopes?x=1"))
    run(client.budgets("a&org=b"))
    assert wire.calls[0][1] == "/api/v1/keys/..%2Fscopes%3Fx%3D1"
    assert wire.calls[1][1] == "/api/v1/budgets?org=a%26org%3Db"


def test_a_scope_keeps_its_level_whatever_the_defaults():
    scope = {
        "path": "p",
        "level": "org",
        "name": "",
        "rate": {},
        "caps": [],
        "user_rate": {},
        "user_caps": [],
    }
    wire = Recorder(scope)
    run(ManagementClient(wire).put_scope(ScopeRequest(level="org")))
    assert msgspec.json.decode(wire.calls[0][2]) == {"level": "org"}


@pytest.mark.parametrize("answer", [b"<html>", b"{}", b'{"key": {}}'])
def test_a_reply_not_understood_says_so(answer):
    with pytest.raises(Upstream, match="not understood"):
        run(ManagementClient(Recorder(answer)).verify_ledger())


def test_the_transport_is_closed_with_the_client():
    wire = Recorder([])

    async def use():
        async with ManagementClient(wire) as client:
            await client.budgets()

    run(use())
    assert wire.closed


@pytest.mark.parametrize("key", ["a b", "a\r\nx: y", "sch\u00fcssel", "a\n"])
def test_a_key_that_would_break_a_header_is_refused_and_not_shown(key):
    with pytest.raises(Invalid) as refusal:
        HttpTransport("http://127.0.0.1:1", key)
    assert key not in str(refusal.value)
