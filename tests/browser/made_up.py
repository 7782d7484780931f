"""A made-up organisation on a busy morning: what the pages look like with data, without a platform behind them."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from penstock.sdk import requests as seen
from penstock.sdk.people import SessionView
from tests.browser import made_up_oversight
from tests.unit.console.support import Platform

TEAMS = (
    ("search", "docs-answers"),
    ("support", "reply-drafts"),
    ("billing", "invoice-reader"),
    ("growth", ""),
)
MODELS = (
    ("gpt-4o-mini", "openai", "gpt-4o-mini", 150),
    ("claude-haiku", "anthropic", "claude-haiku-4-5", 400),
    ("smart", "openai", "gpt-4o", 2_500),
    ("gemini-flash", "gemini", "gemini-2.5-flash", 90),
)
USERS = ("default", "maria", "jens", "default", "yuki")
ERRORS = (
    ("rate_limit_exceeded", 429),
    ("insufficient_quota", 429),
    ("upstream_timeout", 504),
    ("overloaded", 503),
)

DOLLAR = 1_000_000_000
BUDGETS = (
    ("org:acme@2026-11", "org", "month", 500, 318.0, True, 0),
    ("org:acme/team:search@2026-11-21", "team", "day", 20, 19.3, True, 1_340),
    ("org:acme/team:support@2026-11-21", "team", "day", 25, 21.0, False, 9_800),
    ("org:acme/user:jens@total", "user", "total", 100, 12.0, True, 0),
)
PRESSURES = (
    ("openai/gpt-4o is given a rest", "It failed several times in a row, so it is not called for a while.", 100, 0,
     "See its last failures; requests go to the route's other back ends meanwhile.", "requests?outcome=failed"),
    ("Budget of team search of acme, this day", "$19.30 of $20.00 are spent or held this day.", 97.7, 1_340,
     "Raise the budget, or wait for the next day (UTC).", "keys#org:acme/team:search"),
    ("Requests a minute of team support of acme", "531 of 600 are taken.", 88.5, 0,
     "Raise the limit, or send less at a time.", "keys#org:acme/team:support"),
    ("Disk of the data folder", "29.5 GB of 98.3 GB are free.", 70, 0,
     "Make room, or keep less: audit.retain_days.", "settings#audit.retain_days"),
    ("Requests at one time", "142 of 1024 requests are being served.", 13.9, 0,
     "Raise server.in_flight.", "settings#server.in_flight"),
)  # fmt: skip


def request(rng: random.Random, number: int, at_s: float) -> seen.RequestView:
    """Return one request of the morning."""
    team, feature = rng.choice(TEAMS)
    asked, provider, model, price = rng.choice(MODELS)
    into, out = rng.randrange(120, 6_000), rng.randrange(15, 900)
    error, status = rng.choice(ERRORS) if rng.random() < 0.08 else ("", 200)
    first_ms = rng.lognormvariate(5.6, 0.5)
    whole_ms = first_ms + out * rng.uniform(4, 12)
    late_ms = 260.0 if rng.random() < 0.07 else 0.0
    served = {
        "provider": provider, "model_used": model, "input_tokens": into, "cached_tokens": into // 3,
        "output_tokens": out, "cost_nanos": (into + out * 4) * price,
        "calls": calls(provider, model, error, late_ms, whole_ms + late_ms),
        "attempts": 2 if late_ms else 1, "latency_ms": whole_ms + late_ms,
        "first_token_ms": 0.0 if error else first_ms + late_ms,
    }  # fmt: skip
    return seen.RequestView(
        request_id=f"req_01JD{number:08d}", at_s=at_s, status=status, error=error,
        outcome="ok" if status < 400 else "refused" if status < 500 else "failed",
        org="acme", team=team, project="default", user=rng.choice(USERS), key_id=f"key_{team}01",
        feature=feature, face="openai", model=asked, route=f"{asked} → {provider}",
        stream=rng.random() < 0.7, estimated=rng.random() < 0.04, price_version="2026-11-01",
        routed_ms=0.4, admitted_ms=1.9, finish="" if error else "stop", temperature=0.2, max_tokens=1024,
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736", prompt_hash="b3:5f1c…a0",
        **({"latency_ms": 1.6, "attempts": 0} if status == 429 else served),
    )  # fmt: skip


def calls(
    provider: str, model: str, error: str, late_ms: float, ended_ms: float
) -> tuple[seen.CallView, ...]:
    """Return the calls of a request: one, or a second one after a first that was turned away."""
    last = seen.CallView(
        provider=provider, model=model, began_ms=2.4 + late_ms, ended_ms=ended_ms, outcome=error or "ok"
    )
    turned_away = seen.CallView(
        provider="openai", model="gpt-4o", began_ms=2.4, ended_ms=210.0, outcome="overloaded"
    )
    return (turned_away, last) if late_ms else (last,)


def spans(of: seen.RequestView) -> tuple[seen.SpanView, ...]:
    """Return the spans of a request, as the platform draws them."""
    wide = {
        "penstock.request_id": of.request_id,
        "penstock.team": of.team,
        "http.response.status_code": of.status,
        "penstock.cost_nanos": of.cost_nanos,
        "penstock.route": of.route,
    }
    rows = [
        seen.SpanView(
            name=f"chat {of.model}", kind="server", ended_ms=of.latency_ms, attributes=wide, error=of.error
        ),
        seen.SpanView(
            name="parse and route",
            kind="internal",
            ended_ms=of.routed_ms,
            depth=1,
            attributes={"penstock.route": of.route},
        ),
        seen.SpanView(name="admit", kind="internal", began_ms=of.routed_ms, ended_ms=of.admitted_ms, depth=1),
    ]
    for call in of.calls:
        told = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": call.provider,
            "gen_ai.request.model": call.model,
            "gen_ai.usage.input_tokens": call.input_tokens,
            "gen_ai.usage.output_tokens": call.output_tokens,
            "penstock.cost_nanos": call.cost_nanos,
            "gen_ai.response.finish_reasons": ["stop"],
        }
        error = "" if call.outcome == "ok" else call.outcome
        rows.append(
            seen.SpanView(
                name=f"chat {call.model}",
                kind="client",
                began_ms=call.began_ms,
                ended_ms=call.ended_ms,
                depth=1,
                attributes=told,
                error=error,
            )
        )
    if of.first_token_ms:
        rows.append(
            seen.SpanView(
                name="relay", kind="internal", began_ms=of.first_token_ms, ended_ms=of.latency_ms, depth=1
            )
        )
    return tuple(rows)


def series(step: int, start_s: float) -> Iterator[seen.Moment]:
    """Yield the last quarter of an hour."""
    rng = random.Random(7)
    for n in range(90):
        wave = 30 + 14 * math.sin((n + step) / 9) + rng.randrange(0, 9)
        yield seen.Moment(
            at_s=start_s + n * 10,
            requests=int(wave),
            failed=rng.choice((0, 0, 0, 1, 2)) if n % 13 < 9 else rng.randrange(3, 7),
            refused=rng.choice((0, 0, 1, 2)),
            cost_nanos=int(wave * 900_000),
            p50_ms=720 + 9 * wave,
            p95_ms=2_100 + 55 * wave,
        )


def overview(step: int = 0, *, at_s: float | None = None) -> seen.Overview:
    """Return the overview at a step of the morning."""
    at_s = at_s if at_s is not None else time.time()
    rng = random.Random(step)
    live = tuple(request(rng, 900_000 + step * 12 - n, at_s - n * 0.8) for n in range(12))
    spend = tuple(
        seen.SpendRow(
            account=account, level=level, window=window, limit_nanos=limit * DOLLAR,
            posted_nanos=int(posted * DOLLAR) + step * 10**6, held_nanos=DOLLAR // 4,
            room_nanos=int((limit - posted) * DOLLAR), hard=hard, percent=100 * posted / limit, eta_s=eta_s,
        )
        for account, level, window, limit, posted, hard, eta_s in BUDGETS
    )  # fmt: skip
    pressures = tuple(
        seen.Pressure(
            name=name, detail=detail, percent=percent, eta_s=eta_s, remedy=remedy, link=f"/console/{link}"
        )
        for name, detail, percent, eta_s, remedy, link in PRESSURES
    )
    codes = {"rate_limit_exceeded": 41, "upstream_timeout": 22, "insufficient_quota": 17, "overloaded": 9}
    return seen.Overview(
        at_s=at_s,
        org="acme",
        spend=spend,
        today_nanos=int(41.87 * DOLLAR) + step * 4_000_000,
        month_nanos=int(318.42 * DOLLAR),
        pressures=pressures,
        series=tuple(series(step, at_s // 10 * 10 - 900)),
        in_flight=17 + step % 9,
        live=live,
        latency=seen.Latency(
            window_s=900,
            requests=2_841 + step,
            p50_ms=912,
            p95_ms=4_310,
            p99_ms=9_870,
            first_p50_ms=276,
            first_p95_ms=611,
            first_p99_ms=1_240,
        ),
        errors=seen.ErrorCounts(requests=2_930 + step, refused=58, failed=31, by_code=codes),
        dependencies={"state": True, "ledger": True, "records": True, "stream": True},
        breakers={"openai/gpt-4o": "open", "anthropic/claude-haiku-4-5": "closed"},
        dropped={"audit records": 0},
    )


def costs(query: dict[str, str]) -> seen.Costs:
    """Return the costs of a month."""
    rng = random.Random(3)
    by = tuple(query["by"].split(","))
    until_s = float(query.get("until_s", time.time()))
    since_s = float(query.get("since_s", until_s - 30 * 86_400))
    names = {
        "model": [m[0] for m in MODELS],
        "team": [t[0] for t in TEAMS],
        "feature": [t[1] for t in TEAMS],
        "user": sorted(set(USERS)),
    }

    def groups(each: str) -> list[str]:
        if each in ("day", "hour"):
            step = 86_400 if each == "day" else 3_600
            return [str(at) for at in range(int(since_s) // step * step, int(until_s), step)]
        return names.get(each, ["a", "b", "c"])

    rows = []
    pairs = (
        [(one,) for one in groups(by[0])]
        if len(by) == 1
        else [(one, two) for one in groups(by[0]) for two in groups(by[1])]
    )
    for pair in pairs:
        count = rng.randrange(200, 9_000) * (1 + len(pair[-1]) % 4)
        rows.append(
            seen.CostRow(
                group=pair,
                requests=count,
                failed=count // 190,
                refused=count // 90,
                estimated=count // 300,
                input_tokens=count * 1_400,
                cached_tokens=count * 420,
                output_tokens=count * 210,
                cost_nanos=count * rng.randrange(400_000, 1_900_000),
                latency_ms=rng.uniform(600, 3_000),
            )
        )
    total = seen.CostSum(
        **{
            name: sum(getattr(row, name) for row in rows)
            for name in (
                "requests",
                "failed",
                "refused",
                "estimated",
                "input_tokens",
                "cached_tokens",
                "output_tokens",
                "cost_nanos",
            )
        },
        latency_ms=1_320.0,
    )
    return seen.Costs(
        by=by, rows=tuple(rows), total=total, since_s=since_s, until_s=until_s, settled_nanos=None
    )


def sessions(now_s: float) -> tuple[SessionView, ...]:
    """Return the owner's sessions."""
    firefox = "Mozilla/5.0 (X11; Linux x86_64) Firefox/151.0"
    telephone = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) Safari/605.1"
    return (
        SessionView(
            id="ses_1", person="per_ada", method="password", created_s=now_s - 7_200, seen_s=now_s - 1,
            peer="10.1.2.3", agent=firefox, current=True,
        ),
        SessionView(
            id="ses_2", person="per_ada", method="oidc", created_s=now_s - 400_000, seen_s=now_s - 90_000,
            peer="10.9.8.7", agent=telephone,
        ),
    )  # fmt: skip


