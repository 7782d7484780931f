"""Each vendor is called its own way: its paths, its key header, its marks, its lists, its counts, its words."""

from __future__ import annotations

import asyncio
import json
from typing import NamedTuple

import pytest

from penstock.adapters.providers.anthropic import AnthropicProvider
from penstock.adapters.providers.azure import AzureProvider
from penstock.adapters.providers.gemini import GeminiProvider
from penstock.adapters.providers.openai import OpenAIProvider
from penstock.adapters.providers.vendor import VendorProvider
from penstock.kernel.clock import ManualClock
from penstock.ports.providers import ProviderFailure, Quota
from penstock.ports.secrets import Secret
from tests.unit.adapters.providers.vendors import JSON, SSE, Vendor, at, call, streamed, whole

KEY = Secret("vk4711-very-secret")
OPENAI_OK = b'{"choices":[{"finish_reason":"stop"}]}'
ANTHROPIC_OK = b'{"type":"message","content":[],"stop_reason":"end_turn"}'
GEMINI_OK = b'{"candidates":[{"finishReason":"STOP"}]}'

BEARER, X_API_KEY, GOOGLES, AZURES = b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key"


class Called(NamedTuple):
    """A base URL's path and a model, and where such a call must go."""

    adapter: type[VendorProvider]
    base: str
    model: str
    target: str
    header: bytes
    answer: bytes
    stream: bool = False
    api_version: str = ""


