"""Errors on the Anthropic wire: ours as its SDK sees them, the vendor's as the platform sees them."""

from __future__ import annotations

import json

import httpx2
import pytest
from anthropic import Anthropic
from anthropic.types.shared import ErrorResponse
from hypothesis import given
from hypothesis import strategies as st

from penstock.dialects.anthropic import CODEC, limit_headers, status_of
from penstock.kernel import errors
from penstock.kernel.faults import FAILURE_KINDS

SDK = Anthropic(api_key="k", max_retries=0)


def raised(error: errors.PenstockError):
    """The exception that the SDK makes of our answer."""
    status, body = CODEC.render_error(error)
    response = httpx2.Response(
        status,
        content=body,
        request=httpx2.Request("POST", "http://x"),
        headers={"content-type": "application/json"},
    )
    return SDK._make_status_error_from_response(response)


@pytest.mark.parametrize(
    ("error", "status", "kind", "name"),
    [
        (errors.Invalid("x"), 400, "invalid_request_error", "BadRequestError"),
        (errors.Unauthenticated(), 401, "authentication_error", "AuthenticationError"),
        (errors.OverBudget(), 402, "billing_error", "PaymentRequiredError"),
        (errors.Forbidden(), 403, "permission_error", "PermissionDeniedError"),
        (errors.PolicyRefused(), 403, "permission_error", "PermissionDeniedError"),
        (errors.NotFound(), 404, "not_found_error", "NotFoundError"),
        (errors.IdempotencyConflict(), 409, "conflict_error", "ConflictError"),
        (errors.TooLarge(), 413, "request_too_large", "ContentTooLargeError"),
        (errors.OverLimit(), 429, "rate_limit_error", "RateLimitError"),
        (errors.Cancelled(), 499, "api_error", "ClientClosedRequestError"),
        (errors.Broken(), 500, "api_error", "InternalServerError"),
        (errors.Upstream(), 502, "api_error", "InternalServerError"),
        (errors.Upstream(code="rate_limited"), 429, "rate_limit_error", "RateLimitError"),
        (errors.Upstream(code="context_overflow"), 400, "invalid_request_error", "BadRequestError"),
        (errors.Upstream(code="stalled"), 504, "timeout_error", "GatewayTimeoutError"),
        (errors.Upstream(code="overloaded"), 529, "overloaded_error", "OverloadedError"),
        (errors.TimedOut(), 504, "timeout_error", "GatewayTimeoutError"),
        (errors.Overloaded(), 529, "overloaded_error", "OverloadedError"),
    ],
)
def test_the_sdk_raises_the_exception_of_our_error(error, status, kind, name):
    assert status_of(error) == status
    seen = raised(error)
    assert type(seen).__name__ == name
    assert seen.type == kind
    assert seen.error_code


def test_figures_and_our_code_stand_beside():
    error = errors.Invalid("Too much.", code="too_much", field="max_tokens", value=9, limit=5, remedy="Less.")
    body = json.loads(CODEC.render_error(error)[1])
    assert body["type"] == "error"
    told = body["error"]
    assert told["details"] == {"error_code": "too_much"}
    assert (told["field"], told["value"], told["limit"], told["remedy"]) == ("max_tokens", 9, 5, "Less.")
    assert raised(error).error_code == "too_much"
    assert ErrorResponse.model_validate(body).error.message.startswith("Too much.")


def test_a_key_in_the_wrong_place_is_not_told_back():
    assert b"pen-abcdefghijklmnop" not in CODEC.render_error(errors.Invalid("pen-abcdefghijklmnop"))[1]


def test_an_error_in_a_stream_is_an_error_event():
    event = CODEC.render_error_event(errors.Overloaded())
    assert event.startswith(b'event: error\ndata: {"type":"error",')
    assert event.endswith(b"}\n\n")
    assert CODEC.facts().feed(event) == 4


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (errors.OverBudget(), False),
        (errors.OverLimit(retry_after_s=2), True),
        (errors.Overloaded(), True),
        (errors.Upstream(code="spend_limit"), False),
        (errors.Invalid("x"), False),
    ],
)
def test_the_sdk_obeys_what_the_headers_say(error, again):
    lines = CODEC.retry_headers(error).decode().split("\r\n")[:-1]
    headers = dict(line.split(": ", 1) for line in lines)
    response = httpx2.Response(CODEC.render_error(error)[0], headers=headers)
    assert SDK._should_retry(response) is again
    assert ("retry-after" in headers) == (error.retry_after_s is not None)


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (529, "overloaded", {"type": "overloaded_error", "message": "Overloaded"}),
        (200, "overloaded", {"type": "overloaded_error", "message": "Overloaded"}),
        (429, "rate_limited", {"type": "rate_limit_error", "message": "slow down"}),
        (429, "rate_limited", {"type": "rate_limit_error", "details": {"error_code": "ramp_limit_exceeded"}}),
        (429, "spend_limit", {"type": "rate_limit_error", "details": {"error_code": "enforced_spend_limit_reached"}}),
        (429, "spend_limit", {"type": "rate_limit_error", "details": {"error_code": "contract_spend_limit_reached"}}),
        (400, "spend_limit", {"type": "invalid_request_error", "message": "This would exceed the spend limit."}),
        (400, "spend_limit", {"type": "invalid_request_error",
                              "message": "You have reached your specified API usage limits. You will regain access"}),
        (400, "quota_exhausted", {"type": "invalid_request_error", "message": "Your credit balance is too low"}),
        (402, "quota_exhausted", {"type": "billing_error", "message": "billing"}),
        (400, "context_overflow", {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8"}),
        (400, "invalid", {"type": "invalid_request_error", "message": "max_tokens: Field required"}),
        (401, "unauthenticated", {"type": "authentication_error", "message": "invalid x-api-key"}),
        (403, "forbidden", {"type": "permission_error", "message": "no"}),
        (403, "forbidden", {"type": "permission_error", "details": {"error_code": "organization_on_hold"}}),
        (404, "not_found", {"type": "not_found_error", "message": "model: claude-x"}),
        (413, "invalid", {"type": "request_too_large", "message": "too big"}),
        (500, "server_error", {"type": "api_error", "message": "Internal"}),
        (504, "server_error", {"type": "timeout_error", "message": "Timeout"}),
    ],
)  # fmt: skip
def test_a_refusal_of_the_vendor_is_understood(status, kind, body):
    said = CODEC.read_error(status, json.dumps({"type": "error", "error": body}).encode())
    assert said.kind == kind
    assert said.code == body.get("details", {}).get("error_code", body["type"])


def test_an_error_without_its_envelope_is_understood():
    assert CODEC.read_error(200, b'{"type":"overloaded_error","message":"x"}').kind == "overloaded"


@given(st.integers(100, 599), st.binary(max_size=80))
def test_no_refusal_is_too_odd(status, body):
    assert CODEC.read_error(status, body).kind in FAILURE_KINDS


def test_limits_are_told_in_the_vendors_headers():
    assert limit_headers() == b""
    told = limit_headers((5, -1, 1_700_000_000.2), (100, 7, 0))
    assert told.decode().split("\r\n") == [
        "anthropic-ratelimit-requests-limit: 5",
        "anthropic-ratelimit-requests-remaining: 0",
        "anthropic-ratelimit-requests-reset: 2023-11-14T22:13:21Z",
        "anthropic-ratelimit-tokens-limit: 100",
        "anthropic-ratelimit-tokens-remaining: 7",
        "anthropic-ratelimit-tokens-reset: 1970-01-01T00:00:00Z",
        "",
    ]
