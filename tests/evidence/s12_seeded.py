"""S12: thirty bugs that people write, planted one at a time in a copy of the tree; the suite must notice.

The copy as it is must be green first, or nothing that fails afterwards would say anything. A seed is caught when a test
fails that passes again without it, or when the suite hangs (the table says which). One that passes the tests of its
own file is given to the whole suite before it counts as a survivor. The working tree is never touched.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.evidence.registry import ROOT, Result, Table
from tests.evidence.seed import Seed
from tests.evidence.seeds import SEEDS

ID = "S12"
TITLE = "30 seeded bugs: the suite catches at least 28"
LEAST_CAUGHT = 28
QUICK_EVERY = 6

HANGS = "the run hangs"
HANG_S = 120.0
"""The tests of one file take seconds; a run that takes this long hangs."""
WHOLE_S = 900.0
LEAVE_S = 10.0

PYTEST = ("-q", "--tb=short", "--hypothesis-seed=0", "-p", "no:cacheprovider")
# Left out: what looks at the repository (is every seed still there?) or seeds bugs itself, not at what the code does.
WHOLE = (
    *("tests/unit", "tests/contracts", "tests/journeys"),
    *("--ignore=tests/unit/house", "--ignore-glob=*/test_seeded_*.py"),
)
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?::.+?)(?: - .*)?$", re.MULTILINE)


class NotGreen(RuntimeError):
    """Tests fail without a seed, so what fails with one says nothing."""


class NotJudged(RuntimeError):
    """pytest neither passed nor failed a test (the seed may not even compile): repair the seed or its paths."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of pytest: its exit status, None when it hung; the first test that failed, "" for none."""

    status: int | None
    failed: str
    output: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a seed: the test that noticed it, or "hangs", or "" for a survivor."""

    seed: Seed
    caught_by: str
    seconds: float


def produce(quick: bool) -> Result:
    """Plant every seed, or with `quick` a few, and judge the suite by what it noticed."""
    seeds = SEEDS[::QUICK_EVERY] if quick else SEEDS
    with tempfile.TemporaryDirectory(prefix="penstock-s12-") as folder:
        tree = Path(folder)
        copy(tree)
        green_s = require_green(tree, seeds)
        outcomes = [judge(tree, seed) for seed in seeds]
    survivors = [outcome.seed.name for outcome in outcomes if not outcome.caught_by]
    hung = sum(outcome.caught_by == HANGS for outcome in outcomes)
    return Result(
        {
            "seeds": len(outcomes),
            "caught": len(outcomes) - len(survivors),
            "caught_by_a_hang": hung,
            "survivors": ", ".join(survivors) or "none",
            "green_without_a_seed_s": round(green_s, 1),
            "seeds_s": round(sum(outcome.seconds for outcome in outcomes), 1),
        },
        "met" if len(survivors) <= len(SEEDS) - LEAST_CAUGHT else "missed",
        f"{len(outcomes) - len(survivors)} of {len(outcomes)} seeded bugs were noticed"
        + (f"; not: {', '.join(survivors)}" if survivors else ""),
        (_table(outcomes),),
    )


def judge(tree: Path, seed: Seed) -> Outcome:
    """Plant one seed in the copy, run its tests, then if need be the whole suite, and take it out again."""
    started = time.monotonic()
    with planted(tree, seed):
        run = pytest(tree, seed.paths, seed.chosen, HANG_S)
        if run.status == 0:
            run = pytest(tree, WHOLE, "", WHOLE_S)
    if run.status not in (None, 0, 1) or (run.status == 1 and not run.failed):
        raise NotJudged(f"{seed.name}: pytest ended with {run.status}\n{run.output[-2000:]}")
    if run.status == 1 and pytest(tree, (run.failed.partition("[")[0],), "", HANG_S).status != 0:
        raise NotGreen(f"{seed.name}: {run.failed} failed with it, and fails without it too")
    outcome = Outcome(seed, HANGS if run.status is None else run.failed, time.monotonic() - started)
    print(f"{outcome.seconds:6.1f} s  {seed.name}: {outcome.caught_by or 'SURVIVED'}", file=sys.stderr)
    return outcome


def copy(tree: Path) -> None:
    """Copy what git tracks or would track, and link the vendors' Node SDK."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():  # else deleted, and not yet committed
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    modules = Path("tests/sdk_node/node_modules")
    if (ROOT / modules).is_dir():
        (tree / modules).symlink_to(ROOT / modules)


def require_green(tree: Path, seeds: Sequence[Seed]) -> float:
    """Run every test that a seed names, without a seed; return the seconds. Raises NotGreen."""
    started = time.monotonic()
    for chosen in dict.fromkeys(seed.chosen for seed in seeds):
        paths = dict.fromkeys(path for seed in seeds if seed.chosen == chosen for path in seed.paths)
        run = pytest(tree, tuple(paths), chosen, WHOLE_S)
        if run.status != 0:
            raise NotGreen(f"{run.failed or run.status} fails without a seed:\n{run.output[-3000:]}")
    return time.monotonic() - started


@contextmanager
def planted(tree: Path, seed: Seed) -> Iterator[None]:
    """Have the seed in the copy for a while. The file's time changes with it, so that no stale bytecode is run."""
    file = seed.place(tree)
    text, before = file.read_text(), file.stat()
    file.write_text(seed.planted(text))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 10**10))
    try:
        yield
    finally:
        file.write_text(text)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def pytest(tree: Path, paths: Sequence[str], chosen: str, limit_s: float) -> Run:
    """Run pytest in the copy until its first failure, for at most `limit_s` seconds."""
    command = [sys.executable, "-m", "pytest", "-x", *PYTEST, "-k", chosen, *paths]
    # Started below a plain `pytest`, ours would inherit what that one set for itself.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command,
            cwd=tree,
            env={**env, "PYTHONPATH": f"{tree / 'src'}:{tree}", "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        status = _ended(process, limit_s)
        output.seek(0)
        text = output.read()
    failed = _FAILED.search(text)
    return Run(status, failed[1] if failed else "", text)


def _ended(process: subprocess.Popen[bytes], limit_s: float) -> int | None:
    """Wait for a run; one that hangs is asked to stop, then it and its family are killed, and None returned."""
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(LEAVE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return None


def _table(outcomes: Sequence[Outcome]) -> Table:
    rows = tuple(
        (
            outcome.seed.name,
            outcome.seed.file,
            outcome.seed.breaks,
            outcome.caught_by or "survived",
            round(outcome.seconds, 1),
        )
        for outcome in outcomes
    )
    return Table(title="Every seed", columns=("bug", "file", "promise broken", "noticed by", "s"), rows=rows)
