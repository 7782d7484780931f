"""Texts that wait to be computed, and which of them go together: pure, without a clock or a task of its own.

    tenants' queues ──deficit round robin, in tokens──▶ window, sorted by length ──▶ a batch: a run around an anchor

Promises
1. Tenants that wait share the window by tokens, whatever one of them brings; the anchor of a batch is the oldest text
   of the tenant whose turn it is, so that every text's wait is bounded by the window and not by who shares it.
2. A batch is of vectors or of matrices, costs at most `batch_tokens` as computed (its longest text times its texts),
   and wastes at most `WASTE` of its tokens, or `SLACK_TOKENS`, on padding; the same text twice in it is computed once.
3. What was dropped is never in a batch, its tokens are free at once, and so is its memory but for a hundred bytes or
   so, which wait for the others of its tenant until more than half of them, or `DEAD_MOST`, are such dead ones.
4. With `tokens_per_s` no tenant gets into the window faster than that, a second's worth at once aside.

Why a window and not the whole queue: neighbours in length would else fill every batch with the texts of whoever brought
most. Sorting is worth five times the throughput on mixed lengths where every batch is padded to its longest.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Final, NamedTuple

QUANTUM_TOKENS: Final = 512
"""What a tenant may put into the window before it is the next one's turn."""
WASTE: Final = 0.08
SLACK_TOKENS: Final = 48
"""Padding that costs no more than a batch of its own would: a call into the model is worth about as many tokens."""
BURST_S: Final = 1.0
TENANTS_MOST: Final = 1_024
"""Remembered before those with nothing to do are forgotten; more than that only while all of them wait."""

DEAD_MOST: Final = 64
"""Dropped texts that are no reason yet to go through a tenant's queue."""

Ids = tuple[int, ...]
NEW, WAITING, INSIDE, OUT, AGAIN = range(5)
"""Where a text is: not in the line yet, before the window, in it, taken or dropped, taken and to be computed again."""


class Work:
    """One text on its way, to a vector or a matrix. `call` is whose it is (the batcher's), `at` its place there,
    `since_s` when it came.
    """

    __slots__ = ("at", "call", "ids", "length", "matrices", "number", "since_s", "stage", "tenant", "tries")

    def __init__(
        self, ids: Ids, tenant: str, since_s: float, call: object, at: int, *, matrices: bool = False
    ) -> None:
        """Make a text that has not entered."""
        self.ids = ids
        self.length = len(ids)
        self.tenant = tenant
        self.since_s = since_s
        self.call = call
        self.at = at
        self.matrices = matrices
        self.stage = NEW
        self.number = 0
        self.tries = 0


class Batch(NamedTuple):
    """What is computed together: `rows` are different texts, `works[i]` all who want row i's vector, or matrix."""

    rows: list[Ids]
    works: list[list[Work]]
    padded_tokens: int
    matrices: bool

    @property
    def tokens(self) -> int:
        """Return the tokens of its rows."""
        return sum(map(len, self.rows))

    def each(self) -> Iterator[Work]:
        """Yield everybody in it."""
        for works in self.works:
            yield from works


def batch_of(works: Sequence[Work]) -> Batch:
    """Return `works`, all of one kind, as one batch."""
    together: dict[Ids, list[Work]] = {}
    for work in works:
        together.setdefault(work.ids, []).append(work)
    padded_tokens = max(map(len, together)) * len(together)
    return Batch(list(together), list(together.values()), padded_tokens, works[0].matrices)