CALLED = [
    Called(OpenAIProvider, "/v1", "m", "/v1/chat/completions", BEARER, OPENAI_OK),
    Called(AnthropicProvider, "", "m", "/v1/messages", X_API_KEY, ANTHROPIC_OK),
    Called(AnthropicProvider, "/v1", "m", "/v1/messages", X_API_KEY, ANTHROPIC_OK),
    Called(AnthropicProvider, "/proxy/", "m", "/proxy/v1/messages", X_API_KEY, ANTHROPIC_OK),
    Called(GeminiProvider, "", "g", "/v1beta/models/g:generateContent", GOOGLES, GEMINI_OK),
    Called(GeminiProvider, "/v1/", "models/g", "/v1/models/g:generateContent", GOOGLES, GEMINI_OK),
    Called(GeminiProvider, "", "tunedModels/a b", "/v1beta/tunedModels/a%20b:generateContent", GOOGLES, GEMINI_OK),
    Called(
        GeminiProvider, "", "g", "/v1beta/models/g:streamGenerateContent?alt=sse", GOOGLES, GEMINI_OK, stream=True
    ),
    Called(AzureProvider, "", "d", "/openai/v1/chat/completions", AZURES, OPENAI_OK),
    Called(AzureProvider, "/openai/v1/", "d", "/openai/v1/chat/completions", AZURES, OPENAI_OK),
    Called(
        AzureProvider, "/openai", "my d", "/openai/deployments/my%20d/chat/completions?api-version=2024-10-21",
        AZURES, OPENAI_OK, api_version="2024-10-21",
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CALLED, ids=lambda case: f"{case.adapter.__name__}{case.base} {case.model}")
def test_a_call_goes_where_and_as_its_vendor_wants_it(case):
    """Given a base URL in any of its usual spellings, then the target is one and the key is in one header alone."""
    vendor = Vendor((200, JSON, case.answer))
    asked = call(model=case.model, stream=case.stream)
    options = {"api_version": case.api_version} if case.api_version else {}
    body, _ = at(vendor, case.adapter, lambda p: whole(p, asked), path=case.base, key=KEY, **options)
    assert body == case.answer
    (request,) = vendor.requests
    query = f"?{request.query.decode()}" if request.query else ""
    assert (request.method, request.path + query, request.body) == ("POST", case.target, b"{}")
    starts = b"Bearer " if case.header == BEARER else b""
    assert request.header(case.header) == starts + KEY.reveal().encode()
    assert [name for name, value in request.headers if b"vk4711" in value] == [case.header]


@pytest.mark.parametrize("version", ["", "2024-01-01"])
def test_anthropics_version_goes_along(version):
    vendor = Vendor((200, JSON, ANTHROPIC_OK))
    at(vendor, AnthropicProvider, whole, **({"api_version": version} if version else {}))
    assert vendor.requests[0].header(b"anthropic-version") == (version or "2023-06-01").encode()


ENDS = {
    AnthropicProvider: (
        b'{"type":"message_stop"}', b'{"type":"message_delta","delta":{"stop_reason":"end_turn"}}',
        b'{"type":"error","error":{"type":"api_error","message":"x"}}',
    ),
    GeminiProvider: (b'{"candidates":[{"finishReason": "STOP"}]}', b'{"promptFeedback":{"blockReason":"SAFETY"}}'),
    OpenAIProvider: (b"[DONE]", b'{"choices":[{"finish_reason": "stop"}]}'),
}  # fmt: skip
CUTS = {
    AnthropicProvider: (
        b'{"type":"x","text":"message_stop"}', b'{"delta":{"stop_reason":null}}',
        b'{"text":"\\"stop_reason\\":\\"x\\""}',
    ),
    GeminiProvider: (b'{"candidates":[{"content":{}}]}', b'{"text":"\\"finishReason\\":\\"STOP\\""}'),
    OpenAIProvider: (b'{"text":"[DONE]"}', b'{"text":"data: [DONE]"}', b'{"finish_reason":null}'),
}  # fmt: skip


@pytest.mark.parametrize(("adapter", "ends", "cuts"), [(each, ENDS[each], CUTS[each]) for each in ENDS])
def test_an_end_is_told_from_a_cut(adapter, ends, cuts):
    """Given HTTP's clean end, then only the vendor's own words for an end make it one; never words of the answer."""
    for end in ends:
        event = b"data: %b\n\n" % end
        assert at(Vendor((200, SSE, b": hello\n\n" + event)), adapter, streamed).endswith(event)
    for cut in cuts:
        with pytest.raises(ProviderFailure) as failure:
            at(Vendor((200, SSE, b": hello\n\ndata: %b\n\n" % cut)), adapter, streamed)
        assert failure.value.kind == "cut"


@pytest.mark.parametrize("bytes_each", [1, 2, 7])
def test_an_end_in_crumbs_is_an_end(bytes_each):
    """Given a stream in pieces smaller than its mark, then it is whole all the same."""
    stream = b'data: {"choices":[{"delta":{"content":"hello"}}]}\n\ndata: [DONE]\n\n'

    class Crumbs(Vendor):
        async def handle(self, request, responder):
            responder.begin(200, SSE)
            for at_byte in range(0, len(stream), bytes_each):
                responder.write(stream[at_byte : at_byte + bytes_each])
                await asyncio.sleep(0)
            responder.finish()

    assert at(Crumbs(), OpenAIProvider, streamed) == stream


@pytest.mark.parametrize(
    ("adapter", "body", "kind"),
    [
        (AnthropicProvider, b'{"type":"error","error":{"type":"overloaded_error","message":"x"}}', "overloaded"),
        (AnthropicProvider, b'{"choices":[]}', "malformed_reply"),
        (GeminiProvider, b'{"error":{"code":503,"status":"UNAVAILABLE","message":"x"}}', "overloaded"),
        (GeminiProvider, b'{"choices":[]}', "malformed_reply"),
        (OpenAIProvider, b'{"choices":[{"error":{"code":502,"type":"overloaded_error"}}]}', "overloaded"),
        (OpenAIProvider, b'{"choices":[],"error":{"message":"x","code":"insufficient_quota"}}', "quota_exhausted"),
    ],
)  # fmt: skip
def test_an_error_with_status_200_is_a_failure_of_its_kind(adapter, body, kind):
    with pytest.raises(ProviderFailure) as failure:
        at(Vendor((200, JSON, body)), adapter, whole, vendor="openrouter")
    assert (failure.value.kind, failure.value.vendor_status) == (kind, 200)


def test_an_error_that_is_none_is_an_answer():
    """Given "error" as a token of an answer or null beside it, then the answer comes through."""
    for body in (
        b'{"choices":[{"logprobs":{"token":"error"},"finish_reason":"stop"}]}',
        b'{"choices":[{"error":null,"finish_reason":"stop"}],"error":null}',
    ):
        assert at(Vendor((200, JSON, body)), OpenAIProvider, whole, vendor="openrouter")[0] == body


REFUSED = [
    # adapter, status, body, kind, hint in seconds
    (AnthropicProvider, 529, {"error": {"type": "overloaded_error", "message": "x"}}, "overloaded", None),
    (AnthropicProvider, 429, {"error": {"type": "rate_limit_error", "message": "x",
                              "details": {"error_code": "enforced_spend_limit_reached"}}}, "spend_limit", None),
    (AnthropicProvider, 400, {"error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}},
     "quota_exhausted", None),
    (GeminiProvider, 429, {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "x", "details": [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "XPerMinute"}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "46s"}]}}, "rate_limited", 46.0),
    (GeminiProvider, 429, {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "x", "details": [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "XPerDay"}]}]}},
     "quota_exhausted", None),
    (GeminiProvider, 400, {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "API key not valid."}},
     "unauthenticated", None),
]  # fmt: skip


@pytest.mark.parametrize(("adapter", "status", "body", "kind", "hint_s"), REFUSED)
def test_a_refusal_is_read_in_its_vendors_words(adapter, status, body, kind, hint_s):
    with pytest.raises(ProviderFailure) as failure:
        at(Vendor((status, JSON, json.dumps(body).encode())), adapter, whole)
    assert (failure.value.kind, failure.value.retry_after_s) == (kind, hint_s)


