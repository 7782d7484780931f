"""One document after the other, from its bytes to the rows of one space: parsed, chunked, embedded where unseen.

    bytes ─▶ blocks ─▶ pieces ─▶ (digests known there?) ─▶ vectors of the others ─▶ rows

Promises: the same bytes make the same rows, whatever is known already (a vector that is known is the one the model
would give: a space is one model's one version); what was paid is on the bill at once, whatever comes after, and what
could not be used yet (vectors, and those of tokens, each within `SPARE_BYTES`) is kept for the next try, for its own
collection; nothing here writes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from penstock.embedding.catalog.collections import CollectionDoc, Source, model_of
from penstock.embedding.catalog.embedder import Embedder, Space
from penstock.embedding.catalog.sources import Sources
from penstock.embedding.ingest.chunking import Piece, chunked
from penstock.kernel.context import Principal
from penstock.kernel.errors import OverLimit
from penstock.ports.index import CHUNKS_MOST, Chunk, Document, Index, Place
from penstock.ports.parsers import Parsed, Parser

DEFAULT_TOKENS: Final = 256
"""Tokens of a chunk where its collection does not say; fewer where the model reads fewer."""
TEXTS_PER_CALL: Final = 64
ROWS: Final = 100
"""Of a document that stands in the index, read at a time."""
SPARE_BYTES: Final = 64 << 20
TITLE_CHARS_MOST: Final = 1_000
"""Of a title that a document tells of itself."""


class Compressor(Protocol):
    """Makes texts' token vectors small enough to be kept."""

    async def compress(self, matrices: Sequence[bytes], dimensions: int) -> tuple[bytes, ...]:
        """Return matrices, float32 rows of `dimensions`, as the search reads them."""
        ...


@dataclass(frozen=True, slots=True)
class Opened:
    """A document and its blocks."""

    id: str
    source: Source
    parsed: Parsed


@dataclass(slots=True)
class Built:
    """A document's rows for one space, and what they took."""

    document: Document
    embedded: int = 0
    reused: int = 0


@dataclass(slots=True)
class Bill:
    """What vectors took that no job was told of yet."""

    tokens: int = 0
    cost_nanos: int = 0


@dataclass(slots=True)
class _Work:
    """A batch under way: every document's pieces, and the vectors there are."""

    pieces: dict[str, tuple[Piece, ...]] = field(default_factory=dict[str, tuple[Piece, ...]])
    vectors: dict[str, bytes] = field(default_factory=dict[str, bytes])
    matrices: dict[str, bytes] = field(default_factory=dict[str, bytes])
    fresh: set[str] = field(default_factory=set[str])
    """Digests that do not stand in the index yet."""


