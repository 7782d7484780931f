"""What cannot be read may still be counted or timed: the same questions before and after the others grow, and clocks.

Counting: every list and every figure is asked for by every caller who does not reach the other organisation, twice;
in between, the other organisation and the other team double. Whatever does not change by itself must be equal.
Timing: a thing out of reach and a thing that does not exist are asked for in turns; how often the one takes longer than
the other (the area under the ROC curve) says how well a clock tells them apart: 0.5 not at all, 1.0 always.
"""

from __future__ import annotations

import json
import math
import random
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from penstock.mechanisms.roles import Role
from tests.matrix.callers import Caller
from tests.matrix.operations import Operation
from tests.matrix.world import World, canary

# What moves by itself, or by the caller's own questions, whoever else does what.
MOVING = re.compile(
    r'"(at_s|seen_s|last_seen_s|uptime_s|eta_s|current|csrf|in_flight|connections|draining)":\s*[^,}\]]+,?'
)

SEEN = frozenset({"seen_s", "last_seen_s"})
"""What lists are in the order of, the latest first."""


@dataclass(frozen=True)
class Clocked:
    """How well a clock tells two kinds of questions apart."""

    what: str
    pairs: int
    first_us: float
    second_us: float
    area: float

    def tells(self, most: float) -> bool:
        """Tell whether the two are told apart: by more than `most` (an area), and by more than chance in 1,000 runs."""
        deviation = math.sqrt((2 * self.pairs + 1) / (12 * self.pairs**2))
        return abs(self.area - 0.5) > max(most - 0.5, 3.29 * deviation)


async def figures(world: World, operations: list[Operation], callers: list[Caller]) -> dict[str, str]:
    """Return what each caller is told by each list, without what moves by itself."""
    told: dict[str, str] = {}
    for operation in operations:
        if not operation.is_safe or "{" in operation.path or operation.is_live:
            continue
        for caller in callers:
            if not operation.admits(caller):
                continue
            target = operation.path + ("?level=user" if "level" in operation.query else "")
            reply = await world.wire.ask(caller, operation.method, target)
            told[f"{operation.name} by {caller.name}"] = MOVING.sub("", in_one_order(reply.text))
    return told


def in_one_order(text: str) -> str:
    """Return a reply with its lists of what was seen last first in an order that no question of its caller's moves."""
    try:
        return json.dumps(_in_one_order(json.loads(text)))
    except ValueError:
        return text  # not JSON


def _in_one_order(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _in_one_order(each) for name, each in value.items()}
    if isinstance(value, list):
        found = [_in_one_order(each) for each in value]
        is_by_time = any(isinstance(each, dict) and not SEEN.isdisjoint(each) for each in found)
        return sorted(found, key=lambda each: str(each.get("id"))) if is_by_time else found
    return value


async def grow_elsewhere(world: World, caller_org: str, caller_team: str, count: int) -> None:
    """Let every team but the callers' own grow."""
    for org in world.orgs:
        for team in world.teams[org]:
            if (org, team) != (caller_org, caller_team):
                for number in range(count):
                    await world.settle(org, team, Role.DEVELOPER, canary(f"grown{number}"))
    await world.recorded(3 * count)


def difference(before: str, after: str) -> str:
    """Return where two replies part, in a few words."""
    at = next(
        (i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b),
        min(len(before), len(after)),
    )
    return f"…{before[max(0, at - 40) : at + 40]}… became …{after[max(0, at - 40) : at + 40]}…"


async def clocked(
    what: str, first: Callable[[], Awaitable[object]], second: Callable[[], Awaitable[object]], pairs: int
) -> Clocked:
    """Time two kinds of questions in pairs, either first by lot."""
    lots = random.Random(pairs)
    firsts: list[float] = []
    seconds: list[float] = []
    for _ in range(pairs):
        both = [(first, firsts), (second, seconds)]
        lots.shuffle(both)
        for ask, times in both:
            began = time.perf_counter()
            await ask()
            times.append((time.perf_counter() - began) * 1e6)
    return Clocked(what, pairs, _median(firsts), _median(seconds), area(firsts, seconds))


def area(firsts: list[float], seconds: list[float]) -> float:
    """Return how often one of `firsts` is larger than one of `seconds`; equal ones count half (Mann-Whitney)."""
    ranked = sorted([(each, 0) for each in firsts] + [(each, 1) for each in seconds])
    ranks = 0.0
    start = 0
    while start < len(ranked):
        end = start
        while end < len(ranked) and ranked[end][0] == ranked[start][0]:
            end += 1
        ranks += sum((start + end + 1) / 2 for each in ranked[start:end] if each[1] == 0)
        start = end
    return (ranks - len(firsts) * (len(firsts) + 1) / 2) / (len(firsts) * len(seconds))


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def counted(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Return the replies that tell of growth elsewhere."""
    return [
        f"{name}: {difference(text, after.get(name, ''))}"
        for name, text in before.items()
        if after.get(name) != text
    ]


def rows(text: str) -> int:
    """Return how many rows a list holds."""
    value = json.loads(text)
    return len(value) if isinstance(value, list) else 0
