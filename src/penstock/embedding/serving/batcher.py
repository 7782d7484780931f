"""Who is computed when: two lanes over one encoder, each a window (`window`) that a free place pulls from.

    query    somebody waits for the answer: its batches start whenever a place is free
    ingest   background: starts only while no query waits for a place, or once it waited `PATIENCE_S`

Nothing waits for a timer: a batch is whatever is there when a place becomes free, so a lone text leaves at once and a
crowd fills the batches by itself.

Promises
1. Every lane holds at most `queue_tokens` (one call that is larger alone may enter an empty queue), a tenant at most
   its `TENANT_SHARE` of that; one more is `Overloaded` at once, with the seconds that the queue takes at the speed
   measured, and counted.
2. A batch that fails is computed again in halves, then text by text, so that a bad text fails alone; a text fails after
   `TRIES_MOST` computations, or when the encoder has been away for longer than `AWAY_MOST_S`.
3. A caller who gives up leaves nothing behind: what of it was not taken yet is dropped, and counted.
4. `close` ends everything; whoever waits is told `Unavailable`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, cast

import msgspec

from penstock.embedding.serving.window import Batch, Ids, Window, Work, batch_of
from penstock.kernel.clock import Clock
from penstock.kernel.errors import Overloaded, PenstockError, Unavailable
from penstock.ports.encoder import Encoder, Lane

LANES: Final[tuple[Lane, ...]] = ("query", "ingest")
"""The first goes before the second."""
PATIENCE_S: Final = 1.0
TENANT_SHARE: Final = 0.5
TRIES_MOST: Final = 3
AWAY_MOST_S: Final = 5.0
"""An encoder that needs longer than this to start anew fails whoever waits for it."""
RESTS_MOST: Final = 8
"""Times in a row that an encoder may ask for patience."""
FORGETTING: Final = 0.9
"""What the speed keeps of the past with every batch."""
WINDOW_BATCHES: Final[dict[Lane, int]] = {"query": 4, "ingest": 8}


class LaneBounds(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one lane; `tokens_per_s` (0: any) is each tenant's."""

    batch_tokens: int
    queue_tokens: int
    places: int = 2
    """Batches under way at one time: while one is computed, the next is on its way and the last is being told."""
    tokens_per_s: float = 0.0


class Tally:
    """What one lane has done, ever. Padded tokens over tokens is its pad ratio, over `room_tokens` its fill."""

    __slots__ = (
        "batches",
        "dropped",
        "failed",
        "padded_tokens",
        "refused",
        "retried",
        "room_tokens",
        "texts",
        "tokens",
    )

    def __init__(self) -> None:
        """Start at nothing."""
        self.batches = self.texts = self.tokens = self.padded_tokens = self.room_tokens = 0
        self.dropped = 0
        """Texts whose caller gave up before they were computed."""
        self.refused = 0
        """Texts there was no room for."""
        self.failed = 0
        self.retried = 0
        """Batches computed again because they, or what they were part of, failed."""


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


