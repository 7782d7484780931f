"""The meters against models too simple to be wrong: a bucket of fractions, and a log of every event of a window."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from penstock.adapters.state.limits import WINDOW_PARTS
from penstock.adapters.state.meters import Bucket, Slots, Window
from penstock.ports.state import Ask

PERIOD_S = 7
PERIOD_US = PERIOD_S * 1_000_000

steps = st.lists(
    st.tuples(st.integers(0, 3 * PERIOD_US), st.integers(0, 12), st.sampled_from(["take", "undo", "give"])),
    max_size=60,
)


@given(st.integers(1, 10), steps)
def test_a_bucket_is_exact(limit, walk):
    """Every admission and refusal, refund and wait is what exact fractions say, after any history."""
    bucket, now_us, at_us, used = Bucket(Ask("t|b", "bucket", limit, PERIOD_S), 0), 0, 0, Fraction(0)
    for pause_us, amount, what in walk:
        now_us += pause_us
        used = max(Fraction(0), used - Fraction((now_us - at_us) * limit, PERIOD_US))
        at_us = now_us
        if what == "give":
            bucket.give_back(amount, now_us, "r")
            used = max(Fraction(0), used - amount)
            continue
        token = bucket.take(amount, now_us, "r")
        assert (token is not None) == (used + amount <= limit)
        if token is None:
            wait_us = bucket.retry_us(amount, now_us)
            drained = Fraction(wait_us * limit, PERIOD_US)
            assert used - drained + amount <= limit < used - drained + amount + Fraction(limit, PERIOD_US)
        elif what == "undo":
            bucket.undo(token, amount, "r")
        else:
            used += amount
        assert bucket.left() == int(limit - used)


@given(st.integers(1, 10), steps)
def test_drawing_is_taking_and_looking_in_one(limit, walk):
    """The short cut of the hot path says and does what `take`, `left` and `reset_s` do, after any history."""
    long, short = (Bucket(Ask("t|b", "bucket", limit, PERIOD_S), 0) for _ in range(2))
    now_us = 0
    for pause_us, amount, what in walk:
        now_us += pause_us
        if what == "give":
            long.give_back(amount, now_us, "r")
            short.give_back(amount, now_us, "r")
            continue
        token = long.take(amount, now_us, "r")
        drawn = short.draw(amount, now_us)
        assert drawn == (None if token is None else (long.left(), long.reset_s(now_us)))
        assert (short.level, short.at_us) == (long.level, long.at_us)


@given(st.integers(1, 10), steps)
def test_a_window_never_forgets_early_and_soon_enough(limit, walk):
    """It admits only what the log of every event admits, and all that a log of slightly longer memory admits."""
    window, now_us = Window(Ask("t|w", "window", limit, PERIOD_S), 0), 0
    log: list[tuple[int, int]] = []
    for pause_us, amount, what in walk:
        now_us += pause_us // 8
        exact = sum(n for at_us, n in log if at_us > now_us - PERIOD_US)
        slow = sum(n for at_us, n in log if at_us > now_us - PERIOD_US - window.width_us)
        token = window.take(amount, now_us, "r")
        if token is None:
            assert slow + amount > limit
            wait_us = window.retry_us(amount, now_us)
            assert amount > limit or 0 < wait_us <= PERIOD_US
            continue
        assert exact + amount <= limit
        if what == "undo":
            before = [list(group) for group in window.groups]
            window.undo(token, amount, "r")
            assert (
                window.total == sum(group[2] for group in window.groups) <= sum(group[2] for group in before)
            )
        else:
            log.append((now_us, amount))
        assert len(window.groups) <= WINDOW_PARTS + 2


def test_a_window_that_is_undone_is_as_it_was():
    ask = Ask("t|w", "window", 10, PERIOD_S)
    window = Window(ask, 0)
    window.take(3, 0, "r")
    before = [list(group) for group in window.groups]
    for now_us in (1, window.width_us + 5):
        token = window.take(4, now_us, "r")
        window.undo(token, 4, "r")
        assert [list(group) for group in window.groups] == before
        assert window.total == 3


@given(st.lists(st.tuples(st.integers(0, 2 * PERIOD_US), st.integers(0, 5), st.booleans()), max_size=60))
def test_slots_are_a_set_of_leases(walk):
    """Holders and lapse times are those of a plain dict, whatever the order of taking, renewing and returning."""
    slots, now_us, model = Slots(Ask("t|s", "slots", 3, PERIOD_S), 0), 0, {}
    for pause_us, who, gives in walk:
        now_us += pause_us
        model = {holder: until_us for holder, until_us in model.items() if until_us > now_us}
        if gives:
            slots.give_back(1, now_us, str(who))
            model.pop(str(who), None)
            continue
        token = slots.take(1, now_us, str(who))
        assert (token is not None) == (str(who) in model or len(model) < 3)
        if token is None:
            assert slots.retry_us(1, now_us) == min(model.values()) - now_us
        else:
            model[str(who)] = now_us + PERIOD_US
        slots.settle(now_us)
        assert slots.holders == model
