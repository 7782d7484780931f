"""Who is computed when: two lanes over one encoder, each a line (`line`) that a free place pulls from.

    query    somebody waits for the answer: its batches start whenever a place is free
    ingest   background: starts only while no query waits for a place, or once it waited `PATIENCE_S`

Nothing waits for a timer: a batch is whatever is there when a place becomes free, so a lone text leaves at once and a
crowd fills the batches by itself.

Promises
1. Every lane is bounded as `line` says, and what exceeds it is `Overloaded` at once.
2. A batch that fails is computed again in halves, then text by text, so that a bad text fails alone; a text fails after
   `TRIES_MOST` computations, or when the encoder has been away for longer than `AWAY_MOST_S`.
3. A caller who gives up leaves nothing behind: what of it was not taken yet is dropped, and counted.
4. `close` ends everything; whoever waits is told `Unavailable`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, cast

from penstock.embedding.serving.line import LaneBounds, Line, Tally
from penstock.embedding.serving.window import Batch, Ids, Work
from penstock.kernel.clock import Clock
from penstock.kernel.errors import PenstockError, Unavailable
from penstock.ports.encoder import Encoder, Lane

LANES: Final[tuple[Lane, ...]] = ("query", "ingest")
"""The first goes before the second."""
PATIENCE_S: Final = 1.0
TRIES_MOST: Final = 3
AWAY_MOST_S: Final = 5.0
"""An encoder that needs longer than this to start anew fails whoever waits for it."""


class _Call:
    """One call's texts: what of them is done, and whom to tell."""

    __slots__ = ("done", "left", "results")

    def __init__(self, size: int, done: asyncio.Future[list[bytes]]) -> None:
        self.results: list[bytes] = [b""] * size
        self.left = size
        self.done = done


class BadText(PenstockError):
    """A text could not be computed. `at` is its place in the call."""

    def __init__(self, at: int, why: Exception) -> None:
        """Tell why the text at a place failed."""
        super().__init__(str(why))
        self.at = at
        self.why = why


