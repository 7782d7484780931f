"""How well a search finds, on documents and questions somebody judged: each way alone, fused, reranked; each precision.

    {"document": "a1", "text": "…", "title": "…"}           one line a document
    {"question": "…", "relevant": ["a1"]}                   one line a question; `relevant` may be left out

Documents go through what an ingest puts them through (parser, chunker, model, index) and questions through the search
itself; a document stands where its best passage does.

Promises: figures are over every question given; a reader of them is told how many there were.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from penstock.embedding.catalog.collections import CollectionDoc
from penstock.embedding.catalog.embedder import Embedder, Space
from penstock.embedding.ingest.chunking import chunked
from penstock.embedding.search.calibration import Sample, Seen
from penstock.embedding.search.late_interaction import LateInteraction
from penstock.embedding.search.rerank import LATE, NONE, dot
from penstock.embedding.search.search import Searcher
from penstock.embedding.search.search_wire import Answer, SearchAsk
from penstock.embedding.serving.outputs import PACKERS, numbers_of
from penstock.kernel.context import Principal
from penstock.kernel.errors import Invalid
from penstock.ports.index import Chunk, Document, Index, Precision, Question
from penstock.ports.parsers import Parser

FIRST: Final = 10
DEEP: Final = 200
SHOWN: Final = 100
RESCORED: Final = 100
TOKENS: Final = 256
OVERLAP_PERCENT: Final = 10
TEXTS_PER_CALL: Final = 64
DOCUMENTS_PER_PUT: Final = 96
AT_ONCE: Final = 32
NOBODY: Final = Principal(key_id="", org="", team="", project="", user="")

VECTOR, WORDS, RANKS, HYBRID, RERANKED = "vector", "BM25", "ranks fused", "hybrid", "hybrid + rerank"
WAYS: Final = (VECTOR, WORDS, RANKS, HYBRID, RERANKED)


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """A document of a judged set."""

    id: Annotated[str, Meta(min_length=1)] = msgspec.field(name="document")
    text: str
    title: str = ""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A question of a judged set, and the documents that answer it."""

    question: Annotated[str, Meta(min_length=1)]
    relevant: frozenset[str] = frozenset()


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A judged set."""

    documents: tuple[Passage, ...]
    questions: tuple[Asked, ...]

    @property
    def is_labelled(self) -> bool:
        """Tell whether every question says what answers it."""
        return all(each.relevant for each in self.questions)


_PASSAGE: Final = msgspec.json.Decoder(Passage)
_ASKED: Final = msgspec.json.Decoder(Asked)


def read_judged(lines: Iterable[bytes]) -> Judged:
    """Read a judged set. Raises Invalid naming the line that is neither a document nor a question."""
    documents: list[Passage] = []
    questions: list[Asked] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            if b'"question"' in line[:200]:
                questions.append(_ASKED.decode(line))
            else:
                documents.append(_PASSAGE.decode(line))
        except msgspec.MsgspecError as error:
            raise Invalid(
                f"Line {number} is no document and no question: {error}",
                field=f"line {number}",
                value=line[:80].decode(errors="replace"),
                remedy='Write {"document": id, "text": …} or {"question": …, "relevant": [ids]}.',
            ) from None
    if not documents or not questions:
        raise Invalid(
            "There is nothing to measure.",
            field="lines",
            value=f"{len(documents)} documents, {len(questions)} questions",
            remedy="Give at least one document and one question.",
        )
    return Judged(documents=tuple(documents), questions=tuple(questions))


# ------------------------------------------------------------------------------------------------------------ measures


class Measures(msgspec.Struct, frozen=True, kw_only=True):
    """Means over questions, each in [0, 1]."""

    ndcg_10: float
    mrr: float
    recall_3: float
    recall_10: float


def measured(rankings: Sequence[Sequence[str]], relevant: Sequence[frozenset[str]]) -> Measures:
    """Measure rankings of documents, best first, against what is relevant."""
    rows = [_measured(ranking, wanted) for ranking, wanted in zip(rankings, relevant, strict=True)]
    means = [round(math.fsum(column) / max(len(rows), 1), 4) for column in zip(*rows, strict=True)]
    return Measures(ndcg_10=means[0], mrr=means[1], recall_3=means[2], recall_10=means[3])


def _measured(ranking: Sequence[str], wanted: frozenset[str]) -> tuple[float, float, float, float]:
    gain = math.fsum([1 / math.log2(at + 2) for at, each in enumerate(ranking[:FIRST]) if each in wanted])
    ideal = math.fsum([1 / math.log2(at + 2) for at in range(min(FIRST, len(wanted)))])
    first = next((1 / (at + 1) for at, each in enumerate(ranking) if each in wanted), 0.0)
    return (
        gain / ideal,
        first,
        len(wanted.intersection(ranking[:3])) / len(wanted),
        len(wanted.intersection(ranking[:FIRST])) / len(wanted),
    )


def agreement(rankings: Sequence[Sequence[str]], exact: Sequence[Sequence[str]]) -> float:
    """Return the mean share of the exact first ten that are among the first ten."""
    shares = [
        len(set(one[:FIRST]) & set(other[:FIRST])) / min(FIRST, len(other))
        for one, other in zip(rankings, exact, strict=True)
        if other
    ]
    return round(math.fsum(shares) / max(len(shares), 1), 4)


# ----------------------------------------------------------------------------------------------------------------- lab


@dataclass(slots=True)
class Shelf:
    """A judged set's documents in an index: one collection, its vectors in one precision."""

    collection: CollectionDoc
    chunks: int = 0
    tokens_bytes: int = 0
    vectors: dict[tuple[str, int], bytes] = field(default_factory=dict[tuple[str, int], bytes])
    """As computed, in float32."""


