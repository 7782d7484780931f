"""What is known of servers that speak OpenAI's words: every fact has its source, nothing that matters is dropped."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.adapters.providers.openai import OpenAIProvider
from penstock.adapters.providers.quirks import PLAIN, QUIRKS, Quirks
from penstock.ports.providers import Quota
from tests.unit.adapters.providers.vendors import JSON, Vendor, at, call, whole

OK = b'{"choices":[{"finish_reason":"stop"}]}'
JSONS = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=4)


def sent(vendor_name, body, headers=JSON):
    """Return the request `vendor_name` gets for `body`, and the rates it told."""
    vendor = Vendor((200, headers, OK))
    _, rates = at(vendor, OpenAIProvider, lambda provider: whole(provider, call(body)), vendor=vendor_name)
    return vendor.requests[0].body, rates


@pytest.mark.parametrize("name", QUIRKS)
def test_every_fact_says_where_and_when_it_was_read(name):
    assert re.fullmatch(r"https://\S+", QUIRKS[name].source)
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", QUIRKS[name].seen)


@pytest.mark.parametrize(
    ("vendor", "member", "value", "goes"),
    [
        ("mistral", "stream_options", {"include_usage": True}, False), ("mistral", "store", False, False),
        ("mistral", "temperature", 0, True), ("x-ai", "presence_penalty", 0, False),
        ("x-ai", "presence_penalty", 0.0, False), ("x-ai", "presence_penalty", 0.5, True),
        ("x-ai", "frequency_penalty", None, False),
        ("groq", "logprobs", False, False), ("groq", "logprobs", True, True),
        ("groq", "logit_bias", {}, False), ("groq", "logit_bias", {"5": 1}, True),
        ("openai", "stream_options", {"include_usage": True}, True), ("nobody", "store", True, True),
    ],
)  # fmt: skip
def test_only_what_says_nothing_is_left_out(vendor, member, value, goes):
    """Given a member its vendor refuses, then it goes unless it cannot change the answer."""
    asked = {"model": "m", member: value, "messages": []}
    body, _ = sent(vendor, json.dumps(asked).encode())
    assert json.loads(body) == (asked if goes else {"model": "m", "messages": []})


@pytest.mark.parametrize(
    "body", [b'{"a" : "stream_options"}', b'{"stream_options', b"[]", b'{"m":{"store":1}}']
)
def test_a_body_with_nothing_to_leave_out_is_sent_byte_for_byte(body):
    assert QUIRKS["mistral"].shaped(body) == body


@given(st.dictionaries(st.sampled_from(["store", "logprobs", "stop", "messages", "é"]), JSONS))
def test_what_is_kept_means_the_same(members):
    quirks = Quirks(source="", seen="", refuses=("store",), refuses_empty=("logprobs",))
    body = json.dumps(members).encode()
    kept = json.loads(quirks.shaped(body))
    assert {name: value for name, value in members.items() if name not in ("store", "logprobs")} == {
        name: value for name, value in kept.items() if name != "logprobs"
    }
    assert "logprobs" not in members or "logprobs" in kept or not members["logprobs"]
    assert PLAIN.shaped(body) is body


def test_mistral_tells_its_limits_by_the_minute():
    lines = b"x-ratelimit-limit-tokens-minute: 500\r\nx-ratelimit-remaining-tokens-minute: 499\r\n"
    _, rates = sent("mistral", b"{}", JSON + lines)
    assert rates.tokens == Quota(500, 499, None)
