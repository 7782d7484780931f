"""Canaries on a fleet of two: who acts, when, by whose evidence, and what is told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from penstock.gateway.rollout_trials import EVIDENCE, PLATFORM
from penstock.gateway.rollouts import LEASE_S, LOOK_S, PROBES
from penstock.kernel.clock import ManualClock
from penstock.kernel.events import Call
from penstock.kernel.settings_rollouts import RolloutSettings
from penstock.kernel.settings_routes import CanarySettings, TargetSettings
from penstock.mechanisms.breaker import Breaker
from tests.support import run
from tests.unit.gateway.canary_fleet import OPEN_S, ROUTE, asked, block, fleet


def test_a_bad_canary_is_taken_out_by_one_node_and_told_once(tmp_path: Path) -> None:
    async def scene() -> None:
        async with fleet(tmp_path) as f:
            for _ in range(3):
                await f.look(block(new_fails=20), block(new_fails=20))
            assert [route for route, _ in f.rollbacks] == ["chat"]
            assert [(each.route, each.metric, each.labels) for each in f.told] == [
                ("chat", "errors", ("sim/new",))
            ]
            assert f.told[0].evidence >= f.told[0].bound
            assert "failed" in f.rollbacks[0][1]
            assert sum(node.rolled_back for node in f.nodes) == 1

    run(scene())


def test_a_rollback_whose_node_died_before_it_could_tell_is_told_by_another_once(tmp_path: Path) -> None:
    async def scene() -> None:
        async with fleet(tmp_path) as f:
            judge, other = f.nodes
            judge(block(new_fails=20))
            f.dying = True
            with pytest.raises(asyncio.CancelledError):
                await judge.look()
            assert (len(f.rollbacks), f.told, f.routes[0].canary.percent) == (1, [], 0)
            f.dying, f.nodes = False, [other]
            for _ in range(round(2 * LEASE_S / LOOK_S)):
                await f.look()
            assert [(each.route, each.metric, each.labels) for each in f.told] == [
                ("chat", "errors", ("sim/new",))
            ]
            trial = await other.trial("chat")
            assert trial is not None
            assert (trial.outcome, trial.owed) == ("rolled back", None)

    run(scene())


def test_a_notice_is_owed_until_a_look_after_it_was_given(tmp_path: Path) -> None:
    async def scene() -> None:
        async with fleet(tmp_path) as f:
            judge = f.nodes[0]
            judge(block(new_fails=20))
            owed: list[bool] = []
            for _ in range(2):
                await judge.look()
                trial = await judge.trial("chat")
                assert trial is not None
                owed.append(trial.owed is not None)
            assert (owed, len(f.told)) == ([True, False], 1)

    run(scene())


def test_a_node_without_the_lease_tells_and_does_not_act(tmp_path: Path) -> None:
    async def scene() -> None:
        async with fleet(tmp_path) as f:
            judge, other = f.nodes
            other(block(new_fails=20))
            await other.look()
            assert not f.rollbacks
            await judge.look()
            assert (judge.rolled_back, other.rolled_back) == (1, 0)

    run(scene())


def test_no_more_than_three_looks_pass_between_evidence_and_action(tmp_path: Path) -> None:
    async def scene() -> None:
        async with fleet(tmp_path) as f:
            for node in f.nodes:
                node(block(new_fails=20))
            for _ in range(3):
                await f.look()
            assert f.rollbacks
            assert 3 * LOOK_S < 30

    run(scene())


def test_evidence_of_all_nodes_is_one(tmp_path: Path) -> None:
    """What neither node could convict by is enough in both together."""

    async def scene(heard: int) -> int:
        folder = tmp_path / str(heard)
        folder.mkdir()
        async with fleet(folder) as f:
            for _ in range(2):
                await f.look(*[block(new_fails=4)] * heard)
            await f.look()
            return len(f.rollbacks)

    assert run(scene(1)) == 0
    assert run(scene(2)) == 1


def test_evidence_outlives_the_node_that_gathered_it(tmp_path: Path) -> None:
    async def scene() -> None:
        async with fleet(tmp_path) as f:
            await f.look(block(new_fails=4), [])
            await f.look(block(new_fails=4), [])
            dead = f.nodes.pop(0)
            f.clock.advance(60)
            for _ in range(2):
                await f.look()
            assert not f.rollbacks
            for _ in range(2):
                await f.look(block(new_fails=4))
            await f.look()
            assert f.rollbacks
            assert dead.rolled_back == 0

    run(scene())


def test_a_provider_down_for_both_takes_nobody_out(tmp_path: Path) -> None:
    async def scene() -> None:
        async with fleet(tmp_path) as f:
            for fails in (0, 0, 20, 20, 19, 10, 0):
                await f.look(block(new_fails=fails, old_fails=fails), block(new_fails=fails, old_fails=fails))
            assert not f.rollbacks

    run(scene())


def broken(breaker: Breaker, clock: ManualClock, probes: int) -> None:
    """Have a breaker open, and so many probes fail."""
    for _ in range(5):
        breaker.failed()
    for _ in range(probes):
        clock.advance(OPEN_S)
        assert breaker.admits()
        breaker.failed()


@pytest.mark.parametrize(
    ("probes", "production_too", "out"), [(PROBES - 1, False, 0), (PROBES, False, 1), (PROBES, True, 0)]
)
def test_a_canary_that_its_breaker_keeps_from_calls_is_taken_out(
    tmp_path: Path, probes: int, production_too: bool, out: int
) -> None:
    """Seen by the node that does not judge, without a call that could be evidence; trouble of both convicts nobody."""

    async def scene() -> None:
        async with fleet(tmp_path) as f:
            broken(f.breakers[1]["sim/new"], f.clock, probes)
            if production_too:
                broken(f.breakers[1]["sim/old"], f.clock, 0)
            for _ in range(3):
                await f.look()
            assert len(f.rollbacks) == out
            assert [each.metric for each in f.told] == ["breaker"] * out

    run(scene())


def test_a_probe_that_is_answered_speaks_for_the_canary(tmp_path: Path) -> None:
    async def scene() -> None:
        async with fleet(tmp_path) as f:
            breaker = f.breakers[0]["sim/new"]
            broken(breaker, f.clock, PROBES - 1)
            f.clock.advance(OPEN_S)
            breaker.admits()
            breaker.began()
            broken(breaker, f.clock, PROBES - 1)
            await f.look()
            await f.look()
            assert not f.rollbacks

    run(scene())


def test_a_switch_that_fails_is_tried_again(tmp_path: Path) -> None:
    async def scene() -> None:
        async with fleet(tmp_path) as f:
            f.down = True
            for _ in range(2):
                await f.look(block(new_fails=20), [])
            assert not f.told
            assert sum(node.failures for node in f.nodes) >= 1
            f.down = False
            await f.look()
            assert len(f.rollbacks) == len(f.told) == 1

    run(scene())


def test_a_canary_that_comes_again_is_tried_anew(tmp_path: Path) -> None:
    async def scene() -> None:
        async with fleet(tmp_path) as f:
            for _ in range(2):
                await f.look(block(new_fails=20), [])
            assert len(f.rollbacks) == 1
            assert await f.records.count(EVIDENCE, PLATFORM) == 0
            f.routes = (ROUTE,)
            for _ in range(4):
                await f.look(block(), block())
            assert len(f.rollbacks) == 1
            for _ in range(2):
                await f.look(block(new_fails=20), [])
            assert len(f.rollbacks) == 2
            first, second = f.told
            assert (first.route, first.metric) == (second.route, second.metric)
            assert first.trial != second.trial

    run(scene())


def test_another_newcomer_does_not_inherit_the_evidence(tmp_path: Path) -> None:
    async def scene() -> None:
        async with fleet(tmp_path) as f:
            await f.look(block(new_fails=4), [])
            other = CanarySettings(targets=(TargetSettings(provider="sim", model="newer"),), percent=10)
            f.routes = (msgspec.structs.replace(ROUTE, canary=other),)
            for _ in range(2):
                await f.look()
            for number in range(4, 20):
                f.nodes[0].score(asked("new", number=number, at_s=0.0), 0.0)
                f.nodes[0].score(asked("old", number=number, at_s=0.0), 1.0)
            for _ in range(2):
                await f.look()
            assert await f.records.count(EVIDENCE, PLATFORM) == len(f.nodes)
            assert not f.rollbacks

    run(scene())


def test_rolling_back_can_be_left_to_people(tmp_path: Path) -> None:
    async def scene() -> None:
        async with fleet(
            tmp_path, RolloutSettings(rollback=False, advance=True, hold_s=1, least_calls=1)
        ) as f:
            for _ in range(3):
                await f.look(block(new_fails=20), [])
            assert not f.rollbacks
            assert not f.percents

    run(scene())


def test_a_good_canary_goes_up_the_steps_and_becomes_production(tmp_path: Path) -> None:
    async def scene() -> None:
        settings = RolloutSettings(advance=True, steps=(5, 10, 50, 100), hold_s=30, least_calls=40)
        async with fleet(tmp_path, settings) as f:
            for _ in range(30):
                await f.look(block(), [])
            assert f.percents == [50, 100]
            assert not f.rollbacks

    run(scene())


@pytest.mark.parametrize(
    ("hold_s", "least_calls", "heard", "advances"),
    [(16.0, 40, 2, True), (16.5, 40, 2, False), (16.0, 41, 2, False), (16.0, 40, 1, False)],
)
def test_a_step_takes_its_time_and_its_calls(
    tmp_path: Path, hold_s: float, least_calls: int, heard: int, advances: bool
) -> None:
    """Two looks of 8 seconds, twenty calls of each arm in each."""

    async def scene() -> None:
        settings = RolloutSettings(advance=True, steps=(50,), hold_s=hold_s, least_calls=least_calls)
        async with fleet(tmp_path, settings) as f:
            for number in range(2):
                await f.look(block() if number < heard else [], [])
            assert bool(f.percents) is advances

    run(scene())


def test_doubt_holds_a_canary_where_it_is(tmp_path: Path) -> None:
    async def scene() -> None:
        settings = RolloutSettings(advance=True, steps=(50,), hold_s=1, least_calls=40)
        async with fleet(tmp_path, settings) as f:
            await f.look(block(new_fails=4), [])
            await f.look(block(new_fails=4), [])
            assert not f.percents
            assert not f.rollbacks

    run(scene())


def test_scores_are_evidence_of_whoever_answered_and_of_this_trial_only(tmp_path: Path) -> None:
    """Any node takes a score, whichever served the request."""

    async def scene() -> None:
        async with fleet(tmp_path) as f:
            await f.look(block(), [])
            node = f.nodes[1]
            for number in range(20):
                node.score(asked("new", number=number), 0.1)
                node.score(asked("old", number=number), 0.9)
            fallback = (Call("sim", "new", 1.0, 2.0, "server_error"), Call("sim", "old", 2.0, 9.0))
            for stray in (
                asked("new", at_s=0.0),
                msgspec.structs.replace(asked("new"), model="other"),
                asked("new", calls=()),
                asked("new", "server_error"),
                asked("new", calls=fallback),
            ):
                node.score(stray, 1.0)
            assert (node.scored, node.strays) == (40, 5)
            for _ in range(2):
                await f.look()
            assert [each.metric for each in f.told] == ["quality"]

    run(scene())
