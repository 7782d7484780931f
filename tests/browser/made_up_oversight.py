"""The rest of the made-up organisation: its routes and canaries, alerts, cache, audit and invoices."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

from penstock.kernel.errors import NotFound
from penstock.sdk.oversight import (
    AlertRule,
    Alerts,
    AlertView,
    AuditAnswer,
    AuditLake,
    Compared,
    CostForecast,
    Deliveries,
    Delivery,
    Reconciled,
    Tried,
    WebhookTarget,
)
from penstock.sdk.replies import CacheClass, CacheFigures, PromptCacheRow, Purged, Status
from penstock.sdk.routing import (
    Canaries,
    Canary,
    CanaryArm,
    CanaryEvidence,
    ChosenTarget,
    RouteAnswer,
    RoutingConfig,
    RoutingVersion,
)

DOLLAR = 1_000_000_000
STATUS = Status(
    version="1", uptime_s=2.5, draining=False, dependencies={"ledger": True}, in_flight=0, connections=1,
    providers={"openai": 12, "azure": 3}, breakers={}, models=15, unpriced={}, audit_waiting=0, audit_dropped=0,
)  # fmt: skip


def target(provider: str, model: str, weight: int = 100) -> dict[str, Any]:
    return {"provider": provider, "model": model, "weight": weight}


def document(percent: float = 5.0, weight: int = 80) -> dict[str, Any]:
    """Return a routing document."""
    smart = {
        "model": "smart",
        "targets": [target("openai", "gpt-4o", weight), target("azure", "gpt-4o", 100 - weight)],
        "canary": {"targets": [target("openai", "gpt-4.1")], "percent": percent},
        "strategy": "weighted",
        "sticky": "user",
        "fallbacks": ["claude-haiku"],
    }
    haiku = {
        "model": "claude-haiku",
        "targets": [target("anthropic", "claude-haiku-4-5"), target("vertex", "claude-haiku-4-5", 0)],
        "regions": ["eu"],
    }
    code = {
        "model": "code",
        "targets": [target("anthropic", "claude-sonnet-5")],
        "strategy": "fastest",
        "complexity": {"by": "heuristic", "small": [target("local", "qwen-coder")]},
        "canary": {"targets": [target("local", "qwen-coder-next")], "percent": 0.0},
        "ceilings": [{"tier": "standard", "output": "20"}],
    }
    return {"routes": [smart, haiku, code], "residency": [{"org": "acme-health", "regions": ["eu"]}]}


def canaries(now_s: float, step: int = 40) -> Canaries:
    """Return the canaries at a step of the morning."""
    rise = {
        "errors": 1.9 + step / 12,
        "first_token": 0.4,
        "latency": 3.1 + math.sin(step / 7),
        "quality": -0.7,
    }
    bounds = {"errors": 200.0, "first_token": 666.7, "latency": 666.7, "quality": 500.0}
    newcomer, control = 100 + step * 3, 2_100 + step * 61
    on_trial = Canary(
        route="smart",
        state="on trial",
        percent=5.0,
        labels=("openai/gpt-4.1",),
        production=("openai/gpt-4o", "azure/gpt-4o"),
        began_s=now_s - 4_000,
        control=CanaryArm(
            calls=control, failed=control // 180, first_token_ms=412, latency_ms=2_310,
            cost_nanos=control * 5_100_000, scores=212, score=0.91,
        ),
        newcomer=CanaryArm(
            calls=newcomer, failed=newcomer // 30, first_token_ms=398, latency_ms=2_790,
            cost_nanos=newcomer * 4_300_000, scores=11, score=0.93,
        ),
        evidence=tuple(
            CanaryEvidence(metric=name, evidence=math.exp(rise[name]), bound=bounds[name]) for name in rise
        ),
    )  # fmt: skip
    why = "errors: canary 41 of 388 failed, production 19 of 7604 failed; evidence 412.7, bound 200"
    out = Canary(
        route="code",
        state="rolled back",
        percent=0.0,
        labels=("local/qwen-coder-next",),
        production=("anthropic/claude-sonnet-5",),
        began_s=now_s - 90_000,
        why=why,
    )
    return Canaries(
        canaries=(on_trial, out), alpha=0.01, steps=(1, 5, 25, 50, 100), hold_s=600, least_calls=100
    )


def versions(now_s: float) -> tuple[RoutingVersion, ...]:
    """Return who changed the routes, newest first."""
    return (
        RoutingVersion(number=4, author="Ada Lovelace", why="gpt-4.1 beside gpt-4o", at_s=now_s - 4_000),
        RoutingVersion(
            number=3, author="canary judgement", why="errors: canary 41 of 388 failed", at_s=now_s - 90_000
        ),
        RoutingVersion(
            number=2, author="Grace Hopper", why="back to Friday's", at_s=now_s - 400_000, again=0
        ),
        RoutingVersion(number=1, author="Grace Hopper", why="more to Azure", at_s=now_s - 410_000),
        RoutingVersion(number=0, author="settings file"),
    )


def alert(now_s: float, rule: str, subject: str, text: str, **more: Any) -> AlertView:
    told: dict[str, Any] = {
        "org": "acme", "state": "firing", "severity": "warning", "value": 85.0, "limit": 80.0, "runbook": "",
        "began_s": now_s - 900, "seen_s": now_s, "fired_s": now_s - 900, "calm_since_s": 0.0, "resolved_s": 0.0,
    }  # fmt: skip
    return AlertView(rule=rule, subject=subject, text=text, **(told | more))


def alerts(now_s: float) -> Alerts:
    """Return what stands and what stood."""
    budget = "org:acme/team:search of the day"
    runbook = "docs/runbook.md#a-dependency-is-down"
    return Alerts(
        standing=(
            alert(now_s, "budget-80", budget, f"budget {budget} is 97 % spent (mark at 80 %)"),
            alert(now_s, "dependency-down", "redis", "redis is down", severity="critical", org="", runbook=runbook),
            alert(now_s, "feature-spike", "docs-answers", "feature docs-answers of acme costs 4.2 times its mean "
                  "(alert above 3)", began_s=now_s - 7_000, fired_s=now_s - 7_000),
        ),
        past=(
            alert(now_s, "canary-rolled-back", "code (errors)", "the canary code (errors) was rolled back", org="",
                  severity="critical", state="resolved", fired_s=now_s - 90_000, resolved_s=now_s - 3_600),
            alert(now_s, "user-over", "jens", "user jens of acme has spent 101 dollars today", state="resolved",
                  fired_s=now_s - 200_000, resolved_s=now_s - 130_000),
        ),
        dead=1,
    )  # fmt: skip


def rules() -> tuple[AlertRule, ...]:
    """Return the rules in force."""
    book = "docs/runbook.md"
    return (
        AlertRule(
            rule="day-above-mean", kind="day_above_mean", severity="warning", limit=2, runbook=f"{book}#spend"
        ),
        AlertRule(rule="user-over", kind="user_over", severity="warning", limit=50 * DOLLAR, changed=True),
        AlertRule(rule="feature-spike", kind="feature_spike", severity="warning", limit=3),
        AlertRule(
            rule="tokens-per-request", kind="tokens_per_request", severity="warning", limit=50_000, off=True
        ),
        AlertRule(rule="pii-skips", kind="told", severity="warning", limit=0.01),
        AlertRule(
            rule="dependency-down", kind="told", severity="critical", limit=0, for_s=3, runbook=f"{book}#down"
        ),
        AlertRule(rule="budget-80", kind="told", severity="warning", limit=80),
        AlertRule(rule="canary-rolled-back", kind="told", severity="critical", limit=0),
        AlertRule(rule="latency-budget", kind="told", severity="warning", limit=1),
    )


def deliveries(now_s: float) -> Deliveries:
    """Return who is told, and of what they were."""
    texts = (
        ("taken", "[critical] redis is down · docs/runbook.md#a-dependency-is-down", 1, ""),
        (
            "waiting",
            "[warning] budget org:acme/team:search of the day is 97 % spent",
            3,
            "the answer was 503",
        ),
        ("dead", "[test] alerts reach you", 12, "The connection was refused."),
        ("taken", "[resolved] user jens of acme has spent 101 dollars today", 1, ""),
    )
    return Deliveries(
        targets=(
            WebhookTarget(name="on-call", form="json", signed=True, host="events.example.com"),
            WebhookTarget(name="finance", form="slack", signed=False, orgs=("acme",), host="hooks.slack.com"),
        ),
        deliveries=tuple(
            Delivery(
                target="finance" if number % 2 else "on-call", type="alert.firing", org="acme", text=text,
                at_s=now_s - 800 * (number + 1), state=state, attempts=attempts, failure=failure,
            )
            for number, (state, text, attempts, failure) in enumerate(texts)
        ),
    )  # fmt: skip


def cache() -> CacheFigures:
    return CacheFigures(
        org="acme", hits=18_204, misses=41_870, kept=40_112, not_kept=1_758, stale=12, saved_nanos=61 * DOLLAR,
        classes={
            "semi": CacheClass(hits=15_100, kept=38_000, saved_nanos=48 * DOLLAR),
            "static": CacheClass(hits=3_104, kept=2_112, saved_nanos=13 * DOLLAR),
        },
        store={"entries": 9_120, "bytes": 58_300_000, "evictions": 311, "refused": 2},
    )  # fmt: skip


def answer() -> AuditAnswer:
    rows = tuple(
        (
            f"req_01JD{800_000 - n:08d}",
            f"2026-11-21T09:{59 - n:02d}:12",
            team,
            None if n == 2 else "gpt-4o",
            cost,
            cost / 1e9,
        )
        for n, (team, cost) in enumerate(
            (("search", 812_000_000), ("support", 91_400_000), ("=growth", 8_000), ("billing", 12))
        )
    )
    columns = ("request_id", "ended_at", "team", "model_served", "cost_nanos", "dollars")
    types = ("VARCHAR", "TIMESTAMP", "VARCHAR", "VARCHAR", "BIGINT", "DOUBLE")
    return AuditAnswer(columns=columns, types=types, rows=rows, truncated=True)


def reconciled() -> Reconciled:
    lines = tuple(
        Compared(
            status=status, day=f"2026-11-{day}", model=model, reference="", ours_nanos=ours, theirs_nanos=theirs,
            difference_nanos=theirs - ours,
        )
        for status, day, model, ours, theirs in (
            ("matched", 19, "gpt-4o", 12_840_000_000, 12_840_000_001),
            ("price", 19, "gpt-4o-mini", 3_060_000_000, 3_210_000_000),
            ("usage", 20, "gpt-4o", 11_000_000_000, 10_400_000_000),
            ("ours_only", 20, "gpt-4o-mini", 2_900_000_000, 0),
            ("theirs_only", 20, "web search", 0, 1_000_000_000),
        )
    )  # fmt: skip
    ours, theirs = (sum(getattr(each, f"{side}_nanos") for each in lines) for side in ("ours", "theirs"))
    return Reconciled(
        vendor="openai", since="2026-11-19", until="2026-11-20", agrees=False, ours_nanos=ours, theirs_nanos=theirs,
        difference_nanos=theirs - ours, lines=lines,
        counts={"matched": 1, "price": 1, "usage": 1, "ours_only": 1, "theirs_only": 1},
    )  # fmt: skip


async def moving(now_s: float) -> AsyncIterator[tuple[str, Any]]:
    """Tell of the canaries as the morning goes on."""
    for step in range(40, 10_000):
        await asyncio.sleep(1.0)
        yield "canaries", canaries(now_s, step)


def answers(now_s: float, *, is_empty: bool) -> dict[str, Any]:
    """Return what the platform says of all this; of a first start, how little there is."""
    shared = {
        "GET /status": STATUS,
        "GET /alerts/rules": rules(),
        "GET /routing/canaries/live": lambda _: moving(now_s),
    }
    if is_empty:
        return shared | first_start()
    return shared | routed(now_s) | overseen(now_s)


def first_start() -> dict[str, Any]:
    """Return what there is before anything was configured."""
    none = RoutingConfig(version=RoutingVersion(number=0, author="settings file"), document={"routes": []})
    return {
        "GET /routing": none,
        "GET /routing/versions": (none.version,),
        "GET /routing/canaries": Canaries(alpha=0.01),
        "GET /alerts": Alerts(standing=(), past=()),
        "GET /alerts/deliveries": Deliveries(),
        "GET /cache": NotFound("No answers are kept here.", code="cache_off"),
        "GET /cache/prompts": (),
        "GET /audit": AuditLake(org="acme", kept=False),
        "GET /costs/forecast": NotFound("No traces are kept.", code="traces_off"),
    }


def routed(now_s: float) -> dict[str, Any]:
    """Return what there is about routes."""
    told = versions(now_s)
    config = RoutingConfig(
        version=told[0], document=document(), refused={"3": "the provider azure is not configured"}
    )

    def version(query: dict[str, str]) -> RoutingConfig:
        number = int(query.get("version", -1))
        if number < 0:
            return config
        return RoutingConfig(version=told[4 - number], document=document(float(number), 50 + number * 5))

    first = ChosenTarget(
        route="smart → openai/gpt-4o", provider="openai", model="gpt-4o", price_version="2026-11-01"
    )
    later = ChosenTarget(
        route="claude-haiku → anthropic/claude-haiku-4-5",
        provider="anthropic",
        model="claude-haiku-4-5",
        free=True,
    )
    why = ("the user's own by sticky draw", "azure/gpt-4o is given a rest")
    return {
        "GET /routing": version,
        "GET /routing/versions": told,
        "GET /routing/canaries": canaries(now_s),
        "PUT /routing": told[0],
        "POST /routing/rollback": told[0],
        "POST /routing/explain": RouteAnswer(model="smart", version=4, why=why, targets=(first, later)),
    }


def overseen(now_s: float) -> dict[str, Any]:
    """Return what there is about alerts, the cache, the audit and money."""
    haiku = PromptCacheRow(
        backend="anthropic/claude-haiku-4-5", requests=8_112, input_tokens=41_000_000, cached_tokens=33_100_000,
        saved_nanos=29 * DOLLAR,
    )  # fmt: skip
    gpt = PromptCacheRow(
        backend="openai/gpt-4o", requests=12_044, input_tokens=30_000_000, cached_tokens=6_000_000,
        saved_nanos=7 * DOLLAR,
    )  # fmt: skip
    forecast = CostForecast(
        org="acme", today_nanos=41 * DOLLAR, today_end_nanos=96 * DOLLAR, month_nanos=1_318 * DOLLAR,
        month_end_nanos=2_204 * DOLLAR,
    )  # fmt: skip
    lake = AuditLake(
        org="acme", kept=True, days=63, first_day="2026-09-20", last_day="2026-11-21", flush_s=60
    )
    return {
        "GET /alerts": alerts(now_s),
        "GET /alerts/deliveries": deliveries(now_s),
        "POST /alerts/test": Tried(targets=2),
        "GET /cache": cache(),
        "GET /cache/prompts": (haiku, gpt),
        "POST /cache/purge": Purged(forgotten=41),
        "GET /audit": lake,
        "POST /audit/query": answer(),
        "GET /costs/forecast": forecast,
        "GET /costs/chargeback": "day,org\n",
        "POST /reconcile": reconciled(),
    }
