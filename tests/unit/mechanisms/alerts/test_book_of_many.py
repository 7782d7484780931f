"""The book of several processes, each of which looks for itself: whoever finds something down speaks for all."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.mechanisms.alerts.book import Source
from penstock.mechanisms.alerts.rules import DEFAULTS, Reading
from tests.unit.mechanisms.alerts.test_book import Stage, staged, told


class Nodes:
    """Processes that each look for themselves; `down` says who of them finds it down."""

    def __init__(self, stage: Stage, nodes: int) -> None:
        [rule] = [rule for rule in DEFAULTS if rule.id == "dependency-down"]
        self.stage = stage
        self.down = [False] * nodes
        self.alerts = [stage.alerts((rule,), [self.source(node)]) for node in range(nodes)]

    def source(self, node: int) -> Source:
        def read() -> list[Reading]:
            return [told(float(self.down[node]), "state", "dependency-down", org="")]

        return Source(("dependency-down",), read)

    async def pass_s(self, seconds: int, *nodes: int) -> list[str]:
        """Let those nodes look once a second; returns what somebody was told by then."""
        for _ in range(seconds):
            for node in nodes:
                await self.alerts[node].tick()
            self.stage.clock.advance(1)
        return [kind for kind, *_ in await self.stage.posted()]


@pytest.mark.parametrize("seen_by", [(True, False), (False, True), (True, True)])
def test_what_one_process_of_two_finds_down_is_told_within_five_seconds(
    tmp_path: Path, seen_by: tuple[bool, bool]
) -> None:
    async def case(stage: Stage) -> None:
        nodes = Nodes(stage, 2)
        nodes.down = list(seen_by)
        assert await nodes.pass_s(5, 0, 1) == ["alert.firing"]
        assert await nodes.pass_s(60, 0, 1) == ["alert.firing"], "it stands for as long as it is so"
        nodes.down = [False, False]
        assert await nodes.pass_s(30, 0, 1) == ["alert.firing", "alert.resolved"]

    staged(tmp_path, case)


def test_one_process_that_finds_it_up_again_does_not_speak_for_the_other(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        nodes = Nodes(stage, 2)
        nodes.down = [True, True]
        await nodes.pass_s(2, 0, 1)
        nodes.down = [False, True]
        assert await nodes.pass_s(6, 0, 1) == ["alert.firing"]
        assert await nodes.pass_s(60, 0, 1) == ["alert.firing"]

    staged(tmp_path, case)


def test_what_a_process_found_down_ends_though_that_process_is_no_more(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        nodes = Nodes(stage, 2)
        nodes.down = [True, False]
        await nodes.pass_s(6, 0, 1)
        assert await nodes.pass_s(30, 1) == ["alert.firing", "alert.resolved"]

    staged(tmp_path, case)


def test_what_was_down_for_a_moment_is_told_to_nobody(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        nodes = Nodes(stage, 1)
        for _ in range(10):
            nodes.down[0] = not nodes.down[0]
            assert await nodes.pass_s(1, 0) == []

    staged(tmp_path, case)


def test_what_others_ended_is_forgotten_here_too(tmp_path: Path) -> None:
    """Subjects are named by callers: whoever did not end an alert itself must not remember it for ever."""

    async def case(stage: Stage) -> None:
        [rule] = [rule for rule in DEFAULTS if rule.id == "latency-budget"]
        slow = [told(2.0, "chat", rule.id)]
        first = stage.alerts((rule,), [Source((rule.id,), lambda: slow)])
        other = stage.alerts((rule,), [Source((rule.id,), list)])
        await first.tick()
        for _ in range(90):  # the first is silent meanwhile
            stage.clock.advance(1)
            await other.tick()
        assert await other.standing() == []
        slow.clear()
        for _ in range(3):
            await first.tick()
        assert not first._seen_s  # pyright: ignore[reportPrivateUsage]  # what is kept shows nowhere else

    staged(tmp_path, case)
