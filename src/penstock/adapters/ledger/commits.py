"""Group commit: entries that took effect in memory travel to the file together, one group in flight at a time.

    open group ──(full)──▶ sealed groups ──▶ in flight (writer thread) ──▶ durable: waiters wake
         ▲                                        │ failed
         └──── settlements and checkpoints ◀──────┘ holds are taken back and refused

A group is cut at the end of the loop's turn that began it; while one is in flight the next one fills, so the
busier the ledger, the larger its groups. When the file fails, new holds are refused at once, settlements are kept and
tried again (0.1 s apart at first, 2 s at most) until one gets through, and the ledger serves again by itself.

Bounds: MAX_GROUP entries in a group, MAX_SEALED full groups before holds are refused; settlements are bounded by the
operations that were pending.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial

from penstock.adapters.ledger.books import Account
from penstock.adapters.ledger.journal import Entry, encode_group, link
from penstock.adapters.ledger.store import WRITER, AccountRow, Snapshot, Store, store_failed
from penstock.adapters.ledger.writer import Writer
from penstock.kernel.clock import Clock
from penstock.kernel.errors import Overloaded, Unavailable

MAX_GROUP = 1_024
MAX_SEALED = 16
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0

log = logging.getLogger("penstock.ledger")


class Photo:
    """A snapshot taken when its group was cut, to be kept once that group is durable. `rows` are the accounts that
    were `touched`, `ended` the operations to remember on disk; `answers` wait to hear what became of it.
    """

    __slots__ = ("answers", "ended", "rows", "snapshot", "touched")

    def __init__(
        self,
        snapshot: Snapshot,
        rows: list[AccountRow],
        ended: list[str],
        touched: list[Account],
        answers: list[asyncio.Future[Exception | None]],
    ) -> None:
        self.snapshot = snapshot
        self.rows = rows
        self.ended = ended
        self.touched = touched
        self.answers = answers


class Group:
    """Entries in the order they took effect, the holds that wait for them, and the settlements that are awaited."""

    __slots__ = ("done", "entries", "holds", "photo", "posts", "started_s")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.holds: list[asyncio.Future[None]] = []
        self.posts: list[asyncio.Future[None]] = []
        self.photo: Photo | None = None
        self.started_s = 0.0
        self.done = False

    def finish(self) -> None:
        """Everything here is durable: wake whoever waits, and keep nothing (pending operations know their group)."""
        self.done = True
        for waiter in self.holds:
            if not waiter.done():
                waiter.set_result(None)
        for waiter in self.posts:
            if not waiter.done():
                waiter.set_result(None)
        self.entries, self.holds, self.posts = [], [], []


class Commits:
    """The queue between the books and the file. `undo` takes failed entries back and returns those to keep;
    `photograph()` returns a photo of the books if one is due; `kept(photo, error)` hears what became of it.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        timeout_s: float,
        undo: Callable[[list[Entry]], list[Entry]],
        photograph: Callable[[], Photo | None],
        kept: Callable[[Photo, Exception | None], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._timeout_s = timeout_s
        self._undo = undo
        self._photograph = photograph
        self._kept = kept
        self._loop = asyncio.get_running_loop()
        self._writer = Writer(store)
        self._open = Group()
        self._sealed: deque[Group] = deque()
        self._flying: Group | None = None
        self._scheduled = False
        self._pause_s = FIRST_PAUSE_S
        self._retry: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None
        self.down: Unavailable | None = None
        self.groups = self.entries = self.failures = 0

    def admit(self) -> None:
        """Raise Unavailable while the file fails, or Overloaded when too much is queued for it."""
        if self.down is not None:
            raise Unavailable(
                self.down.message, code=self.down.reason, remedy=self.down.remedy, retry_after_s=self._pause_s
            )
        if self.crowded():
            raise Overloaded(
                "The ledger has too much to write down.",
                limit=MAX_SEALED * MAX_GROUP,
                retry_after_s=self._timeout_s,
            )

    def add(self, entry: Entry) -> Group:
        """Append an entry; the group it landed in is returned, to wait on."""
        group = self._open
        group.entries.append(entry)
        if len(group.entries) >= MAX_GROUP:
            self._sealed.append(group)
            self._open = Group()
        if self._flying is None and not self._scheduled and self.down is None:
            self._scheduled = True
            self._loop.call_soon(self._cut)
        return group

    async def written(self, group: Group) -> None:
        """Return when `group` is durable, or raise Unavailable after the timeout: it stays queued and is not lost."""
        waiter = self._loop.create_future()
        group.posts.append(waiter)
        try:
            async with asyncio.timeout(self._timeout_s):
                await waiter
        except TimeoutError:
            raise Unavailable(
                "The settlement took effect and is queued, but is not on disk yet.", code="settlement_queued"
            ) from None

    async def drain(self) -> None:
        """Return when everything added so far is durable; raises Unavailable after the timeout."""
        if self.queue() or self._flying is not None:
            await self.written(self._open)

    def queue(self) -> int:
        """Return how many entries are not durable yet."""
        flying = len(self._flying.entries) if self._flying else 0
        return flying + len(self._open.entries) + sum(len(group.entries) for group in self._sealed)

    def crowded(self) -> bool:
        """Whether so much is queued that only settlements may be added."""
        return len(self._sealed) >= MAX_SEALED

    def idle(self) -> bool:
        """Whether the file says what the books say."""
        return self._flying is None and not self._open.entries and not self._sealed

    def keep(self, photo: Photo) -> None:
        """Write a photo down in its turn."""
        self._writer.submit(
            partial(self._store.keep, photo.snapshot, photo.rows, photo.ended), partial(self._kept, photo)
        )

    def stop(self) -> bool:
        """End the timers and the threads (blocks a moment); False if the disk does not let them end."""
        for timer in (self._retry, self._watch):
            if timer is not None:
                timer.cancel()
        return self._writer.stop(self._timeout_s)

    def _cut(self) -> None:
        self._scheduled = False
        if self._flying is not None:
            return
        if self._sealed:
            group = self._sealed.popleft()
        else:
            group = self._open
            if not group.entries and self.down is None:
                if group.posts:
                    self._open = Group()
                    group.finish()
                return
            self._open = Group()
            group.photo = self._photograph()
        group.started_s = self._loop.time()
        self._flying = group
        self._writer.submit(partial(self._commit, group), partial(self._answered, group))
        if self._watch is None:
            self._watch = self._loop.call_later(self._timeout_s, self._look)

    def _commit(self, group: Group) -> None:
        """On the writer's thread."""
        store = self._store
        body = encode_group(int(self._clock.wall_s() * 1_000), group.entries)
        seq = store.seq + 1
        digest = link(store.head, WRITER, seq, body)
        store.append(seq, body, digest)

    def _answered(self, group: Group, error: Exception | None) -> None:
        self._flying = None
        if error is not None:
            self._fail(group, error)
            return
        self.groups += 1
        self.entries += len(group.entries)
        if self.down is not None:
            log.warning("the ledger writes again")
            self.down = None
            self._pause_s = FIRST_PAUSE_S
        group.finish()
        if group.photo is not None:
            self.keep(group.photo)
            group.photo = None
        self._cut()

    def _fail(self, group: Group, error: Exception) -> None:
        """Take the holds back, keep everything else, and try again after a pause."""
        self.failures += 1
        failed = [group, *self._sealed, self._open]
        refusal = store_failed(error)
        if self.down is None:
            log.error("the ledger refuses holds: %s", refusal)
        self.down = refusal
        if group.photo is not None:
            self._kept(group.photo, error)
        entries = self._undo([entry for one in failed for entry in one.entries])
        self._sealed.clear()
        while len(entries) >= MAX_GROUP:
            full = Group()
            full.entries, entries = entries[:MAX_GROUP], entries[MAX_GROUP:]
            self._sealed.append(full)
        self._open = Group()
        self._open.entries = entries
        for one in failed:
            self._open.posts += one.posts
            self._refuse(one, refusal)
        self._retry = self._loop.call_later(self._pause_s, self._cut)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _refuse(self, group: Group, refusal: Unavailable) -> None:
        for waiter in group.holds:
            if not waiter.done():
                waiter.set_exception(
                    Unavailable(
                        refusal.message,
                        code=refusal.reason,
                        remedy=refusal.remedy,
                        retry_after_s=self._pause_s,
                    )
                )

    def _look(self) -> None:
        """Refuse the holds of a commit that hangs; when it ends after all, what they took is voided by `hold`."""
        self._watch = None
        if self._flying is None:
            return
        left_s = self._flying.started_s + self._timeout_s - self._loop.time()
        if left_s > 0:
            self._watch = self._loop.call_later(left_s, self._look)
            return
        self.down = Unavailable("The ledger's disk does not answer.", code="ledger_stuck")
        self._watch = self._loop.call_later(self._timeout_s, self._look)
        for group in (self._flying, *self._sealed, self._open):
            self._refuse(group, self.down)
