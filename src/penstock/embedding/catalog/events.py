"""What became of documents, told on the stream to whoever made something from them.

    topic documents: {"org", "owner", "collection", "document", "version", "deleted"}

Promises: a change is told after the index has it and before its job counts it, so that whoever hears and looks finds
what he was told of; told at least once; in the order of the index for one document.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Final
from urllib.parse import quote

import msgspec

from penstock.embedding.catalog.collections import CollectionDoc
from penstock.ports.stream import Stream

TOPIC: Final = "documents"
TAG_CHARS_MOST: Final = 128
"""As the gateway takes tags of kept answers."""


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """A document is in the index as of `version`, or no longer."""

    org: str
    owner: str
    collection: str
    document: str
    version: str = ""
    deleted: bool = False


class Events:
    """Tells of documents. One per process."""

    def __init__(self, stream: Stream) -> None:
        """Tell it on `stream`."""
        self._stream = stream

    async def tell(self, collection: CollectionDoc, changes: Iterable[tuple[str, str]]) -> None:
        """Tell of documents and their versions now ("" for one that is deleted). Raises Unavailable."""
        told = [
            Changed(
                org=collection.org,
                owner=collection.owner,
                collection=collection.name,
                document=document,
                version=version,
                deleted=not version,
            )
            for document, version in changes
        ]
        if told:
            await self._stream.append(TOPIC, [msgspec.json.encode(each) for each in told])

    async def trim(self, before_s: float) -> None:
        """Forget what was told before the wall time `before_s`. Raises Unavailable."""
        await self._stream.trim(TOPIC, before_s)


def tag_of(collection: str, document: str) -> str:
    """Return the tag of answers that were made from a document; it can stand in ``x-penstock-cache-tags``."""
    tag = f"doc:{collection}/{quote(document, safe='/:@!$&()*+=~')}"
    if len(tag) <= TAG_CHARS_MOST:
        return tag
    return f"doc:{collection}/{sha256(document.encode()).hexdigest()[:40]}"