class Batcher:
    """Feeds one encoder. One per model; it belongs to one event loop. See the promises above."""

    def __init__(self, encoder: Encoder, bounds: dict[Lane, LaneBounds], clock: Clock) -> None:
        """Compute with `encoder` within `bounds`."""
        self._encoder = encoder
        self._clock = clock
        self._lines: dict[Lane, Line] = {lane: Line(lane, bounds[lane]) for lane in LANES}
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls: set[_Call] = set()
        self._waking: asyncio.Handle | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._closed = False

    async def compute(
        self, texts: Sequence[Ids], *, lane: Lane, tenant: str, matrices: bool = False
    ) -> list[bytes]:
        """Return one vector a text, or one matrix a text, in order. Raises BadText, Overloaded, Unavailable."""
        if self._closed:
            raise Unavailable("The encoder is closed.")
        if not texts:
            return []
        line, now_s = self._lines[lane], self._clock.monotonic_s()
        call = _Call(len(texts), asyncio.get_running_loop().create_future())
        works = [Work(ids, tenant, now_s, call, at, matrices=matrices) for at, ids in enumerate(texts)]
        line.enter(works)
        self._calls.add(call)
        self._wake()
        try:
            return await call.done
        finally:
            self._calls.discard(call)
            if call.left:
                line.leave(works)

    async def close(self) -> None:
        """End everything. Idempotent."""
        self._closed = True
        for handle in (self._waking, self._alarm):
            if handle is not None:
                handle.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for call in self._calls:
            if not call.done.done():
                call.done.set_exception(Unavailable("The encoder is closed."))

    # ------------------------------------------------------------------------------------------------------ figures

    def tallies(self) -> dict[Lane, Tally]:
        """Return what was done, by lane."""
        return {lane: line.tally for lane, line in self._lines.items()}

    def waiting_tokens(self, lane: Lane) -> int:
        """Return the tokens that wait in a lane, and those of large calls that have not entered it yet."""
        return self._lines[lane].tokens + self._lines[lane].tokens_to_come

    def oldest_wait_s(self, lane: Lane) -> float:
        """Return how long the oldest in a lane has waited, in seconds; 0 when nobody waits."""
        came_s = self._lines[lane].oldest_s()
        return 0.0 if came_s is None else self._clock.monotonic_s() - came_s

    def tokens_per_s(self, lane: Lane) -> float:
        """Return the measured speed of a lane."""
        return self._lines[lane].tokens_per_s

    # ------------------------------------------------------------------------------------------------------ whose turn

    def _wake(self) -> None:
        """Look once, after everything else that happens in this turn of the loop: who comes together goes together."""
        if self._waking is None and not self._closed:
            self._waking = asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """Start what may start."""
        self._waking = None
        now_s = self._clock.monotonic_s()
        for line in self._lines.values():  # in order: queries first
            if line.lane == "ingest" and self._lines["query"].tokens and not _is_impatient(line, now_s):
                continue
            while line.under_way < line.bounds.places and line.rests_until_s <= now_s:
                batch = line.next(now_s)
                if batch is None:
                    break
                line.begin(now_s)
                task = asyncio.create_task(self._computed(line, batch))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        self._look_later(now_s)

    def _look_later(self, now_s: float) -> None:
        """Look again when a rest or a rate is over that nothing else would wake us after."""
        waits: list[float] = []
        for line in self._lines.values():
            if line.tokens and line.under_way < line.bounds.places:
                if line.rests_until_s > now_s:
                    waits.append(line.rests_until_s - now_s)
                elif (in_s := line.ready_in_s(now_s)) is not None:
                    waits.append(max(in_s, 0.005))
                elif line.lane == "ingest":
                    waits.append(PATIENCE_S)
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if waits:
            self._alarm = asyncio.get_running_loop().call_later(min(waits), self._wake)

    # -------------------------------------------------------------------------------------------------- one computation

    async def _computed(self, line: Line, batch: Batch) -> None:
        """Compute a batch and tell everybody in it."""
        compute = self._encoder.encode_tokens if batch.matrices else self._encoder.encode
        tokens = 0
        try:
            results = await compute(batch.rows, line.lane)
            tokens = batch.tokens
            line.tally.add(batch, line.bounds.batch_tokens)
            for works, result in zip(batch.works, results, strict=True):
                for work in works:
                    _tell(work, result)
        except Exception as error:  # because whatever an encoder raises, those who wait must hear of it
            self._failed(line, batch, error)
        finally:
            line.end(self._clock.monotonic_s(), tokens)
            self._wake()

    def _failed(self, line: Line, batch: Batch, error: Exception) -> None:
        """Compute again what may be sound, and tell those who cannot hope any more."""
        everybody = list(batch.each())
        works = [work for work in everybody if not _call_of(work).done.done()]
        line.tally.dropped += len(everybody) - len(works)
        if not works:
            return
        if isinstance(error, Unavailable) and error.retry_after_s is not None:  # it was not even tried
            away_s = error.retry_after_s
            if away_s <= AWAY_MOST_S and line.rest(self._clock.monotonic_s(), away_s):
                line.put_again(works)
            else:
                _give_up(line, works, error)
            return
        tries = works[0].tries + 1  # all of a batch that failed before were together then
        if tries >= TRIES_MOST or (not isinstance(error, Unavailable) and len(works) == 1):
            _give_up(line, works, error)
            return
        for work in works:
            work.tries = tries
        size = (len(works) + 1) // 2 if tries == 1 else 1
        for at in range(0, len(works), size):
            line.put_again(works[at : at + size])


def _is_impatient(line: Line, now_s: float) -> bool:
    """Tell whether a lane that others go before has waited long enough."""
    if line.under_way:
        return False
    oldest_s = line.oldest_s()
    return oldest_s is not None and now_s - oldest_s > PATIENCE_S


def _give_up(line: Line, works: list[Work], error: Exception) -> None:
    line.tally.failed += len(works)
    for work in works:
        call = _call_of(work)
        if not call.done.done():
            call.done.set_exception(BadText(work.at, error))


def _call_of(work: Work) -> _Call:
    return cast("_Call", work.call)


def _tell(work: Work, result: bytes) -> None:
    """Hand one text's result to its call."""
    call = _call_of(work)
    call.results[work.at] = result
    call.left -= 1
    if not call.left and not call.done.done():
        call.done.set_result(call.results)