class _Tenant:
    """Whose texts wait: before the window in `queue`, within it in `inside`, oldest first."""

    __slots__ = (
        "deficit", "dropped", "inside", "is_active", "is_anchoring", "name", "queue", "ready_at_s", "tokens",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.queue: deque[Work] = deque()
        self.inside: deque[Work] = deque()
        self.dropped = 0
        """Texts dropped since the queue was last gone through."""
        self.deficit = 0
        self.tokens = 0
        self.ready_at_s = 0.0
        self.is_active = False
        self.is_anchoring = False


class Window:
    """The texts that wait in one lane. See the promises above."""

    def __init__(self, *, batch_tokens: int, batches: int = 8, tokens_per_s: float = 0.0) -> None:
        """Hold at most `batches` batches' worth sorted; `tokens_per_s` (0: any) is each tenant's bound."""
        self.batch_tokens = batch_tokens
        self.tokens = 0
        """Tokens that wait, inside and before."""
        self.texts = 0
        self._window_tokens = batch_tokens * batches
        self._inside_tokens = 0
        self._tokens_per_s = tokens_per_s
        self._sorted: list[tuple[bool, int, int, Work]] = []
        self._tenants: dict[str, _Tenant] = {}
        self._active: deque[_Tenant] = deque()
        self._anchors: deque[_Tenant] = deque()
        self._numbers = count()

    def __len__(self) -> int:
        """Return how many texts wait."""
        return self.texts

    def tokens_of(self, tenant: str) -> int:
        """Return the tokens of one tenant that wait."""
        found = self._tenants.get(tenant)
        return 0 if found is None else found.tokens

    def oldest_s(self) -> float | None:
        """Return when the oldest that waits came; None when nobody does."""
        firsts: list[float] = []
        for tenant in self._tenants.values():
            for line, stage in ((tenant.inside, INSIDE), (tenant.queue, WAITING)):
                forget(line, stage)
                if line:
                    firsts.append(line[0].since_s)
        return min(firsts, default=None)

    def put(self, work: Work) -> None:
        """Let a text wait."""
        tenant = self._tenants.get(work.tenant)
        if tenant is None:
            if len(self._tenants) >= TENANTS_MOST:
                self._forget_tenants(work.since_s)
            tenant = self._tenants[work.tenant] = _Tenant(work.tenant)
        work.stage = WAITING
        tenant.queue.append(work)
        tenant.tokens += work.length
        self.tokens += work.length
        self.texts += 1
        if not tenant.is_active:
            tenant.is_active = True
            self._active.append(tenant)

    def drop(self, work: Work) -> bool:
        """Forget a text that nobody wants any more; False when it was taken already."""
        stage = work.stage
        if stage == OUT:
            return False
        work.stage = OUT
        if stage == INSIDE:
            self._unsort(work)
        if stage != NEW:
            self._leave(work)
        work.ids = ()
        if stage == WAITING:
            self._bury(self._tenants[work.tenant])
        return True

    def take(self, now_s: float) -> Batch | None:
        """Return the next batch; None when nothing may be computed now (see `ready_in_s`)."""
        self._fill(now_s)
        anchor = self._anchor()
        if anchor is None:
            return None
        first, last = self._run(self._place(anchor))
        works = [work for _, _, _, work in self._sorted[first : last + 1]]
        del self._sorted[first : last + 1]
        for work in works:
            work.stage = OUT
            self._inside_tokens -= work.length
            self._leave(work)
        return batch_of(works)

    def ready_in_s(self, now_s: float) -> float | None:
        """Return how long until a tenant held back by its rate may go on; None when none is."""
        waits = [tenant.ready_at_s - BURST_S - now_s for tenant in self._active if tenant.queue]
        return None if self._sorted or not waits else max(min(waits), 0.0)

    # ---------------------------------------------------------------------------------------------- into the window

    def _fill(self, now_s: float) -> None:
        """Let texts into the window, tenant by tenant, until it is full."""
        held_back = 0
        while self._active and held_back < len(self._active) and self._inside_tokens < self._window_tokens:
            tenant = self._active[0]
            if self._is_held_back(tenant, now_s):
                held_back += 1
                self._active.rotate(-1)
                continue
            if tenant.deficit <= 0:
                tenant.deficit += QUANTUM_TOKENS
            held_back = 0
            self._let_in(tenant, now_s)
            forget(tenant.queue, WAITING)
            if not tenant.queue:
                self._active.popleft()
                tenant.is_active = False
                tenant.deficit = 0
            elif tenant.deficit <= 0:
                self._active.rotate(-1)

    def _is_held_back(self, tenant: _Tenant, now_s: float) -> bool:
        return self._tokens_per_s > 0 and tenant.ready_at_s - now_s > BURST_S

    def _let_in(self, tenant: _Tenant, now_s: float) -> None:
        """Move a tenant's texts while its turn and the room last. A deficit may go below zero: it is owed then."""
        queue = tenant.queue
        while queue and tenant.deficit > 0 and self._inside_tokens < self._window_tokens:
            if self._is_held_back(tenant, now_s):
                return
            work = queue.popleft()
            if work.stage == OUT:
                continue
            tenant.deficit -= work.length
            work.stage = INSIDE
            work.number = next(self._numbers)
            insort(self._sorted, (work.matrices, work.length, work.number, work))
            self._inside_tokens += work.length
            tenant.inside.append(work)
            if self._tokens_per_s > 0:
                tenant.ready_at_s = max(tenant.ready_at_s, now_s) + work.length / self._tokens_per_s
            if not tenant.is_anchoring:
                tenant.is_anchoring = True
                self._anchors.append(tenant)

    # --------------------------------------------------------------------------------------------- out of the window

    def _anchor(self) -> Work | None:
        """Return the oldest text of the tenant whose turn it is."""
        while self._anchors:
            tenant = self._anchors.popleft()
            forget(tenant.inside, INSIDE)
            if tenant.inside:
                self._anchors.append(tenant)
                return tenant.inside[0]
            tenant.is_anchoring = False
        return None

    def _run(self, at: int) -> tuple[int, int]:
        """Return the first and the last place of the run around `at` that is computed together."""
        line, first, last = self._sorted, at, at
        kind, longest, _, anchor = line[at]
        tokens, rows = longest, {anchor.ids}
        while True:
            below = line[first - 1] if first else None
            above = line[last + 1] if last + 1 < len(line) else None
            if below is not None and above is not None:
                # Whichever wastes less: a shorter one is padded itself, a longer one pads all the others.
                is_below = longest - below[1] <= (above[1] - longest) * len(rows)
                sides = (below, above) if is_below else (above, below)
            else:
                sides = (below, above)
            for side in sides:
                if side is None or side[0] != kind:
                    continue
                is_new = side[3].ids not in rows
                padded = max(longest, side[1]) * (len(rows) + is_new)
                real = tokens + side[1] * is_new
                if padded <= self.batch_tokens and padded - real <= max(WASTE * real, SLACK_TOKENS):
                    first, last = (first - 1, last) if side is below else (first, last + 1)
                    longest, tokens = max(longest, side[1]), real
                    rows.add(side[3].ids)
                    break
            else:
                return first, last

    def _leave(self, work: Work) -> None:
        """Count a text out."""
        tenant = self._tenants[work.tenant]
        tenant.tokens -= work.length
        self.tokens -= work.length
        self.texts -= 1

    def _place(self, work: Work) -> int:
        return bisect_left(self._sorted, (work.matrices, work.length, work.number))

    def _unsort(self, work: Work) -> None:
        del self._sorted[self._place(work)]
        self._inside_tokens -= work.length

    @staticmethod
    def _bury(tenant: _Tenant) -> None:
        """Go through a queue that may hold more dead than living: a living one before them would keep them there."""
        tenant.dropped += 1
        if tenant.dropped > max(len(tenant.queue) // 2, DEAD_MOST):
            tenant.queue = deque([work for work in tenant.queue if work.stage == WAITING])
            tenant.dropped = 0

    def _forget_tenants(self, now_s: float) -> None:
        """Forget those of whom nothing waits and whom no rate holds back."""
        for name, tenant in list(self._tenants.items()):
            if not (tenant.is_active or tenant.is_anchoring) and tenant.ready_at_s <= now_s:
                del self._tenants[name]


def forget(line: deque[Work], stage: int) -> None:
    """Let go of the first ones of a line as long as they are no more at its stage."""
    while line and line[0].stage != stage:
        line.popleft()
