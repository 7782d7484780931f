"""The provider's books: complete, paged, resettable, durable."""

from __future__ import annotations

import json

import msgspec
import pytest

from penstock.simulator.truth import Truth, TruthRow


def closed(truth: Truth, **more) -> TruthRow:
    row = truth.open(TruthRow(id="c", operation="req", model="m", stream=False, received_s=1.0))
    for name, value in more.items():
        setattr(row, name, value)
    truth.close_row(row)
    return row


def test_totals_add_up_and_only_billed_rows_cost():
    truth = Truth()
    closed(truth, outcome="ok", billed=True, input_tokens=5, output_tokens=2, cost_nanos=30)
    closed(truth, outcome="ok", billed=True, input_tokens=1, output_tokens=1, cost_nanos=4)
    closed(truth, outcome="quota", input_tokens=9, cost_nanos=0)
    truth.open(TruthRow(id="d", operation="", model="m", stream=True, received_s=2.0))
    sums = truth.summary()
    assert (sums.requests, sums.in_flight, sums.billed, sums.cost_nanos) == (3, 1, 2, 34)
    assert (sums.input_tokens, sums.output_tokens) == (15, 3)
    assert (sums.billed_input_tokens, sums.billed_output_tokens) == (6, 3)
    assert sums.outcomes == {"ok": 2, "quota": 1}


@pytest.mark.parametrize(
    ("after", "limit", "seen"), [(0, 9, [1, 2, 3, 4]), (2, 9, [3, 4]), (0, 2, [1, 2]), (4, 9, []), (9, 9, [])]
)
def test_rows_are_paged_by_sequence(after, limit, seen):
    truth = Truth()
    for _ in range(4):
        closed(truth)
    assert [row.sequence for row in truth.rows(after, limit)] == seen


def test_the_oldest_rows_go_first_and_are_counted():
    truth = Truth(max_rows=3)
    for _ in range(5):
        closed(truth, outcome="ok")
    assert [row.sequence for row in truth.rows()] == [3, 4, 5]
    assert [row.sequence for row in truth.rows(after=1)] == [3, 4, 5]
    assert (truth.summary().dropped, truth.summary().requests) == (2, 5)


def test_a_reset_forgets_all_but_what_runs():
    truth = Truth()
    closed(truth, outcome="ok")
    truth.open(TruthRow(id="d", operation="", model="m", stream=True, received_s=2.0))
    truth.reset()
    assert truth.rows() == []
    assert (truth.summary().requests, truth.summary().in_flight, truth.summary().outcomes) == (0, 1, {})


def test_a_summary_is_a_copy():
    truth = Truth()
    before = truth.summary()
    closed(truth, outcome="ok")
    assert (before.requests, before.outcomes) == (0, {})


def test_rows_survive_in_the_file_in_order_and_are_appended(tmp_path):
    path = tmp_path / "truth.jsonl"
    for _ in range(2):
        truth = Truth(path)
        closed(truth, outcome="ok", cost_nanos=7)
        closed(truth, outcome="cut")
        truth.close()
        truth.close()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["outcome"] for row in rows] == ["ok", "cut"] * 2
    assert msgspec.convert(rows[0], TruthRow).cost_nanos == 7
    assert path.stat().st_mode & 0o077 == 0
