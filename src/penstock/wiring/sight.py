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


def dependencies(platform: Platform) -> dict[str, Callable[[], bool]]:
    """Return the check of each store by name."""
    asked = {name: partial(platform.health.works, name) for name in ("records", "state", "signals", "stream")}
    return {"ledger": platform.stores.ledger.healthy, **asked}


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
    metrics.gauge(
        "penstock_draining_upstreams",
        "Answers read to the end for clients that left.",
        lambda: platform.face.draining,
    )
    metrics.gauge(
        "penstock_ledger",
        "The ledger's own counters.",
        lambda: {(name,): value for name, value in platform.stores.ledger.stats().items()},
        ("counter",),
    )
    metrics.gauge(
        "penstock_breaker_state",
        "0 closed, 1 half-open, 2 open.",
        lambda: {(label,): BREAKER_STATES[state] for label, state in platform.resilience.states().items()},
        ("target",),
    )
    metrics.gauge(
        "penstock_budget_used_ratio",
        "Settled share of each budget (the fullest).",
        lambda: {(f.account,): f.percent / 100 for f in platform.headroom.fills[:BUDGETS_SHOWN]},
        ("account",),
    )


def _reader(source: object, field: str) -> Callable[[], int]:
    return lambda: getattr(source, field)
