"""Names alone say what is in the lake: of any mixture that a crash can leave, every batch counts exactly once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.mechanisms.lake.names import by_day, hour_name, merged_name, tenant_of

DAY = "2026-11-21"


def counted(*names: str, settled: int | None = None) -> list[str]:
    return [file.name for day in by_day(names, settled) for file in day.counted]


def superseded(*names: str) -> list[str]:
    return [file.name for day in by_day(names) for file in day.superseded]


def test_single_batches_count_each() -> None:
    names = [hour_name(DAY, 13, 1), hour_name(DAY, 13, 2), hour_name(DAY, 14, 2)]
    assert counted(*reversed(names)) == names
    assert superseded(*names) == []


def test_a_merged_set_counts_when_it_is_whole_and_not_a_piece_before() -> None:
    small = [hour_name(DAY, 13, 1), hour_name(DAY, 13, 2)]
    first, second = (merged_name(DAY, "all", 2, number, 2) for number in (1, 2))
    assert counted(*small, first) == small
    assert superseded(*small, first) == []
    assert counted(*small, first, second) == [first, second]
    assert sorted(superseded(*small, first, second)) == sorted(small)


def test_later_batches_count_beside_a_set() -> None:
    merged, late = merged_name(DAY, "all", 2, 1, 1), hour_name(DAY, 13, 3)
    assert counted(late, merged, hour_name(DAY, 13, 2)) == [merged, late]


def test_of_two_sets_the_later_counts_and_what_is_kept_before_all() -> None:
    early, later, kept = (merged_name(DAY, "all", batch, 1, 1) for batch in (2, 3, 4))
    kept = merged_name(DAY, "kept", 3, 1, 1)
    assert counted(early, later) == [later]
    assert counted(early, later, kept) == [kept]
    assert sorted(superseded(early, later, kept)) == sorted([early, later])


def test_pieces_of_an_interrupted_set_do_not_spoil_one_of_another_size() -> None:
    stray = merged_name(DAY, "all", 5, 3, 3)
    whole = [merged_name(DAY, "all", 5, number, 2) for number in (1, 2)]
    assert counted(stray, *whole) == whole
    assert superseded(stray, *whole) == [stray]


def test_what_is_not_settled_is_as_if_it_were_not_there() -> None:
    names = [hour_name(DAY, 1, 1), hour_name(DAY, 1, 2)]
    assert counted(*names, settled=1) == names[:1]
    (day,) = by_day(names, 1)
    assert (day.last_batch, day.small) == (1, 1)


def test_other_names_are_none_of_ours() -> None:
    for name in (
        "audit/day=2026-11-21/other",
        "audit/day=x/hour=01-000000000001",
        f"x{hour_name(DAY, 1, 1)}",
    ):
        assert counted(name) == []


def test_days_are_apart() -> None:
    names = [hour_name("2026-11-20", 23, 1), merged_name(DAY, "all", 1, 1, 1)]
    assert counted(*names) == names


def test_tenants_are_told_apart_and_are_nobody_elses() -> None:
    orgs = ["", "acme", "~acme", "a" * 58, "a" * 59, "é" * 29, "é" * 30, "a/../b", tenant_of("")]
    tenants = [tenant_of(org) for org in orgs]
    assert len(set(tenants)) == len(orgs)
    assert all(1 <= len(tenant.encode()) <= 64 and tenant.startswith("audit:") for tenant in tenants)


@given(st.integers(1, 9), st.integers(0, 9), st.integers(1, 3), st.integers(0, 3), st.sets(st.integers(1, 9)))
def test_whatever_a_merge_was_doing_every_batch_counts_once(
    batches: int, cover: int, of: int, named: int, ended: set[int]
) -> None:
    """A merge of the batches up to `cover` was named in part or whole; only after that did some of its files end."""
    cover = min(cover, batches)
    pieces = (
        [merged_name(DAY, "all", cover, number, of) for number in range(1, min(named, of) + 1)]
        if cover
        else []
    )
    whole = bool(cover) and len(pieces) == of
    left = [hour_name(DAY, 0, n) for n in range(1, batches + 1) if not (whole and n <= cover and n in ended)]
    told = counted(*left, *pieces)
    singles = [name for name in told if "hour" in name]
    assert (len(told) - len(singles) == of) == whole
    assert singles == [hour_name(DAY, 0, n) for n in range(cover + 1 if whole else 1, batches + 1)]
