"""Collections of a project: what they are, what documents they hold, and in which models' spaces.

    knowledge_collections   one row a collection, of the project that owns it, with the space that is searched
    knowledge_documents     one row a document: what was asked for last, and what stands in the index

Promises: a collection belongs to one project and is found by nobody else; its rows in the index are under its own id,
so that one made anew under the same name starts empty; a row is changed only on the version it was read at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Final, Literal

import msgspec

from penstock.kernel.context import Principal
from penstock.kernel.errors import Conflict, NotFound, StaleVersion
from penstock.ports import records
from penstock.ports.index import Place, Precision, Scalar
from penstock.ports.records import Records, Row, Write

COLLECTIONS: Final = records.Collection(name="knowledge_collections", indexes=("owner",), unique=("name",))
DOCUMENTS: Final = records.Collection(name="knowledge_documents", indexes=("gone",))
TENANT: Final = "*"
"""Collections know their owner; one tenant lets one sweep find all that have work left."""
CHANGES_MOST: Final = 8
"""Times a change is decided anew because somebody else changed the row meanwhile."""
PAGE_ROWS: Final = 100
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")

State = Literal["pending", "indexed", "partial", "failed", "deleted"]
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


class CollectionDoc(msgspec.Struct, frozen=True, kw_only=True):
    """A collection of a project, `owner`. `space` is searched; `building` is being built beside it by `migration`;
    `previous` was searched before, is kept current, and may be searched again; those in `dropping` lose their rows just
    now. Each is ``model@version``. `builds` has the migration that built each, none for the one it was made with. The
    change to `declined`, a later version of its model, failed or was called off: only who asks for it begins it anew.
    """

    uid: str
    name: str
    org: str
    owner: str
    key_id: str
    created_s: float
    space: str
    building: str = ""
    previous: str = ""
    migration: str = ""
    dropping: tuple[str, ...] = ()
    declined: str = ""
    builds: Mapping[str, str] = {}
    chunk_tokens: int = 0
    """0: as many as the model's window holds, at most `chunking.DEFAULT_TOKENS`."""
    overlap_percent: int = 10
    precision: Precision = "fp16"
    rerank: str = "auto"
    keep_token_vectors: bool = False
    deleted: bool = False

    @property
    def place(self) -> Place:
        """Where its rows are in the index."""
        return Place(self.owner, self.uid)

    @property
    def model(self) -> str:
        """The model whose space is searched."""
        return model_of(self.space)

    @property
    def spaces(self) -> tuple[str, ...]:
        """The spaces that hold its documents, the one that is searched first."""
        return tuple([each for each in (self.space, self.building, self.previous) if each])

    def build_of(self, space: str) -> str:
        """Return what is another one whenever the rows of a space were let go of and it was built anew."""
        return self.builds.get(space, "")


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a document is not indexed as it was asked."""

    code: str
    message: str
    retryable: bool


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A document as it was sent. `kept` is where its bytes are (`sources`), `digest` their SHA-256 in hex; `version` is
    its owner's own word for it.
    """

    kept: str
    digest: str
    size_bytes: int
    media_type: str = ""
    name: str = ""
    title: str = ""
    url: str = ""
    language: str = ""
    version: str = ""
    labels: tuple[str, ...] = ()
    metadata: Mapping[str, Scalar] = {}

    @property
    def print(self) -> str:
        """What is the same where, and only where, its rows would be."""
        return sha256(_encode(msgspec.structs.replace(self, kept=""))).hexdigest()[:32]


