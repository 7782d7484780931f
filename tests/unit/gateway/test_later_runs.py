"""The work on requests that wait, over real records and a clock that tests move: who asks, when, and what ends it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from penstock.gateway import later_runs
from penstock.gateway.later_book import ENDED, OPEN
from penstock.gateway.later_runs import (
    ANSWER_BYTES,
    LEASE_S,
    PAID_MOST,
    PAUSE_MOST_S,
    PAUSE_S,
    SWEEP_S,
    TOLD_BYTES,
    Pace,
)
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import (
    Conflict,
    NotFound,
    OverBudget,
    OverLimit,
    Overloaded,
    PenstockError,
    Upstream,
)
from penstock.ports.providers import ProviderFailure
from tests.unit.gateway.later_rig import ANSWER, DOWN, KEPT_S, Work, working


def test_an_answer_is_kept_told_and_the_request_asked_as_it_was_put(tmp_path: Path) -> None:
    async def case(it: Work) -> None:
        await it.put(body=b'{"a":1}')
        assert b'{"a":1}' not in (await it.doc()).box
        await it.look()
        assert it.line.asked == [("kim", b'{"a":1}', b"models")]
        doc = await it.doc()
        assert (doc.status, doc.status_code, doc.attempts, it.book.answer(doc)) == (
            "answered",
            200,
            1,
            ANSWER,
        )
        [message] = await it.told()
        data = msgspec.json.decode(message.data)
        assert (message.type, data["answer"], data["request_id"]) == (
            "later.answered",
            {"choices": []},
            doc.request_id,
        )
        await it.look()
        assert len(it.line.asked) == len(await it.told()) == 1

    working(tmp_path, case)


def test_a_look_that_stumbles_over_what_nobody_foresaw_is_not_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.gateway.later_runs.LOOK_S", 0.0)

    async def case(it: Work) -> None:
        looked = asyncio.Event()

        async def look() -> None:
            monkeypatch.setattr(it.runs, "look", looks)
            raise ValueError("a row that nobody can read")

        async def looks() -> None:
            looked.set()

        monkeypatch.setattr(it.runs, "look", look)
        watching = asyncio.create_task(it.runs.watch())
        async with asyncio.timeout(10):
            await looked.wait()
        watching.cancel()

    working(tmp_path, case)


def test_two_processes_are_never_at_one_request(tmp_path: Path) -> None:
    async def case(it: Work) -> None:
        other = it.process()
        for number in range(8):
            await it.put(f"later_{number}")
        while it.runs.answered + other.answered < 8:
            await asyncio.gather(*[it.look(each) for each in (it.runs, other) * 2])
        assert len(it.line.asked) == len(await it.told()) == 8
        assert (it.runs.stumbles, other.stumbles) == (0, 0)

    working(tmp_path, case)


def test_of_those_behind_a_model_that_is_down_one_asks_after_each_pause(tmp_path: Path) -> None:
    async def case(it: Work) -> None:
        for number in range(10):
            await it.put(f"later_{number}")
        await it.put("later_x", model="well")
        it.line.answers = [DOWN] * 4
        await it.look()  # the first four find out together; nobody else asks until the pause is over
        assert len(it.line.asked) == 4
        await it.look()
        assert len(it.line.asked) == 5 and (await it.doc("later_x")).status == "answered"
        for asked in (6, 7):
            it.line.answers = [DOWN]
            it.clock.advance(PAUSE_S * 2 ** (asked - 5))
            await it.look()
            await it.look()
            assert len(it.line.asked) == asked
        it.clock.advance(PAUSE_MOST_S)
        while it.runs.answered < 11:
            await it.look()
        assert {(await it.doc(f"later_{number}")).status for number in range(10)} == {"answered"}

    working(tmp_path, case)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OverBudget(), "failed", "insufficient_quota"),
        (ProviderFailure("No.", kind="invalid"), "failed", "invalid"),
        (Upstream("No JSON.", code="structured_output_invalid"), "failed", "structured_output_invalid"),
        (Overloaded(), "waiting", "overloaded"),
        (DOWN, "waiting", "overloaded"),
    ],
)
def test_what_waiting_cannot_mend_is_the_end_and_told(
    tmp_path: Path, error: PenstockError, status: str, code: str
) -> None:
    async def case(it: Work) -> None:
        await it.put()
        it.line.answers = [error]
        await it.look()
        doc = await it.doc()
        assert (doc.status, doc.error) == (status, code)
        assert [message.type for message in await it.told()] == (
            ["later.failed"] if status == "failed" else []
        )

    working(tmp_path, case)


def test_a_key_that_is_no_more_spends_nothing(tmp_path: Path) -> None:
    async def case(it: Work) -> None:
        await it.put()
        it.keys.gone = True
        await it.look()
        assert (await it.doc()).error == "invalid_api_key" and it.line.asked == []

    working(tmp_path, case)


def test_failures_that_cost_are_given_up_and_those_that_do_not_are_not(tmp_path: Path) -> None:
    async def case(it: Work) -> None:
        await it.put()
        for cost_nanos, tries in ((0, 2 * PAID_MOST), (5, PAID_MOST)):
            it.line.cost_nanos = cost_nanos
            for _ in range(tries):
                assert (await it.doc()).status == "waiting"
                it.line.answers = [DOWN]
                it.clock.advance(5.0)
                it.runs._pace._pauses.clear()
                await it.look()
        doc = await it.doc()
        assert (doc.status, doc.error, doc.attempts) == ("failed", "later_given_up", 3 * PAID_MOST)

    working(tmp_path, case)


def test_a_lease_that_lapsed_means_a_crash_and_one_that_has_not_means_nothing(tmp_path: Path) -> None:
    async def case(it: Work) -> None:
        await it.put()
        [found] = await it.book.page(OPEN, "")
        await it.book.claim(found, "the dead", it.clock.wall_s() + LEASE_S, request_id="req_9")
        await it.look()
        assert (await it.doc()).status == "running"
        it.clock.advance(LEASE_S)
        await it.look()
        doc = await it.doc()
        assert (doc.status, doc.error, doc.request_id) == ("failed", "later_interrupted", "req_9")
        assert it.line.asked == [] and len(await it.told()) == 1

    working(tmp_path, case)


@pytest.mark.parametrize(
    ("size", "told", "kept"),
    [
        (TOLD_BYTES, True, True),
        (TOLD_BYTES + 1, False, True),
        (ANSWER_BYTES, False, True),
        (ANSWER_BYTES + 1, False, False),
    ],
)
def test_a_long_answer_is_read_and_one_that_no_row_holds_is_not_kept(
    tmp_path: Path, size: int, told: bool, kept: bool
) -> None:
    async def case(it: Work) -> None:
        await it.put()
        it.line.answers = [b'"%b"' % (b"x" * (size - 2))]
        await it.look()
        doc = await it.doc()
        [message] = await it.told()
        assert (msgspec.json.decode(message.data)["answer"] is not None, bool(doc.box)) == (told, kept)
        assert (doc.status, doc.error) == ("answered", "" if kept else "answer_too_large")

    working(tmp_path, case)


def test_the_tally_is_what_is_there_whatever_comes_and_goes(tmp_path: Path) -> None:
    async def case(it: Work) -> None:
        for number in range(3):
            await it.put(f"later_{number}")
        with pytest.raises(OverLimit) as full:
            await it.put("later_3")
        assert (full.value.reason, full.value.limit) == ("later_full", 3)
        await it.look()
        await it.book.remove("acme", "later_0")
        tally, _ = await it.book._tally("acme")
        there = [await it.doc(f"later_{number}") for number in (1, 2)]
        assert (tally.requests, tally.bytes) == (2, sum(len(doc.box) for doc in there))
        with pytest.raises(NotFound):
            await it.book.remove("acme", "later_0")
        it.clock.advance(KEPT_S + SWEEP_S)
        await it.runs._sweep()
        assert (await it.book._tally("acme"))[0] == (await it.book._tally("nobody"))[0]
        assert await it.book.page(ENDED, "") == []

    working(tmp_path, case, max_requests=3)


def test_what_is_being_answered_is_not_taken_back(tmp_path: Path) -> None:
    async def case(it: Work) -> None:
        await it.put()
        it.line.gate = asyncio.Event()
        await it.runs.look()
        while not it.line.asked:
            await asyncio.sleep(0)
        with pytest.raises(Conflict):
            await it.book.remove("acme", "later_1")
        it.line.gate.set()
        await it.look()
        assert (await it.doc()).status == "answered"

    working(tmp_path, case)


def test_a_long_answer_keeps_its_lease_and_one_whose_claim_is_anothers_ends_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(later_runs, "BEAT_S", 0.01)

    async def case(it: Work) -> None:
        await it.put()
        it.line.gate = asyncio.Event()
        await it.runs.look()
        for _ in range(3):
            it.clock.advance(LEASE_S / 2)
            while (await it.book.page(OPEN, ""))[0].ticket.leased_until_s < it.clock.wall_s() + LEASE_S:
                await asyncio.sleep(0.005)
            await it.look(it.process())
        assert (await it.doc()).status == "running" and len(it.line.asked) == 1
        [found] = await it.book.page(OPEN, "")
        await it.book.claim(found, "another", it.clock.wall_s() + LEASE_S, request_id="req_9")
        await it.look()
        assert (await it.doc()).request_id == "req_9" and await it.told() == []

    working(tmp_path, case)


def test_pauses_double_up_to_a_bound_and_end_with_an_answer() -> None:
    clock = ManualClock()
    pace = Pace(clock)
    assert pace.begin("m") == frozenset()
    pauses: list[float] = []
    for _ in range(9):
        pace.failed("m")
        pace.failed("m")  # noted by another who asked at the same time
        waited_s = 0.0
        while (asks := pace.begin("m", "k")) is None:
            clock.advance(PAUSE_S / 4)
            waited_s += PAUSE_S / 4
        assert pace.begin("m") is None, "one asks for all"
        pace.ended(asks, well=False)
        pauses.append(waited_s)
    assert pauses == [min(PAUSE_S * 2**n, PAUSE_MOST_S) for n in range(9)]
    pace.failed("m", 30.0)
    clock.advance(PAUSE_MOST_S)
    pace.ended(pace.begin("m") or frozenset(), well=True)
    assert pace.begin("m") == frozenset()
