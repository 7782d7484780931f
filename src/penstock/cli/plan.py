"""`penstock plan`: what a deployment would need, computed here; nothing is asked of a server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Final

from cyclopts import App, Parameter

from penstock.cli.output import PEOPLE, Output, facts, line, table
from penstock.kernel.errors import Invalid
from penstock.planner.embedding_sizing import Corpus, Load, Machines, Precision, Sizing, size

plan = App(name="plan", help="Compute what a deployment would need, assumptions stated.")

_FIGURE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMGTP]?)B?")
_UNITS: Final = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """What is to be found."""

    chunks: Annotated[str, Parameter(help="Chunks of the corpus, as 500M.", show_default=False)] = ""
    documents: Annotated[str, Parameter(help="Or its documents, as 2M.", show_default=False)] = ""
    corpus: Annotated[str, Parameter(help="Or the bytes of its text, as 10TB.", show_default=False)] = ""
    document_tokens: Annotated[int, Parameter(help="Of a document, on average.")] = 1_000
    chunk_tokens: Annotated[int, Parameter(help="Of a chunk.")] = 256
    overlap_percent: Annotated[int, Parameter(help="Of two chunks in a row.")] = 10


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """What is asked of it."""

    qps: Annotated[int, Parameter(help="Queries a second, at the peak.")] = 0
    query_tokens: Annotated[int, Parameter(help="Of a query, on average.")] = 64
    ingest_days: Annotated[int, Parameter(help="To embed the whole corpus in; 0 for no deadline.")] = 0


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """What does it."""

    tokens_per_second: Annotated[int, Parameter(help="Of one accelerator, measured.")] = 20_000
    headroom_percent: Annotated[int, Parameter(help="For peaks and a replica that is down.")] = 30
    accelerators_per_node: Annotated[int, Parameter(help="In one machine.")] = 4
    node_dollars_per_hour: Annotated[str, Parameter(help="Of one machine.")] = "5.60"


CORPUS: Final = CorpusOptions()
LOAD: Final = LoadOptions()
MACHINES: Final = MachineOptions()


@plan.command
def embedding(
    *,
    dimensions: Annotated[int, Parameter(help="Of a vector.")] = 384,
    precision: Annotated[Precision, Parameter(help="Of the rows that are kept.")] = "fp16",
    corpus: CorpusOptions = CORPUS,
    load: LoadOptions = LOAD,
    machines: MachineOptions = MACHINES,
    output: Output = PEOPLE,
) -> None:
    """Size a corpus: chunks, bytes by precision, accelerators for queries and for ingest, money."""
    sizing = size(
        Corpus(
            chunks=_figure("chunks", corpus.chunks),
            documents=_figure("documents", corpus.documents),
            bytes=_figure("corpus", corpus.corpus),
            document_tokens=corpus.document_tokens,
            chunk_tokens=corpus.chunk_tokens,
            overlap_percent=corpus.overlap_percent,
        ),
        Load(queries_a_second=load.qps, query_tokens=load.query_tokens, ingest_days=load.ingest_days),
        Machines(
            tokens_a_second=machines.tokens_per_second,
            headroom_percent=machines.headroom_percent,
            accelerators_a_node=machines.accelerators_per_node,
            node_cents_an_hour=_cents(machines.node_dollars_per_hour),
        ),
        dimensions=dimensions,
        precision=precision,
    )
    output.show(
        sizing,
        facts(_rows(sizing)),
        table(("assumed",), ((each,) for each in sizing.assumptions), empty=""),
        line("Measure tokens a second of your own model and machine with `penstock embed bench`.", "dim"),
    )


def _rows(made: Sizing) -> list[tuple[str, object]]:
    low, high = made.graph_bytes
    least, most = made.ingest_replicas
    slow, fast = made.ingest_days
    pool = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    days = f"{slow:,}" if slow == fast else f"{slow:,} to {fast:,}"
    rows: list[tuple[str, object]] = [("documents", f"{made.documents:,}")] if made.documents else []
    return [
        *rows,
        ("chunks", f"{made.chunks:,}"),
        ("vectors", ", ".join(f"{name} {_bytes(value)}" for name, value in made.vector_bytes.items())),
        (f"graph ({made.precision})", f"{_bytes(low)} to {_bytes(high)} on top"),
        ("query tokens a second", f"{made.tokens_a_second:,}"),
        ("query replicas", f"{made.replicas:,}, with headroom {made.replicas_with_headroom:,}"),
        ("nodes", f"{made.nodes:,}"),
        ("a month", f"${made.dollars_a_month:,}"),
        ("ingest pool, apart", f"{pool} accelerators: {made.ingest_tokens:,} tokens in {days} days"),
    ]


def _bytes(value: int) -> str:
    for unit, of in (("PB", 10**15), ("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if value >= of:
            return f"{value / of:,.3g} {unit}" if value < 1_000 * of else f"{value / of:,.0f} {unit}"
    return f"{value:,} B"


def _figure(field: str, text: str) -> int:
    """Read a whole figure, as 500M or 10TB; "" is none."""
    found = _FIGURE.fullmatch(text.replace(",", "").strip())
    if not found:
        if text.strip():
            raise Invalid("This is no figure.", field=field, value=text[:40], limit="as 500M, 1.5G or 10TB")
        return 0
    return round(float(found[1]) * _UNITS[found[2]])


def _cents(text: str) -> int:
    found = re.fullmatch(r"(\d{1,6})(?:\.(\d{1,2}))?", text.strip().removeprefix("$"))
    if not found:
        raise Invalid("This is no price.", field="node-dollars-per-hour", value=text[:40], limit="as 5.60")
    return int(found[1]) * 100 + int((found[2] or "").ljust(2, "0"))
