"""Who makes way for whom: the owner with the most slots, then the longest turn, and never before a line was sent."""

from __future__ import annotations

import pytest

from penstock.gateway.batch_turns import TURN_S, AtWork, Turns


@pytest.mark.parametrize(
    ("at_work", "way"),
    [
        ({}, None),
        ({"a": AtWork("ann")}, None),
        ({"a": AtWork("ann"), "b": AtWork("ann")}, None),
        ({"a": AtWork("ann", 1.0)}, None),
        ({"a": AtWork("ann", 0.0)}, "a"),
        ({"a": AtWork("ann"), "b": AtWork("ann", TURN_S)}, "b"),
        ({"a": AtWork("ann", 2.0), "b": AtWork("ann", 1.0), "c": AtWork("cid", 0.0)}, "b"),
        ({"a": AtWork("bea", 0.0)}, None),
    ],
    ids=(
        "nobody is at work",
        "it is being read",
        "both are being read",
        "its turn is not over",
        "its turn is just over",
        "two slots and one begun: that one, at once",
        "of two slots the longer turn, at once",
        "the waiting one has as many",
    ),
)
def test_who_makes_way_for_an_owner_without_a_slot(at_work: dict[str, AtWork], way: str | None) -> None:
    assert Turns().makes_way("bea", at_work, TURN_S) == way
