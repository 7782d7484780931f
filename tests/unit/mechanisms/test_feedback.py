"""Feedback: one score a request, kept for its time, and told to whoever judges."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from penstock.adapters.records.sqlite import SqliteRecords
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Conflict, Unavailable
from penstock.kernel.events import RequestEvent
from penstock.mechanisms.feedback import COLLECTIONS, DAY_S, Feedback
from tests.support import run

EVENT = RequestEvent(request_id="req_1", at_s=1.0, org="acme")
Case = Callable[[Feedback, SqliteRecords, ManualClock], Awaitable[None]]


def staged(folder: Path, case: Case) -> None:
    async def opened() -> None:
        clock = ManualClock(wall_s=100.0 * DAY_S + 3_600)
        records = await SqliteRecords.open(folder / "records.sqlite", COLLECTIONS, clock)
        try:
            await case(Feedback(records, clock, days=30), records, clock)
        finally:
            await records.close()

    run(opened())


def test_a_request_is_scored_once_on_whichever_node_and_told_once(tmp_path: Path) -> None:
    async def case(feedback: Feedback, records: SqliteRecords, clock: ManualClock) -> None:
        heard: list[tuple[str, float]] = []
        other = Feedback(records, clock, days=30)
        for node in (feedback, other):
            node.listen(lambda event, score: heard.append((event.request_id, score)))
        assert await feedback.of("req_1") is None
        await feedback.give(EVENT, 0.25, "key_1")
        for node in (feedback, other):
            with pytest.raises(Conflict, match="scored before") as refused:
                await node.give(EVENT, 1.0, "key_2")
            assert refused.value.reason == "already_scored"
        assert heard == [("req_1", 0.25)]
        kept = await other.of("req_1")
        assert kept is not None
        assert (kept.score, kept.by, kept.at_s) == (0.25, "key_1", clock.wall_s())
        assert (feedback.given, feedback.sum, other.given) == (1, 0.25, 0)

    staged(tmp_path, case)


def test_a_score_that_could_not_be_kept_counts_nowhere(tmp_path: Path) -> None:
    async def case(feedback: Feedback, records: SqliteRecords, _clock: ManualClock) -> None:
        heard: list[float] = []
        feedback.listen(lambda _event, score: heard.append(score))
        await records.close()
        with pytest.raises(Unavailable):
            await feedback.give(EVENT, 1.0, "key_1")
        assert not heard
        assert not feedback.given

    staged(tmp_path, case)


def test_scores_are_forgotten_when_their_days_are_over(tmp_path: Path) -> None:
    async def case(feedback: Feedback, _records: SqliteRecords, clock: ManualClock) -> None:
        await feedback.give(EVENT, 1.0, "key_1")
        clock.advance(30 * DAY_S)
        assert await feedback.trim() == 0
        clock.advance(DAY_S)
        assert await feedback.trim() == 1
        assert await feedback.of("req_1") is None

    staged(tmp_path, case)