class Spare:
    """What was had and is not used yet, by its place, its space and its digest; the oldest goes first."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._kept: OrderedDict[tuple[Place, str, str], bytes] = OrderedDict()
        self.held_bytes = 0

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._kept)

    def get(self, key: tuple[Place, str, str]) -> bytes | None:
        """Return what is kept under a key."""
        return self._kept.get(key)

    def keep(self, key: tuple[Place, str, str], value: bytes) -> None:
        """Keep it, within `SPARE_BYTES`."""
        self.held_bytes += len(value) - len(self._kept.pop(key, b""))
        self._kept[key] = value
        while self._kept and self.held_bytes > SPARE_BYTES:
            _, oldest = self._kept.popitem(last=False)
            self.held_bytes -= len(oldest)

    def let_go(self, key: tuple[Place, str, str]) -> None:
        """Keep it no longer."""
        self.held_bytes -= len(self._kept.pop(key, b""))


class Builder:
    """Builds rows. One per process."""

    def __init__(
        self,
        index: Index,
        parser: Parser,
        embedder: Embedder,
        sources: Sources,
        compressor: Compressor | None,
    ) -> None:
        """Read what `sources` has with `parser`; ask `index` what is known and `embedder` for the rest. `compressor`
        None: tokens' vectors are kept of no document.
        """
        self._index = index
        self._parser = parser
        self._embedder = embedder
        self._sources = sources
        self._compressor = compressor
        self._spare = Spare()
        self._spare_matrices = Spare()

    async def open(self, uid: str, document_id: str, source: Source) -> Opened:
        """Read a document. Raises Invalid for one that cannot be; NotFound, Unavailable, Broken."""
        content = await self._sources.get(uid, source)
        return Opened(document_id, source, await self._parser.parse(content, source.media_type, source.name))

    async def build(
        self,
        who: Principal,
        collection: CollectionDoc,
        space_name: str,
        opened: Sequence[Opened],
        bill: Bill,
    ) -> list[Built]:
        """Return the documents' rows in a space, as `who`; what that takes goes on `bill`, whatever comes of it.

        Raises whatever the embedder and the index raise.
        """
        space = self._embedder.space(model_of(space_name))
        work = _Work()
        for each in opened:
            work.pieces[each.id] = await self._pieces(collection, space, each.parsed)
        texts = {piece.digest: piece.text for pieces in work.pieces.values() for piece in pieces}
        await self._find(collection, space_name, texts, work)
        unseen = {digest: text for digest, text in texts.items() if digest not in work.vectors}
        work.fresh |= set(unseen)
        where = (collection.place, space_name)
        await self._embed(who, space, where, unseen, work, bill)
        if collection.keep_token_vectors and space.late and self._compressor is not None:
            await self._find_matrices(collection, space_name, opened, work)
            left = {digest: text for digest, text in texts.items() if digest not in work.matrices}
            await self._matrices(who, space, where, left, work, self._compressor)
        return [_built(each, work) for each in opened]

    def let_go(self, place: Place, space_name: str, built: Sequence[Built]) -> None:
        """Forget the spare vectors of rows that the index has now."""
        for each in built:
            for chunk in each.document.chunks:
                key = (place, space_name, chunk.digest)
                self._spare.let_go(key)
                self._spare_matrices.let_go(key)

    # -------------------------------------------------------------------------------------------------- the steps

    async def _pieces(self, collection: CollectionDoc, space: Space, parsed: Parsed) -> tuple[Piece, ...]:
        tokens = min(collection.chunk_tokens or DEFAULT_TOKENS, space.max_tokens)
        return await chunked(
            parsed.blocks,
            partial(self._embedder.tokenize, model=space.model),
            tokens=tokens,
            most=space.max_tokens,
            overlap_percent=collection.overlap_percent,
        )

    async def _find(
        self, collection: CollectionDoc, space_name: str, texts: Mapping[str, str], work: _Work
    ) -> None:
        """Find the vectors that are known: those that stand in the space, and spare ones."""
        for digest in texts:
            if (spare := self._spare.get((collection.place, space_name, digest))) is not None:
                work.vectors[digest] = spare
                work.fresh.add(digest)
        sought = [digest for digest in texts if digest not in work.vectors]
        for first in range(0, len(sought), CHUNKS_MOST):
            page = sought[first : first + CHUNKS_MOST]
            work.vectors.update(await self._index.known(collection.place, space_name, page))

    async def _embed(
        self,
        who: Principal,
        space: Space,
        where: tuple[Place, str],
        unseen: Mapping[str, str],
        work: _Work,
        bill: Bill,
    ) -> None:
        """Embed texts; each answer is spare until it is used."""

        async def have(digests: Sequence[str], page: Sequence[str]) -> None:
            told = await self._embedder.embed(who, page, model=space.model, lane="ingest", purpose="passage")
            bill.tokens += told.tokens
            bill.cost_nanos += told.cost_nanos
            for digest, vector in zip(digests, told.vectors, strict=True):
                work.vectors[digest] = vector
                self._spare.keep((*where, digest), vector)

        await _by_pages(unseen, have)

    async def _find_matrices(
        self, collection: CollectionDoc, space_name: str, opened: Sequence[Opened], work: _Work
    ) -> None:
        """Find the token vectors that the documents' own rows have, as they stand in the space, and spare ones."""
        for each in opened:
            after, limit = (each.id, -1), 1  # it may be new there
            wanted = {piece.digest for piece in work.pieces[each.id]}
            for digest in wanted:
                if (spare := self._spare_matrices.get((collection.place, space_name, digest))) is not None:
                    work.matrices[digest] = spare
            while rows := await self._index.scan(collection.place, space_name, after=after, limit=limit):
                own = [row.chunk for row in rows if row.document.id == each.id]
                for chunk in own:
                    if chunk.tokens and chunk.digest in wanted:
                        work.matrices[chunk.digest] = chunk.tokens
                if len(own) < len(rows):
                    break
                after, limit = (each.id, own[-1].position), ROWS

    async def _matrices(
        self,
        who: Principal,
        space: Space,
        where: tuple[Place, str],
        texts: Mapping[str, str],
        work: _Work,
        compressor: Compressor,
    ) -> None:
        """Have texts' token vectors; each is spare until it is used."""

        async def have(digests: Sequence[str], page: Sequence[str]) -> None:
            told = await self._embedder.token_vectors(who, page, model=space.model, lane="ingest")
            kept = await compressor.compress(told, space.dimensions)
            for digest, matrix in zip(digests, kept, strict=True):
                work.matrices[digest] = matrix
                self._spare_matrices.keep((*where, digest), matrix)

        await _by_pages(texts, have)


async def _by_pages(
    texts: Mapping[str, str], have: Callable[[Sequence[str], Sequence[str]], Awaitable[None]]
) -> None:
    """Have something of texts, given by their digests; of fewer at a time where a limit has no room for many."""
    waiting = list(texts.items())
    size = TEXTS_PER_CALL
    while waiting:
        page = waiting[:size]
        try:
            await have([digest for digest, _ in page], [text for _, text in page])
        except OverLimit:
            if len(page) == 1:
                raise
            size = len(page) // 2
            continue
        del waiting[:size]


def _built(each: Opened, work: _Work) -> Built:
    source, parsed = each.source, each.parsed
    pieces = work.pieces[each.id]
    embedded = len({piece.digest for piece in pieces} & work.fresh)
    work.fresh -= {piece.digest for piece in pieces}  # what two documents share is one's alone
    document = Document(
        id=each.id,
        version=source.version or source.digest,
        chunks=tuple([_chunk(piece, work) for piece in pieces]),
        title=source.title or parsed.title[:TITLE_CHARS_MOST],
        url=source.url,
        language=source.language or parsed.language,
        labels=source.labels,
        metadata=source.metadata,
    )
    return Built(document, embedded=embedded, reused=len(pieces) - embedded)


def _chunk(piece: Piece, work: _Work) -> Chunk:
    return Chunk(
        position=piece.position,
        digest=piece.digest,
        text=piece.text,
        vector=work.vectors[piece.digest],
        tokens=work.matrices.get(piece.digest, b""),
        start=piece.start,
        end=piece.end,
        page=piece.page,
        heading=piece.heading,
    )
