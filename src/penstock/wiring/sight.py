"""What the platform shows of itself: gauges read when scraped, and the dependencies that readiness and alerts look at.

Promise: every bound of the hot path has a gauge that says how near it is, every drop a counter; a dependency that
fails shows as ``penstock_dependency_up 0`` within the second in which it is noticed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from penstock.wiring.platform import Platform

BREAKER_STATES = {"closed": 0, "half-open": 1, "open": 2}
BUDGETS_SHOWN = 100
ISSUER_COUNTERS = {
    "fetches": "Times the keys of issuers of machines' tokens were asked for.",
    "failures": "Times an issuer's keys could not be had; the last ones serve on.",
    "checked": "Looks at the signature of a machine's token.",
}
RESILIENCE_COUNTERS = {
    "hedges": "Second calls beside a first one that was late.",
    "hedges_won": "Times the second answered first.",
}
TRACE_COUNTERS = {
    "produced": "Requests that the trace feed heard of.",
    "delivered": "Requests whose totals are stored.",
    "dropped": "Requests whose totals are lost.",
    "dropped_nanos": "The cost of those in nano-dollars (1e-9 US dollars).",
    "kept": "Requests stored to be looked up.",
    "sampled_out": "Requests in the totals only: there were more than the sample takes.",
    "kept_dropped": "Requests that were to be stored to be looked up and are not.",
    "failures": "Batches that the trace store did not take.",
}

SPAN_COUNTERS = {
    "produced": "Requests whose spans were to be sent to the collector.",
    "delivered": "Requests whose spans it took.",
    "dropped": "Requests whose spans are lost.",
    "skipped": "Requests left out by sampling.",
    "refused_spans": "Spans of batches taken that the collector did not want.",
    "failures": "Batches of spans that did not go through, each time.",
}


def dependencies(platform: Platform) -> dict[str, Callable[[], bool]]:
    """Return the check of each store, and of the collector if there is one, by name."""
    names = ("records", "state", "signals", "stream", *(("traces",) if platform.traces is not None else ()))
    asked = {name: partial(platform.health.works, name) for name in names}
    feed = platform.span_feed
    collector = {} if feed is None else {"spans": lambda: feed.healthy}
    return {"ledger": platform.stores.ledger.healthy, **asked, **collector}


def readiness(platform: Platform) -> dict[str, bool]:
    """Tell how each dependency is, and whether the platform is draining."""
    return {**{name: up() for name, up in dependencies(platform).items()}, "draining": platform.draining}


def declare_metrics(platform: Platform) -> None:
    """Put every gauge and counter of the platform's own on the metrics page."""
    metrics, audit, server = platform.metrics, platform.audit, platform.server
    for name, up in dependencies(platform).items():
        metrics.dependency(name, up)
    for field in ("connections", "in_flight", "buffered_body_bytes"):
        metrics.gauge(f"penstock_server_{field}", f"The server's {field}, now.", _reader(server.stats, field))
    for field in ("accepted", "refused", "timed_out", "clients_gone", "clients_cut", "failed"):
        metrics.counter(
            f"penstock_server_{field}", f"The server's {field}, ever.", _reader(server.stats, field)
        )
    for field in ("produced", "delivered", "dropped", "failures", "listener_errors"):
        metrics.counter(f"penstock_audit_{field}", f"Audit records {field}.", _reader(audit, field))
    metrics.gauge("penstock_audit_queued", "Audit records waiting.", lambda: audit.queued)
    _declare_metering(platform)
    _declare_sight(platform)
    _declare_spans(platform)
    _declare_issuers(platform)
    metrics.counter(
        "penstock_unlimited_requests",
        "Requests let through without rate limits: the state store was unreachable.",
        lambda: platform.admission.unlimited,
    )
    metrics.counter(
        "penstock_retries_refused",
        "Retries the retry budget refused.",
        lambda: platform.resilience.budget.refused,
    )
    _declare_back_ends(platform)
    metrics.gauge(
        "penstock_draining_upstreams",
        "Answers read to the end for clients that left.",
        lambda: platform.chats.draining,
    )
    metrics.gauge(
        "penstock_ledger",
        "The ledger's own counters.",
        lambda: {(name,): value for name, value in platform.stores.ledger.stats().items()},
        ("counter",),
    )
    metrics.gauge(
        "penstock_budget_used_ratio",
        "Settled share of each budget (the fullest).",
        lambda: {(f.account,): f.percent / 100 for f in platform.headroom.fills[:BUDGETS_SHOWN]},
        ("account",),
    )


