"""Errors in both directions: fifty golden refusals of vendors, and ours as the official SDKs read them."""

from __future__ import annotations

import json

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.dialects.openai_errors import read_vendor_error, render_error, render_error_event, retry_headers
from penstock.kernel import errors
from penstock.kernel.errors import Broken, Cancelled, Invalid, OverBudget, OverLimit, Overloaded, Upstream
from penstock.kernel.faults import FAILURE_KINDS


def openai_body(code=None, kind="invalid_request_error", message="no") -> str:
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})


def anthropic_body(kind, message="no", **details) -> str:
    return json.dumps(
        {"type": "error", "error": {"type": kind, "message": message, "details": details or None}}
    )


def gemini_body(code, status, message, *details) -> str:
    return json.dumps(
        [{"error": {"code": code, "message": message, "status": status, "details": list(details)}}]
    )


PER_MINUTE = {"violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]}
PER_DAY = {"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}
QUOTA_TEXT = "You exceeded your current quota, please check your plan and billing details."

GOLDEN = [
    # OpenAI
    (429, openai_body("insufficient_quota", "insufficient_quota", QUOTA_TEXT), "quota_exhausted"),
    (429, openai_body("credit_balance_exhausted", "insufficient_quota"), "quota_exhausted"),
    (429, openai_body("billing_hard_limit_reached", "invalid_request_error"), "spend_limit"),
    (400, openai_body("billing_hard_limit_reached"), "spend_limit"),
    (429, openai_body("billing_not_active", "billing_not_active"), "quota_exhausted"),
    (429, openai_body("rate_limit_exceeded", "requests", "Rate limit reached for gpt-4o"), "rate_limited"),
    (429, openai_body("rate_limit_exceeded", "tokens", "on tokens per min (TPM): Limit 30000"), "rate_limited"),
    (429, openai_body(None, "requests", "Too many requests"), "rate_limited"),
    (400, openai_body("context_length_exceeded", message="maximum context length is 8192"), "context_overflow"),
    (400, openai_body(None, message="This model's maximum context length is 8192 tokens."), "context_overflow"),
    (400, openai_body("content_filter"), "content_filter"),
    (400, openai_body("content_policy_violation", message="safety system"), "content_filter"),
    (401, openai_body("invalid_api_key", message="Incorrect API key provided"), "unauthenticated"),
    (403, openai_body("unsupported_country_region_territory", "request_forbidden"), "forbidden"),
    (404, openai_body("model_not_found", message="The model `x` does not exist"), "not_found"),
    (400, openai_body(None, message="Unsupported parameter: 'max_tokens'"), "invalid"),
    (500, openai_body(None, "server_error", "The server had an error"), "server_error"),
    (503, openai_body(None, "server_error", "The engine is currently overloaded"), "overloaded"),
    (503, openai_body("slow_down", "server_error"), "overloaded"),
    (200, openai_body("server_error", "server_error", "gave up"), "server_error"),
    # Azure
    (400, json.dumps({"error": {"code": "content_filter", "message": "filtered", "innererror": {
        "code": "ResponsibleAIPolicyViolation"}}}), "content_filter"),
    (404, json.dumps({"error": {"code": "DeploymentNotFound", "message": "no deployment"}}), "not_found"),
    (429, json.dumps({"error": {"code": "429", "message": "Please retry after 26 seconds."}}), "rate_limited"),
    (401, json.dumps({"statusCode": 401, "message": "Access denied due to invalid subscription key"}),
     "unauthenticated"),
    # Anthropic behind a compatible face
    (529, anthropic_body("overloaded_error", "Overloaded"), "overloaded"),
    (200, anthropic_body("overloaded_error", "Overloaded"), "overloaded"),
    (429, anthropic_body("rate_limit_error", "Number of request tokens"), "rate_limited"),
    (429, anthropic_body("rate_limit_error", "limit", error_code="enforced_spend_limit_reached"), "spend_limit"),
    (400, anthropic_body("invalid_request_error", "You have reached your specified API spend limit"), "spend_limit"),
    (400, anthropic_body("invalid_request_error", "Your credit balance is too low"), "quota_exhausted"),
    (402, anthropic_body("billing_error"), "quota_exhausted"),
    (413, anthropic_body("request_too_large", "Request exceeds the maximum size"), "invalid"),
    (400, anthropic_body("invalid_request_error", "prompt is too long: 210000 tokens"), "context_overflow"),
    (500, anthropic_body("api_error"), "server_error"),
    (403, anthropic_body("permission_error"), "forbidden"),
    # Gemini behind its compatible face
    (429, gemini_body(429, "RESOURCE_EXHAUSTED", QUOTA_TEXT, PER_MINUTE, {"retryDelay": "46s"}), "rate_limited"),
    (429, gemini_body(429, "RESOURCE_EXHAUSTED", QUOTA_TEXT, PER_DAY, {"retryDelay": "34000s"}), "quota_exhausted"),
    (429, gemini_body(429, "RESOURCE_EXHAUSTED", QUOTA_TEXT + " limit: 0, model: x"), "quota_exhausted"),
    (503, gemini_body(503, "UNAVAILABLE", "The model is overloaded."), "overloaded"),
    (400, gemini_body(400, "INVALID_ARGUMENT", "API key not valid."), "unauthenticated"),
    (403, gemini_body(403, "PERMISSION_DENIED", "no"), "forbidden"),
    # vLLM, Ollama, OpenRouter, Groq, DeepSeek, plain proxies
    (400, json.dumps({"object": "error", "message": "This model's maximum context length is 4096 tokens.",
                      "type": "BadRequestError", "param": None, "code": 400}), "context_overflow"),
    (404, json.dumps({"error": {"message": 'model "x" not found, try pulling it first', "type": "api_error"}}),
     "not_found"),
    (404, json.dumps({"error": 'model "x" not found'}), "not_found"),
    (422, json.dumps({"detail": [{"loc": ["body"], "msg": "field required"}]}), "invalid"),
    (402, json.dumps({"error": {"message": "Insufficient credits", "code": 402}}), "quota_exhausted"),
    (402, json.dumps({"error": {"message": "Insufficient Balance", "type": "unknown_error"}}), "quota_exhausted"),
    (498, "", "overloaded"),
    (502, "<html><h1>502 Bad Gateway</h1></html>", "server_error"),
    (504, "upstream request timeout", "server_error"),
    (408, "", "server_error"),
    (409, "", "server_error"),
    (301, "moved", "invalid"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "kind"), GOLDEN)
def test_a_golden_refusal_has_its_kind(status, body, kind):
    assert read_vendor_error(status, body.encode()).kind == kind


def test_there_are_fifty_golden_refusals_and_exhausted_money_is_never_retried():
    assert len(GOLDEN) >= 50
    for status, body, kind in GOLDEN:
        if kind in ("quota_exhausted", "spend_limit"):
            assert FAILURE_KINDS[read_vendor_error(status, body.encode()).kind] == "never"


@pytest.mark.parametrize(
    ("text", "hint_s"),
    [("Please retry in 46.5s.", 46.5), ('"retryDelay": "7s"', 7.0), ("try again in 20ms", 0.02), ("later", None),
     ("Please retry in 1.2.3s", None)],
)  # fmt: skip
def test_a_hint_inside_a_body_is_found(text, hint_s):
    assert read_vendor_error(429, text.encode()).retry_after_s == hint_s


@given(status=st.integers(0, 999), body=st.binary(max_size=200))
def test_whatever_a_vendor_sends_has_a_kind(status, body):
    assert read_vendor_error(status, body).kind in FAILURE_KINDS


@given(
    status=st.sampled_from([200, 400, 429, 500]),
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["error", "code", "type", "details", "message", "innererror"]), inner
            )
        ),
        max_leaves=8,
    ),
)
def test_json_of_any_shape_has_a_kind(status, body):
    assert read_vendor_error(status, json.dumps(body).encode()).kind in FAILURE_KINDS


