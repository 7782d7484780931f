"""Reconciliation finds every seeded fault of an invoice and none that is not there, and its lines add up."""

from __future__ import annotations

from collections import Counter
from datetime import date
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.adapters.tables.duckdb import DuckDbTables
from penstock.kernel.errors import Invalid
from penstock.kernel.events import Call
from penstock.mechanisms.lake.questions import LakeQuestions
from penstock.mechanisms.reconcile.invoices import InvoiceLine
from penstock.mechanisms.reconcile.matching import Tolerance, reconciled, stem
from penstock.mechanisms.reconcile.ours import from_lake, from_totals
from penstock.ports.tables import Bounds
from penstock.ports.traces import DAY_S, TraceFilter
from tests.unit.mechanisms.alerts.test_rules import total
from tests.unit.mechanisms.lake.lake_stage import Stage, staged

SATURDAY = date(2026, 11, 21)
EXACT = Tolerance(nanos=0, ppm=0)


def line(cost: int, model: str = "gpt-4o", day: str = "2026-11-21", **facts: object) -> InvoiceLine:
    return InvoiceLine(**{"vendor": "openai", "day": day, "model": model, "cost_nanos": cost, **facts})


def statuses(ours: list[InvoiceLine], theirs: list[InvoiceLine], tolerance: Tolerance = EXACT) -> list[str]:
    return [each.status for each in reconciled(ours, theirs, tolerance).lines]


def test_lines_of_a_day_meet_by_vendor_and_model() -> None:
    told = reconciled([line(3), line(4), line(9, "claude")], [line(7), line(5, "gemini")], EXACT)
    assert [(each.model, each.status, each.difference_nanos) for each in told.lines] == [
        ("claude", "ours_only", -9),
        ("gemini", "theirs_only", 5),
        ("gpt-4o", "matched", 0),
    ]
    assert (told.ours_nanos, told.theirs_nanos, told.difference_nanos) == (16, 12, -4)
    assert not told.agrees
    assert statuses([line(1)], [line(1, day="2026-11-22")]) == ["ours_only", "theirs_only"]
    assert statuses([line(1)], [line(1, vendor="azure")]) == ["theirs_only", "ours_only"]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("claude-sonnet-4-20250514", "claude-sonnet-4"),
        ("claude-sonnet-4@20250514", "claude-sonnet-4"),
        ("gpt-4o", "gpt-4o"),
        ("o1-2024", "o1-2024"),
        ("ft:gpt-4o-2024-08-06:acme", "ft:gpt-4o-2024-08-06:acme"),
    ],
)
def test_the_date_of_a_version_is_no_other_model(model: str, name: str) -> None:
    assert stem(model) == name
    assert statuses([line(1, name)], [line(1, model)]) == ["matched"]


def test_a_difference_says_whether_the_price_or_the_usage_is_another() -> None:
    counts = {"input_tokens": 10, "output_tokens": 5}
    ours = [line(100, **counts)]
    assert statuses(ours, [line(101, **counts)]) == ["price"]
    assert statuses(ours, [line(101, input_tokens=11, output_tokens=5)]) == ["usage"]
    assert statuses(ours, [line(101)]) == ["cost"]
    assert statuses(ours, [line(100)]) == ["matched"]


def test_the_tolerance_is_the_larger_of_its_two() -> None:
    loose = Tolerance(nanos=10, ppm=1_000)
    for ours, theirs, holds in (
        (100, 110, True),
        (100, 111, False),
        (999_000, 1_000_000, True),
        (998_999, 1_000_000, False),
    ):
        assert loose.holds(ours, theirs) == holds
        assert (statuses([line(ours)], [line(theirs)], loose) == ["matched"]) == holds


def test_a_call_billed_again_under_its_reference_is_found_on_either_side() -> None:
    mine = [line(5, reference="a"), line(6, reference="b")]
    told = reconciled(mine, [*mine, line(5, reference="a")], EXACT)
    assert [(each.reference, each.status) for each in told.lines] == [
        ("a", "matched"),
        ("b", "matched"),
        ("a", "duplicate"),
    ]
    assert told.difference_nanos == 5
    assert statuses([*mine, mine[0]], mine) == ["matched", "matched", "duplicate"]


