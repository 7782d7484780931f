"""The shelf of questions and the book of what they save: bounds, exact neighbours, judgement. No model, no sockets."""

from __future__ import annotations

import asyncio
import math
import random
from array import array
from operator import mul

import pytest

from penstock.gateway import semantic_books as books_module
from penstock.gateway.semantic_books import FAILURES_MOST, NEGATIVE, SILENT, SILENT_PAUSE_S, Book, Books
from penstock.gateway.semantic_shelf import HEAD, NEAREST, PER_TURN, Asked, Shelf, Vector, nearest
from penstock.kernel.settings_cache import SemanticSettings
from penstock.mechanisms.answer_cache import EVERYTHING, Place
from tests.support import run

DIMENSIONS = 384


def unit(numbers: list[float]) -> list[float]:
    length = math.hypot(*numbers)
    return [each / length for each in numbers]


def random_unit(rng: random.Random) -> list[float]:
    return unit([rng.gauss(0, 1) for _ in range(DIMENSIONS)])


def vector(numbers: list[float]) -> Vector:
    return Vector.of(array("f", numbers).tobytes())


def asked(name: str, numbers: list[float] | None = None, tags: tuple[str, ...] = ()) -> Asked:
    place = Place(org="a", key=name, news=(0, 0))
    known = vector(numbers or unit([1.0, *[0.0] * (DIMENSIONS - 1)]))
    return Asked(text=name, vector=known, place=place, tags=frozenset(tags), took_s=1.0)


def found(shelf: Shelf, scope: str = "s", threshold: float = 0.9) -> list[str]:
    return [each.text for _, each in run(nearest(shelf.of(scope), asked("?").vector, threshold))]


def test_the_short_cut_finds_exactly_what_looking_at_every_number_finds() -> None:
    rng = random.Random(5)
    for _ in range(20):
        wanted = random_unit(rng)
        shelf = Shelf(1_000)
        cosines: dict[str, float] = {}
        for number in range(60):
            near = rng.random()
            other = random_unit(rng)
            # Some hide what they have in common behind the head, some before it.
            if number % 3 == 0:
                other[:HEAD] = [-each for each in wanted[:HEAD]]
            row = unit([near * one + (1 - near) * two for one, two in zip(wanted, other, strict=True)])
            known = asked(str(number), row)
            shelf.put("s", known)
            whole = [*known.vector.head, *known.vector.tail]
            cosines[str(number)] = sum(map(mul, whole, array("f", wanted).tolist()))
        for threshold in (0.9, 0.95, 0.99):
            best = [
                name
                for name in sorted(cosines, key=cosines.__getitem__, reverse=True)
                if cosines[name] >= threshold
            ]
            hits = run(nearest(shelf.of("s"), vector(wanted), threshold))
            assert [each.text for _, each in hits] == best[:NEAREST]
            assert all(abs(cosine - cosines[each.text]) < 1e-6 for cosine, each in hits)


def test_the_least_recently_met_goes_first_and_scopes_are_apart() -> None:
    shelf = Shelf(2)
    shelf.put("s", asked("one"))
    shelf.put("t", asked("two"))
    assert (found(shelf), found(shelf, "t"), found(shelf, "u")) == (["one"], ["two"], [])
    shelf.met("one")
    shelf.put("s", asked("three"))
    assert sorted(found(shelf)) == ["one", "three"] and not found(shelf, "t") and len(shelf) == 2
    shelf.put("t", asked("one"))
    assert found(shelf) == ["three"] and found(shelf, "t") == ["one"], "one question stands in one scope"
    shelf.drop("nobody")
    shelf.drop("three")
    assert not found(shelf) and len(shelf) == 1


@pytest.mark.parametrize(("tag", "left"), [("doc:1", ["two"]), (EVERYTHING, []), ("doc:2", ["one", "two"])])
def test_a_tag_forgets_its_own(tag: str, left: list[str]) -> None:
    shelf = Shelf(9)
    shelf.put("s", asked("one", tags=("doc:1", "key:one")))
    shelf.put("s", asked("two", tags=("doc:11",)))
    shelf.forget(tag)
    assert sorted(found(shelf)) == left and len(shelf) == len(left)


