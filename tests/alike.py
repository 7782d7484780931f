"""Labelled pairs of questions (tests/data/alike.txt), and pairs nobody of us wrote: neighbours among real questions.

Promise: a row that cannot be read is an error. Of BANKING77 and CLINC150 only the labels of intents are used, and only
one way: two questions of *different* intents do not ask the same. Two of one intent need not either ("my card was
stolen", "what do I do about a lost card"), so nothing is claimed of them.
"""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
FILE: Final = ROOT / "tests" / "data" / "alike.txt"
HELD_OUT: Final = "# HELD OUT"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two questions: `kind` is "same", or what makes them ask something else."""

    kind: str
    first: str
    second: str
    held_out: bool

    @property
    def is_same(self) -> bool:
        """Whether the answer to one may be served for the other."""
        return self.kind == "same"


def _pairs() -> list[Pair]:
    pairs: list[Pair] = []
    held_out = False
    for line in FILE.read_text().splitlines():
        held_out = held_out or line == HELD_OUT
        if line.strip() and not line.startswith("#"):
            kind, first, second = (part.strip() for part in line.split(" | "))
            pairs.append(Pair(kind, first, second, held_out))
    return pairs


PAIRS: Final = _pairs()


def data_folder() -> Path | None:
    """Return where the public data sets lie, None where they do not."""
    folder = Path(os.environ.get("PENSTOCK_DATA", ROOT.parent / "shared" / "data"))
    return folder if folder.is_dir() else None


def banking(folder: Path) -> list[tuple[str, str]]:
    """Return the test questions of BANKING77 with their intents (one text may carry two intents there)."""
    file = next(folder.joinpath("banking77").rglob("test.csv"))
    with file.open(newline="") as rows:
        return [(row["text"].strip(), row["category"]) for row in csv.DictReader(rows)]


def clinc(folder: Path) -> list[tuple[str, str]]:
    """Return the test questions of CLINC150 that are in scope, with their intents."""
    file = next(folder.joinpath("clinc150").rglob("data_full.json"))
    return [(text, intent) for text, intent in json.loads(file.read_text())["test"]]