class DocumentDoc(msgspec.Struct, frozen=True, kw_only=True):
    """A document of a collection. `latest` is what was sent last, by `job`; `held` is what stands in the index, and
    `spaces` has its mark in each (`marked`). `waits`: `latest` is not there yet. `chunks` and `omitted` are of `held`.
    """

    id: str
    created_s: float
    changed_s: float
    latest: Source
    job: str = ""
    waits: bool = False
    held: Source | None = None
    spaces: Mapping[str, str] = {}
    title: str = ""
    language: str = ""
    chunks: int = 0
    omitted: tuple[str, ...] = ()
    failure: Failure | None = None
    deleted: bool = False

    @property
    def state(self) -> State:
        """How it is, in a word."""
        if self.deleted:
            return "deleted"
        if self.failure is not None:
            return "failed"
        if self.waits:
            return "pending"
        return "partial" if self.omitted else "indexed"

    def told(self) -> dict[str, object]:
        """Return it as callers read it."""
        latest, held = self.latest, self.held
        return {
            "id": self.id,
            "object": "collection.document",
            "status": self.state,
            "version": latest.version or latest.digest,
            "searchable_version": None if held is None else held.version or held.digest,
            "name": latest.name,
            "title": latest.title or self.title,
            "url": latest.url,
            "media_type": latest.media_type,
            "language": latest.language or self.language,
            "acl": latest.labels,
            "metadata": latest.metadata,
            "bytes": latest.size_bytes,
            "chunks": self.chunks,
            "omitted": self.omitted,
            "spaces": sorted(self.spaces),
            "job": self.job or None,
            "failure": self.failure,
            "created_at": int(self.created_s),
            "changed_at": int(self.changed_s),
        }


def marked(source: Source, build: str) -> str:
    """Return what tells which rows of a document stand in a build of a space (`CollectionDoc.build_of`)."""
    return f"{build}:{source.print}"


def owner_of(principal: Principal) -> str:
    """Return the project a caller acts in, whose the collections are (as `gateway/files` has it)."""
    return f"{principal.org}/{principal.team}/{principal.project}"


def model_of(space: str) -> str:
    """Return the model of a space's name."""
    return space.rpartition("@")[0]


