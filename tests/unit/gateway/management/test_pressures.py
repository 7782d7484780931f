"""What breaks first: figures in, ranking out; at, under and over each bound."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.management.overview_models import Pressure, SpendRow
from penstock.gateway.management.pace import (
    eta_s,
    lately,
    left_s,
    pace,
    pace_of,
    path_of,
    percent,
    shares,
    window_of,
)
from penstock.gateway.management.pressures import (
    SHOWN_MOST,
    SOON_S,
    Disk,
    Figures,
    Meter,
    Platform,
    Queue,
    pressing,
    ranked,
    spoken,
)
from penstock.gateway.management.sight import DROPS_SHOWN_S, Drops
from penstock.mechanisms.windows import Bucket, Window
from tests.unit.gateway.management.sight_rig import NOW_S, event

DAY_S = 86_400


def window(**fields: Any) -> Window:
    zeros: dict[str, Any] = {
        name: 0 for name in Window.__struct_fields__ if name not in {"by_code", "series", "window_s"}
    }
    return Window(**(zeros | {"window_s": 900.0, "by_code": {}, "series": ()} | fields))


def series(*buckets: dict[str, Any]) -> tuple[Bucket, ...]:
    """Return buckets of 10 s, the last one under way at `NOW_S` + 5."""
    first_s = NOW_S - 10.0 * (len(buckets) - 1)
    return tuple(Bucket(at_s=first_s + 10.0 * number, **each) for number, each in enumerate(buckets))


def budget(account: str = "org:acme@2027-01-15", **fields: Any) -> SpendRow:
    told = {
        "account": account, "level": "org", "window": "day", "limit_nanos": 10**9, "posted_nanos": 0,
        "held_nanos": 0, "room_nanos": 0, "hard": True, "percent": 0.0, "eta_s": 0.0,
    }  # fmt: skip
    return SpendRow.model_validate(told | fields)


def platform(**fields: Any) -> Platform:
    idle = {"in_flight": 0, "in_flight_most": 100, "connections": 0, "connections_most": 1000}
    return Platform(**(idle | fields))


def told(**fields: Any) -> list[Pressure]:
    return ranked(Figures(**({"now_s": NOW_S + 5, "window": window(), "deadline_s": 600.0} | fields)))


def names(**fields: Any) -> list[str]:
    return [each.name for each in told(**fields)]


# --- pace and eta ---------------------------------------------------------------------------------------------


def test_the_pace_is_that_of_the_last_minute() -> None:
    spent = series(*({"cost_nanos": 1000} for _ in range(20)))
    # At NOW + 5 the minute holds the buckets of NOW-50 to NOW: six of them, in 55 seconds.
    assert pace(spent, NOW_S + 5) == 6000 / 55
    assert pace(spent, NOW_S + 65) == 0.0
    assert pace((), NOW_S) == 0.0
    assert len(lately(spent, NOW_S + 10)[0]) == 6
    assert lately(spent, NOW_S + 9.999)[1] == pytest.approx(59.999)


def test_the_time_left_is_the_room_over_the_pace() -> None:
    assert eta_s(600, 10.0, 0.0) == 60.0
    assert eta_s(600, 10.0, 60.0) == 60.0
    assert eta_s(600, 10.0, 59.999) == 0.0
    assert eta_s(0, 10.0, 0.0) == eta_s(-1, 10.0, 0.0) == eta_s(600, 0.0, 0.0) == 0.0


def test_a_window_ends_at_its_edge_in_utc() -> None:
    assert left_s("day", NOW_S) == 16 * 3600  # it is eight in the morning
    assert left_s("month", NOW_S) == 16 * 3600 + 16 * DAY_S  # of the 15th of January
    assert left_s("month", 1_796_083_200.0 + 30 * DAY_S) > 0  # December
    assert left_s("total", NOW_S) == 0.0
    december_31_s = 1_798_675_200.0
    assert left_s("month", december_31_s) == DAY_S


def test_a_share_is_that_of_the_money_not_of_the_requests() -> None:
    spent = [
        event(team="a", user="x", cost_nanos=30),
        event(team="b", user="x", cost_nanos=10),
        event(team="b"),
    ]
    share_of = shares(spent)
    assert (share_of["org:acme/team:a"], share_of["org:acme/team:b"]) == (0.75, 0.25)
    assert share_of["org:acme/user:x"] == 1.0
    assert shares([]) == shares([event(cost_nanos=0)]) == {}
    assert pace_of("org:acme", "acme", 8.0, share_of) == 8.0
    assert pace_of("org:acme/team:b", "acme", 8.0, share_of) == 2.0
    assert (
        pace_of("org:other", "acme", 8.0, share_of)
        == pace_of("org:acme/team:c", "acme", 8.0, share_of)
        == 0.0
    )


def test_accounts_are_taken_apart_at_their_last_at_sign() -> None:
    assert path_of("org:acme/team:a@2027-01") == "org:acme/team:a"
    assert [window_of(f"org:a@{end}") for end in ("2027-01-15", "2027-01", "total")] == [
        "day",
        "month",
        "total",
    ]


# --- ranking --------------------------------------------------------------------------------------------------


def test_fuller_is_first_and_what_fills_sooner_before_what_is_fuller_but_still() -> None:
    still, filling = budget("org:a@total", percent=80.0), budget("org:b@total", percent=10.0, eta_s=600.0)
    assert names(budgets=[filling, still]) == [
        "Budget of organisation b, this day", "Budget of organisation a, this day",
    ]  # fmt: skip
    later = budget("org:b@total", percent=10.0, eta_s=900.0)
    assert names(budgets=[later, still])[0] == "Budget of organisation a, this day"
    assert pressing(told(budgets=[budget(percent=10.0, eta_s=SOON_S / 4)])[0]) == 75.0
    assert pressing(told(budgets=[budget(percent=10.0, eta_s=SOON_S)])[0]) == 10.0
    assert pressing(told(budgets=[budget(percent=10.0, eta_s=SOON_S * 9)])[0]) == 10.0


def test_a_soft_budget_counts_half_and_says_that_it_refuses_nothing() -> None:
    soft, hard = budget("org:a@total", percent=100.0, hard=False), budget("org:b@total", percent=50.1)
    first, second = told(budgets=[soft, hard])
    assert first.detail.startswith("$0.00 of $1.00 are spent")
    assert ("b" in first.name, "refuses nothing" in second.detail, second.percent) == (True, True, 100.0)
    assert names(budgets=[soft, budget("org:b@total", percent=49.9)])[0].startswith(
        "Budget of organisation a"
    )


def test_what_is_broken_stands_before_what_is_nearly_full() -> None:
    nearly = budget(percent=99.9)
    for broken in (
        {"dependencies": {"ledger": False, "state": True}},
        {"breakers": {"sim/m": "open", "sim/n": "half-open", "sim/o": "closed"}},
        {"dropping": {"audit records": 1}},
    ):
        found = told(budgets=[nearly], platform=platform(**broken))
        assert found[0].percent == 100.0
        assert found[1].name.startswith("Budget")
        assert sum(each.percent >= 100.0 for each in found) == 1


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("Requests at one time", {"in_flight": 100}),
        ("Connections", {"connections": 1000}),
        ("Waiting: x", {"queues": [Queue(name="x", waiting=7, capacity=7, setting="s")]}),
        ("Disk of the data folder", {"disk": Disk(used_bytes=5, total_bytes=5)}),
    ],
)
def test_a_bound_is_full_at_it_and_not_before(name: str, fields: dict[str, Any]) -> None:
    full = told(platform=platform(**fields))[0]
    assert (full.name, full.percent) == (name, 100.0)
    assert all(each.percent == 0.0 for each in told(platform=platform()))


def test_a_meter_is_as_full_as_it_is_taken() -> None:
    meter = Meter(path="org:acme/team:a", name="team requests per minute", used=45, limit=60)
    (each,) = told(meters=[meter])
    assert (each.name, each.percent, each.unit) == (
        "Team requests per minute of team a of acme",
        75.0,
        "requests",
    )
    assert each.link == "/console/keys#org:acme/team:a"


def test_failures_are_told_of_the_last_minute_of_answers_from_ten_on() -> None:
    def failing(failed: int, requests: int, refused: int = 0) -> list[Pressure]:
        bucket = {"failed": failed, "requests": requests, "refused": refused}
        return told(window=window(series=series(bucket, *({} for _ in range(5)))))

    assert failing(1, 9) == failing(0, 100) == failing(1, 19, refused=10) == []
    assert failing(1, 10)[0].percent == 200.0
    assert failing(1, 20)[0].percent == 100.0
    assert failing(1, 30, refused=10)[0].percent == 100.0
    assert told(window=window(series=series({"failed": 9, "requests": 9}, *({} for _ in range(9))))) == []


def test_latency_is_as_pressing_as_it_is_near_the_deadline() -> None:
    (each,) = told(window=window(p95_ms=300_000.0))
    assert (each.percent, each.unit, each.limit) == (50.0, "ms", 600_000.0)
    assert told(window=window(p95_ms=0.0)) == []


def test_figures_of_the_platform_are_not_for_everybody() -> None:
    assert told(platform=None) == []


def test_every_pressure_says_what_to_do_and_the_number_is_bounded() -> None:
    every = told(
        budgets=[budget()],
        meters=[Meter(path="org:a", name="org tokens per minute", used=1, limit=2)],
        window=window(p95_ms=1.0, series=series({"failed": 20, "requests": 20})),
        platform=platform(
            dependencies={"state": False}, breakers={"a/b": "open"}, dropping={"x": 1},
            queues=[Queue(name="x", waiting=1, capacity=2, setting="s")], disk=Disk(used_bytes=1, total_bytes=2),
        ),
    )  # fmt: skip
    assert len(every) == 11
    for each in every:
        assert each.remedy.endswith(".")
        assert each.detail.endswith((".", ")."))
        assert each.link.startswith("/console/") or not each.link
    assert (
        len(told(budgets=[budget(f"org:o{number}@total") for number in range(SHOWN_MOST + 1)])) == SHOWN_MOST
    )


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 8000), st.booleans()), max_size=20))
def test_the_order_is_by_how_pressing_and_does_not_depend_on_the_order_of_figures(
    given_: list[tuple[int, int, bool]],
) -> None:
    rows = [
        budget(f"org:o{number:02}@total", percent=float(full), eta_s=float(eta), hard=hard)
        for number, (full, eta, hard) in enumerate(given_)
    ]
    found = told(budgets=rows)
    weights = {row.account: 1.0 if row.hard else 0.5 for row in rows}
    placed = [pressing(each) * weights[f"org:{each.link.rpartition(':')[2]}@total"] for each in found]
    assert placed == sorted(placed, reverse=True)
    assert [each.name for each in told(budgets=rows[::-1])] == [each.name for each in found]


def test_a_bound_of_nothing_is_full() -> None:
    assert (percent(0, 0), percent(1, 2), percent(3, 2)) == (100.0, 50.0, 150.0)


def test_paths_are_spoken() -> None:
    assert spoken("org:acme") == "organisation acme"
    assert spoken("org:acme/team:a/project:p") == "project p of acme"


def test_drops_are_pressing_while_they_go_on() -> None:
    drops = Drops()
    assert drops.recent({"a": 0, "b": 5}, 0.0) == {"b": 5}
    assert drops.recent({"a": 1, "b": 5}, DROPS_SHOWN_S - 1) == {"a": 1, "b": 5}
    assert drops.recent({"a": 1, "b": 5}, DROPS_SHOWN_S) == {"a": 1}
    assert drops.recent({"a": 1, "b": 6}, DROPS_SHOWN_S * 3) == {"b": 6}
