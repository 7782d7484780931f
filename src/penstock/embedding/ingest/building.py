"""One document after the other, from its bytes to the rows of one space: parsed, chunked, embedded where unseen.

    bytes ─▶ blocks ─▶ pieces ─▶ (digests known there?) ─▶ vectors of the others ─▶ rows

Promises: the same bytes make the same rows, whatever is known already (a vector that is known is the one the model
would give: a space is one model's one version); what was paid is on the bill at once, whatever comes after, and what
could not be used yet is kept for the next try, within `SPARE_BYTES`, for its own collection; nothing here writes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
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
        self._spare: OrderedDict[tuple[Place, str, str], bytes] = OrderedDict()
        self._spare_bytes = 0

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
        await self._embed(who, space, (collection.place, space_name), unseen, work, bill)
        if collection.keep_token_vectors and space.late and self._compressor is not None:
            await self._find_matrices(collection, space_name, opened, work)
            left = {digest: text for digest, text in texts.items() if digest not in work.matrices}
            await self._matrices(who, space, left, work, self._compressor)
        return [_built(each, work) for each in opened]

    def let_go(self, place: Place, space_name: str, built: Sequence[Built]) -> None:
        """Forget the spare vectors of rows that the index has now."""
        for each in built:
            for chunk in each.document.chunks:
                vector = self._spare.pop((place, space_name, chunk.digest), None)
                if vector is not None:
                    self._spare_bytes -= len(vector)

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
        """Embed texts, fewer at a time where a limit has no room for many; each answer is spare until it is used."""
        waiting = list(unseen.items())
        size = TEXTS_PER_CALL
        while waiting:
            page = waiting[:size]
            texts = [text for _, text in page]
            try:
                told = await self._embedder.embed(
                    who, texts, model=space.model, lane="ingest", purpose="passage"
                )
            except OverLimit:
                if len(page) == 1:
                    raise
                size = len(page) // 2
                continue
            del waiting[:size]
            bill.tokens += told.tokens
            bill.cost_nanos += told.cost_nanos
            for (digest, _), vector in zip(page, told.vectors, strict=True):
                work.vectors[digest] = vector
                self._keep((*where, digest), vector)

    async def _find_matrices(
        self, collection: CollectionDoc, space_name: str, opened: Sequence[Opened], work: _Work
    ) -> None:
        """Find the token vectors that the documents' own rows have, as they stand in the space."""
        for each in opened:
            after, limit = (each.id, -1), 1  # it may be new there
            wanted = {piece.digest for piece in work.pieces[each.id]}
            while rows := await self._index.scan(collection.place, space_name, after=after, limit=limit):
                own = [row.chunk for row in rows if row.document.id == each.id]
                for chunk in own:
                    if chunk.tokens and chunk.digest in wanted:
                        work.matrices[chunk.digest] = chunk.tokens
                if len(own) < len(rows):
                    break
                after, limit = (each.id, own[-1].position), ROWS

    async def _matrices(
        self, who: Principal, space: Space, texts: Mapping[str, str], work: _Work, compressor: Compressor
    ) -> None:
        """Have texts' token vectors."""
        waiting = list(texts.items())
        for first in range(0, len(waiting), TEXTS_PER_CALL):
            page = waiting[first : first + TEXTS_PER_CALL]
            told = await self._embedder.token_vectors(
                who, [text for _, text in page], model=space.model, lane="ingest"
            )
            kept = await compressor.compress(told, space.dimensions)
            work.matrices.update(zip([digest for digest, _ in page], kept, strict=True))

    def _keep(self, key: tuple[Place, str, str], vector: bytes) -> None:
        self._spare_bytes += len(vector) - len(self._spare.pop(key, b""))
        self._spare[key] = vector
        while self._spare and self._spare_bytes > SPARE_BYTES:
            _, oldest = self._spare.popitem(last=False)
            self._spare_bytes -= len(oldest)


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
