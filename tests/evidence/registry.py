"""One line of evidence: how it is found, run and written down.

A module `tests/evidence/<id>_<what>.py`, the id in small letters, exposes

    ID = "S1"
    TITLE = "200 kills at random points: the books conserve"
    def produce(quick: bool) -> Result: ...          # or async

Promise: a record is written only by running its module to the end; it names the command, the commit, whether the tree
differed from it, the date (UTC), the machine and the seconds taken. `docs/` is written from records alone, so that no
figure is typed by hand. `quick` is for trying a module out: it runs shorter and writes nothing.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import json
import os
import platform
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, cast

import msgspec

ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / "docs" / "evidence"

Verdict = Literal["met", "partly", "missed"]
Scalar = str | int | float | bool | None


class Bars(msgspec.Struct, frozen=True, kw_only=True):
    """A bar chart: one number per label. `better` says which end wins; `ours` names the bars to bring out."""

    title: str
    unit: str
    bars: dict[str, float]
    better: Literal["lower", "higher"] = "lower"
    ours: tuple[str, ...] = ()


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table of results; the first column names the row."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Scalar, ...], ...]


class Result(msgspec.Struct, frozen=True):
    """What a module saw: figures by name (units last), its verdict on the promise, and why.

    `figures` holds scalars, or one level of names over scalars. "partly" is for a promise of several halves.
    """

    figures: dict[str, Scalar | dict[str, Scalar]]
    verdict: Verdict
    reason: str
    tables: tuple[Table, ...] = ()
    charts: tuple[Bars, ...] = ()


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it ran."""

    cpu: str
    cores: int
    memory: str
    kernel: str
    python: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One line of evidence as written down."""

    id: str
    title: str
    command: str
    commit: str
    dirty: bool
    date: str
    machine: Machine
    seconds: float
    figures: dict[str, Scalar | dict[str, Scalar]]
    verdict: Verdict
    reason: str
    tables: tuple[Table, ...] = ()
    charts: tuple[Bars, ...] = ()


@dataclass(frozen=True)
class Line:
    """A line that can be run."""

    id: str
    title: str
    produce: Callable[[bool], Result | Awaitable[Result]]


class UnknownEvidence(LookupError):
    """No module produces this id."""


def order(identifier: str) -> tuple[str, int]:
    """Sort S2 before S10."""
    return identifier.rstrip("0123456789"), int(identifier.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ") or 0)


def known_ids(folder: Path = Path(__file__).parent) -> list[str]:
    """Return the ids that a module exists for."""
    return sorted({f.name.partition("_")[0].upper() for f in folder.glob("[egps][0-9]*_*.py")}, key=order)


def titles(folder: Path = Path(__file__).parent) -> dict[str, str]:
    """Return the title of each line that a module exists for, by id; read, not imported."""
    found: dict[str, str] = {}
    for file in folder.glob("[egps][0-9]*_*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            match node:
                case ast.Assign(targets=[ast.Name("TITLE")], value=value):
                    found[file.name.partition("_")[0].upper()] = ast.literal_eval(value)
                case _:
                    pass
    return dict(sorted(found.items(), key=lambda each: order(each[0])))


def find(identifier: str, folder: Path = Path(__file__).parent) -> Line:
    """Return the line of this id; UnknownEvidence names those there are."""
    files = sorted(folder.glob(f"{identifier.lower()}_*.py"))
    if not files or identifier not in known_ids(folder):
        message = f"no evidence {identifier!r}; there are: {', '.join(known_ids(folder)) or 'none'}"
        raise UnknownEvidence(message)
    for file in files:
        module = importlib.import_module(f"tests.evidence.{file.stem}")
        if getattr(module, "ID", None) == identifier:
            return Line(identifier, module.TITLE, module.produce)
    message = f"{files[0].name} does not say ID = {identifier!r}"
    raise UnknownEvidence(message)


def run(line: Line, *, quick: bool = False) -> Record:
    """Run a line to its end and return its record; what `produce` raises comes through, and nothing is written."""
    commit, dirty = revision()
    started = time.monotonic()
    outcome = line.produce(quick)
    result = asyncio.run(_settled(outcome)) if inspect.isawaitable(outcome) else cast("Result", outcome)
    return Record(
        id=line.id,
        title=line.title,
        command=f"make evidence ID={line.id}{' QUICK=1' if quick else ''}",
        commit=commit,
        dirty=dirty,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine(),
        seconds=round(time.monotonic() - started, 1),
        figures=result.figures,
        verdict=result.verdict,
        reason=result.reason,
        tables=result.tables,
        charts=result.charts,
    )


async def _settled(outcome: Awaitable[Result]) -> Result:
    return await outcome


def write(record: Record, folder: Path = RECORDS) -> Path:
    """Write a record where the documentation finds it; return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{record.id}.json"
    file.write_text(encode(record))
    return file


def encode(record: Record) -> str:
    """Return a record as JSON for people, with a line break at the end."""
    return json.dumps(msgspec.to_builtins(record), indent=2, ensure_ascii=False) + "\n"


def read_all(folder: Path = RECORDS) -> list[Record]:
    """Return every record, by id; a file that is no record is an error that names it."""
    records = []
    for file in folder.glob("*.json"):
        try:
            records.append(msgspec.json.decode(file.read_bytes(), type=Record))
        except msgspec.ValidationError as error:
            message = f"{file.name}: {error}"
            raise ValueError(message) from error
    return sorted(records, key=lambda record: order(record.id))


def revision() -> tuple[str, bool]:
    """Return the commit, and whether code differs from it (the evidence and what is generated from it aside)."""
    commit = _git("rev-parse", "--short=12", "HEAD").strip() or "none"
    generated = (
        ":!docs/evidence",
        ":!docs/charts",
        ":!docs/img/console",
        ":!docs/reliability.md",
        ":!docs/sight.md",
        ":!docs/gateway.md",
        ":!docs/benchmarks.md",
        ":!docs/vectors.md",
    )
    return commit, bool(_git("status", "--porcelain", "--", ".", *generated).strip())


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30
    ).stdout


def machine() -> Machine:
    """Describe this machine."""
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in facts if line.startswith("model name")), "unknown")
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Machine(
        cpu=cpu,
        cores=len(os.sched_getaffinity(0)),
        memory=f"{memory_gib:.1f} GiB",
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
    )


def flat(figures: Mapping[str, Scalar | Mapping[str, Scalar]]) -> Sequence[tuple[str, Scalar]]:
    """Return figures as rows; a name over names becomes `outer · inner`."""
    rows: list[tuple[str, Scalar]] = []
    for name, value in figures.items():
        if isinstance(value, Mapping):
            rows += [(f"{name} · {inner}", v) for inner, v in value.items()]
        else:
            rows.append((name, value))
    return rows
