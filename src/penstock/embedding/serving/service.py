"""Texts to vectors for everybody in this process: prefixes, lengths, the cache, and the queue before each model.

    length in letters → prefix → cache → tokens → length → queue (`batcher`) → encoder (`ports/encoder`)

Promises
1. One vector a text, in order, of the model named; the same text costs one computation a tenant while it is kept.
2. A text longer than the model reads is refused before the queue, by its place, its tokens and the limit; with
   `truncate` it is cut at that side instead, and the answer says which were. One of more than `CHARS_PER_TOKEN`
   characters for each token read is that before it is tokenized, by its characters.
3. What is wrong with one text is told by its place and touches no other call.
4. `tokens` are the model's own count, its marks included, of what was read: a text from the cache counts as if it had
   been computed, one that was cut counts what is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from penstock.embedding.serving.batcher import LANES, BadText, Batcher
from penstock.embedding.serving.line import LaneBounds
from penstock.embedding.serving.tokens import (
    CHARS_PER_TOKEN,
    TEXT_CHARS_MOST,
    Reading,
    Tokenizing,
    Truncate,
    is_marked,
    marked,
    marks_of,
    readable,
)
from penstock.embedding.serving.vectors_cache import Keys, VectorsCache
from penstock.embedding.serving.window import Ids
from penstock.kernel.clock import Clock
from penstock.kernel.errors import Invalid, NotFound, PenstockError, Unavailable
from penstock.kernel.settings_embedding import BATCHES_MOST, EmbeddingSettings
from penstock.ports.encoder import Encoder, EncoderSpec, Lane, Tokenized

Purpose = Literal["query", "passage"]

PREFIX: Final = "local/"
"""What the gateway's name of a model in this machine begins with; both names are known here."""
TEXTS_PER_TURN: Final = 256
"""Texts looked up before other tasks get their turn."""


