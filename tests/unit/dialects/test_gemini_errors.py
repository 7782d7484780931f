"""Errors of the Gemini wire: ours in Google's form, and Google's understood: what may be asked again and what never."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.dialects.gemini import read_vendor_error, render_error, render_error_event, retry_headers
from penstock.kernel.errors import (
    Broken,
    Cancelled,
    Forbidden,
    Invalid,
    NotFound,
    OverBudget,
    OverLimit,
    Overloaded,
    PenstockError,
    TimedOut,
    TooLarge,
    Unauthenticated,
    Upstream,
)
from penstock.kernel.faults import FAILURE_KINDS

RPC = "type.googleapis.com/google.rpc."


def refused(status: str, message: str = "x", details=(), code: int = 429) -> bytes:
    return json.dumps(
        {"error": {"code": code, "message": message, "status": status, "details": list(details)}}
    ).encode()


def quota(*ids: str, value: str = "20"):
    violations = [{"quotaMetric": "m", "quotaId": id, "quotaValue": value} for id in ids]
    return {"@type": f"{RPC}QuotaFailure", "violations": violations}


def wait(delay: str):
    return {"@type": f"{RPC}RetryInfo", "retryDelay": delay}


SPENT = "You exceeded your current quota, please check your plan and billing details."
MINUTE, DAY = (
    "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
    "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
)
EXHAUSTED, WRONG, NOT_YET = "RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "FAILED_PRECONDITION"
BAD_KEY = {"@type": f"{RPC}ErrorInfo", "reason": "API_KEY_INVALID"}
TOO_LONG = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
TOO_LONG_2 = "The input token count exceeds the maximum number of tokens allowed 1048576."
NO_QUOTA = "Quota exceeded for metric: m, limit: 0, model: x\nPlease retry in 4s."


@pytest.mark.parametrize(
    ("status", "body", "kind", "after_s"),
    [
        (429, refused(EXHAUSTED, SPENT, [quota(MINUTE), wait("46s")]), "rate_limited", 46),
        (429, refused(EXHAUSTED, SPENT, [quota(MINUTE), wait("0.256102908s")]), "rate_limited", 0.256102908),
        (429, refused(EXHAUSTED, f"{SPENT}\nPlease retry in 12.5s."), "rate_limited", 12.5),
        (429, refused(EXHAUSTED, SPENT, [quota(MINUTE, DAY), wait("46s")]), "quota_exhausted", 46),
        (429, refused(EXHAUSTED, SPENT, [quota(DAY), wait("33000s")]), "quota_exhausted", 33_000),
        (429, refused(EXHAUSTED, "x", [wait("3601s")]), "quota_exhausted", 3_601),
        (429, refused(EXHAUSTED, "x", [wait("3600s")]), "rate_limited", 3_600),
        (429, refused(EXHAUSTED, SPENT, [quota(MINUTE, value="0"), wait("46s")]), "quota_exhausted", 46),
        (429, refused(EXHAUSTED, NO_QUOTA), "quota_exhausted", 4),
        (429, refused(EXHAUSTED, "Quota exceeded for metric: m, limit: 05"), "rate_limited", None),
        (429, refused(EXHAUSTED, SPENT, [quota(MINUTE)]), "rate_limited", None),
        (429, refused(EXHAUSTED, SPENT, [{"@type": f"{RPC}Help", "links": []}]), "quota_exhausted", None),
        (429, refused(EXHAUSTED, "Resource has been exhausted (e.g. check quota)."), "rate_limited", None),
        (429, refused(EXHAUSTED, "Your project has exceeded its monthly spending cap."), "spend_limit", None),
        (429, refused(EXHAUSTED, "Your prepayment credits are depleted."), "quota_exhausted", None),
        (402, refused(NOT_YET, "Pay first."), "quota_exhausted", None),
        (400, refused(WRONG, "API key not valid. Please pass one."), "unauthenticated", None),
        (400, refused(WRONG, "x", [BAD_KEY]), "unauthenticated", None),
        (400, refused(WRONG, TOO_LONG), "context_overflow", None),
        (400, refused(WRONG, TOO_LONG_2), "context_overflow", None),
        (400, refused("INVALID_ARGUMENT", 'Unknown name "x"'), "invalid", None),
        (400, refused(NOT_YET, "User location is not supported for the API use."), "forbidden", None),
        (400, refused(NOT_YET, "Please enable billing on your project."), "quota_exhausted", None),
        (401, refused("UNAUTHENTICATED"), "unauthenticated", None),
        (403, refused("PERMISSION_DENIED", "Method doesn't allow unregistered callers."), "forbidden", None),
        (404, refused("NOT_FOUND", "models/x is not found for API version v1beta"), "not_found", None),
        (500, refused("INTERNAL"), "server_error", None),
        (503, refused("UNAVAILABLE", "The model is overloaded. Please try again later."), "overloaded", None),
        (504, refused("DEADLINE_EXCEEDED"), "server_error", None),
        (503, b"[" + refused("UNAVAILABLE") + b"]", "overloaded", None),
        (429, b"<html>slow down</html>", "rate_limited", None),
        (503, b"", "overloaded", None),
        (500, b"[]", "server_error", None),
    ],
)  # fmt: skip
def test_google_is_understood(status, body, kind, after_s):
    told = read_vendor_error(status, body)
    assert (told.kind, told.retry_after_s) == (kind, after_s)
    assert told.message


@given(
    st.sampled_from([200, 400, 429, 500]),
    st.binary(max_size=40) | st.text(max_size=40).map(lambda text: refused(EXHAUSTED, text)),
)
def test_reading_an_error_never_raises(status, body):
    assert read_vendor_error(status, body).kind in FAILURE_KINDS


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (Invalid("x", field="contents"), 400, "INVALID_ARGUMENT"),
        (TooLarge(), 413, "INVALID_ARGUMENT"),
        (Unauthenticated(), 401, "UNAUTHENTICATED"),
        (Forbidden(), 403, "PERMISSION_DENIED"),
        (NotFound(), 404, "NOT_FOUND"),
        (OverLimit(retry_after_s=1.2), 429, "RESOURCE_EXHAUSTED"),
        (OverBudget(), 429, "RESOURCE_EXHAUSTED"),
        (Overloaded(), 503, "UNAVAILABLE"),
        (Upstream(), 502, "UNAVAILABLE"),
        (Upstream(code="rate_limited"), 429, "RESOURCE_EXHAUSTED"),
        (Upstream(code="context_overflow"), 400, "INVALID_ARGUMENT"),
        (TimedOut(), 504, "DEADLINE_EXCEEDED"),
        (Cancelled(), 499, "CANCELLED"),
        (Broken(), 500, "INTERNAL"),
    ],
)
def test_our_errors_have_googles_status(error: PenstockError, status, name):
    code, body = render_error(error)
    told = json.loads(body)["error"]
    assert (code, told["code"], told["status"]) == (status, status, name)
    assert told["message"]
    assert told["details"][0]["reason"] == error.reason.upper()
    assert render_error_event(error) == b"data: " + body + b"\n\n"


def details(error: PenstockError) -> dict:
    told = json.loads(render_error(error)[1])["error"]["details"]
    return {each.pop("@type").removeprefix(RPC): each for each in told}


def test_details_say_what_googles_own_tools_look_for():
    assert details(Invalid("bad", field="a.b"))["BadRequest"] == {
        "fieldViolations": [{"field": "a.b", "description": "bad"}]
    }
    limited = details(OverLimit("wait", retry_after_s=1.2))
    assert limited["RetryInfo"] == {"retryDelay": "2s"}
    assert limited["QuotaFailure"] == {"violations": [{"description": "wait"}]}
    assert "RetryInfo" not in details(OverBudget("broke", retry_after_s=5))


def test_figures_stand_beside_and_a_key_is_never_told_back():
    key = "pen-" + "k" * 20
    told = render_error(Invalid(f"no {key}", field="f", value=key, limit=5, remedy="less"))[1]
    assert key.encode() not in told
    error = json.loads(told)["error"]
    assert (error["field"], error["value"], error["limit"], error["remedy"]) == ("f", "pen-***", 5, "less")


def test_what_we_render_for_a_wait_we_read_as_one():
    status, body = render_error(OverLimit(retry_after_s=7))
    told = read_vendor_error(status, body)
    assert (told.kind, told.retry_after_s) == ("rate_limited", 7)


def test_the_retry_header():
    assert retry_headers(OverLimit(retry_after_s=0.2)) == b"retry-after: 1\r\n"
    assert retry_headers(OverLimit()) == b""