def test_rate_limits_are_told_with_answers_and_with_refusals():
    lines = JSON + (
        b"anthropic-ratelimit-input-tokens-limit: 100\r\nanthropic-ratelimit-input-tokens-remaining: 7\r\n"
        b"anthropic-ratelimit-input-tokens-reset: 2027-01-15T08:00:30Z\r\n"
    )
    clock = ManualClock(wall_s=1_800_000_000.0)
    quota = Quota(100, 7, 30.0)
    assert (
        at(Vendor((200, lines, ANTHROPIC_OK)), AnthropicProvider, whole, clock=clock)[1].input_tokens == quota
    )
    with pytest.raises(ProviderFailure) as failure:
        at(Vendor((429, lines, b"{}")), AnthropicProvider, whole, clock=clock)
    assert failure.value.rates.input_tokens == quota


# ----------------------------------------------------------------------------------------------- lists and counts


@pytest.mark.parametrize(
    ("adapter", "pages", "targets", "names"),
    [
        (
            AnthropicProvider,
            ({"data": [{"id": "a"}], "has_more": True, "last_id": "a/1"}, {"data": [{"id": "b"}], "has_more": False}),
            ("/v1/models?limit=1000", "/v1/models?limit=1000&after_id=a%2F1"),
            ["a", "b"],
        ),
        (
            GeminiProvider,
            (
                {"models": [{"name": "models/a"}, {"name": "models/e", "supportedGenerationMethods": ["embedContent"]},
                            {"name": "models/i", "supportedGenerationMethods": ["predict"]}],
                 "nextPageToken": "t&1"},
                {"models": [{"name": "tunedModels/b", "supportedGenerationMethods": ["generateContent"]}]},
            ),
            ("/v1beta/models?pageSize=1000", "/v1beta/models?pageSize=1000&pageToken=t%261"),
            ["a", "e", "tunedModels/b"],
        ),
    ],
)  # fmt: skip
def test_models_are_listed_page_by_page(adapter, pages, targets, names):
    vendor = Vendor(*[(200, JSON, json.dumps(page).encode()) for page in pages])
    assert at(vendor, adapter, lambda provider: provider.models(), key=KEY) == names
    assert tuple(f"{request.path}?{request.query.decode()}" for request in vendor.requests) == targets


@pytest.mark.parametrize(
    ("adapter", "page"),
    [(AnthropicProvider, {"data": [], "has_more": True, "last_id": "x"}), (GeminiProvider, {"nextPageToken": "x"})],
)  # fmt: skip
def test_a_list_without_end_is_not_read_for_ever(adapter, page):
    vendor = Vendor((200, JSON, json.dumps(page).encode()))
    assert at(vendor, adapter, lambda provider: provider.models()) == []
    assert len(vendor.requests) == 10


@pytest.mark.parametrize("adapter", [OpenAIProvider, AnthropicProvider, GeminiProvider])
@pytest.mark.parametrize("body", [b"", b"[]", b'{"data":7,"models":7}', b"<html>"])
def test_a_list_that_is_none_is_a_failure(adapter, body):
    with pytest.raises(ProviderFailure) as failure:
        at(Vendor((200, JSON, body)), adapter, lambda provider: provider.models())
    assert failure.value.kind == "malformed_reply"


def test_azure_lists_nothing():
    assert not hasattr(AzureProvider, "models")


def test_anthropic_counts_what_carries_the_prompt():
    """Given a whole request, then what says how to answer is not sent along, which the vendor would refuse."""
    asked = {
        "model": "c",
        "messages": [1],
        "system": "s",
        "tools": [2],
        "max_tokens": 9,
        "stream": True,
        "temperature": 1,
    }
    vendor = Vendor((200, JSON, b'{"input_tokens":42}'))
    body = json.dumps(asked).encode()
    assert at(vendor, AnthropicProvider, lambda provider: provider.count_tokens(call(body, model="c"))) == 42
    (request,) = vendor.requests
    assert request.path == "/v1/messages/count_tokens"
    assert json.loads(request.body) == {"model": "c", "messages": [1], "system": "s", "tools": [2]}


def test_gemini_counts_the_whole_request():
    vendor = Vendor((200, JSON, b'{"totalTokens":42}'))
    asked = call(b'{"contents":[1],"tools":[2]}', model="gem")
    assert at(vendor, GeminiProvider, lambda provider: provider.count_tokens(asked)) == 42
    (request,) = vendor.requests
    assert request.path == "/v1beta/models/gem:countTokens"
    assert json.loads(request.body) == {
        "generateContentRequest": {"contents": [1], "tools": [2], "model": "models/gem"}
    }


@pytest.mark.parametrize("adapter", [AnthropicProvider, GeminiProvider])
@pytest.mark.parametrize(
    ("status", "body", "kind"), [(200, b'{"x":1}', "malformed_reply"), (401, b"{}", "unauthenticated")]
)
def test_a_count_that_is_none_is_a_failure(adapter, status, body, kind):
    with pytest.raises(ProviderFailure) as failure:
        at(Vendor((status, JSON, body)), adapter, lambda provider: provider.count_tokens(call()))
    assert failure.value.kind == kind
