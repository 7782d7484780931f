"""One answer per Idempotency-Key, whoever repeats it, whenever, and whatever happened to the first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from penstock.adapters.records.sqlite import SqliteRecords
from penstock.gateway.faces import OPENAI
from penstock.gateway.idempotency import (
    COLLECTION,
    HOUR_S,
    KEPT_S,
    KEY_BYTES_MAX,
    SAVED_BYTES_MAX,
    SWEPT_ROWS,
    TENANT,
    Idempotency,
)
from penstock.gateway.inquiry import Inquiry
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import IdempotencyConflict, Invalid, OverBudget, Unavailable
from penstock.ports.providers import ProviderFailure
from tests.support import run
from tests.unit.gateway.doubles import ScriptedLedger
from tests.unit.gateway.rig import (
    CHATS,
    DONE,
    FINISH,
    HANG,
    ROLE,
    USAGE,
    Caller,
    Hang,
    House,
    Reply,
    Vendor,
    chat,
    full,
    stream,
    text,
    whole,
)
from tests.unit.gateway.test_admission import principal

TOLD = {"usage": {"prompt_tokens": 9, "completion_tokens": 3}}
Answer = Callable[[], Reply] | BaseException | Hang


class Keyed:
    """A gateway with idempotency keys over real records."""

    def __init__(self, records: SqliteRecords, clock: ManualClock, *answers: Answer) -> None:
        self.vendor = Vendor("sim", *answers)
        self.house = House(self.vendor)
        self.records = records
        self.clock = clock
        self.door = Idempotency(records, clock)

    async def send(
        self, key: bytes = b"k1", caller: Caller | None = None, *, key_id: str = "k", **members: object
    ) -> Caller:
        """Send one chat with a key; return what the caller got."""
        got = caller or Caller()
        context = self.house.context(principal(key_id=key_id))
        inquiry = Inquiry(OPENAI, CHATS, chat(**members))
        await self.door.serve(context, key, inquiry, got, self.house.pipeline)
        return got

    async def refused(self, key: bytes = b"k1", **members: object) -> IdempotencyConflict:
        """Expect a conflict."""
        with pytest.raises(IdempotencyConflict) as caught:
            await self.send(key, **members)
        return caught.value


def keyed(folder: Path, case: Callable[[Keyed], Awaitable[None]], *answers: Answer) -> None:
    """Run a case."""

    async def opened() -> None:
        clock = ManualClock()
        records = await SqliteRecords.open(folder / "records.sqlite", (COLLECTION,), clock)
        try:
            await case(Keyed(records, clock, *(answers or (full(whole(**TOLD)),))))
        finally:
            await records.close()

    run(opened())


@pytest.mark.parametrize("streamed", [False, True])
def test_the_answer_is_replayed_byte_for_byte_and_paid_once(tmp_path: Path, streamed: bool) -> None:
    async def case(it: Keyed) -> None:
        first, again = await it.send(stream=streamed), await it.send(stream=streamed)
        assert (again.status, again.body) == (first.status, first.body)
        assert again.headers == first.headers + b"idempotent-replayed: true\r\n"
        assert (len(it.vendor.calls), len(it.house.ledger.postings)) == (1, 1)

    answer = stream(ROLE, text("Hi"), FINISH, USAGE, DONE) if streamed else full(whole(**TOLD))
    keyed(tmp_path, case, answer)


def test_another_body_is_a_conflict_that_names_the_first_request(tmp_path: Path) -> None:
    async def case(it: Keyed) -> None:
        await it.send()
        conflict = await it.refused(max_tokens=5)
        assert (conflict.reason, conflict.value) == ("idempotency_conflict", "req_1")
        assert len(it.vendor.calls) == 1

    keyed(tmp_path, case)


def test_of_many_at_once_exactly_one_reaches_the_vendor(tmp_path: Path) -> None:
    async def case(it: Keyed) -> None:
        done = await asyncio.gather(*[it.send() for _ in range(20)], return_exceptions=True)
        assert sum(isinstance(each, Caller) for each in done) >= 1
        assert all(isinstance(each, Caller | IdempotencyConflict) for each in done)
        assert len(it.vendor.calls) == 1

    keyed(tmp_path, case)


def test_the_same_key_of_another_api_key_is_another_key(tmp_path: Path) -> None:
    async def case(it: Keyed) -> None:
        await it.send()
        await it.send(key_id="other", max_tokens=5)
        assert len(it.vendor.calls) == 2

    keyed(tmp_path, case)


@pytest.mark.parametrize(("size", "fits"), [(0, False), (1, True), (KEY_BYTES_MAX, True), (256, False)])
def test_a_key_has_bounds(tmp_path: Path, size: int, fits: bool) -> None:
    async def case(it: Keyed) -> None:
        if fits:
            await it.send(b"k" * size)
        else:
            with pytest.raises(Invalid):
                await it.send(b"k" * size)

    keyed(tmp_path, case)


def test_a_refusal_that_cost_nothing_frees_the_key(tmp_path: Path) -> None:
    async def case(it: Keyed) -> None:
        it.house.ledger.room_nanos = 1
        with pytest.raises(OverBudget):
            await it.send(max_tokens=100)
        it.house.ledger.room_nanos = 10**12
        assert (await it.send(max_tokens=100)).status == 200

    keyed(tmp_path, case)


def test_a_store_that_was_down_for_a_moment_is_not_replayed_for_a_day(tmp_path: Path) -> None:
    async def case(it: Keyed) -> None:
        it.house.ledger.down = True
        with pytest.raises(Unavailable):
            await it.send()
        it.house.ledger.down = False
        assert (await it.send()).status == 200

    keyed(tmp_path, case)


def test_a_vendors_error_is_an_answer_too(tmp_path: Path) -> None:
    async def case(it: Keyed) -> None:
        first, again = await it.send(), await it.send()
        assert (again.status, again.body) == (first.status, first.body)
        assert first.status == 400
        assert len(it.vendor.calls) == 1

    keyed(tmp_path, case, ProviderFailure("no", kind="invalid"), full(whole(**TOLD)))


def test_who_was_cut_off_before_any_call_may_come_again(tmp_path: Path) -> None:
    class Waiting(ScriptedLedger):
        async def hold(self, hold: object) -> None:
            await asyncio.Event().wait()

    async def case(it: Keyed) -> None:
        stuck = Keyed(it.records, it.clock, HANG)
        stuck.house = House(stuck.vendor, ledger=Waiting())
        await _cancelled(stuck.send(), lambda: bool(stuck.house.state.taken))
        assert (await it.send()).status == 200

    keyed(tmp_path, case)


def test_who_was_cut_off_after_a_call_is_told_and_the_call_is_not_repeated(tmp_path: Path) -> None:
    async def case(it: Keyed) -> None:
        await _cancelled(it.send(), lambda: bool(it.vendor.calls))
        assert "interrupted" in (await it.refused()).message
        assert len(it.vendor.calls) == 1

    keyed(tmp_path, case, HANG, full(whole(**TOLD)))


def test_an_answer_that_broke_off_for_a_client_that_left_is_replayed_with_its_error(tmp_path: Path) -> None:
    async def case(it: Keyed) -> None:
        gone = Caller()
        gone.vanish()
        await it.send(caller=gone, stream=True)
        again = await it.send(stream=True)
        assert again.body.startswith(text("Hi"))
        assert again.body.count(b'"error"') == 1
        assert b"[DONE]" not in again.body

    keyed(tmp_path, case, stream(text("Hi"), ProviderFailure("cut", kind="cut")))


@pytest.mark.parametrize(("age_s", "kept"), [(KEPT_S - 0.001, True), (KEPT_S, False)])
def test_a_key_is_kept_a_day_and_then_is_new(tmp_path: Path, age_s: float, kept: bool) -> None:
    async def case(it: Keyed) -> None:
        await it.send()
        it.clock.jump_wall(age_s)
        await it.send()
        assert len(it.vendor.calls) == (1 if kept else 2)

    keyed(tmp_path, case)


@pytest.mark.parametrize(("over", "kept"), [(0, True), (1, False)])
def test_an_answer_too_large_to_keep_says_so_and_is_not_bought_again(
    tmp_path: Path, over: int, kept: bool
) -> None:
    body = whole("x" * (SAVED_BYTES_MAX + over - len(whole(**TOLD)) + 3), **TOLD)
    assert len(body) == SAVED_BYTES_MAX + over

    async def case(it: Keyed) -> None:
        assert (await it.send()).body == body
        if kept:
            assert (await it.send()).body == body
        else:
            assert (await it.refused()).limit == SAVED_BYTES_MAX
        assert len(it.vendor.calls) == 1

    keyed(tmp_path, case, full(body))


def test_what_is_past_its_time_is_forgotten_by_those_who_come_after(tmp_path: Path) -> None:
    async def case(it: Keyed) -> None:
        old = 3 * SWEPT_ROWS
        for number in range(old):
            await it.send(b"old%d" % number)
        assert await it.records.count(COLLECTION.name, TENANT) == old
        it.clock.jump_wall(KEPT_S + 2 * HOUR_S)
        fresh = 0
        while await it.records.count(COLLECTION.name, TENANT) > fresh:
            await it.send(b"new%d" % fresh)
            fresh += 1
            assert fresh < 100
        assert (await it.send(b"new0")).headers.endswith(b"idempotent-replayed: true\r\n")

    keyed(tmp_path, case)


def test_what_is_within_its_time_is_never_swept(tmp_path: Path) -> None:
    async def case(it: Keyed) -> None:
        await it.send(b"first")
        for number in range(40):
            it.clock.jump_wall(KEPT_S / 41)
            await it.send(b"another%d" % number)
        assert (await it.send(b"first")).headers.endswith(b"idempotent-replayed: true\r\n")

    keyed(tmp_path, case)


async def _cancelled(work: Awaitable[object], when: Callable[[], bool]) -> None:
    """Start `work` and cancel it once `when()`."""
    task = asyncio.ensure_future(work)
    while not when():
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
