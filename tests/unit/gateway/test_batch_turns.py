"""Owners take turns: nobody's batches keep another's waiting for more than a turn."""

from __future__ import annotations

import pytest

from penstock.gateway.batch_turns import TURN_S, AtWork, Turns
from penstock.gateway.batches import BatchDoc


def batch(owner: str, number: int = 0) -> BatchDoc:
    """Return the batch of an owner that was made as its `number`th."""
    return BatchDoc(
        id=f"{owner}{number}", org="acme", owner=owner, key_id="k", endpoint="/v1", input_file_id="f",
        metadata={}, created_s=float(number),
    )  # fmt: skip


def test_of_each_owner_the_oldest_goes_first_and_the_owner_with_fewest_slots_before_all() -> None:
    waiting = [batch("busy", 1), batch("busy", 0), batch("idle", 9), batch("idle", 8)]
    at_work = {"busy7": AtWork("busy", 0.0)}
    assert [doc.id for doc in Turns().next(waiting, at_work)] == ["idle8", "busy0"]


def test_among_owners_without_a_slot_the_one_whose_turn_is_longest_ago_goes_first() -> None:
    turns = Turns()
    turns.began("a", 10.0)
    turns.began("b", 5.0)
    waiting = [batch("a"), batch("b", 1), batch("c", 2)]
    assert [doc.owner for doc in turns.next(waiting, {})] == ["c", "b", "a"]


def test_who_is_neither_waiting_nor_at_work_is_forgotten() -> None:
    turns = Turns()
    turns.began("gone", 10.0)
    turns.next([], {})
    assert [doc.owner for doc in turns.next([batch("gone"), batch("new", 1)], {})] == ["gone", "new"]


@pytest.mark.parametrize(
    ("slots", "owner", "now_s", "who"),
    [
        ({}, "b", 0.0, None),
        ({"x": AtWork("a", 0.0), "y": AtWork("a", 1.0)}, "b", 1.0, "x"),  # two against none: at once
        ({"x": AtWork("a", 1.0), "y": AtWork("a", 0.0), "z": AtWork("c", 0.0)}, "b", 1.0, "y"),
        ({"x": AtWork("a", 0.0)}, "b", TURN_S - 0.1, None),  # one against none: after its turn
        ({"x": AtWork("a", 0.0)}, "b", TURN_S, "x"),
        ({"x": AtWork("a", 0.0)}, "a", 9 * TURN_S, None),  # nobody makes way for himself
    ],
)
def test_who_makes_way(slots: dict[str, AtWork], owner: str, now_s: float, who: str | None) -> None:
    assert Turns().makes_way(owner, slots, now_s) == who
