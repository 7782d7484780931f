"""`penstock embed`: how fast the model in this machine is, what to give it at a time, and how well its search finds.

Nothing here asks a running server: the model is started beside it and ends with the command, so what is measured is the
machine as it is now, other work included.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import msgspec
import uvloop
from cyclopts import App, Parameter
from rich.console import Console
from rich.status import Status

from penstock.cli.deployment import DEFAULTS, Deployment
from penstock.cli.drawing import meter
from penstock.cli.output import facts, line, table
from penstock.embedding.search.calibration import Curve
from penstock.embedding.search.quality import Judged, read_judged
from penstock.kernel.errors import Invalid
from penstock.wiring.measuring import (
    BENCH_TOKENS,
    Batch,
    Fit,
    Quality,
    Speed,
    bench_all,
    fit,
    judge,
    tune_all,
)

T = TypeVar("T")
METER_CHARS: Final = 32

embed = App(
    name="embed", help="Measure the embedding model of this machine: speed, batch sizes, quality of search."
)


@embed.command
def tune(*, deployment: Deployment = DEFAULTS) -> None:
    """Measure how long batches of so many tokens take, and say which sizes to set.

    A batch for callers who wait should take no longer than they may wait behind one; a batch in the background should
    be as small as is still at full speed.
    """
    settings = deployment.settings().embedding
    found = _run(tune_all(settings), "computing batches …")
    best = max(each.tokens_per_s for each in found.batches)
    rows = [_tuned(each, best, found.query_batch_tokens, found.ingest_batch_tokens) for each in found.batches]
    chosen = [
        (
            "embedding.query_batch_tokens",
            f"{found.query_batch_tokens:,} (now {settings.query_batch_tokens:,})",
        ),
        (
            "embedding.ingest_batch_tokens",
            f"{found.ingest_batch_tokens:,} (now {settings.ingest_batch_tokens:,})",
        ),
    ]
    heads = (">tokens", ">texts", ">p50 ms", ">p99 ms", ">tokens/s", "of the best", "")
    deployment.show(found, table(heads, rows, empty="Nothing was measured."), facts(chosen))


def _tuned(each: Batch, best: float, query: int, ingest: int) -> tuple[object, ...]:
    marks = [name for name, tokens in (("query", query), ("ingest", ingest)) if tokens == each.tokens]
    return (
        f"{each.tokens:,}",
        each.texts,
        f"{each.p50_ms:.1f}",
        f"{each.p99_ms:.1f}",
        f"{each.tokens_per_s:,.0f}",
        meter(each.tokens_per_s, best, METER_CHARS),
        " ".join(f"← {mark}" for mark in marks),
    )


@embed.command
def bench(
    *,
    seconds: Annotated[float, Parameter(help="Seconds of each measurement.")] = 3.0,
    deployment: Deployment = DEFAULTS,
) -> None:
    """Measure texts and tokens a second by length, through the queue that serves everybody; no cache."""
    if not 0.1 <= seconds <= 60:
        raise Invalid(
            "Measure for a while, not for ever.", field="--seconds", value=seconds, limit="0.1 to 60"
        )
    found = _run(bench_all(deployment.settings().embedding, seconds), "embedding …")
    best = max(each.tokens_per_s for each in found)
    heads = ("texts of", ">texts/s", ">tokens/s", "of the best")
    deployment.show(
        found, table(heads, [_benched(each, best) for each in found], empty="Nothing was measured.")
    )


def _benched(each: Speed, best: float) -> tuple[object, ...]:
    length = f"{each.tokens} tokens" if each.tokens else "mixed: " + ", ".join(map(str, BENCH_TOKENS))
    return (
        length,
        f"{each.texts_per_s:,.0f}",
        f"{each.tokens_per_s:,.0f}",
        meter(each.tokens_per_s, best, METER_CHARS),
    )


@embed.command
def quality(
    *files: Annotated[Path, Parameter(help="JSON lines: documents, and questions with what answers them.")],
    calibrate: Annotated[
        bool,
        Parameter(
            help="Fit the score to the judgements of all files together.", negative="", show_default=False
        ),
    ] = False,
    deployment: Deployment = DEFAULTS,
) -> int:
    """Measure how well a search finds on your own documents: each way of it, each stored precision.

    A line is {"document": "id", "text": "…", "title": "…"} or {"question": "…", "relevant": ["id"]}. Without "relevant"
    only the agreement with exact search is told.
    """
    if not files:
        raise Invalid("Which documents and questions?", field="files", remedy="Name a file of JSON lines.")
    sets = {str(file): _read(file) for file in files}
    settings = deployment.settings().embedding
    if calibrate:
        fitted = _run(fit(settings, sets), "asking …")
        deployment.show(
            fitted, table(_CURVE_HEADS, [_curve(each) for each in fitted], empty="Nothing was fitted.")
        )
        return 0
    found = {name: _run(judge(settings, judged), f"{name} …") for name, judged in sets.items()}
    parts = [part for name, each in found.items() for part in _told(name, each)]
    deployment.show(found, *parts)
    return 0


_CURVE_HEADS: Final = ("evidence", ">meaning", ">words", ">late", ">slope", ">offset", ">threshold", ">error")


def _curve(each: Fit) -> tuple[object, ...]:
    curve: Curve = each.curve
    return (
        each.evidence,
        curve.meaning,
        curve.words,
        curve.late,
        f"{curve.slope:.3f}",
        f"{curve.offset:.3f}",
        f"{curve.threshold:.2f}",
        f"{each.error:.4f}",
    )


def _told(name: str, found: Quality) -> list[Any]:
    said = line(
        f"{name}: {found.documents:,} documents, {found.chunks:,} chunks, {found.questions:,} questions"
    )
    parts: list[Any] = [said]
    if found.ways:
        rows = [(way, *_figures(each)) for way, each in found.ways.items()]
        parts.append(table(("search", *_MEASURES), rows, empty=""))
    rows = [
        (
            each.name,
            each.bytes_each,
            f"{each.agreement:.3f}",
            *(_figures(each.measures) if each.measures else ()),
        )
        for each in found.precisions
    ]
    heads = ("vectors stored as", ">bytes", ">agrees with exact", *(_MEASURES if found.ways else ()))
    parts.append(table(heads, rows, empty=""))
    return parts


_MEASURES: Final = (">nDCG@10", ">MRR", ">recall@3", ">recall@10")


def _figures(measures: Any) -> tuple[str, ...]:  # noqa: ANN401 - a row of a table
    return tuple(f"{value:.4f}" for value in msgspec.structs.astuple(measures))


def _read(file: Path) -> Judged:
    try:
        with closing(file.open("rb")) as lines:
            return read_judged(lines)
    except OSError as error:
        raise Invalid(
            f"This file cannot be read: {error.strerror}.", field="files", value=str(file)
        ) from None


def _run(work: Coroutine[object, object, T], doing: str) -> T:
    with (
        Status(doing, console=Console(file=sys.stderr)),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(work)
