"""The overview: how things are now, and what breaks first. It moves by itself.

Promises: the page and its stream are drawn by one template, so they never differ; every figure links to the requests
behind it; nothing is shown that the platform did not say.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from starlette.responses import Response

from penstock.console import formats
from penstock.console.filters import Sought
from penstock.console.security import PREFIX, local_path
from penstock.console.streams import Show, stream
from penstock.console.visits import Page, Visit
from penstock.sdk.requests import ErrorCounts, Moment, Overview

DAY_S: Final = 86_400
PRESSURES_SHOWN: Final = 5
SERIES_BUCKET_S: Final = 10.0
SERIES_LEAST: Final = 30
_LEVELS: Final = {"org": "org", "team": "team", "project": "project", "user": "user", "key": "key_id"}


async def show(visit: Visit) -> Response:
    """Show the overview, or stream it."""
    org = visit.query("org")
    if visit.query("live"):
        latest = Show(
            listen=lambda client: client.overview.live(org=org),
            draw=lambda came: visit.fragment("parts/overview.html", **values(visit, came[-1])),
        )
        return stream(visit, latest)
    now = await visit.client.overview.get(org=org)
    live = f"{PREFIX}/?{visit.request.url.query}" if visit.request.url.query else f"{PREFIX}/"
    return visit.render("pages/overview.html", live=live, org=now.org or org, **values(visit, now))


def values(visit: Visit, now: Overview) -> dict[str, Any]:
    """Return what the overview's template shows."""
    org = {"org": now.org} if now.org and now.org != visit.me.org else {}
    day_s = now.at_s - now.at_s % DAY_S
    lately = Sought(org, since_s=max(0.0, now.at_s - (now.latency.window_s or 900)), until_s=now.at_s)
    return {
        "now": now,
        "is_new": _is_silent(now),
        "today": Sought(org, since_s=day_s, until_s=day_s + DAY_S).requests(),
        "month": Sought(org, since_s=month_start(now.at_s), until_s=day_s + DAY_S).requests(),
        "lately": lately,
        "wrong": lately.requests(outcome=_only_kind(now.errors)),
        "chart": chart(now, org),
        "pressures": [
            (each, local_path(each.link) if each.link else "") for each in now.pressures[:PRESSURES_SHOWN]
        ],
        "spend": [(row, *account(row.account)) for row in now.spend],
        "codes": sorted(now.errors.by_code.items(), key=lambda item: (-item[1], item[0])),
        "curl": first_call(visit),
        "may_requests": visit.may("read requests"),
    }


def chart(now: Overview, org: dict[str, str]) -> dict[str, object]:
    """Return the last minutes as charts.js draws them: requests by outcome, and the slowest twentieth."""
    series = _since_something(now.series)
    links = [
        Sought(org, since_s=at.at_s, until_s=at.at_s + SERIES_BUCKET_S).requests() if at.requests else ""
        for at in series
    ]
    return {
        "kind": "stack",
        "unit": "count",
        "labels": [formats.clock_time(at.at_s) for at in series],
        "links": links,
        "series": [
            {"label": "ok", "tone": "1", "values": [_went_well(at) for at in series]},
            {"label": "refused", "tone": "warn", "values": [at.refused for at in series]},
            {"label": "failed", "tone": "bad", "values": [at.failed for at in series]},
            {
                "label": "p95",
                "tone": "2",
                "kind": "line",
                "unit": "ms",
                "values": [round(at.p95_ms, 1) if at.p95_ms else None for at in series],
            },
        ],
    }


def account(name: str) -> tuple[str, str]:
    """Return whose an account is, in words, and the address of its requests: ``org:acme/team:search@2026-11``."""
    path, _, _ = name.rpartition("@")
    named: dict[str, str] = {}
    for part in path.split("/"):
        level, _, value = part.partition(":")
        named[level] = value
    last = path.rpartition("/")[2]
    kind, _, whose = last.partition(":")
    wanted = {_LEVELS[level]: value for level, value in named.items() if level in _LEVELS}
    words = whose if kind == "org" else f"{kind} {whose}"
    return words or name, Sought(wanted).requests()


def month_start(at_s: float) -> float:
    """Return when the UTC month of a time began, in seconds since 1970."""
    at = datetime.fromtimestamp(at_s, UTC)
    return datetime(at.year, at.month, 1, tzinfo=UTC).timestamp()


def first_call(visit: Visit) -> str:
    """Return the command that makes the first request."""
    return (
        f"curl {visit.origin}/v1/chat/completions \\\n"
        '  -H "Authorization: Bearer YOUR-KEY" -H "Content-Type: application/json" \\\n'
        '  -d \'{"model": "local/extractive", "messages": [{"role": "user",\n'
        '       "content": "The gate opens at nine. When does the gate open?"}]}\''
    )


def _since_something(series: Sequence[Moment]) -> Sequence[Moment]:
    """Return the time since there were requests, and a little before; at least `SERIES_LEAST` points."""
    first = next((at for at, moment in enumerate(series) if moment.requests), len(series))
    return series[max(0, min(first - 3, len(series) - SERIES_LEAST)) :]


def _only_kind(errors: ErrorCounts) -> str:
    """Return what went wrong when it was of one kind only: refused or failed; "" for both, or nothing."""
    if bool(errors.failed) == bool(errors.refused):
        return ""
    return "failed" if errors.failed else "refused"


def _went_well(at: Moment) -> int:
    return max(0, at.requests - at.failed - at.refused)


def _is_silent(now: Overview) -> bool:
    return not now.live and not now.month_nanos and not any(at.requests for at in now.series)


PAGES: Final = (Page(path="/", serve=show, needs="read status"),)
