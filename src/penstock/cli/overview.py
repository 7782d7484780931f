"""The overview as a picture for a terminal: what breaks first, latency, errors, budgets, the latest requests.

Promises: it fits 60 columns, and a given height as far as it goes: what presses most is kept longest; it is the same
picture once and live; a figure without data is a dash, a part without data says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from penstock.cli.drawing import curve, meter
from penstock.cli.output import dollars, line, shown
from penstock.cli.request_line import request_line
from penstock.console.formats import clock_time, duration, money, percent, share, short, span
from penstock.sdk.requests import ErrorCounts, Overview, Pressure, SpendRow

FULL_PERCENT: Final = 100.0
NEAR_PERCENT: Final = 80.0
METER_CHARS: Final = 10
CURVE_CHARS: Final = 45
NARROWEST: Final = 60
WIDEST: Final = 100
"""Tables grow no wider, so that what belongs together stands together."""
PRESSURES_MOST: Final = 8
BUDGETS_MOST: Final = 8
OTHER_LINES: Final = 14
"""Lines that are there whatever happens: heads, latency, errors, the gaps between."""


def picture(now: Overview, *, width: int, height: int = 0, state: str = "") -> RenderableType:
    """Return the picture, `width` wide, for so many lines (0: as many as it has). `state` is said at its top."""
    whole, width = max(width, NARROWEST), min(max(width, NARROWEST), WIDEST)
    room = max(height - OTHER_LINES, 3) if height else 0
    pressures = now.pressures[: min(PRESSURES_MOST, room or PRESSURES_MOST)]
    room = max(room - len(pressures), 0)
    budgets = now.spend[: min(BUDGETS_MOST, room)] if height else now.spend[:BUDGETS_MOST]
    latest = now.live[: max(room - len(budgets) - 2, 0)] if height else ()
    parts: list[RenderableType] = [
        *([line(state, "bold yellow")] if state else []),
        _head(now),
        *_pressures(pressures, width),
        *_speed(now, width),
        _errors(now.errors),
        *_budgets(budgets, len(now.spend), width),
        *([Text(), line("Latest requests", "bold")] if latest else []),
        *(request_line(each, whole) for each in latest),
    ]
    return Group(*(_fitted(part, whole) for part in parts))


def summary(now: Overview) -> Text:
    """Return the overview as one line: for a file, or a terminal that cannot draw."""
    first = now.pressures[0] if now.pressures else None
    parts = (
        clock_time(now.at_s),
        now.org,
        f"today {money(now.today_nanos)}",
        f"{now.in_flight} under way",
        f"p95 {duration(now.latency.p95_ms)}",
        f"{now.errors.failed} failed, {now.errors.refused} refused of {now.errors.requests}",
        f"first: {first.name} {percent(first.percent)}" if first else "nothing presses",
    )
    return line("  ".join(parts))


def _fitted(part: RenderableType, width: int) -> RenderableType:
    if isinstance(part, Text):
        part.truncate(width, overflow="ellipsis")
        part.no_wrap = True
    return part


def _head(now: Overview) -> Text:
    told = line(f"{now.org}  {clock_time(now.at_s)}Z", "bold")
    spent = f"  today {money(now.today_nanos)}  month {money(now.month_nanos)}"
    return told.append(f"{spent}  {now.in_flight} under way", style="not bold")


def _colour(full: float) -> str:
    if full >= FULL_PERCENT:
        return "bold red"
    return "yellow" if full >= NEAR_PERCENT else "green"


def _grid(width: int, *chars: int) -> Table:
    """Return a table without lines; a column of 0 characters takes what is left of `width`."""
    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0), width=width)
    for each in chars:
        grid.add_column(width=each or None, ratio=None if each else 1, no_wrap=True, overflow="ellipsis")
    return grid


def _pressures(found: Sequence[Pressure], width: int) -> list[RenderableType]:
    """Draw what is pressed, and of the first what to do about it."""
    title = line("What breaks first", "bold")
    if not found:
        return [Text(), title, line("  Nothing presses.", "dim")]
    first = found[0]
    grid = _grid(width, 6, METER_CHARS, 0, 9)
    for each in found:
        style = _colour(each.percent)
        soon = f"in {span(each.eta_s)}" if each.eta_s else ""
        bar = meter(each.percent, FULL_PERCENT, METER_CHARS)
        grid.add_row(
            line(f"{percent(each.percent):>6}", style), line(bar, style), line(each.name), line(soon)
        )
    told = line(f"{first.detail} {first.remedy}".strip(), "dim")
    told.truncate(width * 2 - 4, overflow="ellipsis")
    return [Text(), title, grid, _folded(told)]


def _folded(told: Text) -> RenderableType:
    grid = Table.grid(padding=(0, 0, 0, 1))
    grid.add_column(overflow="fold")
    grid.add_row(told)
    return grid


def _speed(now: Overview, width: int) -> list[RenderableType]:
    latency = now.latency
    head = line("Latency", "bold")
    head.append(f", the last {span(latency.window_s)}" if latency.window_s else "", style="not bold")
    grid = _grid(width, 12, 9, 9, 9, 0)
    rows = (
        ("", "p50", "p95", "p99"),
        ("whole answer", *map(duration, (latency.p50_ms, latency.p95_ms, latency.p99_ms))),
        ("first token", *map(duration, (latency.first_p50_ms, latency.first_p95_ms, latency.first_p99_ms))),
    )
    for number, (name, *figures) in enumerate(rows):
        grid.add_row(name, *(line(f"{each:>9}", "" if number else "dim") for each in figures), "")
    chars = min(CURVE_CHARS, width - 21)
    parts: list[RenderableType] = [Text(), head, grid]
    if len(now.series) > 1 and chars > 0:
        counts = [each.requests for each in now.series]
        parts.append(Text.assemble("requests     ", (curve(counts, chars), "cyan"), f" {short(sum(counts))}"))
    return parts


def _errors(errors: ErrorCounts) -> Text:
    told = Text.assemble(("Errors       ", "bold"))
    if not errors.failed + errors.refused:
        return told.append(f"none of {errors.requests:,} requests" if errors.requests else "no requests yet")
    rate = share(errors.failed + errors.refused, errors.requests)
    told.append(f"{errors.failed:,} failed", style="red" if errors.failed else "")
    told.append(f", {errors.refused:,} refused of {errors.requests:,} ({rate})")
    codes = sorted(errors.by_code.items(), key=lambda each: (-each[1], each[0]))
    return told.append(shown("".join(f"  {code} {count:,}" for code, count in codes)), style="dim")


def _level(row: SpendRow) -> str:
    """Return whose budget it is, without the organisation that all of them are in."""
    path = row.account.rpartition("@")[0]
    return path.partition("/")[2] or path


def _budgets(found: Sequence[SpendRow], of: int, width: int) -> list[RenderableType]:
    title = line("Budgets", "bold")
    if not of:
        return [Text(), title, line("  None yet: penstock teams set team search --day 5.00", "dim")]
    title.append(f", the {len(found)} fullest of {of}" if len(found) < of else "", style="not bold")
    grid = _grid(width, 6, METER_CHARS, 0, 22 if width < 80 else 34)
    for row in found:
        used = row.posted_nanos + row.held_nanos
        style = _colour(row.percent)
        soon = f", {span(row.eta_s)} left" if row.eta_s and width >= 80 else ""
        grid.add_row(
            line(f"{percent(row.percent):>6}", style),
            line(meter(used, row.limit_nanos, METER_CHARS), style),
            line(f"{_level(row)}, {row.window}{'' if row.hard else ', soft'}"),
            line(f"{money(used)} of {dollars(row.limit_nanos)}{soon}"),
        )
    return [Text(), title, grid] if found else []