async def overviews() -> AsyncIterator[tuple[str, Any]]:
    """Tell of the morning as it goes on."""
    for step in range(10_000):
        await asyncio.sleep(0.5)
        yield "overview", overview(step)


async def requests() -> AsyncIterator[tuple[str, Any]]:
    """Tell of requests as they end."""
    rng = random.Random(5)
    for number in range(10_000):
        await asyncio.sleep(0.05)
        yield "request", request(rng, 1_000_000 + number, time.time())


def nothing_spent(query: dict[str, str]) -> seen.Costs:
    """Return the costs of a first start."""
    until_s = time.time()
    by = tuple(query["by"].split(","))
    return seen.Costs(by=by, rows=(), total=seen.CostSum(), since_s=until_s - 30 * 86_400, until_s=until_s)


def platform(*, is_empty: bool = False) -> Platform:
    """Return the platform of the morning, or of a first start."""
    now_s = time.time()
    rng = random.Random(11)
    known = [] if is_empty else [request(rng, 800_000 - n, now_s - n * 7) for n in range(173)]

    def listed(query: dict[str, str]) -> seen.RequestPage:
        start = int(query.get("after") or 0)
        names = {"team", "user", "model", "provider", "feature", "outcome", "key_id", "project"} & set(query)
        wanted = [each for each in known if all(getattr(each, name) == query[name] for name in names)]
        rows = wanted[start : start + int(query["limit"])]
        after = str(start + len(rows)) if start + len(rows) < len(wanted) else ""
        return seen.RequestPage(requests=tuple(rows), after=after)

    first = seen.Overview(at_s=now_s, org="acme")
    made = Platform()
    made.answers |= {
        "GET /overview": lambda _: first if is_empty else overview(),
        "GET /overview/live": lambda _: overviews(),
        "GET /requests": listed,
        "GET /requests/live": lambda _: requests(),
        "GET /costs": nothing_spent if is_empty else costs,
        "GET /sessions": sessions(now_s),
        "DELETE /sessions/*": None,
    }
    made.answers |= made_up_oversight.answers(now_s, is_empty=is_empty)
    for each in known:
        made.answers[f"GET /requests/{each.request_id}"] = seen.RequestDetail(request=each, spans=spans(each))
    return made
