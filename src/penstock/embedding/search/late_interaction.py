"""Late interaction: a question and a passage compared token by token, with vectors their own model makes anyway.

    score = mean over the question's tokens of the greatest cosine with any token of the passage

This is MaxSim (Khattab and Zaharia, ColBERT, SIGIR 2020), as a mean so that long questions score as short ones do. The
marks around a text (its first and last token) take no part. Passages' token vectors are kept as one bit a number
(48 bytes a token at 384 numbers instead of 1,536; `docs/retrieval.md` has what that costs), the question's stay whole.
The arithmetic over matrices is an adapter's, `Matcher`.

Promises: the same text of the same model has the same score; matrices that were made for a question are kept for the
next, within `KEPT_BYTES`, by the text's digest and the space.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

from penstock.embedding.search.calibration import Seen, shipped
from penstock.embedding.serving.provider import Reranked
from penstock.embedding.serving.service import EmbeddingService
from penstock.embedding.serving.tokens import Truncate
from penstock.kernel.errors import Invalid
from penstock.ports.encoder import Lane

PLACE: Final = re.compile(r"input\[(\d+)\]")
KEPT_BYTES: Final = 32 << 20
FLOAT_BYTES: Final = 4
TEXTS_PER_CALL: Final = 64


class Matcher(Protocol):
    """Compares matrices of token vectors, each little-endian float32, a row a token with its model's marks around.

    Raises Unavailable; Invalid for bytes that are no such matrix.
    """

    async def compress(self, matrices: Sequence[bytes], dimensions: int) -> tuple[bytes, ...]:
        """Return each matrix small enough to be kept: one bit a number, without the marks."""
        ...

    async def match(self, question: bytes, passages: Sequence[bytes], dimensions: int) -> tuple[float, ...]:
        """Return the mean MaxSim of a question's matrix with each compressed passage; 0 where either has no tokens."""
        ...

    async def close(self) -> None:
        """Let everything go."""
        ...


Matrices = Callable[[Sequence[str]], Awaitable[tuple[bytes, ...]]]
"""Makes texts' token vectors."""


class LateInteraction:
    """Compares questions with passages. One per process."""

    def __init__(self, matcher: Matcher, *, kept_bytes: int = KEPT_BYTES) -> None:
        """Compare with `matcher`; keep up to `kept_bytes` of compressed matrices."""
        self._matcher = matcher
        self._kept_most = kept_bytes
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self.kept_bytes = 0
        self.hits = 0
        self.misses = 0

    async def compress(self, matrices: Sequence[bytes], dimensions: int) -> tuple[bytes, ...]:
        """Return matrices as `Chunk.tokens` keeps them."""
        return await self._matcher.compress(matrices, dimensions)

    def known(self, space: str, digest: str) -> bytes | None:
        """Return a text's compressed matrix, if it is kept here."""
        kept = self._kept.get((space, digest))
        if kept is None:
            self.misses += 1
            return None
        self.hits += 1
        self._kept.move_to_end((space, digest))
        return kept

    async def scores(
        self,
        question: str,
        passages: Mapping[str, bytes],
        texts: Mapping[str, str],
        *,
        space: str,
        dimensions: int,
        matrices: Matrices,
    ) -> dict[str, float]:
        """Return the score of every passage by its digest: of those whose matrices are given, and of those whose texts
        are, for which `matrices` is asked together with the question.
        """
        digests = list(texts)
        made = await matrices([question, *texts.values()])
        packed = await self._matcher.compress(made[1:], dimensions) if digests else ()
        for digest, each in zip(digests, packed, strict=True):
            self._keep(space, digest, each)
        every = {**passages, **dict(zip(digests, packed, strict=True))}
        found = await self._matcher.match(made[0], list(every.values()), dimensions)
        return dict(zip(every, found, strict=True))

    def _keep(self, space: str, digest: str, packed: bytes) -> None:
        before = self._kept.pop((space, digest), b"")
        self._kept[space, digest] = packed
        self.kept_bytes += len(packed) - len(before)
        while self.kept_bytes > self._kept_most:
            _, oldest = self._kept.popitem(last=False)
            self.kept_bytes -= len(oldest)


class LocalReranker:
    """`/v1/rerank` by a model in this machine (`provider.Reranker`)."""

    def __init__(self, service: EmbeddingService, matcher: Matcher) -> None:
        """Make token vectors with `service`, compare them with `matcher`."""
        self._service = service
        self._matcher = matcher

    async def rerank(
        self, query: str, documents: Sequence[str], *, model: str, lane: Lane, tenant: str, truncate: bool
    ) -> Reranked:
        """Return how well each document answers `query`: relevance where the model is calibrated, else mean MaxSim.

        Raises PenstockError; Invalid tells a text by its place, the query as `query`.
        """
        dimensions = self._service.spec(model).dimensions
        side: Truncate = "end" if truncate else ""
        make = partial(self._service.token_vectors, model=model, lane=lane, tenant=tenant, truncate=side)
        question = (await _placed(make([query]), ("query",)))[0]
        row = dimensions * FLOAT_BYTES
        tokens, scores = len(question) // row, list[float]()
        for first in range(0, len(documents), TEXTS_PER_CALL):
            page = documents[first : first + TEXTS_PER_CALL]
            names = [f"documents[{first + at}]" for at in range(len(page))]
            matrices = await _placed(make(page), names)
            tokens += sum([len(each) // row for each in matrices])
            packed = await self._matcher.compress(matrices, dimensions)
            scores += await self._matcher.match(question, packed, dimensions)
        calibration = shipped(model)
        if calibration is not None:
            scores = [calibration.tokens.relevance(Seen(0.0, 0.0, score)) for score in scores]
        return Reranked(scores, tokens)


async def _placed(made: Awaitable[tuple[bytes, ...]], names: Sequence[str]) -> tuple[bytes, ...]:
    """Return what is made. A text that is refused is told by its name instead of by its place in the call."""
    try:
        return await made
    except Invalid as error:
        place = PLACE.fullmatch(error.field or "")
        if place is None:
            raise
        name = names[int(place[1])]
        raise Invalid(
            error.message.replace(place[0], name, 1),
            code=error.reason,
            field=name,
            value=error.value,
            limit=error.limit,
            remedy=error.remedy,
        ) from error