# ------------------------------------------------------------------------------------------------- ours, out


@pytest.mark.parametrize(
    ("error", "exception"),
    [
        (
            Invalid("no", field="messages[0].role", value="bot", limit="user", remedy="Fix it."),
            openai.BadRequestError,
        ),
        (errors.Unauthenticated(), openai.AuthenticationError),
        (errors.Forbidden(), openai.PermissionDeniedError),
        (errors.PolicyRefused(), openai.PermissionDeniedError),
        (errors.NotFound(), openai.NotFoundError),
        (OverLimit(), openai.RateLimitError),
        (OverBudget(), openai.RateLimitError),
        (errors.IdempotencyConflict(), openai.ConflictError),
        (errors.TimedOut(), openai.InternalServerError),
        (Overloaded(), openai.InternalServerError),
        (Broken("x"), openai.InternalServerError),
        (Upstream(code="rate_limited"), openai.RateLimitError),
        (Upstream(code="context_overflow"), openai.BadRequestError),
        (Upstream(code="unauthenticated"), openai.InternalServerError),
        (Upstream(code="quota_exhausted"), openai.InternalServerError),
    ],
)
def test_the_official_sdk_raises_its_own_class_for_ours(error, exception):
    status, body = render_error(error)

    def answer(request):
        return httpx2.Response(status, content=body, headers={"content-type": "application/json"})

    client = openai.OpenAI(
        api_key="k", base_url="http://test/v1", max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer)),
    )  # fmt: skip
    with client, pytest.raises(exception) as raised:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
    told = json.loads(body)["error"]
    assert raised.value.param == (error.field or None)
    assert raised.value.code == told["code"]
    assert raised.value.type == told["type"]


