"""The bench in the reader's shape: tables, ratios and charts as values of the evidence registry, and as text.

Promise: pure functions over the result of `run`; nothing is measured, rounded away or left out here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.bench.load import Figures
from tests.evidence.registry import Bars, Table
from tests.evidence.report import markdown_table

Result = Mapping[str, Any]
Column = tuple[str, Callable[[Figures], float]]
OURS = "penstock"


def _in(figure: str, divisor: float = 1.0) -> Callable[[Figures], float]:
    return lambda row: round(row[figure] / divisor, 3)


_FULL: tuple[Column, ...] = (
    ("requests/s from 64 connections", _in("per_s")),
    ("CPU µs per request", _in("cpu_us")),
    ("of its Redis and PostgreSQL, CPU µs", _in("engines_cpu_us")),
    ("cores used", _in("cores")),
    ("p50 ms", _in("c64_p50_us", 1e3)),
    ("p99 ms", _in("c64_p99_us", 1e3)),
    ("1 connection: added p50 ms", _in("c1_added_p50_us", 1e3)),
    ("4 connections: added p50 ms", _in("c4_added_p50_us", 1e3)),
    ("4 connections: added p99 ms", _in("c4_added_p99_us", 1e3)),
    ("RSS MB idle", _in("rss_idle_mb")),
    ("RSS MB after", _in("rss_after_mb")),
    ("errors", _in("errors")),
    ("foreign cores, worst cell", _in("foreign_max_cores")),
)
_STREAMS: tuple[Column, ...] = (
    ("burst: streams/s from 64 connections", _in("streams_per_s")),
    ("burst: CPU µs per chunk", _in("chunk_cpu_us")),
    ("paced: CPU µs per chunk", _in("paced_chunk_cpu_us")),
    ("paced: first chunk added p50 ms", _in("first_added_p50_us", 1e3)),
    ("paced: first chunk added p99 ms", _in("first_added_p99_us", 1e3)),
    ("paced: every chunk later by p50 ms", _in("late_added_p50_us", 1e3)),
    ("paced: every chunk later by p99 ms", _in("late_added_p99_us", 1e3)),
)
# figure: (its name for the reader, whether more is better)
_COMPARED = {
    "per_s": ("requests/s", True),
    "cpu_us": ("CPU per request", False),
    "c4_per_s": ("requests/s from 4", True),
    "streams_per_s": ("streams/s", True),
    "stream_cpu_us": ("CPU per stream", False),
    "paced_cpu_us": ("CPU per paced stream", False),
    "rss_after_mb": ("memory", False),
}


def against(figures: Mapping[str, Figures], ours: str = OURS) -> dict[str, Figures]:
    """How many times better `ours` is than every other target, per compared figure; below 1 it is worse."""
    if ours not in figures:
        return {}
    mine = figures[ours]

    def times(theirs: Figures, figure: str, more_is_better: bool) -> float | None:
        above, below = (mine, theirs) if more_is_better else (theirs, mine)
        return round(above[figure] / below[figure], 4) if above[figure] and below[figure] else None

    return {
        name: {
            figure: ratio
            for figure, (_, more) in _COMPARED.items()
            if (ratio := times(theirs, figure, more)) is not None
        }
        for name, theirs in figures.items()
        if name != ours
    }


def tables(result: Result) -> tuple[Table, ...]:
    """Full replies, streams, ratios, and what each target did for its figures."""
    figures, kinds = result["figures"], result["targets"]

    def table(title: str, columns: tuple[Column, ...]) -> Table:
        rows = tuple(
            (kinds[name]["title"], *(cell(row) for _, cell in columns)) for name, row in figures.items()
        )
        return Table(title=title, columns=("", *(head for head, _ in columns)), rows=rows)

    ratios = tuple(
        (kinds[name]["title"], *(row.get(figure) for figure in _COMPARED))
        for name, row in result["ours_against"].items()
    )
    heads = tuple(name for name, _ in _COMPARED.values())
    did = tuple(
        (kind["title"], result["not_runnable"].get(name, kind["does"])) for name, kind in kinds.items()
    )
    return (
        table("Full replies of 617 bytes", _FULL),
        table("Streams of 64 chunks", _STREAMS),
        Table(title="Penstock is better by a factor of", columns=("than", *heads), rows=ratios),
        Table(title="What each did for these figures", columns=("", "did"), rows=did),
    )


def charts(result: Result) -> tuple[Bars, ...]:
    """CPU per request and per chunk, requests per second, memory: one bar per target that has the figure."""
    kinds = result["targets"]

    def bars(title: str, unit: str, figure: str, more_is_better: bool = False) -> Bars:
        held = {
            kinds[name]["title"]: row[figure] for name, row in result["figures"].items() if row[figure] > 0
        }
        ours = (kinds[OURS]["title"],) if OURS in kinds else ()
        return Bars(
            title=title, unit=unit, bars=held, better="higher" if more_is_better else "lower", ours=ours
        )

    return (
        bars("CPU per request", "µs", "cpu_us"),
        bars("Requests per second", "64 connections", "per_s", more_is_better=True),
        bars("CPU per streamed chunk", "µs, in bursts", "chunk_cpu_us"),
        bars("Memory after the load", "MB resident", "rss_after_mb"),
    )


def text(result: Result) -> str:
    """Everything as Markdown, for the terminal."""
    parts = [f"{result['machine']}, median of {result['plan']['rounds']} round(s)"]
    for table in tables(result):
        parts += [table.title, markdown_table(table.columns, table.rows)]
    parts += [f"NOT MEASURED {name}: {reason}" for name, reason in result["not_runnable"].items()]
    return "\n\n".join(parts) + "\n"


def line(number: int, target: str, cell: str, row: Figures) -> str:
    """One cell, as progress while it runs."""
    rate = f"{row['per_s']:>9,.0f}/s" if "per_s" in row else f"{row['first_p50_us'] / 1e3:>7,.2f} ms first"
    seen = f"{rate}  {row['cpu_us']:>9,.1f} µs CPU  others {row['foreign_cores']:.2f}  errors {row['errors']:.0f}"
    return f"[{number + 1}] {target:<11}{cell:<6}{seen}"
