"""`penstock cache` and `penstock alerts`: what is kept and saved, when alerts fire, and what became of each message."""

from __future__ import annotations

import json

import msgspec

from penstock.sdk.oversight import AlertRule, Deliveries, Delivery, WebhookTarget
from penstock.sdk.replies import CacheClass, CacheFigures, PromptCacheRow

HEADS = {"hits": 3, "misses": 9, "kept": 8, "saved_nanos": 1_500_000_000}


def test_the_cache_is_shown_by_class_and_with_what_vendors_kept(far, penstock):
    figures = CacheFigures(org="acme", classes={"semi": CacheClass(hits=3, kept=8, saved_nanos=7)}, **HEADS)
    prompts = (
        PromptCacheRow(backend="a/sonnet", requests=2, input_tokens=200, cached_tokens=150, saved_nanos=-5),
    )
    far.answers |= {"GET /cache": figures, "GET /cache/prompts": prompts}
    code, said, _ = penstock("cache", "status", "--org", "acme")
    assert code == 0 and "3 of 12 (25 %)" in said and "3 served, 8 kept" in said
    [row] = [line for line in said.splitlines() if line.startswith("a/sonnet")]
    assert "75 %" in row and "-$0.000000005" in row
    told = json.loads(penstock("cache", "status", "--json")[1])
    assert (told["hits"], told["prompts"][0]["backend"]) == (3, "a/sonnet")
    assert far.queries("GET /cache/prompts") == [{"org": "acme"}, {}]


def test_rules_and_messages_are_shown_with_why_one_was_not_taken(far, penstock):
    rule = AlertRule(rule="user-over", kind="user_over", severity="warning", limit=5e10)
    far.answers["GET /alerts/rules"] = (rule, msgspec.structs.replace(rule, rule="pii-skips", off=True))
    said = penstock("alerts", "rules")[1]
    assert "50,000,000,000" in said and "off" in said
    message = Delivery(
        target="on-call", type="alert.firing", org="acme", text="redis is down", at_s=5.0, state="dead", attempts=12,
        failure="the answer was 500",
    )  # fmt: skip
    target = WebhookTarget(name="on-call", form="json", signed=False)
    far.answers["GET /alerts/deliveries"] = Deliveries(targets=(target,), deliveries=(message,))
    said = penstock("alerts", "messages")[1]
    assert "not signed" in said and "dead" in said and "the answer was 500" in said
