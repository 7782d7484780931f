"""One lane's line before the encoder: who may enter, what waits, what is computed again, and how fast it goes.

    calls ─────────────▶ window ──▶ batches ──▶ the encoder
    large calls, by and by ─┘          ▲              │ failed
                                       └─── again ◀───┘

Pure but for its tallies: it has no clock and no task of its own (`batcher` has).

Promises
1. At most `queue_tokens` wait, of one tenant at most `TENANT_SHARE` of that, vectors and matrices together. One call
   more is `Overloaded` at once, with the seconds that the line takes at the speed measured, and counted.
2. A call that is larger than a tenant's share enters by instalments, one such call a tenant, at most `LARGE_MOST` in
   all. Together they hold no more than one tenant's share, and what is computed makes room for them before it does for
   newcomers: they neither fill the line nor starve before a full one. (A text that is larger than the bound by itself
   enters an empty line.)
3. What failed is computed before what is new. What was dropped is never computed, and its tokens are free at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from penstock.embedding.serving.window import AGAIN, NEW, OUT, Batch, Window, Work, batch_of, forget
from penstock.kernel.errors import Overloaded
from penstock.ports.encoder import Lane

TENANT_SHARE: Final = 0.5
LARGE_MOST: Final = 8
"""Large calls at a time: what of them has not entered is held all the same, up to some MB each."""
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

    def add(self, batch: Batch, room_tokens: int) -> None:
        """Count a batch that was computed."""
        self.batches += 1
        self.texts += len(batch.rows)
        self.tokens += batch.tokens
        self.padded_tokens += batch.padded_tokens
        self.room_tokens += room_tokens


class Line:
    """What waits and what is under way in one lane. See the promises above."""

    def __init__(self, lane: Lane, bounds: LaneBounds) -> None:
        """Let nobody wait yet."""
        self.lane: Lane = lane
        self.bounds = bounds
        self.tally = Tally()
        self.under_way = 0
        self.rests_until_s = 0.0
        self._rests = 0
        self._share = int(bounds.queue_tokens * TENANT_SHARE)
        self._window = Window(
            batch_tokens=bounds.batch_tokens,
            batches=WINDOW_BATCHES[lane],
            tokens_per_s=bounds.tokens_per_s,
        )
        self._again: deque[list[Work]] = deque()
        self._again_tokens = 0
        self._large: dict[str, deque[Work]] = {}
        """What of a tenant's large call has not entered yet."""
        self._busy_since_s = 0.0
        self._busy_s = 0.0
        self._recent_tokens = 0.0

    # ---------------------------------------------------------------------------------------------------------- figures

    @property
    def tokens(self) -> int:
        """Return the tokens that wait in the line."""
        return self._window.tokens + self._again_tokens

    @property
    def tokens_to_come(self) -> int:
        """Return the tokens of large calls that have not entered yet."""
        return sum([work.length for works in self._large.values() for work in works if work.stage == NEW])

    @property
    def tokens_per_s(self) -> float:
        """Return the speed of the last batches while something was under way; 0 before the first."""
        return self._recent_tokens / self._busy_s if self._busy_s else 0.0

    def oldest_s(self) -> float | None:
        """Return when the oldest that waits came; None when nobody does."""
        came = [work.since_s for work in self._again[0]] if self._again else []
        first_s = self._window.oldest_s()
        return min(came if first_s is None else [*came, first_s], default=None)

    def ready_in_s(self, now_s: float) -> float | None:
        """Return how long until a tenant held back by its rate may go on; None when none is."""
        return self._window.ready_in_s(now_s)

    # ------------------------------------------------------------------------------------------------ in, and out again

    def enter(self, works: Sequence[Work]) -> None:
        """Let one call's texts wait. Raises Overloaded."""
        if self._large:
            self._let_in()
        tenant, tokens = works[0].tenant, sum([work.length for work in works])
        if tokens > self._share:
            if tenant in self._large or len(self._large) >= LARGE_MOST:
                raise self._full("room for large calls", works, tokens)
            self._large[tenant] = deque(works)
            self._let_in()
            return
        if self.tokens + tokens > self.bounds.queue_tokens:
            raise self._full("queue", works, tokens)
        if self._window.tokens_of(tenant) + tokens > self._share:
            raise self._full("share of the queue that one tenant may have", works, tokens)
        for work in works:
            self._window.put(work)

    def leave(self, works: Sequence[Work]) -> None:
        """Drop what of a call was not taken yet."""
        for work in works:
            if work.stage == AGAIN:
                work.stage = OUT
                self._again_tokens -= work.length
                self.tally.dropped += 1
            else:
                self.tally.dropped += self._window.drop(work)

    def next(self, now_s: float) -> Batch | None:
        """Return what to compute next; None when nothing may be (see `ready_in_s`)."""
        while self._again:
            wanted = [work for work in self._again.popleft() if work.stage == AGAIN]
            for work in wanted:
                work.stage = OUT
                self._again_tokens -= work.length
            if wanted:
                return batch_of(wanted)
        if self._large:
            self._let_in()
        return self._window.take(now_s)

    def put_again(self, works: list[Work]) -> None:
        """Let what was part of one batch wait to be computed again."""
        for work in works:
            work.stage = AGAIN
            self._again_tokens += work.length
        self._again.append(works)
        self.tally.retried += 1

    def _let_in(self) -> None:
        """Let the next instalments of large calls in, of each in turn."""
        tokens_of = self._window.tokens_of
        held = sum([tokens_of(tenant) for tenant in self._large])
        level = self._share // (len(self._large) + 1)  # their tenants may ask for something else besides
        for tenant, works in list(self._large.items()):
            forget(works, NEW)
            own, before = tokens_of(tenant), held
            while works and self._has_room(works[0].length, own, level, held):
                work = works.popleft()
                self._window.put(work)
                own, held = own + work.length, held + work.length
                forget(works, NEW)
            if not works:
                del self._large[tenant]
            elif held > before:
                self._large[tenant] = self._large.pop(tenant)

    def _has_room(self, length: int, own: int, level: int, held: int) -> bool:
        """Tell whether a text may enter: `own` is what its tenant has in line, `held` what all of large calls have."""
        if not self.tokens:
            return True
        fits = self.tokens + length <= self.bounds.queue_tokens and held + length <= self._share
        return fits and (not own or own + length <= level)

    def _full(self, what: str, works: Sequence[Work], tokens: int) -> Overloaded:
        self.tally.refused += len(works)
        waiting, speed = self.tokens, self.tokens_per_s
        return Overloaded(
            f"The {what} for {self.lane} work is full.",
            code="embedding_queue_full",
            value=waiting + tokens,
            limit=self.bounds.queue_tokens,
            remedy="Send less at a time, or again after retry-after.",
            retry_after_s=min(max(waiting / speed, 0.05), 60.0) if speed else 1.0,
        )

    # ------------------------------------------------------------------------------------------------ what is under way

    def begin(self, now_s: float) -> None:
        """Note the beginning of a batch."""
        if not self.under_way:
            self._busy_since_s = now_s
        self.under_way += 1

    def end(self, now_s: float, tokens: int) -> None:
        """Note the end of a batch; `tokens` is 0 where it failed."""
        self.under_way -= 1
        self._busy_s = self._busy_s * FORGETTING + (now_s - self._busy_since_s)
        self._recent_tokens = self._recent_tokens * FORGETTING + tokens
        self._busy_since_s = now_s
        if tokens:
            self._rests = 0

    def rest(self, now_s: float, for_s: float) -> bool:
        """Begin nothing for a while; False when that was asked for too often in a row.

        One pause counts once, however many batches have run into it.
        """
        if now_s >= self.rests_until_s:
            if self._rests >= RESTS_MOST:
                return False
            self._rests += 1
        self.rests_until_s = max(self.rests_until_s, now_s + for_s)
        return True
