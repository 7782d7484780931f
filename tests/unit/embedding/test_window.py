"""The window: little padding on mixed lengths, nobody starves, tenants share by tokens."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from penstock.embedding.serving.window import DEAD_MOST, Batch, Window, Work

BATCH = 2_048


def work(length: int, tenant: str = "a", *, since_s: float = 0.0, word: int | None = None) -> Work:
    first = next(NUMBERS) if word is None else word
    return Work((first, *([0] * (length - 1))), tenant, since_s, object(), 0)


NUMBERS = iter(range(1, 10_000_000))


def filled(works: list[Work], **bounds) -> Window:
    window = Window(**{"batch_tokens": BATCH, **bounds})
    for each in works:
        window.put(each)
    return window


def drained(window: Window, now_s: float = 0.0) -> list[Batch]:
    batches = []
    while (batch := window.take(now_s)) is not None:
        batches.append(batch)
    return batches


def pad_ratio(batches: list[Batch]) -> float:
    return sum(batch.padded_tokens for batch in batches) / sum(batch.tokens for batch in batches)


def mixed(count: int, seed: int = 7) -> list[Work]:
    """One abstract for seven short questions, as in the measured mix."""
    draw = random.Random(seed)
    return [
        work(draw.randint(150, 256) if draw.random() < 1 / 8 else draw.randint(6, 30)) for _ in range(count)
    ]


def test_mixed_lengths_are_padded_by_less_than_a_tenth() -> None:
    works = mixed(800)
    batches = drained(filled(works))
    assert sum(len(batch.rows) for batch in batches) == 800
    assert pad_ratio(batches) <= 1.10
    assert max(batch.padded_tokens for batch in batches) <= BATCH


def test_batches_are_well_filled_where_there_is_enough() -> None:
    batches = drained(filled(mixed(2_000)))
    assert sum(batch.padded_tokens for batch in batches) / (BATCH * len(batches)) > 0.6


@given(st.lists(st.tuples(st.integers(1, 256), st.sampled_from("abc")), min_size=1, max_size=200))
def test_everybody_is_computed_exactly_once_and_no_batch_is_too_large(given_works) -> None:
    works = [work(length, tenant) for length, tenant in given_works]
    window = filled(works, batch_tokens=300, batches=2)
    batches = drained(window)
    computed = Counter(id(each) for batch in batches for each in batch.each())
    assert computed == Counter(map(id, works))
    assert all(batch.padded_tokens <= 300 for batch in batches)
    assert (window.tokens, len(window), window.oldest_s()) == (0, 0, None)


def test_a_text_longer_than_a_batch_goes_alone() -> None:
    batches = drained(filled([work(10), work(500), work(10)], batch_tokens=100))
    assert sorted(batch.tokens for batch in batches) == [20, 500]


def test_the_same_text_is_computed_once_and_told_to_all_who_want_it() -> None:
    works = [work(5, "a", word=77), work(5, "b", word=77), work(5, "a")]
    (batch,) = drained(filled(works))
    assert len(batch.rows) == 2
    assert sorted(map(len, batch.works)) == [1, 2]
    assert batch.tokens == 10


def test_the_same_texts_do_not_count_against_a_batch() -> None:
    (batch,) = drained(filled([work(50, word=5) for _ in range(100)], batch_tokens=100, batches=60))
    assert (batch.padded_tokens, sum(1 for _ in batch.each())) == (50, 100)


def test_the_oldest_is_computed_first_however_odd_its_length() -> None:
    odd = work(200)
    batches = drained(filled([odd, *[work(10) for _ in range(1_000)]]))
    assert odd in list(batches[0].each())


def test_a_newcomer_is_next_or_the_one_after_however_much_another_has_brought() -> None:
    window = filled([work(100, "flood") for _ in range(1_000)])
    window.take(0.0)
    late = work(10, "late")
    window.put(late)
    places = [late in list(batch.each()) for batch in drained(window)]
    assert places.index(True) <= 1


def test_tenants_share_by_tokens_and_not_by_texts() -> None:
    window = filled([*[work(200, "long") for _ in range(400)], *[work(10, "short") for _ in range(8_000)]])
    tokens: Counter[str] = Counter()
    for _ in range(30):
        batch = window.take(0.0)
        assert batch is not None
        for each in batch.each():
            tokens[each.tenant] += each.length
    assert 0.6 < tokens["long"] / tokens["short"] < 1.6


def test_what_was_dropped_is_in_no_batch_and_its_tokens_are_free() -> None:
    works = [work(50) for _ in range(100)]
    window = filled(works, batch_tokens=200, batches=2)
    first = window.take(0.0)
    assert first is not None
    taken = set(map(id, first.each()))
    dropped = [each for each in works if id(each) not in taken][::2]
    assert all(window.drop(each) for each in dropped)
    assert not window.drop(next(iter(first.each())))
    assert window.tokens == sum(each.length for each in works) - first.tokens - sum(e.length for e in dropped)
    later = {id(each) for batch in drained(window) for each in batch.each()}
    assert not later & set(map(id, dropped))
    assert len(later | taken) + len(dropped) == 100


def test_the_oldest_that_waits_is_told() -> None:
    window = filled([work(5, since_s=3.0), work(5, "b", since_s=1.0)])
    assert window.oldest_s() == 1.0
    window.take(0.0)
    assert window.oldest_s() is None


def test_a_tenants_rate_holds_it_back_and_nobody_else() -> None:
    works = [*[work(100, "fast") for _ in range(20)], work(100, "calm")]
    window = filled(works, tokens_per_s=200.0, batch_tokens=100)
    at_once = [each.tenant for batch in drained(window) for each in batch.each()]
    assert at_once.count("calm") == 1
    assert at_once.count("fast") == 3  # a second's worth, and the one that began it
    in_s = window.ready_in_s(0.0)
    assert in_s is not None
    assert 0 < in_s <= 1.5
    later = [each for batch in drained(window, 1.0) for each in batch.each()]
    assert len(later) == 2


def test_tenants_with_nothing_to_do_are_forgotten() -> None:
    window = Window(batch_tokens=100)
    for number in range(3_000):
        window.put(work(10, f"tenant-{number}"))
        drained(window)
    assert len(window._tenants) <= 1_025


def test_what_was_dropped_behind_a_living_one_is_let_go() -> None:
    window = filled([work(200, "front")], batch_tokens=200, batches=1)
    window.take(0.0)
    living = work(200, "a")
    window.put(living)
    window.put(kept := work(200, "a"))
    window.put(work(200, "other"))
    for _ in range(100):
        gone = [work(50, "a") for _ in range(50)]
        for each in gone:
            window.put(each)
        assert all(window.drop(each) for each in gone)
        assert not any(each.ids for each in gone)
    assert len(window._tenants["a"].queue) <= 2 * (DEAD_MOST + 2)
    assert (window.tokens, len(window)) == (600, 3)
    computed = [each for batch in drained(window) for each in batch.each()]
    assert {id(living), id(kept)} < set(map(id, computed))
    assert len(computed) == 3


def test_what_was_dropped_before_it_entered_is_not_counted_out() -> None:
    window = filled([work(5)])
    assert window.drop(work(5))
    assert (window.tokens, len(window)) == (5, 1)


@given(st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=60))
def test_vectors_and_matrices_are_never_in_one_batch(given_works) -> None:
    works = [
        Work((next(NUMBERS), *([0] * (length - 1))), "a", 0.0, object(), 0, matrices=matrices)
        for length, matrices in given_works
    ]
    batches = drained(filled(works, batch_tokens=100))
    assert sum(1 for batch in batches for _ in batch.each()) == len(works)
    assert all({each.matrices for each in batch.each()} == {batch.matrices} for batch in batches)
