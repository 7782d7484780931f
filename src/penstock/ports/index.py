"""Documents in chunks, found by meaning (vectors) and by words (BM25), of one tenant and what the asker may see.

A *place* is one tenant's collection: nothing is ever seen, counted or changed across two of them. A *space* is the
model and version whose vectors a row carries (``all-MiniLM-L6-v2@a1b2``): vectors of two spaces are never compared.
A document may stand in several spaces at one time, chunked for each. The first vector put fixes the length of all in
its place and space.

Promises
1. `put` is durable and all or nothing for the whole call: each document given replaces what stood for it in its space,
   every chunk of it. A reader sees a document as it was before or as it is after, never half.
2. `search` returns, best first, at most `limit` chunks found by vector and at most `limit` found by words, only of the
   place and space asked for, only those that pass every filter, and only those whose `labels` are empty or meet the
   asker's; filtered *inside* the search, so that `limit` rows come back when so many pass.
3. What `put` returned for is found by the next `search`, what `delete` returned for is never found again; deleted rows
   leave the disk at the latest with the next `compact`.
4. recall@10 of the dense part against exact search is at least .99, whatever share of all rows the tenant has and
   whatever part of them passes the filter.
5. `scan` and `count` are exact: `scan` gives every chunk of a place and space, ordered by (the document's UTF-8,
   position), none twice, none missed.
6. `known` returns the stored vectors of those texts that stand in the place and space already, by their digest.
7. After kill -9 at any moment, all that was promised holds, without a rebuild by hand.
8. Texts return letter for letter, whatever they hold (NUL and quotation marks included); vectors as exact as the
   precision they were put in. What is over a bound, or no text (a lone surrogate), is Invalid and leaves nothing.
9. Words find the chunks that have any of them, ranked by BM25: by their stems in the document's language (English where
   none is said), by the very word whatever language is said, and inside Chinese, Japanese, Korean and Thai text, which
   has no spaces. They are words only, never a query's syntax.
10. A store that cannot be reached raises Unavailable; nothing hangs.

Errors: Unavailable; Invalid (vector of another length than the space's, not a number, over a bound).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

Scalar = str | int | float | bool
Precision = Literal["fp32", "fp16", "int8"]

DOCUMENTS_MOST = 1_000
"""Documents in one `put` or `delete`."""
CHUNKS_MOST = 10_000
"""Chunks in one `put`."""
LIMIT_MOST = 1_000
NAME_BYTES_MOST = 512
"""UTF-8 of a tenant, collection, space, id, version, label, and of a field's name; at least 1 save for a version."""
NOTE_BYTES_MOST = 4_096
"""UTF-8 of a title, an address, a heading, a language."""
TEXT_BYTES_MOST = 256 << 10
"""UTF-8 of one chunk's text, and of a question's words."""
TOKENS_BYTES_MOST = 1 << 20
"""Of one chunk's `tokens`."""
PUT_BYTES_MOST = 48 << 20
"""Texts, vectors and tokens of one `put`."""
DIMENSIONS_MOST = 8_192
LABELS_MOST = 1_000
"""On a document, or had by an asker."""
METADATA_BYTES_MOST = 16 << 10
"""Of a document's metadata as JSON."""
WHERE_MOST = 32
ANY_OF_MOST = 1_000


class Place(msgspec.Struct, frozen=True, gc=False):
    """One tenant's collection. `tenant` is the path of the project that owns it."""

    tenant: str
    collection: str


class Chunk(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A piece of a document. `digest` is the SHA-256 of its text in hex. `vector` is little-endian float32; `tokens`,
    where kept, are its tokens' vectors, compressed by whoever made them. `start` and `end` are characters of the
    document's text, `page` counts from 1 (0: it has none), `heading` is the path of titles above it. No two chunks of
    a document have one `position` (from 0).
    """

    position: int
    digest: str
    text: str
    vector: bytes
    tokens: bytes = b""
    start: int = 0
    end: int = 0
    page: int = 0
    heading: str = ""


class Document(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A document as it is put. `version` is its owner's own word or the SHA-256 of its bytes. A number in `metadata` is
    finite, a whole one within ±2⁵³.
    """

    id: str
    version: str
    chunks: tuple[Chunk, ...]
    title: str = ""
    url: str = ""
    language: str = ""
    labels: tuple[str, ...] = ()
    metadata: Mapping[str, Scalar] = {}


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """A condition on metadata: `field` (``title``, ``language``, ``url`` and ``id`` are the document's own) has one of
    `any_of`, or lies within [`at_least`, `at_most`]; where both are said, both hold. A document without the field does
    not pass. Numbers are equal by value (1 is 1.0), a truth value is no number, and only numbers lie within bounds.
    """

    field: str
    any_of: tuple[Scalar, ...] = ()
    at_least: float | None = None
    at_most: float | None = None


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for. `vector` b"": not by meaning; `words` "": not by words. `labels` are those the asker has.
    Who does not need the chunks' `tokens` says so: they are many bytes, and past 16 MiB of them the lesser hits come
    without. Who measures asks for `exact`: the dense part then reads everything that passes, however long it takes.
    """

    vector: bytes = b""
    words: str = ""
    language: str = ""
    where: tuple[Where, ...] = ()
    labels: tuple[str, ...] = ()
    limit: int = 50
    tokens: bool = True
    exact: bool = False


class Hit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A chunk that was found, and how near: `score` is the cosine (dense) or BM25 (words). Its `vector` is as stored,
    in float32 again.
    """

    document: str
    version: str
    chunk: Chunk
    score: float
    title: str = ""
    url: str = ""
    language: str = ""
    metadata: Mapping[str, Scalar] = {}


class Found(msgspec.Struct, frozen=True):
    """What was found, best first."""

    dense: tuple[Hit, ...] = ()
    words: tuple[Hit, ...] = ()


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One chunk as `scan` gives it, with what its document says of itself (`document.chunks` is empty)."""

    document: Document
    chunk: Chunk


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How much stands in a place and space. `bytes` on disk, as near as the engine can tell."""

    documents: int
    chunks: int
    bytes: int


class Index(Protocol):
    """Documents in chunks. See the promises above."""

    async def put(
        self, place: Place, space: str, documents: Sequence[Document], *, precision: Precision = "fp32"
    ) -> None:
        """Put documents, each replacing what stood for it in the space. One without chunks is kept without any.

        `precision` is what their vectors are stored in; rows of several precisions may stand in one space.
        """
        ...

    async def search(self, place: Place, space: str, question: Question) -> Found:
        """Find chunks."""
        ...

    async def delete(self, place: Place, documents: Sequence[str] | None = None, *, space: str = "") -> int:
        """Delete these documents (None: all there are) from one space ("": from every one).

        Returns how many there were; one that stood in two spaces counts once.
        """
        ...

    async def known(self, place: Place, space: str, digests: Sequence[str]) -> Mapping[str, bytes]:
        """Return the vectors (float32) of texts that stand there already, by digest; up to `CHUNKS_MOST` digests."""
        ...

    async def scan(
        self, place: Place, space: str, *, after: tuple[str, int] = ("", -1), limit: int = 1000
    ) -> Sequence[Row]:
        """Return up to `limit` chunks after (document, position), fewer where they are many bytes; none at the end."""
        ...

    async def count(self, place: Place, space: str = "") -> Counts:
        """Count; "" counts every space, and a document that stands in two of them once."""
        ...

    async def compact(self) -> None:
        """Bring graphs up to date and free the disk of what was deleted, piece by piece beside the searches."""
        ...