def test_figures_stand_beside_the_message():
    _, body = render_error(Invalid("Too many.", field="n", value=500, limit=128, remedy="Ask for fewer."))
    error = json.loads(body)["error"]
    assert (error["param"], error["value"], error["limit"], error["remedy"]) == (
        "n",
        500,
        128,
        "Ask for fewer.",
    )
    assert "Too many." in error["message"]
    assert "128" in error["message"]


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (Overloaded(), True), (errors.TimedOut(), True), (OverLimit(), True), (Upstream(code="server_error"), True),
        (Upstream(code="rate_limited"), True), (OverBudget(), False), (Invalid(), False), (Cancelled(), False),
        (Upstream(code="quota_exhausted"), False), (Upstream(code="spend_limit"), False),
        (Upstream(code="unauthenticated"), False), (Upstream(code="context_overflow"), False), (Broken(), False),
        (errors.IdempotencyConflict(), False),
    ],
)  # fmt: skip
def test_sdks_are_told_whether_to_try_again(error, again):
    assert (b"x-should-retry: %b\r\n" % str(again).lower().encode()) in retry_headers(error)


@pytest.mark.parametrize(
    ("wait_s", "lines"),
    [(None, b""), (0.0, b"retry-after: 1\r\nretry-after-ms: 1\r\n"),
     (0.25, b"retry-after: 1\r\nretry-after-ms: 250\r\n"), (61.0, b"retry-after: 61\r\nretry-after-ms: 61000\r\n")],
)  # fmt: skip
def test_the_wait_is_rounded_up_never_down(wait_s, lines):
    assert retry_headers(OverLimit(retry_after_s=wait_s)).endswith(lines)


def test_an_error_event_is_one_sse_event():
    event = render_error_event(Upstream("gone\nfor good", code="cut"))
    assert event.startswith(b'data: {"error":')
    assert event.endswith(b"}\n\n")
    assert event.count(b"\n") == 2
