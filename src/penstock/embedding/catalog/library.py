"""What everybody who works on collections works with. A value: it decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from penstock.embedding.catalog.backlog import Backlog
from penstock.embedding.catalog.collections import CollectionBook
from penstock.embedding.catalog.document_locks import DocumentLocks
from penstock.embedding.catalog.embedder import Embedder
from penstock.embedding.catalog.events import Events
from penstock.embedding.catalog.jobs import JobBook
from penstock.embedding.catalog.sources import Sources
from penstock.kernel.clock import Clock
from penstock.kernel.context import Principal
from penstock.ports.index import Index


class Principals(Protocol):
    """Knows whom a key stands for."""

    async def principal_of(self, key_id: str) -> Principal:
        """Return whom a key stands for now. Raises Unauthenticated when it is no more."""
        ...


@dataclass(frozen=True, slots=True)
class Library:
    """Collections, their documents and their jobs; the index; who embeds. `runner` is this process."""

    book: CollectionBook
    jobs: JobBook
    sources: Sources
    events: Events
    locks: DocumentLocks
    backlog: Backlog
    index: Index
    embedder: Embedder
    principals: Principals
    clock: Clock
    runner: str
