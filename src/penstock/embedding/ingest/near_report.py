"""Which chunks of a document say nearly what another one of its collection says, as its job reports it.

Promises: a report, no decision: nothing is left out of the index for it; what is remembered is bounded (as
`near_duplicates` has it, of `COLLECTIONS_MOST` collections, the longest unused forgotten) and lost with the process; a
document is never told to be like itself.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final

from penstock.embedding.catalog.jobs import NearDuplicate
from penstock.embedding.ingest.near_duplicates import NearDuplicates
from penstock.ports.index import Document

COLLECTIONS_MOST: Final = 4
CHUNKS_MOST: Final = 10_000
TOLD_MOST: Final = 20
"""Pairs told of one document."""
BETWEEN: Final = "\n"
"""What stands in a chunk's name between document, position and digest; no id has it."""


class NearReport:
    """Looks for near-duplicates. One per process."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self._seen: OrderedDict[str, NearDuplicates] = OrderedDict()

    async def of(self, uid: str, document: Document) -> tuple[NearDuplicate, ...]:
        """Return what a document of the collection `uid` has that nearly stands there already, and remember it."""
        seen = self._seen.pop(uid, None) or NearDuplicates(most=CHUNKS_MOST)
        self._seen[uid] = seen
        if len(self._seen) > COLLECTIONS_MOST:
            self._seen.popitem(last=False)
        told: list[NearDuplicate] = []
        for chunk in document.chunks:
            name = BETWEEN.join((document.id, str(chunk.position), chunk.digest))
            near = seen.add(name, chunk.text)
            if near is not None and len(told) < TOLD_MOST:
                other, position, _ = near.like.split(BETWEEN)
                if other != document.id:
                    told.append(
                        NearDuplicate(
                            position=chunk.position,
                            other=other,
                            other_position=int(position),
                            similarity=round(near.similarity, 3),
                        )
                    )
            await asyncio.sleep(0)  # a chunk takes a millisecond or so
        return tuple(told)