def _declare_back_ends(platform: Platform) -> None:
    """Show how back ends are, and what is done about those that are slow or ill."""
    metrics, resilience, loads = platform.metrics, platform.resilience, platform.catalogue.loads
    for field, text in RESILIENCE_COUNTERS.items():
        metrics.counter(f"penstock_{field}", text, _reader(resilience, field))
    metrics.counter(
        "penstock_ejections",
        "Times a back end was left out for failing more often than its peers.",
        lambda: resilience.outliers.ejections,
    )
    metrics.gauge(
        "penstock_breaker_state",
        "0 closed, 1 half-open, 2 open.",
        lambda: {(label,): BREAKER_STATES[state] for label, state in resilience.states().items()},
        ("target",),
    )
    if loads is not None:
        metrics.gauge(
            "penstock_quota_left_ratio",
            "Share left of the scarcest of a vendor's limits, where the vendor tells them.",
            lambda: {(label,): left for label, left in loads.quotas.shares_left().items()},
            ("target",),
        )


def _declare_metering(platform: Platform) -> None:
    """Show what becomes of settlements for whoever bills."""
    metrics = platform.metrics
    if platform.metering is None:
        return
    pipe = platform.metering.pipe
    for field in ("produced", "delivered", "dropped", "failures"):
        metrics.counter(f"penstock_metering_{field}", f"Settlements' records {field}.", _reader(pipe, field))
    metrics.gauge("penstock_metering_queued", "Settlements' records waiting.", lambda: pipe.queued)


def _declare_sight(platform: Platform) -> None:
    """Show what keeps requests for people to see, and whoever looks on."""
    metrics, recent, feed = platform.metrics, platform.recent, platform.trace_feed
    metrics.gauge("penstock_watchers", "Live views of requests, now.", lambda: recent.watchers)
    metrics.counter(
        "penstock_recent_left_out",
        "Requests in no organisation's live figures: there were too many organisations.",
        lambda: recent.left_out,
    )
    if feed is None:
        return
    for field, text in TRACE_COUNTERS.items():
        metrics.counter(f"penstock_traces_{field}", text, _reader(feed, field))
    metrics.gauge("penstock_traces_queued", "Requests whose totals wait to be stored.", lambda: feed.queued)


def _declare_spans(platform: Platform) -> None:
    """Show what becomes of the spans for the collector."""
    metrics, feed = platform.metrics, platform.span_feed
    if feed is None:
        return
    for field, text in SPAN_COUNTERS.items():
        metrics.counter(f"penstock_spans_{field}", text, _reader(feed, field))
    metrics.gauge("penstock_spans_queued", "Requests whose spans wait to be sent.", lambda: feed.queued)


def _declare_issuers(platform: Platform) -> None:
    """Show how the keys of the issuers of machines' tokens are, and how many tokens are remembered."""
    metrics, machines = platform.metrics, platform.machines
    if machines is None:
        return
    for field, text in ISSUER_COUNTERS.items():
        metrics.counter(f"penstock_issuer_{field}", text, partial(machines.stat, field))
    for field in ("remembered", "refusals_remembered"):
        text = f"Tokens of machines, {field.replace('_', ' ')} now."
        metrics.gauge(f"penstock_issuer_tokens_{field}", text, partial(machines.stat, field))


def _reader(source: object, field: str) -> Callable[[], int]:
    return lambda: getattr(source, field)
