"""`penstock usage --by`: what requests cost by anything that they are, as columns over time and as exact sums."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from penstock.cli.cost_chart import MINOR, OTHERS, chart, cost_table
from penstock.cli.drawing import columns, curve, meter, shares
from penstock.cli.which import calendar, moment
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Invalid
from penstock.sdk.requests import CostRow, Costs, CostSum

DAY_S = 86_400


def costs(
    by: tuple[str, ...], *rows: tuple[tuple[str, ...], int], days: int = 3, settled: int | None = None
) -> Costs:
    total = CostSum(cost_nanos=sum(cost for _, cost in rows), requests=len(rows))
    return Costs(
        by=by, rows=tuple(CostRow(group=group, cost_nanos=cost, requests=1) for group, cost in rows), total=total,
        since_s=0.0, until_s=float(days * DAY_S), settled_nanos=settled,
    )  # fmt: skip


def drawn(*parts: object, width: int = 100) -> list[str]:
    page = io.StringIO()
    Console(file=page, width=width).print(*parts, sep="\n")
    return page.getvalue().splitlines()


BY_TEAM = costs(
    ("day", "team"),
    (("0", "search"), 6 * 10**9),
    (("0", "support"), 2 * 10**9),
    ((str(2 * DAY_S), "search"), 1),
)


# -------------------------------------------------------------------------------------------------------- the chart


def test_each_day_has_its_column_stacked_by_series_and_an_empty_day_is_empty():
    lines = drawn(*chart(BY_TEAM, 30))
    rows = [line[11:].ljust(9) for line in lines if "┤" in line or "│" in line]
    assert len(rows) == 8
    first, second, third = ("".join(row[n] for row in rows) for n in (0, 3, 6))
    assert first == "▓▓██████"
    assert second == " " * 8
    assert third == " " * 7 + "█"  # a nano-dollar can be seen
    assert lines[0] == "cost per day by team"
    assert "$8.00" in lines[1]
    assert "█ search  ▓ support" in lines[-1]
    assert "1970-01-01" in lines[-2]
    assert "1970-01-03" in lines[-2]


def test_a_chart_of_days_alone_has_no_legend_and_one_of_nothing_is_none():
    assert "█" not in drawn(*chart(costs(("day",), (("0",), 5)), 60))[-1]
    assert chart(costs(("day", "team"), (("0", "a"), 0)), 60) == []
    assert chart(costs(("team",), (("a",), 5)), 60) == []


def test_the_minor_series_are_one_and_nothing_is_left_out():
    many = costs(("day", "model"), *((("0", f"m{n}"), 10 - n) for n in range(9)), days=1)
    legend = drawn(*chart(many, 100))[-1]
    assert [f"m{n}" in legend for n in range(9)] == [n < MINOR for n in range(9)]
    assert OTHERS in legend
    assert "▞" in "".join(drawn(*chart(many, 100))[1:-3])  # they have their share of the column
    just = costs(("day", "model"), *((("0", f"m{n}"), 10 - n) for n in range(MINOR + 1)), days=1)
    assert OTHERS not in drawn(*chart(just, 100))[-1]


@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("days", [1, 30, 48, 400])
def test_a_chart_fits_its_width(width, days):
    it = costs(("day", "team"), *((((str(n * DAY_S)), "search"), 1 + n) for n in range(days)), days=days)
    assert max(len(line.rstrip()) for line in drawn(*chart(it, width), width=300)) <= width


@given(
    stacks=st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 10**12)), min_size=1, max_size=8),
    height=st.integers(1, 9),
)
def test_a_column_is_as_high_as_its_share_and_holds_only_what_is_in_it(stacks, height):
    rows = columns(stacks, "abc", height)
    most = max(sum(stack.values()) for stack in stacks)
    assert len(rows) == height
    for place, stack in enumerate(stacks):
        cells = [row[place] for row in rows]
        filled = [each for each in cells if each]
        assert set(filled) <= {name for name, amount in stack.items() if amount}
        assert cells == [""] * (height - len(filled)) + filled
        assert (len(filled) > 0) == (sum(stack.values()) > 0)
        if sum(stack.values()) == most > 0:
            assert len(filled) == height


@given(st.integers(0, 500), st.integers(1, 80))
def test_neighbours_share_places_without_loss(count, most):
    parts = shares(count, most)
    assert [n for part in parts for n in part] == list(range(count))
    assert len(parts) <= most


@given(st.lists(st.floats(0, 1e9), max_size=200), st.integers(1, 60))
def test_a_curve_fits_and_only_nothing_is_empty(values, chars):
    told = curve(values, chars)
    assert len(told) <= chars
    assert (told.strip() == "") == (not any(values))


@pytest.mark.parametrize(
    ("part", "whole", "told"),
    [
        (0, 8, ""),
        (1, 8, "█"),
        (1, 64, "▏"),
        (1, 10**9, "▏"),
        (8, 8, "█" * 8),
        (99, 8, "█" * 8),
        (5, 0, ""),
        (9, 64, "█▏"),
    ],
)
def test_a_meter_is_as_long_as_its_share(part, whole, told):
    assert meter(part, whole, 8) == told


# -------------------------------------------------------------------------------------------------------- the table


def test_the_table_is_exact_and_adds_up():
    told = "\n".join(drawn(cost_table(costs(("team", "key_id"), (("a", "k"), 1), (("", ""), 3)), 100)))
    for part in ("team", "key ", "$0.000000001", "25 %", "(none)", "total", "$0.000000004", "100 %"):
        assert part in told
    assert "key_id" not in told


@pytest.mark.parametrize(("width", "heads"), [(60, 5), (72, 7), (96, 9)])
def test_a_narrow_table_has_fewer_figures(width, heads):
    head = drawn(cost_table(BY_TEAM, width), width=width)[0]
    assert len(head.replace("tokens in", "in").split()) == heads


# ------------------------------------------------------------------------------------------------------ the command


def test_filters_period_and_grouping_are_asked_for_and_a_chart_by_the_first(far, penstock):
    far.answers["GET /costs"] = lambda query: (
        BY_TEAM if query["by"] == "day,team" else costs(("team", "model"), (("search", "gpt-4o"), 7))
    )
    code, out, _ = penstock("usage", "--by", "team,model", "--since", "2026-11-01", "--model", "gpt-4o")
    assert code == 0
    asked = far.queries("GET /costs")
    assert [each["by"] for each in asked] == ["team,model", "day,team"]
    assert all(each["since_s"] == "1793491200.0" and each["model"] == "gpt-4o" for each in asked)
    assert "cost per day by team" in out
    assert "$0.000000007" in out


def test_a_short_period_is_drawn_by_hours(far, penstock):
    far.answers["GET /costs"] = lambda query: costs(tuple(query["by"].split(",")))
    penstock("usage", "--by", "team", "--since", "24h")
    penstock("usage", "--by", "team", "--since", "30d")
    assert [each["by"] for each in far.queries("GET /costs")] == ["team", "hour,team", "team", "day,team"]


def test_a_day_asks_for_exactly_it_and_the_ledgers_word_is_told(far, penstock):
    far.answers["GET /costs"] = costs(("day",), (("0",), 5), settled=1_500_000_000)
    out = penstock("usage", "--by", "day", "--day", "2026-11-20")[1]
    (asked,) = far.queries("GET /costs")  # what is by day already needs no second question
    assert (asked["since_s"], asked["until_s"]) == ("1795132800.0", "1795219200.0")
    assert "The ledger says $1.50." in out


@pytest.mark.parametrize(
    ("words", "by"),
    [(("key", "--since", "7d"), "key_id"), (("team", "--feature", "x"), "team"), (("--user", "u"), "day")],
)
def test_what_the_ledger_does_not_know_is_asked_of_the_requests(far, penstock, words, by):
    far.answers["GET /costs"] = lambda query: costs(tuple(query["by"].split(",")))
    assert penstock("usage", *words)[0] == 0
    assert far.queries("GET /costs")[0]["by"] == by
    assert far.queries("GET /usage") == []


def test_everything_else_is_asked_of_the_ledger_as_ever(far, penstock):
    far.answers["GET /usage"] = ()
    for words in ((), ("team",), ("key", "--day", "2026-11"), ("--org", "acme")):
        assert penstock("usage", *words)[1] == "Nothing was spent yet.\n"
    assert far.queries("GET /costs") == []


def test_programs_get_the_sums_and_one_question_is_asked(far, penstock):
    far.answers["GET /costs"] = BY_TEAM
    told = json.loads(penstock("usage", "--by", "day,team", "--json")[1])
    assert told["total"]["cost_nanos"] == 8_000_000_001
    assert len(far.queries("GET /costs")) == 1


# ------------------------------------------------------------------------------------------------------- the period


@pytest.mark.parametrize(
    ("text", "at_s"),
    [
        ("", 0.0), ("90m", 994_600.0), ("24h", 913_600.0), ("7d", 395_200.0), ("1w", 395_200.0), ("30s", 999_970.0),
        ("9999d", 1.0), ("2026-11-20", 1_795_132_800.0), ("2026-11", 1_793_491_200.0),
        ("2026-11-20T08:30", 1_795_163_400.0), ("2026-11-20 08:30:15Z", 1_795_163_415.0),
    ],
)  # fmt: skip
def test_a_time_is_so_long_ago_or_a_utc_date(text, at_s):
    assert moment("since", text, ManualClock(wall_s=1_000_000.0)) == at_s


@pytest.mark.parametrize(
    "text", ["yesterday", "7", "d", "7y", "-1d", "2026-13-01", "2026-11-20T25:00", "\u0661d", "2026"]
)
def test_what_is_no_time_is_refused_by_its_option(text):
    with pytest.raises(Invalid) as refusal:
        moment("since", text)
    assert (refusal.value.field, refusal.value.value) == ("--since", text)


@pytest.mark.parametrize(
    ("text", "since_s", "until_s"),
    [
        ("2026-11-20", 1_795_132_800.0, 1_795_219_200.0), ("2026-11", 1_793_491_200.0, 1_796_083_200.0),
        ("2026-12", 1_796_083_200.0, 1_798_761_600.0), ("", 0.0, 0.0),
    ],
)  # fmt: skip
def test_a_day_or_month_ends_where_the_next_begins(text, since_s, until_s):
    assert calendar("day", text) == (since_s, until_s)


@pytest.mark.parametrize(
    "words", [("--day", "2026", "--by", "team"), ("--day", "2026-11-20", "--since", "7d")]
)
def test_a_period_that_is_none_is_refused(penstock, words):
    code, out, err = penstock("usage", *words)
    assert (code, out) == (2, "")
    assert "--" in err
