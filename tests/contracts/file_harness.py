"""Harnesses for the adapters that keep files: time is a manual clock, a crash is a copy of the folder as it stands.

Copying the folder while the adapter is open is what `kill -9` leaves: everything handed to the system is there,
nothing that was still in the process is. Each crash goes on in a copy of its own, so the dying adapter cannot help.
"""

from __future__ import annotations

import re
import resource
import shutil
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import apsw

from penstock.contracts.case import Case, Contract, Harness, NotTried
from penstock.kernel.clock import ManualClock
from tests.support import run

P = TypeVar("P")
OpenPort = Callable[[Path, ManualClock], Awaitable[P]]


def copied(folder: Path) -> Path:
    """Copy a folder as it stands to the next generation beside it."""
    stem, _, generation = folder.name.rpartition("-")
    target = folder.with_name(f"{stem}-{int(generation) + 1}")
    shutil.copytree(folder, target)
    return target


def promises_of(port: ModuleType) -> set[int]:
    """Return the numbers of the promises in a port's docstring."""
    return {int(number) for number in re.findall(r"^(\d+)\. ", port.__doc__ or "", re.MULTILINE)}


def promises_checked(contract: Contract[P]) -> set[int]:
    """Return the numbers of the promises that a contract's cases check."""
    return {number for _, promises, _ in contract.cases for number in promises}


def first_broken(
    cases: Iterable[tuple[str, Sequence[int], Case[P]]], folder: Path, kept: Callable[..., Coroutine]
) -> str:
    """Run cases until one fails; return its name and the failure, or "" when every promise is kept."""
    for name, _, case in cases:
        place = folder / name
        place.mkdir()
        try:
            run(kept(case, place), ceiling_s=20.0)
        except NotTried:
            continue  # it looked at nothing, so it caught nothing
        except Exception as error:  # because a seeded bug may show itself in any way
            return f"{name}: {error!r}"
    return ""


def fill_disk(folder: Path, room: int | None) -> None:
    """Let no file grow past the largest one of `folder` plus `room` bytes (EFBIG, after a short write); None: end."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    largest = max(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if room is None else largest + room, hard))


@contextmanager
def full_disk(folder: Path, room: int) -> Iterator[None]:
    """Have a disk that has only `room` bytes left for any file of `folder`."""
    fill_disk(folder, room)
    try:
        yield
    finally:
        fill_disk(folder, None)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the lock of those who write to a file, as another process may."""
    other = apsw.Connection(str(file))
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


class Life:
    """One store through its crashes: opens it, moves its clock, and closes what is left at the end."""

    def __init__(self, folder: Path, open_port: OpenPort[P]) -> None:
        self.folder = folder / "store-0"
        self.folder.mkdir(parents=True)
        self.clock = ManualClock()
        self.open_port = open_port
        self.port: P | None = None

    async def start(self) -> P:
        self.port = await self.open_port(self.folder, self.clock)
        return self.port

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def crash(self, damage: Callable[[Path], None] | None = None) -> P:
        """Go on, after an optional damage, with what a kill would have left."""
        self.folder = copied(self.folder)
        await self.stop()
        if damage is not None:
            damage(self.folder)
        return await self.start()

    async def peer(self) -> P:
        """The embedded adapters are for one process: the same handle."""
        return self.port

    async def stop(self) -> None:
        close = getattr(self.port, "close", None)
        if close is not None:
            await close()


def bind(harness: Harness[P], life: Life) -> Harness[P]:
    """Keep `harness.port` the current one whenever the store is opened again."""

    async def start() -> P:
        harness.port = await Life.start(life)
        return harness.port

    life.start = start
    return harness
