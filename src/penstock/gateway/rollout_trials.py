"""Trials of canaries as rows that every node reads, and the notices that are owed of those that were rolled back.

Promise: that somebody is owed a notice is written with the change of the route, or neither is; it is owed until a look
after the one that gave it, so that whoever dies in between leaves it to the next. Hearing it twice is hearing it once:
the alert of a trial stands already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from penstock.ports.records import Collection, Records, Row, Write

TRIALS: Final = "canary_trials"
EVIDENCE: Final = "canary_evidence"
COLLECTIONS: Final = (Collection(name=TRIALS, indexes=("owed",)), Collection(name=EVIDENCE))
PLATFORM: Final = "*"
OWED: Final = "notice"
NOTICES_MOST: Final = 100
"""Notices given at one look."""


class RollbackEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A canary was taken out: which, and what convicted it. `trial` is the id of its trial."""

    route: str
    trial: str = ""
    labels: tuple[str, ...]
    metric: str
    evidence: float
    bound: float
    why: str
    at_s: float


class TrialDoc(msgspec.Struct, frozen=True, kw_only=True):
    """A canary's trial, as every node knows it. `calls` is what control and newcomer had when the step began;
    `outcome` is "", "rolled back" or "promoted"; `owed` is what nobody may have been told yet.
    """

    id: str
    route: str
    labels: tuple[str, ...]
    percent: float
    step_s: float
    calls: tuple[int, int] = (0, 0)
    outcome: str = ""
    why: str = ""
    owed: RollbackEvent | None = None


class Notices:
    """Gives the notices that are owed, as one node. `told` hears of them."""

    def __init__(self, records: Records, told: Callable[[RollbackEvent], None]) -> None:
        """Read what is owed from `records`."""
        self._records = records
        self._told = told
        self._given: set[str] = set()
        """Trials of which this node gave notice, until that is no longer owed."""

    def give(self, doc: TrialDoc) -> None:
        """Give the notice of a trial."""
        if doc.owed is not None:
            self._given.add(doc.id)
            self._told(doc.owed)

    async def owed(self) -> Sequence[Row]:
        """Return the rows of trials of which a notice is owed."""
        return await self._records.find(TRIALS, PLATFORM, "owed", OWED, limit=NOTICES_MOST)

    async def settle(self, row: Row) -> None:
        """Give the notice of a trial; once this node has given it, it is owed no longer. Raises StaleVersion when
        another node was first.
        """
        doc = msgspec.json.decode(row.value, type=TrialDoc)
        if doc.id not in self._given:
            self.give(doc)
            return
        await self._records.transact([kept(msgspec.structs.replace(doc, owed=None), row.version)])
        self._given.discard(doc.id)


def kept(doc: TrialDoc, version: int) -> Write:
    """Return the write that keeps a trial as it is now, if its row is still of that version."""
    return Write(
        collection=TRIALS,
        tenant=PLATFORM,
        id=row_id(doc.route),
        value=msgspec.json.encode(doc),
        indexed={} if doc.owed is None else {"owed": OWED},
        expected=version,
    )


def row_id(route: str) -> str:
    """Return the id of a route's row, whatever its name."""
    return blake2b(route.encode(), digest_size=16).hexdigest()