def book(**chosen: int) -> Book:
    return Book(SemanticSettings(**{"judged_after": 3, "second_nanos": 1_000, "pause_s": 10.0, **chosen}))


def looks(
    it: Book, count: int, first_s: float = 0.0, *, took_s: float = 1.0, saved_nanos: int | None = None
) -> None:
    """Look `count` times, a second apart, each time with a hit if something is saved."""
    for number in range(count):
        assert it.may_look(first_s + number)
        it.looked(took_s)
        if saved_nanos is not None:
            it.hit(saved_nanos, 1.0)


def test_what_saves_is_never_suspended_and_what_does_not_is_for_a_while() -> None:
    it = book()
    looks(it, 9, took_s=2.0, saved_nanos=2_001)
    assert it.may_look(9.0) and it.tally.net_nanos == 9 and it.tally.saved_ms == 9_000.0
    it = book()
    looks(it, 3, took_s=2.0)
    assert not it.reason(3.0), "it is judged when somebody looks"
    assert not it.may_look(3.0) and it.reason(3.0) == NEGATIVE == it.reason(12.9) and it.may_look(13.0)
    assert (it.tally.spent_nanos, it.tally.spent_ms, it.tally.suspensions) == (6_000, 6_000.0, 1)


def test_each_stretch_of_look_ups_is_judged_by_itself() -> None:
    """A great saving of long ago does not pay for what only costs now; neither does a bad start count for ever."""
    it = book()
    it.hit(1_000_000, 1.0)
    looks(it, 6)
    assert not it.may_look(6.0) and it.reason(6.0) == NEGATIVE
    looks(it, 3, 20.0, saved_nanos=5_000)
    assert it.may_look(23.0)


def test_breaking_even_is_no_saving() -> None:
    it = book()
    looks(it, 3, saved_nanos=1_000)
    assert not it.may_look(3.0) and it.reason(3.0) == NEGATIVE


def test_a_model_that_does_not_answer_is_left_alone_for_a_while() -> None:
    it = book()
    for _ in range(FAILURES_MOST - 1):
        it.unanswered(0.0, late=True)
    it.answered()
    for number in range(FAILURES_MOST):
        assert not it.reason(1.0)
        it.unanswered(1.0, late=number % 2 == 0)
    assert it.reason(1.0) == SILENT and not it.reason(1.0 + SILENT_PAUSE_S)
    assert (it.tally.late, it.tally.failed) == (FAILURES_MOST - 1 + 3, 2)


def test_the_loop_turns_while_many_questions_are_compared_and_the_nearest_of_all_turns_is_first() -> None:
    async def whole() -> None:
        near = unit([1.0, 0.1, *[0.0] * (DIMENSIONS - 2)])
        questions = [asked(str(number), near) for number in range(2 * PER_TURN)] + [asked("best")]
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        hits = await nearest(questions, asked("?").vector, 0.9)
        task.cancel()
        assert [each.text for _, each in hits] == ["best", "0", "1"] and turns == 2

    run(whole())


def test_a_closed_book_stays_in_the_sums_and_the_least_recent_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(books_module, "BOOKS_MOST", 2)
    books = Books(SemanticSettings())
    for name in ("one", "two", "one", "three"):
        it = books.of(("a", name))
        it.looked(0.5)
        it.tally.refused["order"] += 1
    assert [name for name, _ in books.of_org("a")] == ["one", "three"]
    assert (books.total("lookups"), books.total("spent_ms"), books.refused()) == (4, 2_000.0, {"order": 4})
    books.of(("a", "two")).hit(7, 1.0)
    assert books.total("lookups") == 4 and books.total("saved_nanos") == 7
    assert not list(books.of_org("b"))
