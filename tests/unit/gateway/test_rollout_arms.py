"""What is evidence of a canary, for which arm, and what is none."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from penstock.gateway.rollout_arms import ANSWERS, CALLERS_FAULT, OURS, UNFIT, Arms, newcomers
from penstock.kernel.events import Call
from penstock.kernel.settings_routes import CanarySettings
from penstock.mechanisms.sequential import Side
from tests.support import run
from tests.unit.gateway.canary_fleet import ROUTE, asked, block, fleet


@pytest.mark.parametrize(
    "outcome", [*sorted(CALLERS_FAULT | OURS), "client_gone", "draining", "abandoned", "internal_error"]
)
def test_what_is_the_callers_doing_or_ours_is_no_evidence(tmp_path: Path, outcome: str) -> None:
    async def scene() -> None:
        async with fleet(tmp_path) as f:
            for _ in range(3):
                await f.look(block(new_fails=20, failure=outcome), [])
            assert not f.rollbacks
            assert f.nodes[0].heard == 3 * 20

    run(scene())


@pytest.mark.parametrize("outcome", sorted(ANSWERS))
def test_an_answer_without_a_bill_is_an_answer(tmp_path: Path, outcome: str) -> None:
    async def scene() -> None:
        async with fleet(tmp_path) as f:
            await f.look([asked("new", outcome), asked("old", outcome)])
            assert f.nodes[0].heard == 2

    run(scene())


def test_a_fallback_hides_no_failure(tmp_path: Path) -> None:
    """The canary failed and production answered: the request is the canary's, and failed."""

    async def scene() -> None:
        async with fleet(tmp_path) as f:
            failed, answered = Call("sim", "new", 0.0, 5.0, "server_error"), Call("sim", "old", 5.0, 90.0)
            saved = [asked("old", number=n, calls=(failed, answered), status=200) for n in range(20)]
            for _ in range(2):
                await f.look([*saved, *[asked("old", number=n) for n in range(20)]], [])
            assert [each.metric for each in f.told] == ["errors"]

    run(scene())


def test_an_answer_that_does_not_fit_its_schema_is_a_failure(tmp_path: Path) -> None:
    async def scene() -> None:
        async with fleet(tmp_path) as f:
            unfit = [asked("new", number=n, error=UNFIT, status=502) for n in range(20)]
            for _ in range(2):
                await f.look([*unfit, *[asked("old", number=n) for n in range(20)]], [])
            assert [each.metric for each in f.told] == ["errors"]

    run(scene())


def test_what_was_answered_without_a_call_is_no_evidence(tmp_path: Path) -> None:
    async def scene() -> None:
        async with fleet(tmp_path) as f:
            elsewhere = msgspec.structs.replace(asked("old"), model="other")
            await f.look([asked("new", calls=(), cache="exact"), elsewhere])
            assert f.nodes[0].heard == 0

    run(scene())


HEDGED = (("new", "abandoned"), ("old", "ok"))


@pytest.mark.parametrize(("error", "calls"), [("", 1), ("client_gone", 0)])
def test_a_call_let_go_for_its_rival_is_a_slow_answer(error: str, calls: int) -> None:
    """Left out, the slow ones of a canary would vanish from the measure; one whose caller left says nothing."""
    arms = Arms("trial", 0.01, 0.1, began_s=0.0)
    calls_made = tuple(Call("sim", model, 10.0, 110.0, outcome) for model, outcome in HEDGED)
    event = asked("new", calls=calls_made, error=error)
    assert arms.hear(Side.NEWCOMER, event) is bool(calls)
    figures = arms.figures[Side.NEWCOMER]
    assert (figures.calls, figures.failed, figures.latency_ms) == (calls, 0, 100.0 * calls)


def test_a_slow_canary_is_taken_out_and_its_times_are_told(tmp_path: Path) -> None:
    async def scene() -> None:
        async with fleet(tmp_path) as f:
            slow = Call("sim", "new", 10.0, 910.0)
            for _ in range(5):
                slow_ones = [asked("new", number=n, calls=(slow,)) for n in range(20)]
                await f.look([*slow_ones, *[asked("old", number=n) for n in range(20)]], [])
            assert [each.metric for each in f.told] == ["latency"]
            assert "canary 900 ms" in f.told[0].why
            assert "production 100 ms" in f.told[0].why

    run(scene())


@pytest.mark.parametrize("percent", [0, 100])
def test_without_a_control_there_is_no_trial(percent: float) -> None:
    canary = msgspec.structs.replace(ROUTE.canary, percent=percent)
    assert not newcomers([msgspec.structs.replace(ROUTE, canary=canary)])


def test_back_ends_of_both_arms_tell_nothing_of_either() -> None:
    canary = CanarySettings(targets=ROUTE.targets, percent=10)
    assert not newcomers([msgspec.structs.replace(ROUTE, canary=canary)])
