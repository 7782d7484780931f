"""Live views: paced, bounded, and over as soon as whoever looks on may no more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from penstock.gateway.management import live, overview, requests
from penstock.gateway.management.live import CHECK_S, KEEP_ALIVE_S, SEATS, SEATS_PER_CALLER, Seats
from penstock.gateway.management.sight import Sight
from penstock.mechanisms.changes import THE_PLATFORM
from tests.unit.gateway.management.office import STATUS, Somebody
from tests.unit.gateway.management.sight_rig import Looking, Sighted, breathe, event, sighted, until


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask sources often, so that a test need not wait a second for what takes one."""
    monkeypatch.setattr(live, "WAIT_S", 0.002)
    monkeypatch.setattr(overview, "LIVE_S", 0.002)
    monkeypatch.setattr(requests, "LOOK_S", 0.002)


async def rounds(it: Sighted) -> None:
    """Wait until every view has gone round a few times."""
    for _ in range(5):
        await asyncio.sleep(0.003)
        await breathe()


# --- pace -----------------------------------------------------------------------------------------------------


def test_a_thousand_a_second_are_shown_at_twenty_a_second_and_the_rest_is_counted(tmp_path: Path) -> None:
    async def case(it: Sighted) -> None:
        admin = await it.it.as_("admin")
        async with it.live("/requests/live", admin) as looking:
            shown_by: list[int] = []
            for _ in range(30):  # three seconds, a batch of the audit pipe every tenth
                it.recent([event() for _ in range(100)])
                await rounds(it)
                it.it.clock.advance(0.1)
                shown_by.append(len(looking.named("request")))
            for before, after in zip(shown_by, shown_by[10:], strict=False):
                assert after - before <= 20
            assert shown_by[-1] == 60
            it.it.clock.advance(1.0)
            await until(lambda: shown_by[-1] + looking.skipped == 3000)
            assert len(looking.named("skipped")) <= 4
            assert [name for name, _ in looking.events][21] == "skipped"

    sighted(tmp_path, case)


def test_a_flood_does_not_wake_a_view_for_each_of_its_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "LOOK_S", 60.0)
    monkeypatch.setattr(live, "WAIT_S", 60.0)

    async def case(it: Sighted) -> None:
        async with it.live("/requests/live", await it.it.as_("admin")) as looking:
            it.recent([event()])
            await until(lambda: looking.named("request"))
            (watch,) = it.recent._watches
            for _ in range(5):
                it.recent([event() for _ in range(3)])
                await rounds(it)
            assert len(watch._held) == 15
            assert len(looking.named("request")) == 1

    sighted(tmp_path, case)


def test_up_to_twenty_a_second_nothing_is_skipped(tmp_path: Path) -> None:
    async def case(it: Sighted) -> None:
        async with it.live("/requests/live", await it.it.as_("admin")) as looking:
            sent = [event() for _ in range(20)]
            it.recent(sent)
            await until(lambda: len(looking.named("request")) == 20)
            assert [row["request_id"] for row in looking.named("request")] == [
                each.request_id for each in sent
            ]
            it.it.clock.advance(1.0)
            await rounds(it)
            assert not looking.named("skipped")

    sighted(tmp_path, case)


def test_a_slow_reader_holds_a_bounded_number_and_learns_of_all_others(tmp_path: Path) -> None:
    async def case(it: Sighted) -> None:
        async with it.live("/requests/live", await it.it.as_("admin")) as looking:
            await rounds(it)
            looking.replies.paused = True
            it.recent([event()])
            await until(lambda: looking.named("request"))
            written = len(looking.replies.pieces)
            for _ in range(50):
                it.recent([event() for _ in range(100)])
                await rounds(it)
            assert len(looking.replies.pieces) == written
            (watch,) = it.recent._watches
            assert len(watch._held) == 200
            it.it.clock.advance(1.0)
            looking.replies.resumed.set()
            await until(lambda: len(looking.named("request")) + looking.skipped == 5001)
            it.it.clock.advance(1.0)
            await rounds(it)
            assert len(looking.named("request")) == 21

    sighted(tmp_path, case)


# --- ends -----------------------------------------------------------------------------------------------------


