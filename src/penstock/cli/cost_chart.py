"""What requests cost, as a table, and over time as columns of characters that are stacked by one of its features.

Promises: every amount of the period is in the picture, those of minor names as `others`; a day or hour without any
has its place; the table's figures are exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from penstock.cli.drawing import SHADES, columns, shares
from penstock.cli.output import dollars, line, shown, table
from penstock.console.formats import money, share
from penstock.sdk.requests import CostRow, Costs, CostSum

STEPS_S: Final = {"hour": 3_600, "day": 86_400}
HEIGHT: Final = 8
AXIS_CHARS: Final = 11
OTHERS: Final = "others"
NOBODY: Final = "(none)"
COLOURS: Final = ("cyan", "magenta", "yellow", "green", "blue", "bright_black")
"""As many as there are shades; the last is that of the others."""
FIGURES: Final = (">cost", ">share", ">requests", ">failed", ">refused", ">tokens in", ">out")
NARROW: Final = 72
ROOMY: Final = 96
PLACE_MOST: Final = 3
"""A day or hour is drawn so many characters wide where there is room."""
MINOR: Final = len(SHADES) - 1


def cost_table(costs: Costs, width: int) -> RenderableType:
    """Return the sums by group, as the server orders them, and their total; fewer figures where it is narrow."""
    kept = FIGURES[: 3 if width < NARROW else 5 if width < ROOMY else len(FIGURES)]
    names = ["key" if each == "key_id" else each for each in costs.by]

    def figures(sums: CostSum) -> list[str]:
        told = (
            dollars(sums.cost_nanos),
            share(sums.cost_nanos, costs.total.cost_nanos),
            *(sums.requests, sums.failed, sums.refused, sums.input_tokens, sums.output_tokens),
        )
        return [f"{each:,}" if isinstance(each, int) else each for each in told[: len(kept)]]

    rows = [[*map(_word, costs.by, row.group), *figures(row)] for row in costs.rows]
    if len(rows) > 1:
        rows.append(["total", *[""] * (len(names) - 1), *figures(costs.total)])
    return table((*names, *kept), rows, empty="No request matches.")


def _word(by: str, name: str) -> str:
    if by in STEPS_S and name.isdigit():
        return f"{datetime.fromtimestamp(int(name), UTC):{'%Y-%m-%d' if by == 'day' else '%m-%d %H:00'}}"
    return name or NOBODY


def chart(costs: Costs, width: int) -> list[RenderableType]:
    """Draw costs that are grouped by hour or day, and by one thing more; nothing of nothing."""
    step, rest = _axes(costs.by)
    if not costs.total.cost_nanos or not step:
        return []
    stacks, series = _stacks(costs, STEPS_S[step], costs.by.index(step))
    room = max(width - AXIS_CHARS - 2, 10)
    places = shares(len(stacks), room)
    wide = min(max(room // len(places), 1), PLACE_MOST)
    merged = [sum((stacks[n] for n in part), Counter[str]()) for part in places]
    most = max(sum(stack.values()) for stack in merged)
    lines: list[RenderableType] = [line(f"cost per {step}{f' by {rest}' if rest else ''}", "bold")]
    for number, cells in enumerate(columns(merged, series, HEIGHT)):
        lines.append(
            _row(cells, series, money(most) if number == 0 else "", "┤" if number == 0 else "│", wide)
        )
    lines.append(line(f"{'$0':>{AXIS_CHARS - 2}} └{'─' * (len(merged) * wide)}", "dim"))
    first = costs.since_s // STEPS_S[step] * STEPS_S[step]
    ends = [_word(step, str(int(at_s))) for at_s in (first, first + (len(stacks) - 1) * STEPS_S[step])]
    lines.append(
        line(
            f"{' ' * AXIS_CHARS}{ends[0]}{ends[1]:>{max(len(merged) * wide - len(ends[0]), len(ends[1]) + 2)}}",
            "dim",
        )
    )
    return [*lines, _legend(series)] if rest else lines


def _axes(by: Sequence[str]) -> tuple[str, str]:
    step = next((each for each in by if each in STEPS_S), "")
    return step, next((each for each in by if each != step), "")


def _stacks(costs: Costs, step_s: int, axis: int) -> tuple[list[Counter[str]], list[str]]:
    """Return the amounts of each step by series, and the series, the dearest first, the minor ones as one."""
    sums: Counter[str] = Counter()
    for row in costs.rows:
        sums[_series(row, axis)] += row.cost_nanos
    ranked = [name for name, _ in sums.most_common()]
    kept = ranked if len(ranked) <= MINOR + 1 else ranked[:MINOR]
    first = int(costs.since_s) // step_s
    stacks = [Counter[str]() for _ in range(first, max(-int(-costs.until_s // step_s), first + 1))]
    for row in costs.rows:
        name = _series(row, axis)
        place = min(max(int(row.group[axis]) // step_s - first, 0), len(stacks) - 1)
        stacks[place][name if name in kept else OTHERS] += row.cost_nanos
    return stacks, kept if len(kept) == len(ranked) else [*kept, OTHERS]


def _series(row: CostRow, axis: int) -> str:
    return next((name or NOBODY for place, name in enumerate(row.group) if place != axis), "")


def _row(cells: Sequence[str], series: Sequence[str], label: str, mark: str, wide: int) -> Text:
    told = Text(f"{label:>{AXIS_CHARS - 2}} {mark}", style="dim")
    for name in cells:
        place = series.index(name) if name else -1
        told.append(
            (SHADES[place] if name else " ") * wide, style=f"not dim {COLOURS[place]}" if name else ""
        )
    return told


def _legend(series: Sequence[str]) -> RenderableType:
    told = Text()
    for place, name in enumerate(series):
        told.append(f"{SHADES[place]} ", style=COLOURS[place]).append(f"{shown(name)}  ")
    return Padding(told, (0, 0, 0, AXIS_CHARS))
