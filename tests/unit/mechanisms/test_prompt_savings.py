"""What vendors' prompt caches saved: counted once, by organisation and back end, without what we kept ourselves."""

from __future__ import annotations

import msgspec
import pytest

from penstock.kernel.events import RequestEvent
from penstock.mechanisms import prompt_savings
from penstock.mechanisms.prompt_savings import PromptSavings, PromptSum


def event(org: str = "acme", model: str = "sonnet", **more: object) -> RequestEvent:
    """Return a request of 1,000 tokens of which the vendor had kept 800."""
    fields: dict[str, object] = {"provider": "anthropic", "input_tokens": 1_000, "cached_tokens": 800}
    fields |= {"saved_nanos": 70} | more
    return msgspec.structs.replace(
        RequestEvent(request_id="r", at_s=1.0, org=org, model_used=model), **fields
    )


def test_requests_count_once_under_the_back_end_that_answered() -> None:
    savings = PromptSavings()
    savings([event(), event(saved_nanos=-30), event(org="other"), event(model="haiku")])
    whole = PromptSum(requests=2, input_tokens=2_000, cached_tokens=1_600, saved_nanos=40)
    assert savings.of("acme")["anthropic/sonnet"] == whole
    assert set(savings.of("acme")) == {"anthropic/sonnet", "anthropic/haiku"}
    assert savings.of("nobody") == {}


def test_what_we_kept_and_what_nobody_answered_is_no_saving_of_a_vendor() -> None:
    savings = PromptSavings()
    savings([event(cache="exact"), event(cache="stale"), event(provider="")])
    assert savings.of("acme") == {}


def test_what_there_is_no_room_for_is_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_savings, "MODELS_MOST", 2)
    savings = PromptSavings()
    savings([event(model=f"m{number}") for number in range(5)])
    assert {name: each.requests for name, each in savings.of("acme").items()} == {
        "anthropic/m0": 1,
        "anthropic/m1": 1,
        "": 3,
    }