def test_silence_is_broken_by_a_comment_at_its_time_and_not_before(tmp_path: Path) -> None:
    async def case(it: Sighted) -> None:
        async with it.live("/requests/live", await it.it.as_("admin")) as looking:
            begun = len(looking.events)
            it.it.clock.advance(KEEP_ALIVE_S - 0.1)
            await rounds(it)
            assert len(looking.events) == begun
            it.it.clock.advance(0.1)
            await until(lambda: len(looking.events) == begun + 1)
            assert looking.events[-1][0] == ":"

    sighted(tmp_path, case)


@pytest.mark.parametrize("path", ["/requests/live", "/overview/live"])
def test_a_drain_ends_the_view_whole(tmp_path: Path, path: str) -> None:
    draining = msgspec.structs.replace(STATUS, draining=True)
    now = [STATUS]

    async def case(it: Sighted) -> None:
        async with it.live(path, await it.it.as_("admin")) as looking:
            it.recent([event() for _ in range(25)])
            await rounds(it)
            it.recent([event() for _ in range(7)])  # of whom nothing was said yet when all ends
            await rounds(it)
            assert not looking.replies.complete
            now[0] = draining
            await until(looking.task.done)
            assert looking.replies.complete
            assert not looking.replies.aborted
            if path == "/requests/live":
                assert len(looking.named("request")) + looking.skipped == 32
            assert it.it.management.sight.seats.taken == it.recent.watchers == 0

    sighted(tmp_path, case, status=lambda: now[0])


def test_a_view_whose_feed_ended_ends(tmp_path: Path) -> None:
    async def case(it: Sighted) -> None:
        async with it.live("/requests/live", await it.it.as_("admin")) as looking:
            it.recent.close()
            await until(looking.task.done)
            assert looking.replies.complete

    sighted(tmp_path, case)


def test_whoever_leaves_gives_back_the_seat_and_the_watch(tmp_path: Path) -> None:
    async def case(it: Sighted) -> None:
        for paused in (False, True):
            async with it.live("/requests/live", await it.it.as_("admin")) as looking:
                looking.replies.paused = paused
                it.recent([event()])
                await rounds(it)
                assert it.it.management.sight.seats.taken == it.recent.watchers == 1
            assert it.it.management.sight.seats.taken == it.recent.watchers == 0

    sighted(tmp_path, case)


Undoing = Callable[[Sighted, Somebody], Awaitable[object]]


async def _sign_out(it: Sighted, who: Somebody) -> None:
    await it.it.sessions.close(who.token.encode())


async def _disable(it: Sighted, who: Somebody) -> None:
    await it.it.people.disable(THE_PLATFORM, who.id)


async def _end_all(it: Sighted, who: Somebody) -> None:
    await it.it.people.end_sessions(THE_PLATFORM, who.id)


async def _demote(it: Sighted, who: Somebody) -> None:
    await it.it.people.change(THE_PLATFORM, who.id, role="developer")


async def _aside(it: Sighted, who: Somebody) -> None:
    await it.it.people.change(THE_PLATFORM, who.id, role="auditor")


async def _move(it: Sighted, who: Somebody) -> None:
    await it.it.people.change(THE_PLATFORM, who.id, team="ads")


async def _idle(it: Sighted, who: Somebody) -> None:
    it.it.clock.advance(8 * 3600.0)


async def _revoke(it: Sighted, who: Somebody) -> None:
    await it.it.tenancy.revoke_key(who.id)


async def _expire(it: Sighted, who: Somebody) -> None:
    it.it.clock.advance(3600.0)


@pytest.mark.parametrize("path", ["/requests/live", "/overview/live"])
@pytest.mark.parametrize("undo", [_sign_out, _disable, _end_all, _demote, _idle])
def test_a_session_that_ended_ends_its_views(tmp_path: Path, path: str, undo: Undoing) -> None:
    async def case(it: Sighted) -> None:
        who = await it.it.somebody("admin")
        async with it.live(path, who) as looking:
            await rounds(it)
            assert not looking.task.done()
            await undo(it, who)
            await must_end(it, looking)

    sighted(tmp_path, case)