class CollectionBook:
    """Where collections and their documents are written down. One per process."""

    def __init__(self, rows: Records) -> None:
        """Keep them in `rows`."""
        self.rows = rows

    # ------------------------------------------------------------------------------------------------- collections

    async def found(self, owner: str, name: str) -> CollectionDoc:
        """Return a project's collection by its name. Raises NotFound."""
        rows = await self.rows.find(COLLECTIONS.name, TENANT, "name", _named(owner, name[:100]), limit=1)
        if rows and not (doc := read_collection(rows[0])).deleted:
            return doc
        raise no_collection(name)

    async def get(self, uid: str) -> CollectionDoc | None:
        """Return a collection by its id, also one that is being deleted; None when there is none."""
        row = await self.rows.get(COLLECTIONS.name, TENANT, uid)
        return None if row is None else read_collection(row)

    async def of(self, owner: str, after: str = "", limit: int = PAGE_ROWS) -> list[CollectionDoc]:
        """Return a project's collections in the order they were made, after the id `after`."""
        rows = await self.rows.find(COLLECTIONS.name, TENANT, "owner", owner, after=after, limit=limit)
        return [doc for doc in map(read_collection, rows) if not doc.deleted]

    async def all(self, after: str = "", limit: int = PAGE_ROWS) -> list[CollectionDoc]:
        """Return everybody's collections, those being deleted too, after the id `after`."""
        rows = await self.rows.scan(COLLECTIONS.name, TENANT, after=after, limit=limit)
        return [read_collection(row) for row in rows]

    async def add(self, doc: CollectionDoc) -> None:
        """Write a new collection down. Raises Conflict where its project has one of that name."""
        try:
            await self.rows.transact([collection_write(doc, 0)])
        except StaleVersion:
            raise
        except Conflict:
            raise Conflict(
                "The project has a collection of that name.",
                code="duplicate",
                field="name",
                value=doc.name,
                remedy="Choose another name, or delete that one first.",
            ) from None

    async def change(
        self, uid: str, decide: Callable[[CollectionDoc], CollectionDoc | None]
    ) -> CollectionDoc | None:
        """Change a collection as `decide` says of what it is now; None there (or no such collection) changes nothing.

        Raises StaleVersion when others change it all the time.
        """
        for _ in range(CHANGES_MOST):
            row = await self.rows.get(COLLECTIONS.name, TENANT, uid)
            decided = None if row is None else decide(read_collection(row))
            if row is None or decided is None:
                return None
            try:
                await self.rows.transact([collection_write(decided, row.version)])
            except StaleVersion:
                continue
            return decided
        raise StaleVersion

    async def standing(self, uid: str) -> Write:
        """Return what writes a collection down as it is: what is written with it is written while that stands.

        Raises NotFound where it is deleted.
        """
        row = await self.rows.get(COLLECTIONS.name, TENANT, uid)
        if row is None or (doc := read_collection(row)).deleted:
            raise no_collection(uid)
        return collection_write(doc, row.version)

    async def drop(self, uid: str) -> None:
        """Forget a collection."""
        await self.rows.transact([Write(collection=COLLECTIONS.name, tenant=TENANT, id=uid, value=None)])

    # --------------------------------------------------------------------------------------------------- documents

    async def document(self, uid: str, document_id: str) -> tuple[DocumentDoc | None, int]:
        """Return a document of the collection `uid` and its row's version; (None, 0) when there is none."""
        row = await self.rows.get(DOCUMENTS.name, uid, document_id)
        return (None, 0) if row is None else (read_document(row), row.version)

    async def documents(self, uid: str, after: str = "", limit: int = PAGE_ROWS) -> list[DocumentDoc]:
        """Return documents in the order of their ids, after `after`; those being deleted too."""
        rows = await self.rows.scan(DOCUMENTS.name, uid, after=after, limit=limit)
        return [read_document(row) for row in rows]

    async def gone(self, uid: str, limit: int = PAGE_ROWS) -> list[DocumentDoc]:
        """Return documents that are being deleted."""
        rows = await self.rows.find(DOCUMENTS.name, uid, "gone", "yes", limit=limit)
        return [read_document(row) for row in rows]

    async def count(self, uid: str) -> int:
        """Return how many documents a collection has."""
        return await self.rows.count(DOCUMENTS.name, uid)


def no_collection(name: str) -> NotFound:
    """Return what tells that there is no collection of that name."""
    remedy = "GET /v1/collections lists them."
    return NotFound("There is no such collection.", field="collection", value=name[:100], remedy=remedy)


def collection_write(doc: CollectionDoc, expected: int) -> Write:
    """Return what writes a collection down."""
    # One that is being deleted gives its name up at once, and keeps its rows until they are gone.
    named = {} if doc.deleted else {"owner": doc.owner, "name": _named(doc.owner, doc.name)}
    return Write(
        collection=COLLECTIONS.name,
        tenant=TENANT,
        id=doc.uid,
        value=msgspec.json.encode(doc),
        indexed=named,
        expected=expected,
    )


def document_write(uid: str, doc: DocumentDoc, expected: int) -> Write:
    """Return what writes a document down."""
    return Write(
        collection=DOCUMENTS.name,
        tenant=uid,
        id=doc.id,
        value=msgspec.json.encode(doc),
        indexed={"gone": "yes"} if doc.deleted else {},
        expected=expected,
    )


def document_deletion(uid: str, document_id: str, expected: int | None = None) -> Write:
    """Return what forgets a document."""
    return Write(collection=DOCUMENTS.name, tenant=uid, id=document_id, value=None, expected=expected)


def read_document(row: Row) -> DocumentDoc:
    """Return the document of a row."""
    return msgspec.json.decode(row.value, type=DocumentDoc)


def read_collection(row: Row) -> CollectionDoc:
    """Return the collection of a row."""
    return msgspec.json.decode(row.value, type=CollectionDoc)


def _named(owner: str, name: str) -> str:
    """Return what is one collection's alone: no name holds a colon."""
    return f"{owner}:{name}"
