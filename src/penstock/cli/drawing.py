"""Small drawings out of characters: meters, curves, columns, a waterfall. Pure: figures in, text out.

Promises: what is not nothing can be seen; nothing is wider than it was allowed to be; without colour everything can
still be told apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

EIGHTHS: Final = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")
LEVELS: Final = "▁▂▃▄▅▆▇█"
SHADES: Final = "█▓▒░▚▞"
"""Fillings that can be told apart, one for each of so many series."""


def meter(part: float, whole: float, chars: int) -> str:
    """Return a bar of `part` of `whole`, at most `chars` wide, in eighths of a character, rounded up."""
    if part <= 0 or whole <= 0:
        return ""
    eighths = min(-int(-part * chars * 8 // whole), chars * 8)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8]


def curve(values: Sequence[float], chars: int) -> str:
    """Return one line of columns, at most `chars`; neighbours that share one show the higher. Nothing is a space."""
    peaks = [max(values[n] for n in part) for part in shares(len(values), chars)]
    most = max(peaks, default=0)
    return "".join(LEVELS[min(int(each * 8 / most), 7)] if each > 0 else " " for each in peaks)


def shares(count: int, most: int) -> list[range]:
    """Share out `count` neighbours among at most `most` places, the last ones full."""
    size = max(-(-count // max(most, 1)), 1)
    if not count:
        return []
    starts = [0, *range(count % size or size, count, size)]
    return [range(first, after) for first, after in zip(starts, [*starts[1:], count], strict=True)]


def columns(stacks: Sequence[Mapping[str, int]], series: Sequence[str], height: int) -> list[list[str]]:
    """Draw one column of stacked amounts per place: rows of cells from the top, each the series in it or "".

    A column with anything in it has at least one cell, and no cell belongs to a series that has nothing in it.
    """
    most = max((sum(stack.values()) for stack in stacks), default=0)
    return [
        list(row) for row in zip(*(_column(stack, series, height, most) for stack in stacks), strict=True)
    ]


def _column(stack: Mapping[str, int], series: Sequence[str], height: int, most: int) -> list[str]:
    """Return the cells of one column from the top; a cell is the series that its middle falls into."""
    whole = sum(stack.values())
    cells = max((2 * whole * height + most) // (2 * most), 1) if whole > 0 else 0
    found: list[str] = []
    for cell in range(cells):
        middle, below = (2 * cell + 1) * whole, 0  # in 2 * cells-ths of the whole
        for name in series:
            below += stack.get(name, 0)
            if below * 2 * cells > middle:
                found.append(name)
                break
    return [""] * (height - cells) + found[::-1]


def stretch(began: float, ended: float, whole: float, chars: int) -> str:
    """Return a stretch of time on a line of `chars`, indented to where it began; what is too short is a stroke."""
    if whole <= 0 or chars <= 0:
        return ""
    first = min(int(max(began, 0) * chars / whole), chars - 1)
    after = min(-int(-ended * chars // whole), chars)
    short = (ended - began) * chars < whole / 2
    return " " * first + ("▏" if short else "█" * max(after - first, 1))
