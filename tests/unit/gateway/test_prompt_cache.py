"""Vendors' prompt caches on the request path: marked for who wants marks, byte for byte for everybody else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.gateway.prompt_cache import PromptCacheCare
from penstock.kernel.clock import ManualClock
from tests.support import run
from tests.unit.gateway.rig import Caller, House, Vendor, full, whole

LONG = "x" * 1024 * 20
ANTHROPIC = msgspec.json.encode(
    {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "small",
        "content": [{"type": "text", "text": "Hi."}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 9, "output_tokens": 3},
    }
)


def talk(vendor: Vendor, *others: Vendor) -> list[Any]:
    """Ask twice with one long system prompt; return what the first vendor was sent."""
    it = House(vendor, *others)
    it.pipeline.inspections = (PromptCacheCare(ManualClock()),)
    for words in ("one", "two"):
        messages = [{"role": "system", "content": LONG}, {"role": "user", "content": words}]
        run(it.serve(Caller(), model="both", messages=messages, max_tokens=5))
    return [call.body for call in vendor.calls]


def test_a_system_prompt_that_comes_again_is_marked_for_a_vendor_that_wants_marks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vendor = Vendor("dear", full(ANTHROPIC))
    monkeypatch.setattr(vendor, "dialect", "anthropic", raising=False)
    first, second = map(msgspec.json.decode, talk(vendor))
    assert "cache_control" not in str(first)
    assert second["system"] == [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}]
    assert second["messages"] == [{"role": "user", "content": "two"}]


def test_nothing_is_marked_where_another_back_end_would_refuse_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    vendor = Vendor("dear", full(ANTHROPIC))
    monkeypatch.setattr(vendor, "dialect", "anthropic", raising=False)
    used = {"usage": {"prompt_tokens": 9, "completion_tokens": 3}}
    assert b"cache_control" not in b"".join(talk(vendor, Vendor("sim", full(whole(**used)))))


def test_a_vendor_that_keeps_prefixes_by_itself_gets_what_the_caller_wrote() -> None:
    used = {"usage": {"prompt_tokens": 9, "completion_tokens": 3}}
    bodies = talk(Vendor("dear", full(whole(**used))))
    assert len(bodies) == 2 and b"cache_control" not in b"".join(bodies)
    start = LONG.encode()
    assert bodies[0][: bodies[0].index(start)] == bodies[1][: bodies[1].index(start)]
