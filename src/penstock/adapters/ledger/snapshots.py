"""Snapshots: the books as of one group, so that opening is fast and memory stays flat.

A photo is taken on the event loop when nothing but its group is under way, at a cost proportional to the settlements
since the last one; the writer's thread keeps it once that group is durable. A photo that cannot be kept changes
nothing: what was in it is in the next one.
"""

from __future__ import annotations

import asyncio

from penstock.adapters.ledger.accounts import Accounts
from penstock.adapters.ledger.books import Books
from penstock.adapters.ledger.commits import Commits, Photo
from penstock.adapters.ledger.ended import Ended
from penstock.adapters.ledger.store import PendingRow, Snapshot, Store, store_failed

EVERY_SETTLEMENTS = 1_024  # at least, and at least as many as there are pending operations
EVERY_GROUPS = 4_096


class Snapshots:
    """Decides when a photo is due, takes it, and hears what became of it."""

    def __init__(self, store: Store, books: Books, accounts: Accounts, ended: Ended) -> None:
        self._store = store
        self._books = books
        self._accounts = accounts
        self._ended = ended
        self._photo: Photo | None = None
        self._askers: list[asyncio.Future[Exception | None]] = []
        self._groups = 0

    def if_due(self) -> Photo | None:
        """Return a photo to go with the group that is being cut, if it is time."""
        self._groups += 1
        if self._photo is not None:
            return None
        many = len(self._ended) >= max(EVERY_SETTLEMENTS, len(self._books.pending))
        return (
            self._take(self._store.seq + 1) if many or self._groups >= EVERY_GROUPS or self._askers else None
        )

    async def now(self, commits: Commits, timeout_s: float) -> None:
        """Keep a snapshot of this moment; raises Unavailable if the file does not take it in time."""
        answer: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._askers.append(answer)
        self._if_asked(commits)
        try:
            async with asyncio.timeout(timeout_s):
                error = await answer
        except TimeoutError as late:
            error = late
        if error is not None:
            raise store_failed(error) from error

    def kept(self, commits: Commits, photo: Photo, error: Exception | None) -> None:
        """Hear what became of a photo: what is in it may now leave memory, or is still to be written."""
        self._photo = None
        self._ended.moved(written=error is None)
        if error is None:
            self._accounts.forget(pending.accounts for pending in self._books.pending.values())
        else:
            self._accounts.touched.update(photo.touched)
        for answer in photo.answers:
            if not answer.done():
                answer.set_result(error)
        self._if_asked(commits)

    def _if_asked(self, commits: Commits) -> None:
        """With nothing under way there is no next group for a photo to go with: take it now."""
        if self._askers and self._photo is None and commits.idle():
            commits.keep(self._take(self._store.seq))

    def _take(self, seq: int) -> Photo:
        accounts, ended = self._accounts, self._ended
        self._groups = 0
        touched = [account for account in accounts.touched if account.id]
        accounts.touched.clear()
        rows = [(one.id, one.name, one.posted_nanos, one.held_nanos, one.postings) for one in touched]
        pending = [
            PendingRow(
                name,
                [one.id for one in has.accounts],
                dict(has.amounts),
                has.checkpoint_nanos,
                has.dispatched,
            )
            for name, has in self._books.pending.items()
        ]
        moving = ended.move()
        snapshot = Snapshot(
            seq=seq, accounts=accounts.numbered, settled=ended.count, highs=dict(ended.highs), pending=pending
        )
        answers, self._askers = self._askers, []
        self._photo = Photo(snapshot, rows, moving, touched, answers)
        return self._photo
