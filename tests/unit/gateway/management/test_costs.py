"""Costs: exact sums by one or two dimensions, and the ledger's own word where it has one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from penstock.gateway.management.costs import CostFilter, accounts, period
from penstock.ports.traces import DAY_S, DIMENSIONS, HOUR_S, TraceFilter
from tests.unit.gateway.management.sight_rig import NOW_S, Sighted, event, sighted

TODAY_S = NOW_S // DAY_S * DAY_S
NOVEMBER_S = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
SUMS = (
    "requests",
    "failed",
    "refused",
    "estimated",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "cost_nanos",
)


async def costs(it: Sighted, query: str = "", role: str = "admin") -> Any:
    """Return what the route says."""
    told = await it.it.ask("GET", f"/api/v1/costs?{query}", by=await it.it.as_(role))
    assert told.status == 200, told.text
    return told.json


async def spend(it: Sighted) -> None:
    """Keep four requests of two teams and two models."""
    await it.keep(
        event(
            team="a",
            model="m",
            cost_nanos=9_007_199_254_740_990,
            input_tokens=5,
            cached_tokens=2,
            latency_ms=10,
        ),
        event(team="a", model="m", cost_nanos=1, output_tokens=7, latency_ms=30, estimated=True),
        event(team="a", model="n", status=429),
        event(team="b", model="m", status=500, cost_nanos=5, at_s=NOW_S - 2 * DAY_S),
    )


def test_sums_are_exact_and_rows_add_up_to_the_total(tmp_path: Path) -> None:
    async def case(it: Sighted) -> None:
        await spend(it)
        told = await costs(it, "by=team,model")
        assert told["by"] == ["team", "model"]
        rows = {tuple(row["group"]): row for row in told["rows"]}
        assert next(iter(rows)) == ("a", "m")
        assert rows["a", "m"] == {
            "group": ["a", "m"], "requests": 2, "failed": 0, "refused": 0, "estimated": 1, "input_tokens": 5,
            "cached_tokens": 2, "output_tokens": 7, "cost_nanos": 9_007_199_254_740_991, "latency_ms": 20.0,
        }  # fmt: skip
        assert (rows["a", "n"]["refused"], rows["b", "m"]["failed"]) == (1, 1)
        for name in SUMS:
            assert told["total"][name] == sum(row[name] for row in told["rows"])
        assert told["total"]["latency_ms"] == 10.0
        assert "group" not in told["total"]

    sighted(tmp_path, case)


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_every_dimension_groups(tmp_path: Path, dimension: str) -> None:
    async def case(it: Sighted) -> None:
        await spend(it)
        told = await costs(it, f"by={dimension}")
        # "hour" alone looks at the last 48 hours, which begin before the request of two days ago ended.
        assert sum(row["requests"] for row in told["rows"]) == (3 if dimension == "hour" else 4)
        assert all(len(row["group"]) == 1 for row in told["rows"])

    sighted(tmp_path, case)


def test_days_are_told_by_their_start_and_are_what_is_grouped_by_when_nothing_is_said(tmp_path: Path) -> None:
    async def case(it: Sighted) -> None:
        await spend(it)
        told = await costs(it)
        assert told["by"] == ["day"]
        assert {row["group"][0] for row in told["rows"]} == {str(int(TODAY_S)), str(int(TODAY_S - 2 * DAY_S))}

    sighted(tmp_path, case)


@pytest.mark.parametrize("by", ["colour", "team,", ",", "team,team", "team,model,user", "team model", "Team"])
def test_what_is_no_grouping_is_refused_with_what_would_be(tmp_path: Path, by: str) -> None:
    async def case(it: Sighted) -> None:
        told = await it.it.ask("GET", f"/api/v1/costs?by={by}", by=await it.it.as_("admin"))
        assert (told.status, told.error["param"]) == (400, "by")
        assert "feature" in told.error["limit"]

    sighted(tmp_path, case)


def test_without_a_period_it_is_thirty_days_or_fortyeight_hours_with_the_one_under_way() -> None:
    now_s = TODAY_S + 10.5 * HOUR_S
    next_hour_s = TODAY_S + 11 * HOUR_S
    assert period(CostFilter(), now_s, hourly=False) == (TODAY_S - 29 * DAY_S, next_hour_s)
    assert period(CostFilter(), now_s, hourly=True) == (next_hour_s - 48 * HOUR_S, next_hour_s)
    assert period(CostFilter(until_s=TODAY_S), now_s, hourly=False) == (TODAY_S - 30 * DAY_S, TODAY_S)
    assert period(CostFilter(since_s=5.0, until_s=7.0), now_s, hourly=False) == (5.0, 7.0)
    assert period(CostFilter(since_s=5.0), now_s, hourly=False) == (5.0, next_hour_s)
    # The last moment of a day belongs to that day, the first one of the next to the next.
    assert period(CostFilter(), TODAY_S - 1, hourly=False)[0] == TODAY_S - 30 * DAY_S
    assert period(CostFilter(), TODAY_S, hourly=False)[0] == TODAY_S - 29 * DAY_S


def asked(**fields: Any) -> TraceFilter:
    return TraceFilter(**({"org": "acme", "since_s": TODAY_S, "until_s": TODAY_S + DAY_S} | fields))


def test_the_ledger_is_asked_for_one_whole_day_or_month_of_an_organisation_and_nothing_else() -> None:
    assert accounts(asked()) == ["org:acme@2027-01-15"]
    november = accounts(asked(since_s=NOVEMBER_S, until_s=NOVEMBER_S + 30 * DAY_S))
    assert (november[0], november[-1], len(november)) == ("org:acme@2026-11-01", "org:acme@2026-11-30", 30)
    december_s = NOVEMBER_S + 30 * DAY_S
    assert len(accounts(asked(since_s=december_s, until_s=december_s + 31 * DAY_S))) == 31
    for other in (
        {"org": ""}, {"team": "a"}, {"model": "m"}, {"outcome": "ok"}, {"user": "u"},
        {"since_s": TODAY_S + 1}, {"until_s": TODAY_S + DAY_S - 1}, {"until_s": TODAY_S + DAY_S + 1},
        {"until_s": TODAY_S + 2 * DAY_S}, {"until_s": TODAY_S},
        {"since_s": NOVEMBER_S, "until_s": NOVEMBER_S + 29 * DAY_S},
        {"since_s": NOVEMBER_S, "until_s": NOVEMBER_S + 31 * DAY_S},
        {"since_s": NOVEMBER_S, "until_s": NOVEMBER_S + 61 * DAY_S},
        {"since_s": NOVEMBER_S + DAY_S, "until_s": NOVEMBER_S + 30 * DAY_S},
        {"since_s": NOVEMBER_S + 365 * DAY_S - 334 * DAY_S, "until_s": NOVEMBER_S},
    ):  # fmt: skip
        assert accounts(asked(**other)) == [], other


def test_the_ledgers_word_stands_beside_ours(tmp_path: Path) -> None:
    async def case(it: Sighted) -> None:
        await it.it.spend("org:acme@2027-01-15", 70)
        await it.it.spend("org:acme@2027-01-01", 7)
        await it.it.spend("org:acme-2@2027-01-15", 500)
        await it.it.spend("org:acme/team:search@2027-01-15", 500)
        first_s = datetime(2027, 1, 1, tzinfo=UTC).timestamp()
        day, month = (
            f"since_s={TODAY_S}&until_s={TODAY_S + DAY_S}",
            f"since_s={first_s}&until_s={first_s + 31 * DAY_S}",
        )
        assert (await costs(it, day))["settled_nanos"] == 70
        assert (await costs(it, month))["settled_nanos"] == 77
        assert (await costs(it, f"{day}&org=acme", role="owner"))["settled_nanos"] == 70
        assert (await costs(it, f"{day}&org=*", role="owner"))["settled_nanos"] is None
        for role in ("developer", "team-admin", "reviewer"):
            assert (await costs(it, day, role=role))["settled_nanos"] is None
        assert (await costs(it))["settled_nanos"] is None

    sighted(tmp_path, case)
