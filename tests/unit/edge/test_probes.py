"""Probes: alive says so, ready says whether traffic should come, and each reply can be told apart."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.edge.auth import ANYONE
from penstock.edge.probes import Probes
from tests.support import run
from tests.unit.edge.exchange import Replies, request


def asked(name: str, dependencies: dict[str, bool] | None = None) -> Replies:
    """Ask one probe."""
    probes = Probes(lambda: dependencies or {}, lambda: b"up 1\n")
    responder: Any = Replies()
    run(getattr(probes, name)(request(), responder, ANYONE))
    assert len(responder.header("x-request-id")) == 1
    return responder


def test_alive_asks_nothing_of_anybody() -> None:
    assert asked("alive", {"ledger": False, "draining": True}).status == 200


@pytest.mark.parametrize(
    ("dependencies", "status"),
    [
        ({"ledger": True, "draining": False}, 200),
        ({"ledger": True, "state": False, "draining": False}, 200),
        ({"ledger": False, "draining": False}, 503),
        ({"ledger": True, "draining": True}, 503),
    ],
)
def test_ready_is_about_money_and_draining_and_tells_of_the_rest(
    dependencies: dict[str, bool], status: int
) -> None:
    replies = asked("ready", dependencies)
    assert replies.status == status
    assert msgspec.json.decode(replies.body)["dependencies"] == dependencies


def test_metrics_are_prometheus_text() -> None:
    replies = asked("metrics")
    assert replies.body == b"up 1\n"
    assert replies.header("content-type") == ["text/plain; version=0.0.4; charset=utf-8"]
