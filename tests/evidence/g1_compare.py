"""G1: what gateways can do, side by side; every "yes" of ours is a test that this run has seen pass.

The rows are in tests/data/peers.txt and none_has.txt: the peers' marks are from their documentation, sources and
release notes, ours count only while the tests named beside them pass.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.evidence.registry import ROOT, Result, Scalar, Table

ID = "G1"
TITLE = "What gateways can do, side by side"
DATA = ROOT / "tests" / "data"
PEERS = (
    "LiteLLM",
    "Bifrost",
    "TensorZero",
    "Portkey",
    "Envoy AI Gateway",
    "Helicone",
    "Kong AI",
    "OpenRouter",
)
OURS = "Penstock"
OUTCOMES = ("PASSED ", "FAILED ", "ERROR ", "SKIPPED ", "XFAIL ", "XPASS ")


@dataclass(frozen=True, slots=True)
class Row:
    """One thing a gateway may do: the peers' marks, ours, the tests that prove ours, and what is to be known of it."""

    chapter: str
    what: str
    peers: tuple[str, ...]
    ours: str
    tests: tuple[str, ...]
    note: str


def rows(file: str, peers: int) -> Iterator[Row]:
    """Yield the rows of a file, each with so many peers. Raises ValueError for a line that is none."""
    chapter = ""
    for line in (DATA / file).read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            chapter = line.strip("[]")
        elif line and not line.startswith("#"):
            cells = [cell.strip() for cell in line.split("|")]
            if len(cells) != peers + 4:
                raise ValueError(f"{file}: {len(cells)} cells instead of {peers + 4}: {line}")
            marks, (ours, tests, note) = tuple(cells[1 : peers + 1]), cells[peers + 1 :]
            if bool(tests) is (ours == "-"):
                raise ValueError(f"{file}: a yes needs a test, and a no has none: {line}")
            yield Row(chapter, cells[0], marks, ours, tuple(tests.split()), note)


def produce(quick: bool) -> Result:
    """Run every test that is named, once; `quick` runs those of `none_has` only."""
    compared, unmatched = list(rows("peers.txt", len(PEERS))), list(rows("none_has.txt", 0))
    asked = unmatched if quick else [*compared, *unmatched]
    named = sorted({test for row in asked for test in row.tests})
    passed, failed = seen(named)
    proven = {test for test in named if not any(bad.startswith(test) for bad in failed)}
    lost = [row.what for row in asked if row.ours != "-" and not proven.issuperset(row.tests)]
    ours = [row for row in unmatched if row.ours == "Y" and proven.issuperset(row.tests)]
    missing = [row.what for row in unmatched if row not in ours]
    reason = f"{passed} tests passed; {len(ours)} of {len(unmatched)} things that none was found to have whole are here"
    if lost:
        reason += f"; not proven: {'; '.join(lost)}: {', '.join(sorted(failed)[:8])}"
    elif missing:
        reason += f"; not: {'; '.join(missing)}"
    figures: dict[str, Scalar | dict[str, Scalar]] = {
        "rows": len(compared),
        "rows_that_are_ours": sum(row.ours not in {"-", "P"} for row in compared),
        "rows_in_part": sum(row.ours == "P" for row in compared),
        "tests_passed": passed,
        "tests_failed": len(failed),
    }
    return Result(
        figures,
        "missed" if lost else "partly" if missing else "met",
        reason,
        (_unmatched(unmatched, proven), *_compared(compared, proven)),
    )


def seen(named: Sequence[str]) -> tuple[int, set[str]]:
    """Run the tests; returns how many passed, and the files below tests/ of those that did not."""
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "--tb=no", "-p", "no:cacheprovider"]
    ran = subprocess.run(
        [*command, *[f"tests/{test}" for test in named]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    told = [line.split(" ", 2) for line in ran.stdout.splitlines() if line.startswith(OUTCOMES)]
    if not told:
        raise RuntimeError(f"The tests could not be run: {ran.stdout[-2_000:]}{ran.stderr[-2_000:]}")
    bad = {
        name.partition("::")[0].removeprefix("tests/") for outcome, name, *_ in told if outcome != "PASSED"
    }
    return sum(outcome == "PASSED" for outcome, *_ in told), bad


def _mark(row: Row, proven: set[str]) -> str:
    """Return our mark: with a link to each of the tests, or the word that they do not pass."""
    if not row.tests:
        return row.ours
    if not proven.issuperset(row.tests):
        return f"{row.ours} (not proven in this run)"
    first, *others = row.tests
    links = [
        f"[{row.ours}](../tests/{first})",
        *[f"[{n}](../tests/{test})" for n, test in enumerate(others, 2)],
    ]
    return " ".join(links)


def _unmatched(held: Sequence[Row], proven: set[str]) -> Table:
    return Table(
        title="What none of them was found to have whole",
        columns=("what", OURS, "to know"),
        rows=tuple((row.what, _mark(row, proven), row.note) for row in held),
    )


def _compared(held: Sequence[Row], proven: set[str]) -> Iterator[Table]:
    for chapter in dict.fromkeys(row.chapter for row in held):
        yield Table(
            title=chapter,
            columns=("", *PEERS, OURS, "to know"),
            rows=tuple(
                (row.what, *row.peers, _mark(row, proven), row.note) for row in held if row.chapter == chapter
            ),
        )
