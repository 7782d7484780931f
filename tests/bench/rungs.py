"""The rung table: what every step of the request path costs by itself, in µs of CPU, beside its budget.

Promises: CPU of this thread only (`thread_time_ns`), so a busy machine makes it slower, not wrong; the best of
several repeats, because noise only ever adds; the cost of the empty loop is taken off. A step may be a function or
a coroutine function; a coroutine that suspends is driven by uvloop, and the turn of the loop is counted as its own.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

import uvloop

from tests.evidence.registry import Table

Step = Callable[[], object] | Callable[[], Awaitable[object]]


@dataclass(slots=True, frozen=True)
class Rung:
    """One measured step. `budget_us` is None for a step that has no line in the budget."""

    name: str
    us: float
    budget_us: float | None = None


# The budget of the hot path (issue "The spine"), µs of CPU per request with everything on.
BUDGET_US = {
    "net, both sides": 20.0,
    "parse, authenticate, bound tokens by bytes": 8.0,
    "limits (one call)": 6.0,
    "route, price, clamp": 4.0,
    "hold + settle over 5 levels, journalled in groups": 12.0,
    "audit event, metrics": 5.0,
    "usage, cost, reply headers": 6.0,
    "slack": 9.0,
}


def measure(steps: Iterable[tuple[str, Step]], repeat_s: float = 0.1, repeats: int = 5) -> list[Rung]:
    """Time every step; about `repeat_s * repeats` seconds each."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return [
            Rung(name, runner.run(_cost_us(step, repeat_s, repeats)), BUDGET_US.get(name))
            for name, step in steps
        ]


def table(rungs: Sequence[Rung]) -> Table:
    """The rungs beside their budget, and the sum of those that have one."""
    budgeted = [rung for rung in rungs if rung.budget_us is not None]
    rows = [(rung.name, round(rung.us, 3), rung.budget_us) for rung in rungs]
    rows.append(("a whole request", round(sum(rung.us for rung in budgeted), 3), sum(BUDGET_US.values())))
    columns = ("rung", "µs of CPU", "budget µs")
    return Table(title="Where the CPU of a request goes", columns=columns, rows=tuple(rows))


async def _cost_us(step: Step, repeat_s: float, repeats: int) -> float:
    count = 1
    while (took_ns := await _time_ns(step, count)) < repeat_s * 1e9 / 4 and count < 10_000_000:
        count *= 2
    count = max(1, int(count * repeat_s * 1e9 / max(1, took_ns)))
    best_ns = min([await _time_ns(step, count) for _ in range(repeats)])
    empty_ns = min([await _time_ns(_nothing, count) for _ in range(repeats)])
    return max(0.0, (best_ns - empty_ns) / count / 1e3)


async def _time_ns(step: Step, count: int) -> int:
    calls = range(count)
    if inspect.iscoroutinefunction(step):
        start = time.thread_time_ns()
        for _ in calls:
            await step()
    else:
        start = time.thread_time_ns()
        for _ in calls:
            step()
    return time.thread_time_ns() - start


def _nothing() -> None:
    return None
