"""The parts of the embedded index: vectors, columns of filters, the exact search, words, turns."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.adapters.index.embedded_columns import Columns
from penstock.adapters.index.embedded_exact import Chunks
from penstock.adapters.index.embedded_lines import Head
from penstock.adapters.index.embedded_text import TERM_BYTES_MOST, TERMS_MOST, asked, cut
from penstock.adapters.index.embedded_turns import Turns
from penstock.adapters.index.embedded_vectors import KINDS, mixed, restored, stored, unit
from penstock.adapters.index.embedded_words import Words
from penstock.ports.index import Question, Where

# ------------------------------------------------------------------------------------------------- vectors


@pytest.mark.parametrize(
    ("precision", "bytes_each", "cosine"), [("fp32", 64, 1.0), ("fp16", 32, 0.99999), ("int8", 20, 0.9999)]
)
def test_each_precision_takes_its_bytes_and_keeps_its_promise(precision, bytes_each, cosine):
    rows = np.random.default_rng(0).standard_normal((50, 16)).astype(np.float32)
    data = stored(rows, precision)
    again = restored(KINDS[precision], data)
    assert {len(each) for each in data} == {bytes_each}
    assert again.dtype == np.float32
    assert (unit(again) * unit(rows)).sum(axis=1).min() >= cosine - 1e-6
    if precision == "fp32":
        assert again.tobytes() == rows.tobytes()


def test_rows_of_several_precisions_stand_beside_each_other():
    rows = np.random.default_rng(1).standard_normal((9, 8)).astype(np.float32)
    names = ["fp32", "int8", "fp16"] * 3
    data = [stored(row[None], name)[0] for row, name in zip(rows, names, strict=True)]
    again = mixed([KINDS[name] for name in names], data)
    assert np.abs(again - rows).max() < 0.02
    assert again[0].tobytes() == rows[0].tobytes()


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30, 0.0])
def test_a_unit_has_length_one_whatever_the_scale_and_nothing_has_none(scale):
    rows = unit(np.array([[3.0, 4.0]], np.float32) * np.float32(scale))
    assert np.allclose(rows, [[0.6, 0.8]] if scale else [[0, 0]])
    assert np.isfinite(restored(KINDS["fp16"], stored(np.array([[1e30, 1.0]], np.float32), "fp16"))).all()


# ------------------------------------------------------------------------------------------------- filters

SCALARS = st.one_of(
    st.sampled_from(["a", "b", "1", ""]), st.integers(-2, 2), st.sampled_from([0.5, 1.0]), st.booleans()
)
HEADS = st.tuples(
    st.dictionaries(st.sampled_from("xyz"), SCALARS, max_size=3),
    st.lists(st.sampled_from(["staff", "board"]), max_size=2),
)
WHERES = st.builds(
    Where,
    field=st.sampled_from("xyzw"),
    any_of=st.lists(SCALARS, min_size=1, max_size=3).map(tuple),
    at_least=st.one_of(st.none(), st.sampled_from([-1.0, 0.5])),
    at_most=st.one_of(st.none(), st.sampled_from([1.0])),
)


def passes(metadata, labels, question):
    """Say plainly what the columns say for all at once."""
    if labels and not set(labels) & set(question.labels):
        return False
    for where in question.where:
        value = metadata.get(where.field)
        if value is None:
            return False
        if not any(
            value == each and isinstance(value, bool) is isinstance(each, bool) for each in where.any_of
        ):
            return False
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        bounds = where.at_least is not None or where.at_most is not None
        if bounds and not number:
            return False
        if where.at_least is not None and value < where.at_least:
            return False
        if where.at_most is not None and value > where.at_most:
            return False
    return True


@given(
    st.lists(HEADS, max_size=80), st.lists(WHERES, max_size=2), st.lists(st.sampled_from(["staff", "nobody"]))
)
@settings(max_examples=150, deadline=None)
def test_columns_decide_as_one_would_by_hand(heads, wheres, has):
    columns = Columns()
    for first in range(0, len(heads), 7):
        part = heads[first : first + 7]
        columns.add([Head(i, str(i), "", "", "", tuple(ls), md) for i, (md, ls) in enumerate(part, first)])
    question = Question(where=tuple(wheres), labels=tuple(has))
    verdict = columns.passing(question)
    seen = [True] * len(heads) if verdict is None else verdict.tolist()
    assert seen == [passes(metadata, labels, question) for metadata, labels in heads]


# -------------------------------------------------------------------------------------------- the exact search


@given(st.integers(1, 700), st.integers(1, 40), st.floats(0, 1), st.integers(0, 5), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_the_nearest_are_the_nearest(rows, limit, share, dropped, seed):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((rows, 8)).astype(np.float32)
    chunks, numbers = Chunks(), (np.arange(rows) * 3 + 5).tolist()
    for first in range(0, rows, 97):
        part = slice(first, first + 97)
        chunks.add(numbers[part], [number % 4 for number in numbers[part]], vectors[part])
    gone = rng.choice(numbers, min(dropped, rows), replace=False).tolist()
    chunks.drop([*gone, 1, 10**9])
    passing = chunks.alive & (rng.random(rows) < share)
    vector = unit(rng.standard_normal((1, 8)).astype(np.float32))[0]
    found = chunks.nearest(vector, limit, passing)
    scores = unit(vectors) @ vector
    wanted = sorted(scores[passing].tolist(), reverse=True)[:limit]
    assert np.allclose([score for _, score in found], wanted, atol=1e-5)
    assert all(passing[numbers.index(number)] for number, _ in found)
    assert chunks.dead == len(gone)


def test_what_a_graph_has_is_no_longer_looked_at():
    chunks = Chunks()
    vectors = np.eye(4, dtype=np.float32)
    chunks.add([1, 2, 3, 4], [0, 0, 1, 1], vectors)
    chunks.hand_over(2)
    found = chunks.nearest(vectors[0], 4, chunks.alive)
    assert {number for number, _ in found} == {3, 4}
    chunks.add([9], [2], vectors[:1])
    assert chunks.nearest(vectors[0], 1, chunks.alive)[0][0] == 9
    assert chunks.passing(np.array([True, False, True])).tolist() == [True, True, False, False, True]


# --------------------------------------------------------------------------------------------------- words


def test_a_text_is_cut_where_its_script_has_no_spaces():
    spaced, runs = cut("\uff21\uff22\uff23 plain 東京都 and ไทย 한국")
    assert spaced.split() == ["ABC", "plain", "and"]
    assert runs == ["東京都", "ไทย", "한국"]
    assert asked("東京都 京 water", ["en"]).grams == ["東京", "京都", "京"]


def test_a_question_is_bounded_and_each_word_counts_once():
    many = asked(" ".join(f"w{i}" for i in range(5_000)), ["en"])
    assert len(many.words) == TERMS_MOST
    assert asked("run running RUNS", ["en"]).words == [("run",)]
    assert asked("x" * (TERM_BYTES_MOST + 1), ["en"]).words == []
    assert set(asked("Häuser", ["de", ""]).words[0]) == {"haus", "häuser"}


def test_words_on_disk_never_say_more_than_they_hold(tmp_path):
    words = Words(10, tmp_path / "words")
    words.add([(11, "", "first"), (12, "", "second")])
    words.at = 12
    words.commit()
    words.add([(13, "", "third")])
    words.at = 13
    words.close()  # as a crash: nobody committed
    again = Words(10, tmp_path / "words")
    assert again.at == 12
    assert [number for number, _ in again.find(asked("first third", [""]), 5, None, None)] == [11]
    again.close()
    (tmp_path / "words" / "at").unlink()
    assert Words(10, tmp_path / "words").at == 10


def test_words_find_the_limit_inside_any_share_that_passes():
    words, total = Words(0), 6_000
    words.add([(number, "", "water " + "deep " * (number % 7)) for number in range(1, total + 1)])
    words.commit()
    for step in (1, 2, 1_000, total):
        allowed = np.arange(step, total + 1, step)

        def keep(numbers, step=step):
            return numbers % step == 0

        found = words.find(asked("water", [""]), 20, keep, allowed)
        assert len(found) == min(20, len(allowed))
        assert all(number % step == 0 for number, _ in found)
        everything = words.find(asked("water", [""]), total, None, None)
        best = [score for number, score in everything if number % step == 0][:20]
        assert np.allclose([score for _, score in found], best)
    words.close()


# --------------------------------------------------------------------------------------------------- turns


def test_who_reads_sees_no_half_done_writing_and_what_is_stale_is_freshened_once():
    turns, value, freshened = Turns(), [0, 0], []

    def write() -> None:
        for _ in range(300):
            with turns.writing():
                value[0] += 1
                value[1] += 1

    def freshen() -> None:
        freshened.append(threading.get_ident())

    def read() -> None:
        for _ in range(300):
            with turns.reading(lambda: not freshened, freshen):
                assert value[0] == value[1]

    threads = [threading.Thread(target=work) for work in (write, read, read, write, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert value == [600, 600]
    assert 1 <= len(freshened) <= 3  # one for each who saw it stale before the first had its turn


def test_a_freshening_that_fails_lets_the_others_on():
    turns = Turns()

    def fail() -> None:
        raise ValueError

    with pytest.raises(ValueError), turns.reading(lambda: True, fail):
        pass
    with turns.writing():
        pass
    with turns.reading(lambda: False, fail):
        pass