def test_a_tenth_of_a_percent_of_faults_is_found_and_nothing_else() -> None:
    """10,000 lines, one in a thousand left out, one billed twice, one mispriced, one added."""
    draw = Random(1)
    ours = [
        line(draw.randrange(1, 10**8), reference=f"req_{n}", input_tokens=n, output_tokens=1)
        for n in range(10_000)
    ]
    chosen = draw.sample(range(10_000), 30)
    left_out, twice, mispriced = chosen[:10], chosen[10:20], chosen[20:]
    theirs = [each for n, each in enumerate(ours) if n not in left_out]
    theirs += [ours[n] for n in twice] + [line(5, reference=f"ghost_{n}") for n in range(10)]
    theirs = [
        msgspec.structs.replace(each, cost_nanos=each.cost_nanos * 11 // 10 + 2_000)
        if each is ours[int(each.reference[4:])] and int(each.reference[4:]) in mispriced
        else each
        for each in theirs
        if each.reference.startswith("req_")
    ] + [each for each in theirs if each.reference.startswith("ghost_")]
    draw.shuffle(theirs)
    told = reconciled(ours, theirs)
    assert told.counts == {"matched": 9_980, "ours_only": 10, "duplicate": 10, "price": 10, "theirs_only": 10}
    found = {s: {each.reference for each in told.lines if each.status == s} for s in told.counts}
    assert found["ours_only"] == {f"req_{n}" for n in left_out}
    assert found["duplicate"] == {f"req_{n}" for n in twice}
    assert found["price"] == {f"req_{n}" for n in mispriced}
    assert told.theirs_nanos == sum(each.cost_nanos for each in theirs)


LINES = st.lists(
    st.builds(
        line,
        st.integers(-(10**6), 10**6),
        model=st.sampled_from(["a", "a-20250101", "b"]),
        day=st.sampled_from(["2026-11-20", "2026-11-21"]),
        reference=st.sampled_from(["", "", "x", "y"]),
    ),
    max_size=12,
)


@given(LINES, LINES)
def test_the_results_add_up_to_both_sides(ours: list[InvoiceLine], theirs: list[InvoiceLine]) -> None:
    told = reconciled(ours, theirs)
    assert told.ours_nanos == sum(each.cost_nanos for each in ours)
    assert told.theirs_nanos == sum(each.cost_nanos for each in theirs)
    assert told.difference_nanos == sum(each.difference_nanos for each in told.lines)
    assert Counter(each.status for each in told.lines) == told.counts
    assert reconciled(ours, ours, EXACT).difference_nanos == 0


def test_our_side_comes_from_the_lake_call_by_call_and_by_day(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        stage.tables = DuckDbTables(tmp_path / "work")
        first = Call("eu-openai", "gpt-4o", 0.0, 1.0, "cut", 30, 3, 1)
        second = Call("claude", "sonnet", 1.0, 2.0, "ok", 500, 7, 9)
        await stage.told(
            "a", "b", calls=(first, second), provider="claude", model_used="sonnet", cost_nanos=530
        )
        await stage.told("none", status=429)
        await stage.told("c", org="beta", calls=(second,))
        await stage.intake().step(flush=True)
        lake = LakeQuestions(stage.tables, stage.blobs, stage.clock, bounds=Bounds(rows=4))
        vendors = {"eu-openai": "openai", "claude": "anthropic"}
        by_day = await from_lake(lake, ("acme", "beta"), SATURDAY, SATURDAY, vendors=vendors)
        assert by_day == [
            line(1_000, "sonnet", vendor="anthropic", input_tokens=14, output_tokens=18, requests=2),
            line(60, input_tokens=6, output_tokens=2, requests=2),
            line(500, "sonnet", vendor="anthropic", input_tokens=7, output_tokens=9, requests=1),
        ]
        theirs = [line(1_500, "sonnet-20260101", vendor="anthropic"), line(60, "gpt-4o-2024-08-06")]
        assert reconciled(by_day, theirs, EXACT).agrees
        by_call = await from_lake(lake, ("acme",), SATURDAY, SATURDAY, vendors=vendors, by_call=True)
        assert {each.reference for each in by_call} == {"a/1", "a/2", "b/1", "b/2"}
        assert sum(each.cost_nanos for each in by_call) == 1_060
        small = LakeQuestions(stage.tables, stage.blobs, stage.clock, bounds=Bounds(rows=3))
        with pytest.raises(Invalid):
            await from_lake(small, ("acme",), SATURDAY, SATURDAY, vendors=vendors, by_call=True)

    staged(tmp_path, case)


def test_our_side_comes_from_totals_too(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        day_s = 1_795_219_200

        class Traces:
            async def totals(self, wanted: TraceFilter, by: tuple[str, ...]) -> list[object]:
                assert (wanted.since_s, wanted.until_s) == (day_s, day_s + 2 * DAY_S)
                assert by == ("day", "provider", "model")
                return [total(day_s, "eu", "gpt-4o", cost=7, tokens=3), total(day_s, "", "none")]

        (only,) = await from_totals(Traces(), SATURDAY, date(2026, 11, 22), vendors={"eu": "openai"})
        assert only == line(7, input_tokens=3, output_tokens=3, requests=1)

    staged(tmp_path, case)
