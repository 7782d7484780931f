"""Metrics: what events say is what the page says; the number of series is bounded; nothing takes the page away."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from penstock.kernel.events import RequestEvent
from penstock.mechanisms.telemetry import LATENCY_MS, Metrics


def event(**fields: object) -> RequestEvent:
    given = {"team": "search", "model_used": "m1", "provider": "openai", "latency_ms": 100.0} | fields
    return RequestEvent(request_id="req_1", at_s=0.0, **given)


def samples(metrics: Metrics) -> dict[tuple, float]:
    """Return the page as {(name, labels …): value}; parsing it is a test of its own."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, *sorted(labels.items())))


def test_tokens_cost_and_requests_add_up():
    metrics = Metrics()
    labels = {"status": "2xx", "model": "m1", "provider": "openai", "team": "search"}
    metrics(
        [
            event(
                input_tokens=10,
                cached_tokens=4,
                output_tokens=3,
                reasoning_tokens=2,
                cost_nanos=7_000_000_001,
            ),
            event(input_tokens=5, output_tokens=1, cost_nanos=1, estimated=True, attempts=3, status=204),
            event(cost_nanos=5, cache="exact"),
            event(status=429, team="other team"),
        ]
    )
    seen = {
        name: value(metrics, f"penstock_{name}_total", **labels)
        for name in (
            *("requests", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"),
            *("cost_nanodollars", "estimated_requests", "upstream_retries", "cache_hits"),
        )
    }
    assert seen == {
        "requests": 3,
        "input_tokens": 15,
        "cached_tokens": 4,
        "output_tokens": 4,
        "reasoning_tokens": 2,
        "cost_nanodollars": 7_000_000_007,
        "estimated_requests": 1,
        "upstream_retries": 2,
        "cache_hits": 1,
    }
    assert value(metrics, "penstock_requests_total", **labels | {"status": "4xx", "team": "other team"}) == 1


@pytest.mark.parametrize(
    ("latency_ms", "edge"), [(5.0, "0.005"), (5.1, "0.01"), (120_000.0, "120"), (120_001.0, "+Inf")]
)
def test_a_latency_falls_into_its_bucket(latency_ms, edge):
    metrics = Metrics()
    metrics([event(latency_ms=latency_ms)])
    page = samples(metrics)
    buckets = {
        dict(key[1:])["le"]: count
        for key, count in page.items()
        if key[0] == "penstock_request_seconds_bucket"
    }
    assert len(buckets) == len(LATENCY_MS) + 1
    assert next(le for le, count in buckets.items() if count) == edge
    assert value(metrics, "penstock_request_seconds_count", model="m1", provider="openai") == 1
    assert value(metrics, "penstock_request_seconds_sum", model="m1", provider="openai") == latency_ms / 1000


def test_time_between_tokens_is_that_of_streams_only():
    metrics = Metrics()
    metrics([event(stream=True, latency_ms=110.0, first_token_ms=10.0, output_tokens=11)])
    metrics(
        [
            event(stream=True, first_token_ms=10.0, output_tokens=1),
            event(first_token_ms=10.0, output_tokens=50),
        ]
    )
    labels = {"model": "m1", "provider": "openai"}
    assert value(metrics, "penstock_inter_token_seconds_count", **labels) == 1
    assert value(metrics, "penstock_inter_token_seconds_sum", **labels) == pytest.approx(0.010)
    assert value(metrics, "penstock_first_token_seconds_count", **labels) == 3


def test_too_many_labels_are_counted_under_other():
    metrics = Metrics(max_series=3)
    metrics([event(team=f"t{number}") for number in range(10)])
    metrics([event(team="t1"), event(team="t9")])
    labels = {"status": "2xx", "model": "m1", "provider": "openai"}
    other = dict.fromkeys(("model", "provider", "team"), "other") | {"status": "2xx"}
    assert value(metrics, "penstock_requests_total", **labels, team="t1") == 2
    assert value(metrics, "penstock_requests_total", **labels, team="t9") is None
    assert value(metrics, "penstock_requests_total", **other) == 8
    assert value(metrics, "penstock_metrics_overflow_total") == 8
    assert len([key for key in samples(metrics) if key[0] == "penstock_requests_total"]) == 4


def test_strange_labels_do_not_spoil_the_page():
    metrics = Metrics()
    metrics([event(team='a"b\\c\nd'), event(team="\ud800"), event(team="x" * 10_000), event(team="\ud800")])
    teams = {
        dict(key[1:])["team"]: count
        for key, count in samples(metrics).items()
        if key[0] == "penstock_requests_total"
    }
    assert teams == {'a"b\\c\nd': 1, "?": 2, "x" * 200: 1}


def test_gauges_are_asked_when_rendered():
    metrics = Metrics(max_series=2)
    depth = [3]
    metrics.gauge("penstock_audit_queued", "Events waiting.", lambda: depth[0])
    metrics.counter("penstock_audit_dropped", "Events lost.", lambda: 5)
    states = {("openai",): 0, ("local",): 2, ("third",): 1}
    metrics.gauge(
        "penstock_breaker_state", "0 closed, 1 half open, 2 open.", lambda: states, labels=("provider",)
    )
    assert value(metrics, "penstock_audit_queued") == 3
    depth[0] = 4
    assert value(metrics, "penstock_audit_queued") == 4
    assert value(metrics, "penstock_audit_dropped_total") == 5
    assert value(metrics, "penstock_breaker_state", provider="local") == 2
    assert value(metrics, "penstock_breaker_state", provider="third") is None, "past the bound it is left out"
    assert value(metrics, "penstock_metrics_overflow_total") >= 1, "and counted"
    with pytest.raises(ValueError, match="exists"):
        metrics.gauge("penstock_audit_queued", "Again.", lambda: 0)


def test_a_broken_gauge_leaves_the_page_standing():
    metrics = Metrics()

    def broken():
        raise RuntimeError("gone")

    metrics.gauge("penstock_broken", "Fails.", broken)
    metrics.gauge("penstock_crooked", "Wrong labels.", lambda: {("a", "b"): 1}, labels=("one",))
    metrics.gauge("penstock_fine", "Works.", lambda: 1)
    page = samples(metrics)
    assert ("penstock_broken",) not in page
    assert page[("penstock_fine",)] == 1
    assert page[("penstock_metrics_probe_errors_total",)] == 2


def test_a_degraded_dependency_shows():
    metrics = Metrics()

    def unreachable():
        raise OSError("no route")

    metrics.dependency("redis", lambda: True)
    metrics.dependency("postgres", lambda: False)
    metrics.dependency("kafka", unreachable)
    up = {
        name: value(metrics, "penstock_dependency_up", dependency=name)
        for name in ("redis", "postgres", "kafka")
    }
    assert up == {"redis": 1, "postgres": 0, "kafka": 0}
