"""The waterfall: a bar lies where its span lay, inside the lane, wide enough to be seen; the story tells the way."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from penstock.console.waterfall import LEAST_WIDTH, path_taken, story, waterfall
from penstock.sdk.requests import CallView, RequestView, SpanView

figures = st.floats(allow_nan=True, allow_infinity=True, width=32) | st.floats(0, 1e6)


def request(**more) -> RequestView:
    return RequestView(**{"request_id": "req_1", "at_s": 1.0, "outcome": "ok", "model": "smart", **more})


@given(st.lists(st.tuples(figures, figures, st.integers(-3, 9)), max_size=20), st.floats(0, 1e6))
def test_no_bar_leaves_the_lane_whatever_the_times(times, latency_ms):
    spans = [SpanView(name="s", began_ms=began, ended_ms=ended, depth=depth) for began, ended, depth in times]
    drawn = waterfall(request(latency_ms=latency_ms), spans)
    for bar in drawn.bars:
        assert math.isfinite(bar.x)
        assert bar.x >= 0
        assert bar.width >= LEAST_WIDTH
        assert bar.x + bar.width <= 100.01
        assert 0 <= bar.depth <= 3


def test_a_bar_lies_where_its_span_lay():
    drawn = waterfall(
        request(latency_ms=200.0, first_token_ms=50.0), [SpanView(name="s", began_ms=50, ended_ms=150)]
    )
    assert (drawn.bars[0].x, drawn.bars[0].width, drawn.first_token) == (25.0, 50.0, 25.0)


def test_a_request_without_spans_is_one_bar():
    drawn = waterfall(request(latency_ms=10.0), ())
    assert [(bar.name, bar.width) for bar in drawn.bars] == [("smart", 100.0)]


def test_attributes_are_told_as_people_read_them():
    told = {
        "penstock.cost_nanos": 1_500_000_000,
        "stream": True,
        "reasons": ["stop", "x"],
        "wait": 0.25,
        "none": None,
    }
    (bar,) = waterfall(request(), [SpanView(name="s", attributes=told)]).bars
    assert dict(bar.attributes) == {
        "penstock.cost_nanos": "$1.500000000",
        "stream": "yes",
        "reasons": "stop, x",
        "wait": "0.25",
    }


def test_the_way_shows_every_call_and_what_became_of_it():
    calls = (
        CallView(provider="a", model="m1", began_ms=1, ended_ms=21, outcome="overloaded"),
        CallView(provider="b", model="m2", began_ms=30, ended_ms=90),
    )
    served = request(provider="b", model_used="m2", calls=calls, route="smart → b")
    assert [step[1:] for step in path_taken(served)] == [("", ""), ("overloaded", "bad"), ("answered", "ok")]
    told = " ".join(story(served))
    assert "a/m1 was tried and gave overloaded after 20 ms." in told
    assert "b/m2 then answered, by the route smart → b." in told


def test_a_refusal_is_told_to_have_cost_nothing():
    refused = request(outcome="refused", status=429, error="insufficient_quota")
    assert path_taken(refused)[-1] == ("Penstock", "insufficient_quota", "warn")
    assert "cost nothing" in story(refused)[-1]
