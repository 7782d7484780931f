"""The index on this machine: rows in SQLite, graphs by qdrant-edge, words by tantivy, all in one helper process.

    gateway ──▶ EmbeddedIndex ──pipes──▶ embedded_worker ──▶ Engine ──▶ rows.sqlite   the truth
                                                               ├──────▶ numpy         spaces up to `exact_most` chunks
                                                               ├──────▶ graph-N       larger ones, built by a process
                                                               └──────▶ words-N       BM25

Promises, on top of the port's (`ports/index.py`): the gateway's own process loads none of the engines and its loop
never waits for the disk; the helper starts with the first question, and is started anew when it dies; loaded spaces
take `memory_bytes` at most (or are those in use); who asks for a space that must be loaded first waits here, and holds
nobody up who asks for another. One process at a time has the folder: a lock refuses any other, by
name, and it is free again the moment its owner dies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from penstock.adapters.helper_parent import Bounds, Helper, worker
from penstock.adapters.index import checks
from penstock.adapters.index import embedded_wire as wire
from penstock.kernel.errors import Invalid, Overloaded, Unavailable
from penstock.ports.index import (
    CHUNKS_MOST,
    DIMENSIONS_MOST,
    PUT_BYTES_MOST,
    Counts,
    Document,
    Found,
    Place,
    Precision,
    Question,
    Row,
)

LIMITS: Final = wire.Limits()
PUTS_MOST: Final = 2
"""Puts and deletes under way at a time; more wait their turn here, so that searches find a thread."""
LOADS_MOST: Final = 2
"""Searches under way at a time that have a space loaded first."""
LOADING_MOST: Final = 256
"""Searches that wait for spaces to be loaded."""
KNOWN_PAGE: Final = PUT_BYTES_MOST // (4 * DIMENSIONS_MOST)
"""Digests asked for at a time: their vectors, of any length, fit into one answer."""
BOUNDS: Final = Bounds(
    waiting_most=256,
    waiting_bytes_most=4 * PUT_BYTES_MOST,
    answer_bytes_most=4 * PUT_BYTES_MOST,
    answer_timeout_s=180.0,  # loading the largest space takes seconds; what takes longer is stuck
    again_s=0.1,
    grace_s=30.0,
)
LARGE_BYTES: Final = 256 << 10
"""Above this a message is encoded and decoded on a thread, so that it does not hold the loop up."""
_DRIVERS: Final = ("qdrant_edge", "tantivy", "numpy")
_ENGINES_ENVIRONMENT: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "2"}


class EmbeddedIndex:
    """The index in a folder of this machine."""

    def __init__(self, folder: Path, limits: wire.Limits = LIMITS) -> None:
        """Prepare; nothing runs until the first question. Raises ModuleNotFoundError without the drivers."""
        for driver in _DRIVERS:
            if find_spec(driver) is None:
                raise ModuleNotFoundError(f"No module named {driver!r}", name=driver)
        start = wire.Start(str(folder.absolute()), limits)
        self._helper = Helper(
            worker("penstock.adapters.index.embedded_worker"),
            name="index",
            start=wire.ENCODER.encode(start),
            environment=_ENGINES_ENVIRONMENT,
            bounds=BOUNDS,
        )
        self._folder = folder
        self._closed = False
        self._puts = asyncio.Semaphore(PUTS_MOST)
        self._loads = asyncio.Semaphore(LOADS_MOST)
        self._loading: dict[tuple[Place, str], asyncio.Task[Found]] = {}
        self._loading_searches = 0

    @property
    def pid(self) -> int | None:
        """Return the helper's process id, None while it does not run."""
        return self._helper.pid

    async def healthy(self) -> bool:
        """Tell whether the index answers; one that nobody has asked yet need not run."""
        if self._helper.starts == 0:
            return True
        try:
            await self._ask(wire.Ping())
        except Unavailable:
            return False
        return True

    async def close(self) -> None:
        """Keep what is on its way, and end the helper."""
        self._closed = True
        await self._helper.close()

    # ------------------------------------------------------------------------------------------------- the verbs

    async def put(
        self, place: Place, space: str, documents: Sequence[Document], *, precision: Precision = "fp32"
    ) -> None:
        """Put documents. See ports/index.py."""
        async with self._puts:
            size = sum(len(c.text) + len(c.vector) + len(c.tokens) for each in documents for c in each.chunks)
            if size > PUT_BYTES_MOST:
                raise Invalid("Too much in one put.", field="documents", value=size, limit=PUT_BYTES_MOST)
            await self._ask(wire.Put(place, space, list(documents), precision), large=size > LARGE_BYTES)

    async def search(self, place: Place, space: str, question: Question) -> Found:
        """Find chunks."""
        while (found := await self._found(wire.Search(place, space, question))) is None:
            if self._loading_searches >= LOADING_MOST:
                raise Overloaded(
                    "The index is loading what is asked for.", limit=LOADING_MOST, retry_after_s=1.0
                )
            self._loading_searches += 1
            try:
                if (loading := self._loading.get((place, space))) is None:
                    return await asyncio.shield(self._load(wire.Search(place, space, question, patient=True)))
                await asyncio.wait([loading])
            finally:
                self._loading_searches -= 1
        return found

    async def delete(self, place: Place, documents: Sequence[str] | None = None, *, space: str = "") -> int:
        """Delete documents."""
        named = None if documents is None else list(documents)
        async with self._puts:
            return wire.NUMBER.decode(await self._ask(wire.Delete(place, named, space)))

    async def known(self, place: Place, space: str, digests: Sequence[str]) -> Mapping[str, bytes]:
        """Return the vectors of texts that stand there already."""
        checks.count("digests", len(digests), CHUNKS_MOST)
        known: dict[str, bytes] = {}
        for first in range(0, max(len(digests), 1), KNOWN_PAGE):
            asked = wire.Known(place, space, list(digests[first : first + KNOWN_PAGE]))
            known |= await self._decoded(wire.KNOWN, await self._ask(asked))
        return known

    async def scan(
        self, place: Place, space: str, *, after: tuple[str, int] = ("", -1), limit: int = 1000
    ) -> Sequence[Row]:
        """Return a page of the chunks."""
        return await self._decoded(wire.ROWS, await self._ask(wire.Scan(place, space, after, limit)))

    async def count(self, place: Place, space: str = "") -> Counts:
        """Count."""
        return wire.COUNTS.decode(await self._ask(wire.Count(place, space)))

    async def compact(self) -> None:
        """Bring graphs up to date and free the disk; returns when the round that began with this call has ended.

        An index that nobody has ever used is left alone.
        """
        if not (self._closed or await asyncio.to_thread(self._folder.exists)):
            return
        seen = wire.COMPACTING.decode(await self._ask(wire.Compact(0)))
        pause_s = 0.005
        while not seen.ended:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.5)
            seen = wire.COMPACTING.decode(await self._ask(wire.Compact(seen.round)))
        if seen.error:
            raise Unavailable(f"The index was not compacted: {seen.error}")

    async def status(self) -> wire.Status:
        """Tell how the helper stands: every row and file is counted, however long that takes."""
        return wire.STATUS.decode(await self._ask(wire.Look()))

    # ------------------------------------------------------------------------------------------------- its parts

    async def _found(self, asked: wire.Search) -> Found | None:
        return await self._decoded(wire.FOUND, await self._ask(asked))

    def _load(self, asked: wire.Search) -> asyncio.Task[Found]:
        """Search what must be loaded first, whether or not the one who asks stays; who comes meanwhile waits for it."""
        key = asked.place, asked.space

        async def search() -> Found:
            async with self._loads:
                return await self._found(asked) or Found()

        def loaded(task: asyncio.Task[Found]) -> None:
            del self._loading[key]
            if not task.cancelled():
                task.exception()  # is told to the one who asked, if he is still there

        self._loading[key] = task = asyncio.create_task(search(), name="a space of the index is loaded")
        task.add_done_callback(loaded)
        return task

    async def _ask(self, asked: wire.Ask, *, large: bool = False) -> bytes:
        try:
            message = (
                await asyncio.to_thread(wire.ENCODER.encode, asked) if large else wire.ENCODER.encode(asked)
            )
        except (UnicodeEncodeError, OverflowError) as error:
            raise Invalid("This is no text, or no number that fits.", value=str(error)[:200]) from None
        return await self._helper.exchange(message)

    async def _decoded(self, decoder: Any, answer: bytes) -> Any:  # noqa: ANN401 - as the decoder says
        return (
            await asyncio.to_thread(decoder.decode, answer)
            if len(answer) > LARGE_BYTES
            else decoder.decode(answer)
        )