class Lab:
    """Fills collections with judged sets and searches them, as nobody."""

    def __init__(
        self, index: Index, parser: Parser, embedder: Embedder, late: LateInteraction, searcher: Searcher
    ) -> None:
        """Work with what a platform works with."""
        self._index = index
        self._parser = parser
        self._embedder = embedder
        self._late = late
        self._searcher = searcher

    async def fill(
        self,
        name: str,
        model: str,
        documents: Sequence[Passage],
        *,
        precision: Precision = "fp16",
        keep: bool = False,
    ) -> Shelf:
        """Put documents into a new collection; `keep` keeps their token vectors too."""
        space = self._embedder.space(model)
        shelf = Shelf(
            CollectionDoc(
                uid=name, name=name, org="lab", owner="lab", key_id="", created_s=0.0, space=space.name
            )
        )
        for first in range(0, len(documents), DOCUMENTS_PER_PUT):
            page = documents[first : first + DOCUMENTS_PER_PUT]
            rows: list[Document] = []
            for at in range(0, len(page), AT_ONCE):
                some = page[at : at + AT_ONCE]
                rows += await asyncio.gather(*[self._row(each, space, shelf, keep=keep) for each in some])
            await self._index.put(shelf.collection.place, space.name, rows, precision=precision)
        return shelf

    async def _row(self, passage: Passage, space: Space, shelf: Shelf, *, keep: bool) -> Document:
        text = f"{passage.title}\n\n{passage.text}" if passage.title else passage.text
        parsed = await self._parser.parse(text.encode(), "text/plain")
        pieces = await chunked(
            parsed.blocks,
            partial(self._embedder.tokenize, model=space.model),
            tokens=min(TOKENS, space.max_tokens),
            most=space.max_tokens,
            overlap_percent=OVERLAP_PERCENT,
        )
        texts = [piece.text for piece in pieces]
        vectors: list[bytes] = []
        kept: list[bytes] = []
        for first in range(0, len(texts), TEXTS_PER_CALL):
            page = texts[first : first + TEXTS_PER_CALL]
            told = await self._embedder.embed(
                NOBODY, page, model=space.model, lane="ingest", purpose="passage"
            )
            vectors += told.vectors
            if keep:
                made = await self._embedder.token_vectors(NOBODY, page, model=space.model, lane="ingest")
                kept += await self._late.compress(made, space.dimensions)
        chunks = [
            Chunk(position=piece.position, digest=piece.digest, text=piece.text, vector=vector, tokens=tokens)
            for piece, vector, tokens in zip(pieces, vectors, kept or [b""] * len(pieces), strict=True)
        ]
        for chunk in chunks:
            shelf.vectors[passage.id, chunk.position] = chunk.vector
            shelf.tokens_bytes += len(chunk.tokens)
        shelf.chunks += len(chunks)
        return Document(id=passage.id, version="1", chunks=tuple(chunks), title=passage.title)

    # --------------------------------------------------------------------------------------------------------- asking

    async def ways(self, shelf: Shelf, questions: Sequence[Asked]) -> dict[str, list[list[str]]]:
        """Return every question's documents, best first, by each of `WAYS`."""
        found: dict[str, list[list[str]]] = {way: [] for way in WAYS}
        for asked in questions:
            plain = await self._asked(shelf, asked.question, NONE)
            late = await self._asked(shelf, asked.question, LATE)
            found[VECTOR].append(await self.nearest(shelf, asked.question))
            found[WORDS].append(await self._by_words(shelf, asked.question))
            found[RANKS].append(_by_ranks(plain))
            found[HYBRID].append(_documents([each.document for each in plain.results]))
            found[RERANKED].append(_documents([each.document for each in late.results]))
        return found

    async def judged_passages(self, shelf: Shelf, questions: Sequence[Asked], by: str) -> list[Sample]:
        """Return every candidate of every question with its evidence and whether its document is relevant."""
        samples: list[Sample] = []
        for asked in questions:
            for each in (await self._asked(shelf, asked.question, by)).results:
                scores = each.scores
                if scores is not msgspec.UNSET and (by == NONE or scores.late is not None):
                    seen = Seen(scores.cosine or 0.0, scores.words, scores.late)
                    samples.append(Sample(seen, each.document in asked.relevant, 1 / len(questions)))
        return samples

    async def _asked(self, shelf: Shelf, question: str, by: str) -> Answer:
        ask = SearchAsk(query=question, k=50, candidates=50, rerank=by, explain=True)
        return await self._searcher.search(NOBODY, shelf.collection, ask)

    async def nearest(self, shelf: Shelf, question: str, *, exact: bool = False) -> list[str]:
        """Return the documents nearest by meaning alone, as the index finds them."""
        found = await self._index.search(
            shelf.collection.place,
            shelf.collection.space,
            Question(vector=await self._vector(shelf, question), limit=SHOWN, tokens=False, exact=exact),
        )
        return _documents([hit.document for hit in found.dense])

    async def _by_words(self, shelf: Shelf, question: str) -> list[str]:
        asked = Question(words=question, language="en", limit=SHOWN, tokens=False)
        found = await self._index.search(shelf.collection.place, shelf.collection.space, asked)
        return _documents([hit.document for hit in found.words])

    async def binary(
        self, shelf: Shelf, questions: Sequence[Asked]
    ) -> tuple[list[list[str]], list[list[str]]]:
        """Return what the signs of the vectors find alone (Hamming distance), and rescored with whole vectors."""
        pack = PACKERS["ubinary"]
        signs = {key: int.from_bytes(pack(vector).data) for key, vector in shelf.vectors.items()}
        whole: Mapping[tuple[str, int], Sequence[float]] = {
            key: numbers_of(vector) for key, vector in shelf.vectors.items()
        }
        alone: list[list[str]] = []
        rescored: list[list[str]] = []
        for asked in questions:
            vector = await self._vector(shelf, asked.question)
            sign, numbers = int.from_bytes(pack(vector).data), numbers_of(vector)
            nearest = sorted(signs, key=lambda key, sign=sign: (signs[key] ^ sign).bit_count())[:RESCORED]
            alone.append(_documents([key[0] for key in nearest]))
            nearest.sort(key=lambda key, numbers=numbers: -dot(numbers, whole[key]))
            rescored.append(_documents([key[0] for key in nearest]))
        return alone, rescored

    async def _vector(self, shelf: Shelf, question: str) -> bytes:
        told = await self._embedder.embed(
            NOBODY, (question,), model=shelf.collection.model, lane="query", purpose="query"
        )
        return told.vectors[0]


def _by_ranks(answer: Answer) -> list[str]:
    ranked = sorted(
        [(-each.scores.rrf, each.document) for each in answer.results if each.scores is not msgspec.UNSET],
        key=lambda each: each[0],
    )
    return _documents([document for _, document in ranked])


def _documents(documents: Iterable[str]) -> list[str]:
    """Return documents where their best passage stands."""
    return list(dict.fromkeys(documents))
