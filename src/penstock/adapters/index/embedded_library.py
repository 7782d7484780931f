"""Which spaces are in memory: loaded when they are searched, let go when others need the room.

Promises: a space is loaded once however many ask for it, complete up to the last commit; one that is in use is never
let go; together they take `memory_bytes` at most, or are those in use. What lies on disk beside the rows is caught up
or, if it cannot be read, made anew.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

from penstock.adapters.index.embedded_graph import AT, DRAFT, Graph
from penstock.adapters.index.embedded_lines import Space
from penstock.adapters.index.embedded_rows import Rows
from penstock.adapters.index.embedded_space import PAGE, LoadedSpace
from penstock.adapters.index.embedded_wire import Limits
from penstock.adapters.index.embedded_words import Words

TURNS: Final = 64
"""Locks over loading and letting go, each of every so many spaces."""


class _Shelf:
    """A loaded space, and how many use it just now."""

    __slots__ = ("bytes", "detached", "pins", "space")

    def __init__(self, space: LoadedSpace) -> None:
        self.space = space
        self.bytes = space.bytes
        self.pins = 1
        self.detached = False

    def close(self) -> None:
        with contextlib.suppress(Exception):  # because what is let go may be broken; rows are the truth
            self.space.close()


class Library:
    """The loaded spaces, least recently used first. `reader` lends a connection; `commits` is held by who commits."""

    def __init__(
        self,
        folder: Path,
        reader: Callable[[], AbstractContextManager[Rows]],
        commits: threading.Lock,
        limits: Limits,
    ) -> None:
        self.folder = folder
        self.evictions = 0
        self.loaded_bytes = 0
        """What the loaded spaces take, each as who used it last left it."""
        self._reader = reader
        self._commits = commits
        self._memory_bytes = limits.memory_bytes
        self._limits = limits
        self._shelves: OrderedDict[int, _Shelf] = OrderedDict()
        self._doomed: set[int] = set()
        self._guard = threading.Lock()
        self._turns = [threading.Lock() for _ in range(TURNS)]

    @property
    def loaded(self) -> list[LoadedSpace]:
        """Return what is loaded."""
        with self._guard:
            return [shelf.space for shelf in self._shelves.values()]

    @contextmanager
    def using(self, number: int) -> Generator[LoadedSpace | None]:
        """Use a space, loaded if need be, which stays meanwhile; None when it is deleted."""
        shelf = self._take(number)
        if shelf is None:
            with self._turns[number % TURNS]:
                shelf = self._take(number) or self._load(number)
        try:
            yield shelf.space if shelf is not None else None
        finally:
            if shelf is not None:
                self._give_back(shelf)
            self.make_room()

    @contextmanager
    def if_loaded(self, number: int) -> Generator[LoadedSpace | None]:
        """Use a space if it is loaded, for who makes room once it is over (and not while he holds `commits`)."""
        shelf = self._take(number)
        try:
            yield shelf.space if shelf is not None else None
        finally:
            if shelf is not None:
                self._give_back(shelf)

    def discard(self, number: int) -> None:
        """Forget a loaded space once nobody uses it; what it has not kept is caught up at the next loading."""
        self.doom(number)
        self.make_room()

    def doom(self, number: int) -> None:
        """Let a space be forgotten by the next who makes room."""
        with self._guard:
            if number in self._shelves:
                self._doomed.add(number)

    def remove(self, number: int) -> None:
        """Forget a space that was deleted, and remove its folder. Raises OSError when some of it stays."""
        self.discard(number)
        with self._turns[number % TURNS]:
            shutil.rmtree(self.place(number), onerror=_unless_gone)

    def sweep(self, known: Iterable[int]) -> None:
        """Remove the folders of spaces that are none."""
        names = set(map(str, known))
        for folder in self.folder.glob("*"):
            if folder.name not in names:
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Let everything go."""
        self._memory_bytes = -1
        self.make_room()

    # ------------------------------------------------------------------------------------------- folders of a space

    def place(self, number: int) -> Path:
        """Return the folder of what is made from a space's rows."""
        return self.folder / str(number)

    def newest(self, number: int, kind: str) -> Path | None:
        """Return the newest generation of a space's words or graph, None without; drafts and older ones are removed."""
        found = sorted(self._generations(number, kind))
        for draft in self.place(number).glob(f"{kind}-*{DRAFT}"):
            shutil.rmtree(draft, ignore_errors=True)
        for _, folder in found[:-1]:
            shutil.rmtree(folder, ignore_errors=True)
        return found[-1][1] if found else None

    def next(self, number: int, kind: str) -> Path:
        """Return the folder of the next generation."""
        newest = max((generation for generation, _ in self._generations(number, kind)), default=0)
        return self.place(number) / f"{kind}-{newest + 1}"

    def _generations(self, number: int, kind: str) -> list[tuple[int, Path]]:
        folders = self.place(number).glob(f"{kind}-*")
        return [(int(f.name.rpartition("-")[2]), f) for f in folders if not f.name.endswith(DRAFT)]

    # ----------------------------------------------------------------------------------------------------- loading

    def _take(self, number: int) -> _Shelf | None:
        with self._guard:
            shelf = self._shelves.get(number)
            if shelf is None:
                return None
            if not shelf.space.broken:
                shelf.pins += 1
                self._shelves.move_to_end(number)
                return shelf
            self._off(number)  # who uses it lets it go; who comes now has it read anew
            unused = not shelf.pins
        if unused:
            shelf.close()
        return None

    def _load(self, number: int) -> _Shelf | None:
        with self._reader() as rows:
            space = rows.space_of(number)
            if space is None:
                return None
            loaded = LoadedSpace(number, space.low, self._words(space), self._graph(space))
            fresh = space.chunks if loaded.graph is None else max(0, space.chunks - loaded.graph.size)
            loaded.chunks.reserve(space.chunks, space.dimensions or 1, vectors=fresh)
            while True:
                loaded.catch_up(rows, space.at)
                now = rows.space_of(number)
                if now is None or now.drawn - space.drawn < PAGE:
                    break
                space = now
            with self._commits:
                space = rows.space_of(number)
                if space is None:
                    loaded.close()
                    shutil.rmtree(
                        self.place(number), ignore_errors=True
                    )  # its words may have been begun anew
                    return None
                loaded.catch_up(rows, space.at)
                shelf = _Shelf(loaded)
                with self._guard:
                    self._shelves[number] = shelf
                    self.loaded_bytes += shelf.bytes
        return shelf

    def _words(self, space: Space) -> Words:
        """Open a space's words where they were left; small ones are in memory."""
        folder = self.newest(space.number, "words")
        if folder is None and space.chunks <= self._limits.memory_words_most:
            return Words(space.low)
        folder = folder or self.next(space.number, "words")
        if not (folder / AT).exists():  # never kept anything, or was ruined
            shutil.rmtree(folder, ignore_errors=True)
        try:
            return Words(space.low, folder)
        except (ValueError, OSError):  # damaged: the rows are the truth
            shutil.rmtree(folder, ignore_errors=True)
            return Words(space.low, folder)

    def _graph(self, space: Space) -> Graph | None:
        folder = self.newest(space.number, "graph")
        if folder is None:
            return None
        try:
            return Graph(folder, self._limits.scan_most) if (folder / AT).exists() else None
        except (
            Exception
        ):  # because the engine fails in its own ways on a damaged file; the rows are the truth
            shutil.rmtree(folder, ignore_errors=True)
            return None

    def _give_back(self, shelf: _Shelf) -> None:
        now_bytes = shelf.space.bytes
        with self._guard:
            shelf.pins -= 1
            if not shelf.detached:
                self.loaded_bytes += now_bytes - shelf.bytes
                shelf.bytes = now_bytes
            unused = shelf.detached and not shelf.pins
        if unused:
            shelf.close()

    def _off(self, number: int) -> None:
        """Take a space off its shelf, for who has the guard."""
        shelf = self._shelves.pop(number)
        shelf.detached = True
        self.loaded_bytes -= shelf.bytes
        self._doomed.discard(number)

    def make_room(self) -> None:
        """Let the doomed go, and the least recently used until the rest fits. Not for who holds `commits`."""
        while (number := self._superfluous()) is not None:
            with self._turns[number % TURNS]:
                with self._guard:
                    shelf = self._shelves.get(number)
                    if shelf is None or shelf.pins:
                        continue
                    self.evictions += number not in self._doomed
                    self._off(number)
                shelf.close()

    def _superfluous(self) -> int | None:
        with self._guard:
            for number in self._doomed:
                if not self._shelves[number].pins:
                    return number
            if self.loaded_bytes <= self._memory_bytes:
                return None
            return next((number for number, shelf in self._shelves.items() if not shelf.pins), None)


def _unless_gone(_function: object, _path: object, failure: Any) -> None:  # noqa: ANN401 - as shutil has it
    """Take what is gone already for removed."""
    if not isinstance(failure[1], FileNotFoundError):
        raise failure[1]