class _Line:
    """What waits and what is under way in one lane, for one kind of result."""

    def __init__(self, lane: Lane, bounds: LaneBounds, *, rows: bool) -> None:
        self.lane: Lane = lane
        self.bounds = bounds
        self.rows = rows
        self.window = Window(
            batch_tokens=bounds.batch_tokens,
            batches=WINDOW_BATCHES[lane],
            tokens_per_s=bounds.tokens_per_s,
        )
        self.again: deque[list[Work]] = deque()
        self.again_tokens = 0
        self.under_way = 0
        self.tally = Tally()
        self.rests = 0
        self.rests_until_s = 0.0
        self._busy_since_s = 0.0
        self._busy_s = 0.0
        self._recent_tokens = 0.0

    @property
    def tokens(self) -> int:
        """Return the tokens that wait."""
        return self.window.tokens + self.again_tokens

    @property
    def tokens_per_s(self) -> float:
        """Return the speed of the last batches while something was under way; 0 before the first."""
        return self._recent_tokens / self._busy_s if self._busy_s else 0.0

    def begin(self, now_s: float) -> None:
        if not self.under_way:
            self._busy_since_s = now_s
        self.under_way += 1

    def end(self, now_s: float, tokens: int) -> None:
        """Note the end of a batch; `tokens` is 0 where it failed."""
        self.under_way -= 1
        self._busy_s = self._busy_s * FORGETTING + (now_s - self._busy_since_s)
        self._recent_tokens = self._recent_tokens * FORGETTING + tokens
        self._busy_since_s = now_s

    def next(self, now_s: float) -> Batch | None:
        """Return what to compute next: what failed before comes first."""
        while self.again:
            works = self.again.popleft()
            self.again_tokens -= sum([work.length for work in works])
            wanted = [work for work in works if not _call_of(work).done.done()]
            self.tally.dropped += len(works) - len(wanted)
            if wanted:
                return batch_of(wanted)
        return self.window.take(now_s)

    def put_again(self, works: list[Work]) -> None:
        self.again.append(works)
        self.again_tokens += sum([work.length for work in works])
        self.tally.retried += 1


