"""Whose batch is worked on next, and who makes way for it, where there are fewer slots than batches.

Promises: an owner waits for no more than the others' turns, however many batches one of them has and however long its
own rate limit holds them; while nobody waits, nobody makes way; of one owner's batches the oldest goes first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Final, NamedTuple

from penstock.gateway.batches import BatchDoc

TURN_S: Final = 30.0
"""Seconds a batch is left at work while another owner, who has no fewer slots but one, waits."""


class AtWork(NamedTuple):
    """A batch that has a slot: whose it is, and since when its lines are sent (monotonic seconds).

    While it is read its turn has not begun: however long that takes, it does not make way before a line was sent.
    """

    owner: str
    since_s: float = inf


class Turns:
    """Who had the last turns. One per process."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._last_s: dict[str, float] = {}

    def began(self, owner: str, now_s: float) -> None:
        """Note that a batch of `owner` was given a slot."""
        self._last_s[owner] = now_s

    def next(self, waiting: Iterable[BatchDoc], at_work: Mapping[str, AtWork]) -> Sequence[BatchDoc]:
        """Return one batch of each owner who waits, the owner with the fewest slots and the longest wait first."""
        slots = Counter(work.owner for work in at_work.values())
        oldest: dict[str, BatchDoc] = {}
        for doc in waiting:
            if doc.owner not in oldest or doc.created_s < oldest[doc.owner].created_s:
                oldest[doc.owner] = doc
        self._last_s = {o: at_s for o, at_s in self._last_s.items() if o in oldest or slots[o]}
        return sorted(
            oldest.values(),
            key=lambda doc: (slots[doc.owner], self._last_s.get(doc.owner, 0.0), doc.created_s),
        )

    def makes_way(self, owner: str, at_work: Mapping[str, AtWork], now_s: float) -> str | None:
        """Return the id of the batch that gives its slot to `owner`, None where all go on."""
        slots = Counter(work.owner for work in at_work.values())
        begun = {each: work for each, work in at_work.items() if work.since_s < inf}
        if not begun:
            return None
        longest = min(begun, key=lambda each: (-slots[begun[each].owner], begun[each].since_s))
        work = begun[longest]
        more = slots[work.owner] - slots[owner]
        return longest if more > 1 or (more == 1 and now_s - work.since_s >= TURN_S) else None
