"""Quotas: what a vendor told about its limits, worn down by our calls and refilled by time."""

from __future__ import annotations

import pytest

from penstock.kernel.clock import ManualClock
from penstock.mechanisms import quotas
from penstock.mechanisms.quotas import LISTEN_EVERY_S, REFILL_S, SILENT_S, Quotas
from penstock.ports.providers import Quota, RateHint

LABEL = "openai/gpt-4o"
UNTOLD = Quota()


def told(requests: Quota = UNTOLD, tokens: Quota = UNTOLD, clock: ManualClock | None = None) -> Quotas:
    """Quotas of one label, just told."""
    kept = Quotas(clock or ManualClock(), near_percent=10)
    kept.told(LABEL, RateHint(requests=requests, tokens=tokens))
    return kept


@pytest.mark.parametrize("hint", [RateHint(), RateHint(requests=Quota(None, 5)), RateHint(tokens=Quota(100))])
def test_what_the_vendor_did_not_tell_reads_as_whole(hint: RateHint) -> None:
    kept = Quotas(ManualClock(), near_percent=10)
    kept.told(LABEL, hint)
    assert (kept.share_left(LABEL), kept.is_near(LABEL), kept.refill_s(LABEL)) == (1.0, False, 0.0)


def test_the_scarcest_limit_counts() -> None:
    assert told(Quota(100, 90, 60), Quota(1_000, 250, 60)).share_left(LABEL) == 0.25


def test_another_key_is_another_account() -> None:
    assert told(Quota(100, 0, 60)).share_left("second/gpt-4o") == 1.0


@pytest.mark.parametrize(("remaining", "near"), [(9, True), (10, False), (11, False)])
def test_near_means_less_than_the_threshold(remaining: int, near: bool) -> None:
    assert told(Quota(100, remaining, 60)).is_near(LABEL) is near


def test_calls_made_since_wear_it_down() -> None:
    kept = told(Quota(10, 5, 60), Quota(1_000, 900, 60))
    kept.called(LABEL, tokens=300)
    assert kept.share_left(LABEL) == 0.4
    kept.called(LABEL, tokens=500)
    assert kept.share_left(LABEL) == pytest.approx(0.1)
    kept.called(LABEL, tokens=500)
    assert kept.share_left(LABEL) == 0.0


def test_it_refills_evenly_until_the_moment_told() -> None:
    clock = ManualClock()
    kept = told(Quota(100, 0, 40), clock=clock)
    shares = []
    for _ in range(5):
        shares.append(kept.share_left(LABEL))
        clock.advance(10)
    assert shares == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0])


def test_without_a_moment_told_it_is_whole_after_a_minute() -> None:
    clock = ManualClock()
    kept = told(Quota(100, 0), clock=clock)
    clock.advance(REFILL_S / 2)
    assert kept.share_left(LABEL) == 0.5
    clock.advance(REFILL_S / 2)
    assert kept.share_left(LABEL) == 1.0


def test_a_call_after_the_refill_begins_a_new_one() -> None:
    clock = ManualClock()
    kept = told(Quota(10, 0, 1), clock=clock)
    clock.advance(5)
    kept.called(LABEL, tokens=1)
    assert kept.share_left(LABEL) == 0.9
    clock.advance(REFILL_S)
    assert kept.share_left(LABEL) == 1.0


def test_the_wait_told_ends_where_the_limit_is_no_longer_near() -> None:
    clock = ManualClock()
    kept = told(Quota(100, 0, 60), clock=clock)
    wait_s = kept.refill_s(LABEL)
    assert wait_s == pytest.approx(6)
    clock.advance(wait_s + 0.001)
    assert not kept.is_near(LABEL)


def test_a_new_word_of_the_vendor_replaces_the_guess() -> None:
    kept = told(Quota(100, 1, 60))
    kept.told(LABEL, RateHint(requests=Quota(100, 80, 60)))
    assert kept.share_left(LABEL) == 0.8


def test_labels_are_bounded_and_those_left_out_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "LABELS_MOST", 2)
    kept = Quotas(ManualClock(), near_percent=10)
    for name in "abc":
        kept.told(name, RateHint(requests=Quota(10, 0, 60)))
    assert [kept.share_left(name) for name in "abc"] == [0.0, 0.0, 1.0]
    assert kept.left_out == 1


def test_of_several_keys_the_fullest_counts_and_each_wears_down() -> None:
    clock = ManualClock()
    kept = Quotas(clock, near_percent=10)
    kept.told(LABEL, RateHint(requests=Quota(100, 4, 60.0)), key="one")
    assert kept.is_near(LABEL)
    kept.told(LABEL, RateHint(requests=Quota(100, 50, 60.0)), key="two")
    assert (kept.is_near(LABEL), kept.share_left(LABEL), kept.refill_s(LABEL)) == (False, 0.5, 0.0)
    kept.called(LABEL, tokens=1)
    assert kept.share_left(LABEL) == 0.495
    kept.told(LABEL, RateHint(requests=Quota(100, 7, 60.0)), key="two")
    assert kept.is_near(LABEL)
    assert 0 < kept.refill_s(LABEL) < told(Quota(100, 3, 60.0)).refill_s(LABEL)