class Vectors(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors in the order of the texts, each little-endian float32 of length 1; the tokens they were of; how many came
    from the cache; the places of the texts that were cut.
    """

    vectors: tuple[bytes, ...]
    tokens: int
    cached: int = 0
    truncated: tuple[int, ...] = ()


class Pool:
    """One model: its encoder and what stands before it."""

    def __init__(self, encoder: Encoder, settings: EmbeddingSettings, clock: Clock) -> None:
        """Serve `encoder` within the bounds of `settings`."""
        spec = encoder.spec
        self.encoder = encoder
        self.spec = spec
        self.chars_most = CHARS_PER_TOKEN * spec.max_tokens
        self.keys = Keys(spec)
        self.cache = VectorsCache(settings.cache_bytes)
        self.tokenizing = Tokenizing(encoder)
        self.batcher = Batcher(encoder, _bounds(spec, settings), clock)
        self._marks: tuple[Ids, Ids] | None = None

    async def marks(self) -> tuple[Ids, Ids]:
        """Return what the model puts before and after a text."""
        if self._marks is None:
            self._marks = marks_of((await self.tokenizing.of([""]))[0])
        return self._marks

    async def close(self) -> None:
        """Let everything go."""
        await self.batcher.close()
        await self.encoder.close()


class EmbeddingService:
    """The models in this machine. One per process; it belongs to one event loop. See the promises above."""

    def __init__(self, encoders: Sequence[Encoder], settings: EmbeddingSettings, clock: Clock) -> None:
        """Serve `encoders`; none of them starts before it is needed, or `warm` is called."""
        self._pools = {encoder.spec.name: Pool(encoder, settings, clock) for encoder in encoders}

    @property
    def pools(self) -> Mapping[str, Pool]:
        """Return the models by name, for whoever shows their figures."""
        return self._pools

    def spec(self, model: str) -> EncoderSpec:
        """Return what a model is. Raises NotFound naming those there are."""
        return self._pool(model).spec

    async def warm(self) -> None:
        """Start every process of every model, and have each lane compute something: nobody's first request waits."""
        for pool in self._pools.values():
            await pool.encoder.warm()
            before, after = await pool.marks()
            for lane in LANES:
                await _computed(pool, [before + after], range(1), lane, "")

    async def close(self) -> None:
        """Let everything go. Idempotent."""
        for pool in self._pools.values():
            await pool.close()

    async def embed(
        self,
        texts: Sequence[str],
        *,
        model: str,
        lane: Lane = "query",
        tenant: str,
        purpose: Purpose = "passage",
        truncate: Truncate = "",
    ) -> Vectors:
        """Return the texts' vectors. Raises Invalid, NotFound, Overloaded, Unavailable."""
        pool = self._pool(model)
        texts, was_sliced = readable(texts, pool.chars_most, truncate)
        prefix = pool.spec.query_prefix if purpose == "query" else pool.spec.passage_prefix
        keys = await _keys(pool, texts, tenant, prefix)
        known = {key: kept for key in dict.fromkeys(keys) if (kept := pool.cache.get(key)) is not None}
        cached = sum([key in known for key in keys]) if known else 0
        vectors = {key: kept.vector for key, kept in known.items()}
        lengths = {key: kept.tokens for key, kept in known.items()}
        was_cut: set[int] = set(was_sliced)
        if cached < len(keys):
            places: dict[bytes, int] = {}
            for at, key in enumerate(keys):
                if key not in known:
                    places.setdefault(key, at)
            ats = tuple(places.values())
            reading = Reading(ats, pool.spec.max_tokens, truncate, len(prefix))
            ids = await pool.tokenizing.read(
                [prefix + texts[at] if prefix else texts[at] for at in ats], reading.keep
            )
            computed = await _computed(pool, ids, ats, lane, tenant)
            for (key, at), each, vector in zip(places.items(), ids, computed, strict=True):
                vectors[key], lengths[key] = vector, len(each)
                if at not in reading.cut:
                    pool.cache.put(key, vector, len(each))
            if reading.cut:  # and whichever are the same text
                of_cut = {keys[at] for at in reading.cut}
                was_cut.update([at for at, key in enumerate(keys) if key in of_cut])
        return Vectors(
            vectors=tuple([vectors[key] for key in keys]),
            tokens=sum([lengths[key] for key in keys]),
            cached=cached,
            truncated=tuple(sorted(was_cut)),
        )

    async def embed_tokens(
        self,
        texts: Sequence[Ids],
        *,
        model: str,
        lane: Lane = "query",
        tenant: str,
        truncate: Truncate = "",
    ) -> Vectors:
        """Return the vectors of texts given as the model's own tokens (see `tokenize`), with or without its marks."""
        pool, ats = self._pool(model), range(len(texts))
        marks, most = await pool.marks(), pool.spec.max_tokens
        more = len(marks[0]) + len(marks[1])
        reading = Reading(ats, most, truncate)
        for at, given in enumerate(texts):
            reading.is_over(at, len(given) + (0 if is_marked(given, marks) else more))
        ids = [marked(given, marks, most, truncate) for given in texts]
        _check_known(ids, pool.spec)
        vectors = await _computed(pool, ids, ats, lane, tenant)
        return Vectors(
            vectors=tuple(vectors), tokens=sum(map(len, ids)), truncated=tuple(sorted(reading.cut))
        )

    async def token_vectors(
        self, texts: Sequence[str], *, model: str, lane: Lane = "query", tenant: str, truncate: Truncate = ""
    ) -> tuple[bytes, ...]:
        """Return one matrix a text: a little-endian float32 row of length 1 for each of its tokens, marks included."""
        pool, ats = self._pool(model), range(len(texts))
        texts, _ = readable(texts, pool.chars_most, truncate)
        _check_texts(texts)
        ids = await pool.tokenizing.read(texts, Reading(ats, pool.spec.max_tokens, truncate).keep)
        return tuple(await _computed(pool, ids, ats, lane, tenant, matrices=True))

    async def tokenize(self, texts: Sequence[str], *, model: str) -> Sequence[Tokenized]:
        """Return each text's tokens, whole, and where in the text each stands. Raises Invalid for a text of more than
        `TEXT_CHARS_MOST` characters.
        """
        pool = self._pool(model)
        readable(texts, TEXT_CHARS_MOST, "")
        _check_texts(texts)
        return await pool.tokenizing.of(texts)

    def _pool(self, model: str) -> Pool:
        pool = self._pools.get(model) or self._pools.get(model.removeprefix(PREFIX))
        if pool is not None:
            return pool
        known = ", ".join([PREFIX + name for name in self._pools])
        raise NotFound(
            f"There is no embedding model {model!r} in this machine.",
            code="model_not_found",
            field="model",
            value=model,
            remedy=f"There is: {known}." if known else "Install one with: pip install 'penstock[local]'.",
        )


def _bounds(spec: EncoderSpec, settings: EmbeddingSettings) -> dict[Lane, LaneBounds]:
    def batch(tokens: int) -> int:
        return max(min(tokens, spec.batch_tokens), spec.max_tokens)

    return {
        "query": LaneBounds(
            batch_tokens=batch(settings.query_batch_tokens),
            queue_tokens=settings.query_queue_tokens,
            places=_places(settings.query_batches, spec.query_processes),
        ),
        "ingest": LaneBounds(
            batch_tokens=batch(settings.ingest_batch_tokens),
            queue_tokens=settings.ingest_queue_tokens,
            places=_places(settings.ingest_batches, spec.ingest_processes),
            tokens_per_s=settings.ingest_tokens_per_s,
        ),
    }


def _places(chosen: int, processes: int) -> int:
    """Return how many batches are under way at one time: one is computed by each process, and one comes next."""
    return chosen or min(2 * processes, BATCHES_MOST)


async def _keys(pool: Pool, texts: Sequence[str], tenant: str, prefix: str) -> list[bytes]:
    """Return the texts' keys in the cache. Raises Invalid for what is no text."""
    keys: list[bytes] = []
    start, key = pool.keys.start(tenant, prefix), pool.keys.key
    for at, text in enumerate(texts):
        if at % TEXTS_PER_TURN == TEXTS_PER_TURN - 1:
            await asyncio.sleep(0)
        try:
            keys.append(key(start, text))
        except UnicodeEncodeError as error:
            raise _no_text(at, error) from None
    return keys


def _check_texts(texts: Sequence[str]) -> None:
    for at, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise _no_text(at, error) from None


def _no_text(at: int, error: UnicodeEncodeError) -> Invalid:
    return Invalid(
        f"input[{at}] is no text: half of a surrogate pair stands alone at character {error.start}.",
        code="invalid_text",
        field=f"input[{at}]",
        remedy="Send valid Unicode.",
    )


def _check_known(texts: Sequence[Ids], spec: EncoderSpec) -> None:
    """Refuse tokens that are not of this model: numbers of another model's mean nothing here."""
    if not spec.vocabulary:
        return
    for at, ids in enumerate(texts):
        if ids and (max(ids) >= spec.vocabulary or min(ids) < 0):
            stranger = max(ids) if min(ids) >= 0 else min(ids)
            raise Invalid(
                f"input[{at}] holds a number that is no token of {spec.name}.",
                code="invalid_tokens",
                field=f"input[{at}]",
                value=stranger,
                limit=spec.vocabulary - 1,
                remedy="Send the text, or the tokens that POST /v1/tokenize gives for it.",
            )


async def _computed(
    pool: Pool, ids: Sequence[Ids], ats: Sequence[int], lane: Lane, tenant: str, *, matrices: bool = False
) -> list[bytes]:
    """Compute; a text that cannot be is told by its place, `ats` being the texts' places in the call."""
    if not ids:
        return []
    try:
        return await pool.batcher.compute(ids, lane=lane, tenant=tenant, matrices=matrices)
    except BadText as bad:
        why, place = bad.why, f"input[{ats[bad.at]}]"
        message = why.message if isinstance(why, PenstockError) else type(why).__name__
        if isinstance(why, Invalid):
            raise Invalid(f"{place} cannot be computed: {message}", code=why.reason, field=place) from why
        wait_s = why.retry_after_s if isinstance(why, PenstockError) else None
        raise Unavailable(
            f"{place} was not computed: {message}", field=place, retry_after_s=wait_s or 1.0
        ) from why
