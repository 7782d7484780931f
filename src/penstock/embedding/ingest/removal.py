"""Documents and collections that go: from the index first, then the news, then their bytes and rows.

Promises: when a deletion has returned, no search finds any of it, whatever was on its way in; a deletion that was
broken off is finished by `finish`; nothing that was sent after a deletion goes with it.
"""

from __future__ import annotations

from typing import Final

from msgspec import structs

from penstock.embedding.catalog.collections import (
    CollectionDoc,
    DocumentDoc,
    document_deletion,
    document_write,
)
from penstock.embedding.catalog.library import Library
from penstock.kernel.errors import NotFound, StaleVersion

PAGE: Final = 90
TRIES_MOST: Final = 8


class Removal:
    """Deletes. One per process."""

    def __init__(self, library: Library) -> None:
        """Delete from `library`."""
        self._library = library

    async def document(self, collection: CollectionDoc, document_id: str) -> None:
        """Delete a document. Raises NotFound, Unavailable."""
        library = self._library
        doc = await self._marked(collection.uid, document_id)
        async with library.locks.held(collection.uid, (document_id,)):
            now, version = await library.book.document(collection.uid, document_id)
            if now is None or now.deleted or now.held is None:  # else it was sent anew, and is there already
                await library.index.delete(collection.place, (document_id,))
                await library.events.tell(collection, [(document_id, "")])
            if now is not None and now.deleted:
                try:
                    deletion = document_deletion(collection.uid, document_id, version)
                    await library.book.rows.transact([deletion])
                except StaleVersion:
                    pass  # sent anew a moment ago: the row is that one's now
            await library.sources.drop(collection.uid, document_id, until=doc.job)
            await library.sources.tidy(collection.uid)

    async def _marked(self, uid: str, document_id: str) -> DocumentDoc:
        """Mark a document as deleted, durably: whoever has it on its way in will see that. Raises NotFound."""
        book = self._library.book
        for _ in range(TRIES_MOST):
            doc, version = await book.document(uid, document_id)
            if doc is None:
                raise NotFound("There is no such document.", field="document", value=document_id[:200])
            if doc.deleted:
                return doc
            marked = structs.replace(doc, deleted=True, changed_s=self._library.clock.wall_s())
            try:
                await book.rows.transact([document_write(uid, marked, version)])
            except StaleVersion:
                continue
            return marked
        raise StaleVersion

    async def collection(self, collection: CollectionDoc) -> None:
        """Delete a collection: from now on nobody finds it, nor anything of it; `finish` does the rest."""
        await self._library.book.change(collection.uid, lambda doc: structs.replace(doc, deleted=True))
        await self._library.index.delete(collection.place)

    async def finish(self, collection: CollectionDoc) -> None:
        """Let go of all that a deleted collection has left."""
        library, uid = self._library, collection.uid
        # The jobs first: without its job, what is being taken in or worked on just now writes nothing more down.
        while jobs := await library.jobs.of(uid):
            for job in jobs:
                await library.jobs.forget(job.id)
        while page := await library.book.documents(uid, limit=PAGE):
            await library.events.tell(collection, [(doc.id, "") for doc in page])
            await library.book.rows.transact([document_deletion(uid, doc.id) for doc in page])
        # What was on its way finds no row of its document now; what was put before it could see that goes here.
        await library.index.delete(collection.place)
        await library.sources.drop_all(uid)
        await library.book.drop(uid)

    async def finish_documents(self, collection: CollectionDoc) -> None:
        """Delete what a crash left marked as deleted."""
        for doc in await self._library.book.gone(collection.uid):
            await self.document(collection, doc.id)
