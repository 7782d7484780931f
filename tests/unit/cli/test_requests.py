"""`penstock requests`: what was asked for is asked of the server, pages are joined, a request is seen from inside."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.drawing import stretch
from penstock.cli.request_line import fitting, heading, request_line, short_id
from penstock.cli.requests import PAGE_ROWS, waterfall
from penstock.kernel import errors
from penstock.kernel.ids import new_id
from penstock.sdk.requests import CallView, RequestDetail, RequestPage, RequestView, SpanView
from tests.unit.cli.far import CEILING_S, environment

SERVED = RequestView(
    request_id=f"req_{'ab' * 16}", at_s=1_795_252_800.0, outcome="ok", org="acme", team="search", user="maria",
    feature="docs-answers", model="smart", provider="openai", model_used="gpt-4o", route="openai/gpt-4o",
    input_tokens=1_200, output_tokens=340, cost_nanos=4_100_000, first_token_ms=276.0, latency_ms=1_900.0,
)  # fmt: skip
FAILED = RequestView(
    request_id=new_id("req_"), at_s=1.0, outcome="failed", team="search", model="gpt-4o", status=504,
    error="upstream_timeout", latency_ms=30_000.0,
)  # fmt: skip
SPANS = (
    SpanView(name="chat gpt-4o", ended_ms=100.0),
    SpanView(name="admit", began_ms=0.0, ended_ms=0.1, depth=1),
    SpanView(name="chat gpt-4o", began_ms=50.0, ended_ms=75.0, depth=1, error="overloaded"),
    SpanView(name="relay", began_ms=75.0, ended_ms=100.0, depth=1),
)


# --------------------------------------------------------------------------------------------------------- one line


def test_a_line_tells_who_what_who_answered_how_it_ended_and_what_it_took():
    told = request_line(SERVED, 160).plain
    for part in (
        "09:20:00", short_id(SERVED.request_id), "search/maria", "docs-answers", "smart → openai/gpt-4o", "200",
        "1.2k → 340", "$0.0041", "276 ms", "1.9 s",
    ):  # fmt: skip
        assert part in told


def test_the_columns_stand_under_their_heads_at_every_width():
    for width in (60, 80, 120, None):
        head, told = heading(width).plain, request_line(SERVED, width).plain
        assert told.index("200") == head.index("code")
        assert told.index("smart") == head.index("model")


@pytest.mark.parametrize(
    ("width", "there", "gone"),
    [
        (60, {"time", "id", "model", "code", "cost", "took"}, {"who", "feature", "tokens", "first"}),
        (80, {"who", "took"}, {"feature", "tokens"}),
        (120, {"who", "tokens", "first"}, set()),
        (None, {"feature", "tokens"}, set()),
    ],
)
def test_what_matters_less_goes_first(width, there, gone):
    names = {each.name for each in fitting(width)}
    assert there <= names
    assert not gone & names


@given(
    width=st.integers(20, 220),
    name=st.text(max_size=40),
    error=st.sampled_from(["", "upstream_timeout"]),
    attempts=st.integers(1, 3),
)
def test_no_line_is_wider_than_its_terminal(width, name, error, attempts):
    it = RequestView(
        request_id="r" * 50, at_s=1.0, team=name, model=name, feature=name, provider=name, model_used="m",
        error=error, route=name, attempts=attempts, cost_nanos=0 if error else 10**15, input_tokens=10**9,
    )  # fmt: skip
    assert request_line(it, width).cell_len <= width
    assert heading(width).cell_len <= width


def test_what_went_wrong_is_told_even_where_it_is_narrow():
    assert "upstream_timeo" in request_line(FAILED, 60).plain
    assert "upstream_timeout" in request_line(FAILED, 100).plain


def test_in_a_pipe_the_whole_id_is_there_and_nothing_is_cut():
    told = request_line(SERVED, None).plain
    assert SERVED.request_id in told
    assert "…" not in told


# ------------------------------------------------------------------------------------------------------------- list


def test_filters_and_period_are_asked_for(far, penstock):
    far.answers["GET /requests"] = RequestPage(requests=(SERVED,))
    code, out, _ = penstock(
        "requests", "list", "--team", "search", "--user", "maria", "--model", "gpt-4o", "--provider", "openai",
        "--feature", "f", "--outcome", "failed", "--key", "k1", "--project", "p", "--org", "*",
        "--since", "2026-11-20", "--until", "2026-11-20T08:30", "--limit", "3",
    )  # fmt: skip
    assert code == 0
    assert short_id(SERVED.request_id) in out
    assert far.queries("GET /requests") == [{
        "team": "search", "user": "maria", "model": "gpt-4o", "provider": "openai", "feature": "f", "limit": "3",
        "outcome": "failed", "key_id": "k1", "project": "p", "org": "*", "since_s": "1795132800.0",
        "until_s": "1795163400.0",
    }]  # fmt: skip


def pages(total: int):
    """Answer as a server with so many requests, 200 at a time at most."""

    def answer(query):
        first = int(query.get("after", 0))
        after = min(first + min(int(query["limit"]), PAGE_ROWS), total)
        rows = tuple(RequestView(request_id=f"req_{n:06}", at_s=1.0) for n in range(first, after))
        return RequestPage(requests=rows, after=str(after) if after < total else "")

    return answer


@pytest.mark.parametrize(
    ("limit", "rows", "more", "calls"),
    [(199, 199, "199", 1), (200, 200, "200", 1), (201, 201, "201", 2), (500, 450, "", 3)],
)
def test_pages_are_joined_up_to_the_limit(far, penstock, limit, rows, more, calls):
    far.answers["GET /requests"] = pages(450)
    _, out, _ = penstock("requests", "list", "--limit", str(limit), "--json")
    told = json.loads(out)
    ids = [each["request_id"] for each in told["requests"]]
    assert ids == [f"req_{n:06}" for n in range(rows)]
    assert told["after"] == more
    assert len(far.queries("GET /requests")) == calls


def test_the_next_page_begins_where_the_last_one_said(far, penstock):
    far.answers["GET /requests"] = pages(5)
    _, out, _ = penstock("requests", "list", "--limit", "2")
    assert out.splitlines()[-1] == "more: --after 2"
    _, out, _ = penstock("requests", "list", "--limit", "3", "--after", "2")
    assert "req_000004" in out
    assert "more" not in out


def test_nothing_found_says_so_and_no_limit_below_one_is_taken(far, penstock):
    far.answers["GET /requests"] = RequestPage(requests=())
    assert penstock("requests", "list")[1] == "No request matches.\n"
    code, _, err = penstock("requests", "list", "--limit", "0")
    assert (code, "--limit" in err) == (2, True)


# ------------------------------------------------------------------------------------------------------------- show


def known(far, *ids: str) -> None:
    """Let the server know these requests."""
    far.answers["GET /requests"] = RequestPage(
        requests=tuple(RequestView(request_id=i, at_s=1.0) for i in ids)
    )
    for each in ids:
        far.answers[f"GET /requests/{each}"] = RequestDetail(
            request=RequestView(request_id=each, at_s=1.0), spans=SPANS
        )


def test_a_request_is_found_by_the_part_of_its_id_that_tail_shows(far, penstock):
    one, other = new_id("req_"), new_id("req_")
    known(far, one, other)
    assert short_id(one) != short_id(other)
    code, out, _ = penstock("requests", "show", short_id(one), "--json")
    assert (code, json.loads(out)["request"]["request_id"]) == (0, one)


def test_a_part_that_several_have_is_refused_and_one_that_none_has_is_not_found(far, penstock):
    known(far, "req_aaaaaa1", "req_aaaaaa2")
    code, _, err = penstock("requests", "show", "aaaaaa")
    assert (code, "req_aaaaaa1, req_aaaaaa2" in err) == (2, True)
    far.answers["GET /requests/bbbbbb"] = errors.NotFound("There is no such request.")
    assert penstock("requests", "show", "bbbbbb")[0] == 4
    assert penstock("requests", "show", "aaa")[0] == 4  # too short to look for


def test_every_call_to_a_back_end_is_told_when_there_were_several(far, penstock):
    calls = (
        CallView(provider="openai", model="gpt-4o", outcome="overloaded", ended_ms=50.0),
        CallView(provider="anthropic", model="haiku", cost_nanos=7, ended_ms=90.0),
    )
    it = RequestView(request_id="req_1", at_s=1.0, calls=calls, attempts=2)
    far.answers["GET /requests/req_1"] = RequestDetail(request=it, spans=SPANS)
    _, out, _ = penstock("requests", "show", "req_1")
    assert "openai/gpt-4o    overloaded" in out
    assert "$0.000000007" in out


@pytest.mark.parametrize("width", [20, 60, 100, 200])
def test_a_waterfall_shows_when_each_step_was_within_its_width(width):
    lines = [each.plain.rstrip() for each in waterfall(SPANS, width)]
    assert all(len(line) <= max(width, 48) for line in lines)
    bars = {line[:27].strip(): line[37:] for line in lines if "█" in line or "▏" in line}
    whole = len(bars["relay"])
    assert len(waterfall(SPANS, width)[0].plain.rstrip()[37:]) == whole  # both end together
    assert bars["relay"].count("█") == pytest.approx(whole / 4, abs=1)
    assert bars["admit"].strip() == "▏"
    assert any("overloaded" in line for line in lines)


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(1e-3, 1e6), st.integers(1, 200))
def test_a_stretch_stays_on_its_line_and_can_be_seen(began, length, whole, chars):
    drawn = stretch(began, began + length, whole, chars)
    assert len(drawn) <= chars
    assert drawn.strip()


def test_no_spans_are_told_as_such(far, penstock):
    far.answers["GET /requests/req_1"] = RequestDetail(request=SERVED)
    assert "No spans were kept." in penstock("requests", "show", "req_1")[1]


def test_a_terminal_that_knows_no_such_letter_gets_its_escape(far):
    far.answers["GET /requests/req_1"] = RequestDetail(request=SERVED, spans=SPANS)
    env = environment(far.url, PYTHONIOENCODING="ascii")
    command = [sys.executable, "-m", "penstock.cli", "requests", "show", "req_1"]
    done = subprocess.run(command, env=env, capture_output=True, timeout=CEILING_S, check=True)
    assert b"\\u2588" in done.stdout