@pytest.mark.parametrize(("silent_s", "counts"), [(SILENT_S, True), (SILENT_S + 1, False)])
def test_a_key_that_is_out_of_use_does_not_make_up_for_the_one_that_is_in_use(
    silent_s: float, counts: bool
) -> None:
    clock = ManualClock()
    kept = Quotas(clock, near_percent=10)
    kept.told(LABEL, RateHint(requests=Quota(100, 4, 60.0)), key="revoked")
    clock.advance(silent_s)
    kept.told(LABEL, RateHint(requests=Quota(100, 4, 60.0)), key="in use")
    assert kept.is_near(LABEL) is not counts


def test_headers_are_read_once_in_a_while_and_for_a_bounded_number_of_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quotas, "LABELS_MOST", 1)
    clock = ManualClock()
    kept = Quotas(clock, near_percent=10)
    assert [kept.listens(LABEL), kept.listens(LABEL), kept.listens("other")] == [True, False, False]
    clock.advance(LISTEN_EVERY_S)
    assert kept.listens(LABEL)
    assert kept.shares_left() == {}


def test_whether_any_is_near_costs_no_look_at_all_of_them() -> None:
    clock = ManualClock()
    kept = told(Quota(100, 9, 60), clock=clock)
    assert kept.any_near
    clock.advance(60)
    assert not kept.is_near(LABEL)
    assert not kept.any_near


def test_a_threshold_of_nothing_is_never_near() -> None:
    kept = Quotas(ManualClock(), near_percent=0)
    kept.told(LABEL, RateHint(requests=Quota(100, 0, 60.0)))
    assert not kept.is_near(LABEL)


def starting(clock: ManualClock, key: str = "", *others: str, **figures: int) -> Quotas:
    """Quotas of one label that only the settings told of."""
    told = dict.fromkeys((key, *others), figures)
    return Quotas(clock, near_percent=10, starting=lambda label: told if label == LABEL else {})


@pytest.mark.parametrize(("calls", "near"), [(89, False), (90, False), (91, True)])
def test_limits_from_the_settings_are_counted_against_before_any_header(calls: int, near: bool) -> None:
    kept = starting(ManualClock(), requests=100)
    assert (kept.share_left(LABEL), kept.is_near(LABEL)) == (1.0, False)
    for _ in range(calls):
        kept.called(LABEL, tokens=1)
    assert (kept.is_near(LABEL), kept.any_near) == (near, near)
    assert kept.share_left(LABEL) == pytest.approx((100 - calls) / 100)


@pytest.mark.parametrize("name", ["tokens", "input_tokens"])
def test_tokens_are_counted_too(name: str) -> None:
    figures = {name: 1_000}
    kept = starting(ManualClock(), "", requests=100, **figures)
    kept.called(LABEL, tokens=901)
    assert kept.is_near(LABEL)


def test_a_steady_use_below_the_limit_is_never_near_and_one_above_it_is() -> None:
    clock = ManualClock()
    kept = starting(clock, requests=60)
    for _ in range(600):
        kept.called(LABEL, tokens=1)
        assert kept.share_left(LABEL) > 0.98
        clock.advance(1.0)
    while not kept.is_near(LABEL):
        kept.called(LABEL, tokens=1)
        clock.advance(0.5)
    wait_s = kept.refill_s(LABEL)
    assert 0 < wait_s <= 1.0
    clock.advance(wait_s + 0.001)
    assert not kept.is_near(LABEL)


def test_what_is_spent_refills_in_a_minute_however_late_in_the_last_minute_it_was() -> None:
    clock = ManualClock()
    kept = starting(clock, requests=60)
    kept.called(LABEL, tokens=1)
    clock.advance(0.9)
    for _ in range(60):
        kept.called(LABEL, tokens=1)
    clock.advance(6.0)
    assert kept.share_left(LABEL) == pytest.approx(0.1, abs=0.01)


def test_a_header_takes_over() -> None:
    clock = ManualClock()
    kept = starting(clock, requests=100, tokens=1_000)
    for _ in range(95):
        kept.called(LABEL, tokens=1)
    assert kept.is_near(LABEL)
    kept.told(LABEL, RateHint(requests=Quota(10_000, 9_000, 60.0)))
    assert kept.share_left(LABEL) == 0.9
    kept.called(LABEL, tokens=880)
    assert kept.is_near(LABEL)  # by the tokens, of which nothing was told
    kept.told(LABEL, RateHint(input_tokens=Quota(100_000, 90_000, 60.0)))
    assert kept.share_left(LABEL) == pytest.approx(0.8999)


def test_each_key_has_the_whole_and_the_calls_wear_all_alike() -> None:
    kept = starting(ManualClock(), "one", "two", requests=100)
    for _ in range(100):
        kept.called(LABEL, tokens=1)
    assert kept.share_left(LABEL) == pytest.approx(0.5)


def test_a_back_end_of_which_the_settings_tell_nothing_reads_as_whole() -> None:
    kept = starting(ManualClock(), requests=1)
    for _ in range(5):
        kept.called("other", tokens=1)
    assert (kept.share_left("other"), kept.shares_left()) == (1.0, {})
