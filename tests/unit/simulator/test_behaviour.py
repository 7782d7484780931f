"""Behaviour by seed and by order."""

from __future__ import annotations

from collections import Counter

import pytest

from penstock.kernel.errors import Invalid
from penstock.kernel.faults import MISBEHAVIOURS
from penstock.simulator.behaviour import MAX_QUEUED_ORDERS, Behaviour, Order, Speeds, parse_order

WEIGHTS = {"cut": 0.2, "rate_limit": 0.1}


def drawn(seed, count=2000) -> list[str]:
    behaviour = Behaviour(seed, weights=WEIGHTS)
    return [behaviour.next(None, "m").misbehaviour.kind for _ in range(count)]


def test_one_seed_one_history_another_seed_another():
    assert drawn(1) == drawn(1) != drawn(2)


def test_shares_are_kept():
    counts = Counter(drawn(3, 20_000))
    assert abs(counts["cut"] - 4000) < 400
    assert abs(counts["rate_limit"] - 2000) < 300
    assert set(counts) == {"none", *WEIGHTS}


def test_without_weights_nothing_goes_wrong():
    assert {Behaviour(1).next(None, "m").misbehaviour.kind for _ in range(100)} == {"none"}


def test_an_order_of_the_request_outranks_the_model_the_queue_and_the_weights():
    behaviour = Behaviour(1, weights={"stall": 1.0})
    behaviour.queue(parse_order("reset"))
    kinds = [behaviour.next(*asked).misbehaviour.kind for asked in
             ((b"cut", "sim/quota"), (None, "sim/quota"), (None, "m"), (None, "m"))]  # fmt: skip
    assert kinds == ["cut", "quota", "reset", "stall"]


@pytest.mark.parametrize("kind", MISBEHAVIOURS)
def test_every_word_of_the_vocabulary_is_an_order(kind):
    assert parse_order(kind).misbehaviour.kind == kind


def test_settings_of_an_order():
    order = parse_order("cut; after=7 ;seconds=0.5;tokens=64")
    assert (order.misbehaviour.after_chunks, order.misbehaviour.seconds, order.tokens) == (7, 0.5, 64)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cutt",
        "cut;after",
        "cut;after=x",
        "cut;after=-1",
        "cut;seconds=nan",
        "cut;seconds=3601",
        "cut;tokens=0",
        "cut;x=1",
    ],
)
def test_an_order_nobody_understands_is_refused_with_the_vocabulary(text):
    with pytest.raises(Invalid) as refusal:
        parse_order(text)
    assert refusal.value.field == "x-simulate"
    assert refusal.value.remedy


@pytest.mark.parametrize(
    "weights", [{"x": 0.1}, {"cut": -0.1}, {"cut": 0.6, "stall": 0.6}, {"cut": float("nan")}]
)
def test_wrong_weights_are_refused(weights):
    with pytest.raises(Invalid):
        Behaviour(weights=weights)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(Invalid, match=r"'x'.*'y'.*'cut'"):
        Behaviour(weights={"x": 1, "y": 1, "cut": -1})


def test_the_queue_is_bounded():
    behaviour = Behaviour()
    behaviour.queue(*[Order()] * MAX_QUEUED_ORDERS)
    with pytest.raises(Invalid):
        behaviour.queue(Order())


def test_speeds_are_lognormal_around_their_median():
    behaviour = Behaviour(
        5, Speeds(first_token_s=0.2, first_token_sigma=0.5, tokens_per_s=50, answer_tokens=40, answer_sigma=1)
    )
    firsts = sorted(behaviour.pace().first_token_s for _ in range(2001))
    assert 0.17 < firsts[1000] < 0.23
    assert firsts[-1] > 2 * firsts[1000]
    assert behaviour.pace().between_s == 0.02
    lengths = sorted(behaviour.answer_tokens() for _ in range(2001))
    assert 34 < lengths[1000] < 46
    assert lengths[0] >= 1


def test_at_once_means_at_once():
    pace = Behaviour().pace()
    assert (pace.first_token_s, pace.between_s) == (0, 0)