class Batcher:
    """Feeds one encoder. One per model; it belongs to one event loop. See the promises above."""

    def __init__(self, encoder: Encoder, bounds: dict[Lane, LaneBounds], clock: Clock) -> None:
        """Compute with `encoder` within `bounds`."""
        self._encoder = encoder
        self._clock = clock
        self._lines: dict[tuple[Lane, bool], _Line] = {
            (lane, rows): _Line(lane, bounds[lane], rows=rows) for lane in LANES for rows in (False, True)
        }
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls: set[_Call] = set()
        self._waking: asyncio.Handle | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._closed = False

    async def compute(
        self, texts: Sequence[Ids], *, lane: Lane, tenant: str, rows: bool = False
    ) -> list[bytes]:
        """Return one vector a text, or with `rows` one matrix a text, in order. Raises BadText, Overloaded,
        Unavailable.
        """
        if self._closed:
            raise Unavailable("The encoder is closed.")
        line = self._lines[lane, rows]
        self._admit(line, tenant, texts)
        now_s = self._clock.monotonic_s()
        call = _Call(len(texts), asyncio.get_running_loop().create_future())
        works = [Work(ids, tenant, now_s, call, at) for at, ids in enumerate(texts)]
        for work in works:
            line.window.put(work)
        self._calls.add(call)
        self._wake()
        try:
            return await call.done
        finally:
            self._calls.discard(call)
            if call.left:
                line.tally.dropped += sum([line.window.drop(work) for work in works])

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

    def tallies(self) -> dict[tuple[Lane, bool], Tally]:
        """Return what was done, by lane and kind (True: matrices)."""
        return {key: line.tally for key, line in self._lines.items()}

    def waiting_tokens(self, lane: Lane) -> int:
        """Return the tokens that wait in a lane."""
        return sum([line.tokens for line in self._of(lane)])

    def oldest_wait_s(self, lane: Lane) -> float:
        """Return how long the oldest in a lane has waited, in seconds; 0 when nobody waits."""
        came = [at_s for line in self._of(lane) if (at_s := line.window.oldest_s()) is not None]
        return self._clock.monotonic_s() - min(came) if came else 0.0

    def tokens_per_s(self, lane: Lane) -> float:
        """Return the measured speed of a lane."""
        return max([line.tokens_per_s for line in self._of(lane)])

    def _of(self, lane: Lane) -> tuple[_Line, _Line]:
        return self._lines[lane, False], self._lines[lane, True]

    # ----------------------------------------------------------------------------------------------------- the queue

    def _admit(self, line: _Line, tenant: str, texts: Sequence[Ids]) -> None:
        """Refuse what there is no room for."""
        waiting = line.tokens
        if not waiting:
            return
        tokens, bound = sum(map(len, texts)), line.bounds.queue_tokens
        own = line.window.tokens_of(tenant)
        if waiting + tokens <= bound and (not own or own + tokens <= bound * TENANT_SHARE):
            return
        line.tally.refused += len(texts)
        speed = line.tokens_per_s
        whose = "queue" if waiting + tokens > bound else "share of the queue that one tenant may have"
        raise Overloaded(
            f"The {whose} for {line.lane} work is full.",
            code="embedding_queue_full",
            value=waiting + tokens,
            limit=bound,
            remedy="Send less at a time, or again after retry-after.",
            retry_after_s=min(max(waiting / speed, 0.05), 60.0) if speed else 1.0,
        )

    def _wake(self) -> None:
        """Look once, after everything else that happens in this turn of the loop: who comes together goes together."""
        if self._waking is None and not self._closed:
            self._waking = asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """Start what may start."""
        self._waking = None
        now_s = self._clock.monotonic_s()
        for line in self._lines.values():  # in order: queries first
            if line.lane == "ingest" and self._query_waits() and not self._is_impatient(line, now_s):
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

    def _query_waits(self) -> bool:
        return any(line.tokens for line in self._of("query"))

    def _is_impatient(self, line: _Line, now_s: float) -> bool:
        """Tell whether a lane that others go before has waited long enough."""
        oldest_s = line.window.oldest_s()
        return not line.under_way and oldest_s is not None and now_s - oldest_s > PATIENCE_S

    def _look_later(self, now_s: float) -> None:
        """Look again when a rest or a rate is over that nothing else would wake us after."""
        waits: list[float] = []
        for line in self._lines.values():
            if line.tokens and line.under_way < line.bounds.places:
                if line.rests_until_s > now_s:
                    waits.append(line.rests_until_s - now_s)
                elif (in_s := line.window.ready_in_s(now_s)) is not None:
                    waits.append(max(in_s, 0.005))
                elif line.lane == "ingest":
                    waits.append(PATIENCE_S)
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if waits:
            self._alarm = asyncio.get_running_loop().call_later(min(waits), self._wake)

    # -------------------------------------------------------------------------------------------------- one computation

    async def _computed(self, line: _Line, batch: Batch) -> None:
        """Compute a batch and tell everybody in it."""
        compute = self._encoder.encode_tokens if line.rows else self._encoder.encode
        tokens = 0
        try:
            results = await compute(batch.rows, line.lane)
            tokens = batch.tokens
            line.rests = 0
            self._count(line.tally, line.bounds, batch, tokens)
            for works, result in zip(batch.works, results, strict=True):
                for work in works:
                    _tell(work, result)
        except Exception as error:  # because whatever an encoder raises, those who wait must hear of it
            self._failed(line, list(batch.each()), error)
        finally:
            line.end(self._clock.monotonic_s(), tokens)
            self._wake()

    @staticmethod
    def _count(tally: Tally, bounds: LaneBounds, batch: Batch, tokens: int) -> None:
        tally.batches += 1
        tally.texts += len(batch.rows)
        tally.tokens += tokens
        tally.padded_tokens += batch.padded_tokens
        tally.room_tokens += bounds.batch_tokens

    def _failed(self, line: _Line, works: list[Work], error: Exception) -> None:
        """Compute again what may be sound, and tell those who cannot hope any more."""
        if isinstance(error, Unavailable) and error.retry_after_s is not None:
            if error.retry_after_s <= AWAY_MOST_S and line.rests < RESTS_MOST:  # it was not even tried
                line.rests += 1
                line.rests_until_s = self._clock.monotonic_s() + error.retry_after_s
                line.put_again(works)
            else:
                self._give_up(line, works, error)
            return
        tries = works[0].tries + 1  # all of a batch that failed before were together then
        if tries >= TRIES_MOST or (not isinstance(error, Unavailable) and len(works) == 1):
            self._give_up(line, works, error)
            return
        for work in works:
            work.tries = tries
        size = (len(works) + 1) // 2 if tries == 1 else 1
        for at in range(0, len(works), size):
            line.put_again(works[at : at + size])

    @staticmethod
    def _give_up(line: _Line, works: list[Work], error: Exception) -> None:
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
