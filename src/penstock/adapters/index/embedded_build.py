"""A process that builds one graph and ends: linking holds Python's lock for minutes, which no search should wait for.

Run by the helper of the embedded index with one argument, a Task in JSON. It reads the rows beside whoever writes
them, builds into a draft beside `target` and renames that when it is whole. It takes the processor time that the
searches leave.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.adapters.helper_process import PR_SET_PDEATHSIG
from penstock.adapters.index.embedded_graph import DRAFT, GraphDraft, come_to
from penstock.adapters.index.embedded_rows import Rows
from penstock.adapters.index.embedded_sql import Sql
from penstock.adapters.index.embedded_vectors import mixed

PAGE: Final = 5_000
NICE: Final = 10


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What to build: the rows of a space above `low` and up to `upto`; `before` is the graph to begin with, if any.

    `parent` is the process that wants it.
    """

    parent: int
    rows: str
    low: int
    upto: int
    dimensions: int
    target: str
    before: str = ""


def build(task: Task) -> None:
    """Build one graph."""
    rows = Rows(Path(task.rows), read_only=True)
    before = Path(task.before) if task.before else None
    after = come_to(before)[0] if before is not None else task.low
    folder = Path(f"{task.target}-{os.getpid()}{DRAFT}")
    draft = GraphDraft(folder, task.dimensions, before=before)
    for page in _pages(rows, Sql.vectors, after, task.upto):
        draft.add([line[0] for line in page], mixed([line[2] for line in page], [line[3] for line in page]))
    if before is not None:
        for page in _pages(rows, Sql.gone, after, task.upto):
            draft.drop([line[1] for line in page])
    draft.finish(task.upto)
    folder.rename(task.target)


def _pages(rows: Rows, sql: str, after: int, upto: int) -> Any:  # noqa: ANN401 - lines of the driver, of unknown types
    while page := rows.page(sql, after, upto, PAGE):
        yield page
        after = page[-1][0]


def main() -> None:
    """Build what the argument says."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    task = msgspec.json.decode(sys.argv[1], type=Task)
    if os.getppid() != task.parent:  # it died before it could take this one along
        return
    with contextlib.suppress(OSError):  # a sandbox may forbid it: then it is one among equals
        os.nice(NICE)
    build(task)


if __name__ == "__main__":
    main()