def test_whoever_reaches_as_far_but_may_no_more_sees_nothing_more(tmp_path: Path) -> None:
    async def case(it: Sighted) -> None:
        who = await it.it.somebody("admin")
        async with it.live("/overview/live", who) as looking:
            await _aside(it, who)
            await must_end(it, looking)

    sighted(tmp_path, case)


def test_whoever_was_moved_to_another_team_sees_nothing_more_of_the_first(tmp_path: Path) -> None:
    async def case(it: Sighted) -> None:
        who = await it.it.somebody("reviewer")
        async with it.live("/requests/live", who) as looking:
            await _move(it, who)
            await must_end(it, looking)

    sighted(tmp_path, case)


@pytest.mark.parametrize("undo", [_revoke, _expire])
def test_a_key_that_ended_ends_its_views(tmp_path: Path, undo: Undoing) -> None:
    async def case(it: Sighted) -> None:
        who = await it.it.key("admin", expires_s=it.it.clock.wall_s() + 3600.0)
        async with it.live("/requests/live", who) as looking:
            await rounds(it)
            assert not looking.task.done()
            await undo(it, who)
            await must_end(it, looking)

    sighted(tmp_path, case)


async def must_end(it: Sighted, looking: Looking) -> None:
    """What ended meanwhile is not shown, and the reader is told why."""
    it.it.clock.advance(CHECK_S)
    it.recent([event(feature="secret")])
    await until(looking.task.done)
    assert looking.events[-1][0] == "error"
    assert looking.events[-1][1]["error"]["code"] == "signed_out"
    assert not [row for row in looking.named("request") if row["feature"] == "secret"]
    assert looking.replies.complete


@pytest.mark.parametrize("kind", ["person", "key"])
def test_whoever_may_still_look_on_does_and_it_is_no_use_of_a_session(tmp_path: Path, kind: str) -> None:
    async def case(it: Sighted) -> None:
        who = await (it.it.somebody("admin") if kind == "person" else it.it.key("admin"))
        async with it.live("/requests/live", who) as looking:
            seen_s = [each.seen_s for each in await it.it.sessions.of_person(who.id)]
            for _ in range(5):
                it.it.clock.advance(600.0)
                heard = len(looking.events)
                await until(lambda heard=heard: len(looking.events) > heard)
            assert not looking.task.done()
            assert [each.seen_s for each in await it.it.sessions.of_person(who.id)] == seen_s

    sighted(tmp_path, case)


def test_when_nobody_can_say_whether_somebody_may_the_view_ends(tmp_path: Path) -> None:
    async def case(it: Sighted) -> None:
        who = await it.it.key("admin")
        async with it.live("/requests/live", who) as looking:
            await it.it.records.close()
            it.it.clock.advance(CHECK_S)
            await until(looking.task.done)
            assert looking.events[-1][0] == "error"
            assert looking.replies.complete

    sighted(tmp_path, case)


# --- seats ----------------------------------------------------------------------------------------------------


def test_one_caller_too_many_is_refused_before_the_first_byte(tmp_path: Path) -> None:
    async def case(it: Sighted) -> None:
        admin = await it.it.as_("admin")
        async with it.live("/requests/live", admin) as first, it.live("/overview/live", admin):
            told = await it.it.ask("GET", "/api/v1/requests/live", by=admin)
            assert (told.status, told.error["code"]) == (503, "too_many_watchers")
            assert told.error["remedy"]
            async with it.live("/requests/live", await it.it.as_("owner")) as other:
                assert other.replies.started
            assert not first.task.done()
        async with it.live("/requests/live", admin) as again:
            assert again.replies.started

    assert SEATS > SEATS_PER_CALLER
    sighted(tmp_path, case, sight=Sight(seats=Seats(per_caller=2)))


def test_a_feed_that_has_no_room_refuses_and_keeps_no_seat(tmp_path: Path) -> None:
    async def case(it: Sighted) -> None:
        watches = [it.recent.watch(lambda _: True) for _ in range(64)]
        told = await it.it.ask("GET", "/api/v1/requests/live", by=await it.it.as_("admin"))
        assert told.status == 503
        assert it.it.management.sight.seats.taken == 0
        for watch in watches:
            watch.close()

    sighted(tmp_path, case)
