"""The pages made of evidence: docs/reliability.md, docs/sight.md, docs/gateway.md, docs/compare.md, docs/benchmarks.md
and the charts they show.

Promise: `pages` is a pure function of the records and of the lines there are, so `make docs` twice changes nothing and
a test can tell a page that was edited by hand. A record made from a tree with uncommitted changes says so, and so does
a line that was not run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.evidence import registry
from tests.evidence.charts import number, svg
from tests.evidence.registry import ROOT, Record, Scalar, flat

BENCHMARKS = {"S11", "P4", "G6"}
COMPARED = {"G1"}
MARKS = {"met": "✔ met", "partly": "◐ partly", "missed": "✘ missed"}
NOT_RUN = "not run yet"
GENERATED = "<!-- Written by `make docs` from docs/evidence/*.json. Edit nothing here. -->"

RELIABILITY = """# Reliability: what was promised, what was seen

Each line below is a promise, the command that puts it to the test, and what that run saw. Run any of them yourself:
`make evidence ID=S1`."""

SIGHT = """# People and sight: what was promised, what was seen

Sign-in, roles, the management API and the console, put to the test: a real browser, a real identity provider, every
route with every role. Run any of them yourself: `make evidence ID=P1`."""

GATEWAY = """# The gateway: what was promised, what was seen

Faults, routing, caching and money on the way through the gateway, put to the test. Run any of them yourself:
`make evidence ID=G2`."""

VECTORS = """# Embedding and knowledge: what was promised, what was seen

Vectors, the knowledge index, search and the semantic cache, put to the test with the real model and real data. Run any
of them yourself: `make evidence ID=E2`."""

COMPARE = """# Gateways side by side

What gateways for language models can do, as far as their documentation, sources and release notes of November 2026
tell. **Y** yes, in the edition one can run oneself; **E** in a paid or hosted edition; **P** in part; **-** not found,
which is no proof of absence; **?** not looked at. Each mark of ours is a link to the tests that prove it; they passed
in the run below. Run them yourself: `make evidence ID=G1`."""

SPEED = """# Benchmarks: ours, its peers and the floor

All figures of a table come from one run on one machine; everything Penstock does for a request is switched on. Run it
yourself on an idle machine: `make bench`, or `make evidence ID=S11` to write it down."""

PAGES = {
    "reliability.md": RELIABILITY,
    "sight.md": SIGHT,
    "gateway.md": GATEWAY,
    "vectors.md": VECTORS,
    "compare.md": COMPARE,
    "benchmarks.md": SPEED,
}
SHELVES = {"S": "reliability.md", "P": "sight.md", "G": "gateway.md", "E": "vectors.md"}


def pages(records: Sequence[Record], titles: Mapping[str, str]) -> dict[str, str]:
    """Return every generated file, by its path below docs/; `titles` are by id of every line that can be run."""
    files = {
        name: page(
            introduction,
            [record for record in records if _shelf(record.id) == name],
            {identifier: title for identifier, title in titles.items() if _shelf(identifier) == name},
        )
        for name, introduction in PAGES.items()
    }
    for record in records:
        for chart in record.charts:
            files[chart_path(record.id, chart.title)] = svg(chart)
    return files


def _shelf(identifier: str) -> str:
    """Return the page that a record belongs to."""
    if identifier in COMPARED:
        return "compare.md"
    return "benchmarks.md" if identifier in BENCHMARKS else SHELVES[identifier[0]]


def write_pages(records: Sequence[Record], docs: Path = ROOT / "docs") -> list[Path]:
    """Write the pages and charts, remove charts that no record has any more; return what was written."""
    files = pages(records, registry.titles())
    for stale in set((docs / "charts").glob("*.svg")) - {docs / name for name in files}:
        stale.unlink()
    for name, text in files.items():
        (docs / name).parent.mkdir(parents=True, exist_ok=True)
        (docs / name).write_text(text)
    return [docs / name for name in files]


def chart_path(identifier: str, title: str) -> str:
    """Return the file of a chart, below docs/."""
    return f"charts/{identifier}-{re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')}.svg"


def page(introduction: str, records: Sequence[Record], titles: Mapping[str, str]) -> str:
    """Return one page: the introduction, a table of verdicts, a section per record."""
    verdicts = {
        identifier: (identifier, title, NOT_RUN, None, None) for identifier, title in titles.items()
    } | {
        r.id: (f"[{r.id}](#{r.id.lower()})", r.title, MARKS[r.verdict], r.date[:10], _commit(r))
        for r in records
    }
    if not verdicts:
        return f"{GENERATED}\n{introduction}\n\nNothing has been run yet.\n"
    rows = [verdicts[identifier] for identifier in sorted(verdicts, key=registry.order)]
    overview = markdown_table(("", "promise", "verdict", "date", "commit"), rows)
    return "\n\n".join([f"{GENERATED}\n{introduction}", overview, *map(section, records)]) + "\n"


def section(record: Record) -> str:
    """Return a record for people."""
    m = record.machine
    ran = f"`{record.command}` · {record.date} · commit {_commit(record)} · {number(record.seconds)} s"
    parts = [
        f'## <a id="{record.id.lower()}"></a>{record.id} · {record.title}',
        f"**{MARKS[record.verdict]}** — {record.reason}",
        f"{ran}  \n{m.cpu}, {m.cores} cores, {m.memory}, {m.kernel}, Python {m.python}",
    ]
    parts += [f"![{c.title}]({chart_path(record.id, c.title)})" for c in record.charts]
    for table in record.tables:
        parts += [f"**{table.title}**", markdown_table(table.columns, table.rows)]
    if record.figures:
        rows = [(name.replace("_", " "), value) for name, value in flat(record.figures)]
        parts.append(markdown_table(("figure", "seen"), rows))
    return "\n\n".join(parts)


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[Scalar]]) -> str:
    """Return a table; columns that hold only numbers are set to the right."""
    held = [list(row) for row in rows]
    numeric = [
        bool(held) and all(isinstance(row[n], int | float) and not isinstance(row[n], bool) for row in held)
        for n in range(len(columns))
    ]
    lines = [list(columns), ["---:" if right else "---" for right in numeric]]
    lines += [[cell(value) for value in row] for row in held]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(value: Scalar) -> str:
    """Return a value as it stands in a table."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value)
    return "–" if value is None else value.replace("|", "\\|").replace("\n", " ")


def _commit(record: Record) -> str:
    return f"`{record.commit}`" + (" with changes" if record.dirty else "")
