"""An error that a server renders is the error that its client raises."""

from __future__ import annotations

import pytest

from penstock.dialects.openai_errors import render_error
from penstock.kernel import errors
from penstock.sdk.failures import error_of, error_within

FIGURES = {"field": "caps.limit_nanos", "value": 7, "limit": 5, "remedy": "Give less."}


@pytest.mark.parametrize(
    "kind",
    [
        errors.Invalid, errors.TooLarge, errors.Unauthenticated, errors.Forbidden, errors.NotFound, errors.OverLimit,
        errors.OverBudget, errors.PolicyRefused, errors.TimedOut, errors.Overloaded, errors.Conflict,
        errors.IdempotencyConflict, errors.StaleVersion,
    ],
)  # fmt: skip
def test_an_error_comes_back_as_itself_with_its_figures_and_exit_code(kind):
    raised = kind("The mill is shut.", **FIGURES)
    found = error_of(*render_error(raised))
    assert type(found) is kind
    assert str(found) == str(raised)
    assert (found.message, found.exit_code) == ("The mill is shut.", kind.exit_code)


def test_a_refined_code_keeps_the_class_that_its_status_tells():
    found = error_of(*render_error(errors.Forbidden("No.", code="model_not_allowed")))
    assert (type(found), found.reason) == (errors.Forbidden, "model_not_allowed")


@pytest.mark.parametrize("body", [b"", b"<html>502</html>", b'{"error": "text"}', b'{"detail": []}', b"\xff"])
def test_a_reply_that_is_no_error_of_ours_is_still_one_sentence(body):
    found = error_of(502, body)
    assert isinstance(found, errors.Upstream)
    assert "502" in str(found)


def test_a_status_nobody_knows_is_an_error_still():
    assert error_of(418, b"{}").exit_code == 1


@pytest.mark.parametrize("kind", [errors.PolicyRefused, errors.OverBudget, errors.OverLimit, errors.Conflict])
def test_a_refined_code_keeps_the_class_that_shares_its_status_with_another(kind):
    found = error_of(*render_error(kind("No.", code="spelt_out")))
    assert (type(found), found.reason) == (kind, "spelt_out")


def test_a_bug_of_the_server_is_no_bug_of_the_client_and_not_to_be_repeated():
    raised = errors.Broken("The mill turned backwards.")
    for found in (error_of(*render_error(raised)), error_within(render_error(raised)[1])):
        assert (type(found), found.reason) == (errors.PenstockError, "internal_error")
        assert str(found) == str(raised)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ([], None),
        ([(b"retry-after", b"7")], 7.0),
        ([(b"retry-after", b"7"), (b"retry-after-ms", b"2500")], 2.5),
        ([(b"retry-after", b"Sat, 21 Nov 2026 08:00:00 GMT")], None),
        ([(b"retry-after", b"-1")], None),
        ([(b"retry-after", b"9" * 13)], None),
    ],
)
def test_how_long_to_wait_is_read_from_the_headers(headers, wait_s):
    assert error_of(429, b"{}", headers).retry_after_s == wait_s


@pytest.mark.parametrize(
    "data", [b"", b"[DONE]", b'{"choices": []}', b'{"error": null}', b'{"error": "text"}']
)
def test_an_event_that_is_no_error_is_none(data):
    assert error_within(data) is None
