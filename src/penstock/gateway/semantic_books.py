"""What a team's semantic cache saves and costs, and when that is too little. No I/O.

Saved is what the answers served had cost when they were fresh; spent is the machine's time for looking, at what a
second of the machine costs. Both are counted for money and for waiting. Promises: after every so many look-ups it is
judged whether those saved more than they cost, and if not, the team's look-ups are suspended for a while, with the
reason; so they are, for a shorter while, when vectors cannot be had several times in a row; after either they are tried
again. Figures of all teams together never decrease: a team whose book is closed has its share in them for good.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from penstock.kernel.settings_cache import SemanticSettings

NEGATIVE: Final = "it cost more than it saved"
SILENT: Final = "the embedding model does not answer"
REASONS: Final = {NEGATIVE: "negative", SILENT: "no_vectors"}
"""What people read → what metrics are labelled with."""
BOOKS_MOST: Final = 4_096
"""Teams whose books are kept; that of the least recent look-up is closed."""
FAILURES_MOST: Final = 5
SILENT_PAUSE_S: Final = 30.0
MS_PER_S: Final = 1000.0


class Tally(msgspec.Struct):
    """The figures of one team since the start of this process, or since it was last judged."""

    lookups: int = 0
    hits: int = 0
    kept: int = 0
    late: int = 0
    """Look-ups that were not over in time."""
    failed: int = 0
    """Look-ups whose vector could not be had."""
    too_long: int = 0
    """Questions longer than the model reads."""
    saved_nanos: int = 0
    spent_nanos: int = 0
    saved_ms: float = 0.0
    spent_ms: float = 0.0
    suspensions: int = 0
    refused: Counter[str] = msgspec.field(default_factory=Counter[str])
    """Near questions that were not served, by what kept them apart."""

    @property
    def net_nanos(self) -> int:
        """What was saved in the end."""
        return self.saved_nanos - self.spent_nanos

    def add(self, other: Tally) -> None:
        """Count another's as well."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Book:
    """One team's."""

    def __init__(self, settings: SemanticSettings) -> None:
        """Judge by `settings`."""
        self._settings = settings
        self.tally = Tally()
        self._since = (0, 0)
        self._failures = 0
        self._until_s = 0.0
        self._reason = ""

    def reason(self, now_s: float) -> str:
        """Return why look-ups are suspended now, "" while they are not."""
        return self._reason if now_s < self._until_s else ""

    def may_look(self, now_s: float) -> bool:
        """Judge the look-ups since the last judgement, if there are enough; tell whether there may be another."""
        tally = self.tally
        lookups, net = self._since
        if tally.lookups - lookups >= self._settings.judged_after:
            if tally.net_nanos - net <= 0:
                self._suspend(NEGATIVE, now_s + self._settings.pause_s)
            self._since = (tally.lookups, tally.net_nanos)
        return not self.reason(now_s)

    def looked(self, took_s: float) -> None:
        """Note a look-up, whatever came of it."""
        self.tally.lookups += 1
        self.tally.spent_ms += took_s * MS_PER_S
        self.tally.spent_nanos += round(took_s * self._settings.second_nanos)

    def hit(self, saved_nanos: int, saved_s: float) -> None:
        """Note an answer that was served."""
        self.tally.hits += 1
        self.tally.saved_nanos += saved_nanos
        self.tally.saved_ms += saved_s * MS_PER_S

    def answered(self) -> None:
        """Note that a vector came."""
        self._failures = 0

    def unanswered(self, now_s: float, *, late: bool) -> None:
        """Note that none did."""
        self.tally.late += late
        self.tally.failed += not late
        self._failures += 1
        if self._failures >= FAILURES_MOST:
            self._failures = 0
            self._suspend(SILENT, now_s + SILENT_PAUSE_S)

    def _suspend(self, reason: str, until_s: float) -> None:
        self._reason, self._until_s = reason, until_s
        self.tally.suspensions += 1


class Books:
    """All teams' books."""

    def __init__(self, settings: SemanticSettings) -> None:
        """Judge each team by `settings`."""
        self._settings = settings
        self._open: OrderedDict[tuple[str, str], Book] = OrderedDict()
        self._closed = Tally()

    def of(self, team: tuple[str, str]) -> Book:
        """Return a team's book, opened when it is first asked for."""
        book = self._open.get(team)
        if book is None:
            if len(self._open) >= BOOKS_MOST:
                self._closed.add(self._open.popitem(last=False)[1].tally)
            book = self._open[team] = Book(self._settings)
        self._open.move_to_end(team)
        return book

    def of_org(self, org: str) -> Iterator[tuple[str, Book]]:
        """Return an organisation's teams and their books."""
        return ((name, book) for (owner, name), book in self._open.items() if owner == org)

    def total(self, field: str) -> float:
        """Return a figure of all teams there ever were."""
        return sum([getattr(book.tally, field) for book in self._open.values()], getattr(self._closed, field))

    def refused(self) -> Mapping[str, int]:
        """Return near questions that were not served, by what kept them apart."""
        return sum([book.tally.refused for book in self._open.values()], self._closed.refused)

    def suspended(self, now_s: float) -> Mapping[str, int]:
        """Return how many teams are suspended, by the reason."""
        sums = dict.fromkeys(REASONS.values(), 0)
        for book in self._open.values():
            if reason := book.reason(now_s):
                sums[REASONS[reason]] += 1
        return sums
