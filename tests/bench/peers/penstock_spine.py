"""Ours as it was before the features came: its source is taken from the repository's history and served by the same
interpreter and libraries, so that what it has become can be asked beside it, in turns.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.bench.peers.base import PRODUCT_PYTHON, ROOT, NotRunnable, Target
from tests.bench.peers.penstock import Penstock

COMMIT: Final = "626d3bb5a734f4613dc8fb17cc3e11a038f24884"
_SERVE: Final = "import sys; from penstock.cli.main import main; sys.exit(main())"
_WHERE: Final = "import penstock; print(penstock.__file__)"


class Spine(Penstock):
    """One dialect and the money: keys, limits, holds, settlement, audit, metrics; asked as `Penstock` is."""

    name = "penstock-spine"
    title = "Penstock's spine, everything it had"

    def __init__(self, upstream_port: int) -> None:
        super().__init__(upstream_port)
        self._source = Path()

    @contextmanager
    def running(self) -> Iterator[Target]:
        """Take the source out of the history, prove that it is what is imported, and serve it."""
        with tempfile.TemporaryDirectory(prefix="bench-spine-source-") as folder:
            self._source = Path(folder).resolve()
            unpack(COMMIT, self._source)
            where = [str(PRODUCT_PYTHON), "-c", _WHERE]
            told = subprocess.run(
                where, env=dict(self._path()), capture_output=True, text=True, timeout=30, check=False
            ).stdout
            if not told.startswith(str(self._source)):
                raise NotRunnable(f"{self.name}: {told or 'nothing'} was imported, not {self._source}")
            with super().running() as it:
                yield it

    def command(self) -> Sequence[str]:
        return (str(PRODUCT_PYTHON), "-c", _SERVE, *super().command()[1:])

    def environment(self) -> Mapping[str, str]:
        return {**super().environment(), **self._path()}

    def _path(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(self._source / "src")}


def unpack(commit: str, folder: Path, history: Path = ROOT) -> None:
    """Write the package as it was at `commit` below `folder`; NotRunnable where the `history` does not hold it."""
    command = ["git", "archive", "--format=tar", commit, "src"]
    done = subprocess.run(command, cwd=history, capture_output=True, timeout=60, check=False)
    if done.returncode:
        raise NotRunnable(
            f"commit {commit[:12]} is not in this history: {done.stderr.decode()[:200].strip()}"
        )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
