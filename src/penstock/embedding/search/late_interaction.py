"""Late interaction: a question and a passage compared token by token, with vectors their own model makes anyway.

    score = mean over the question's tokens of the greatest cosine with any token of the passage

This is MaxSim (Khattab and Zaharia, ColBERT, SIGIR 2020), as a mean so that long questions score as short ones do. The
marks around a text (its first and last token) take no part. Passages' token vectors are kept as one bit a number
(48 bytes a token at 384 numbers instead of 1,536; `docs/retrieval.md` has what that costs), the question's stay whole.
The arithmetic over matrices is an adapter's, `Matcher`.

Promises: the same text of the same model has the same score; matrices that were made for a question are kept for the
next, within `KEPT_BYTES`, by the text's digest, the space and the tenant: what one is told of them tells nothing of
another.
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
from penstock.embedding.serving.tokens import CHARS_PER_TOKEN, TEXT_CHARS_MOST, Truncate
from penstock.kernel.embed import RerankRequest
from penstock.kernel.errors import Invalid
from penstock.ports.encoder import Lane, Tokenized

PLACE: Final = re.compile(r"input\[(\d+)\]")
KEPT_BYTES: Final = 32 << 20
FLOAT_BYTES: Final = 4
TEXTS_PER_CALL: Final = 64
REMEDY: Final = 'Send shorter texts, or "truncate": true to have them cut at their end.'


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
        self._kept: OrderedDict[tuple[str, str, str], bytes] = OrderedDict()
        self.kept_bytes = 0
        self.hits = 0
        self.misses = 0

    async def compress(self, matrices: Sequence[bytes], dimensions: int) -> tuple[bytes, ...]:
        """Return matrices as `Chunk.tokens` keeps them."""
        return await self._matcher.compress(matrices, dimensions)

    def known(self, tenant: str, space: str, digest: str) -> bytes | None:
        """Return a text's compressed matrix, if it was made for this tenant and is kept here."""
        key = (tenant, space, digest)
        kept = self._kept.get(key)
        if kept is None:
            self.misses += 1
            return None
        self.hits += 1
        self._kept.move_to_end(key)
        return kept

    async def scores(
        self,
        question: str,
        passages: Mapping[str, bytes],
        texts: Mapping[str, str],
        *,
        tenant: str,
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
            self._keep((tenant, space, digest), each)
        every = {**passages, **dict(zip(digests, packed, strict=True))}
        found = await self._matcher.match(made[0], list(every.values()), dimensions)
        return dict(zip(every, found, strict=True))

    def _keep(self, key: tuple[str, str, str], packed: bytes) -> None:
        before = self._kept.pop(key, b"")
        self._kept[key] = packed
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

    async def rerank(self, request: RerankRequest, *, lane: Lane, tenant: str) -> Reranked:
        """Return how well each document answers the query: relevance where the model is calibrated and no raw scores
        are asked for, else mean MaxSim.

        Raises PenstockError; Invalid tells a text by its name, as do those that were cut.
        """
        reading = _Reading(self._service, request, lane, tenant)
        [question] = await reading.of([request.query], ["query"])
        member = "texts" if request.dialect == "tei" else "documents"
        scores: list[float] = []
        for first in range(0, len(request.documents), TEXTS_PER_CALL):
            page = request.documents[first : first + TEXTS_PER_CALL]
            names = [f"{member}[{first + at}]" for at in range(len(page))]
            matrices = await reading.of(page, names, request.document_tokens)
            packed = await self._matcher.compress(matrices, reading.dimensions)
            scores += await self._matcher.match(question, packed, reading.dimensions)
        calibration = None if request.raw_scores else shipped(request.model)
        if calibration is not None:
            scores = [calibration.tokens.relevance(Seen(0.0, 0.0, score)) for score in scores]
        return Reranked(scores, reading.tokens, tuple(reading.truncated))


class _Reading:
    """A request's texts as its model reads them: the tokens there were, and the names of the texts that were cut."""

    def __init__(self, service: EmbeddingService, request: RerankRequest, lane: Lane, tenant: str) -> None:
        side: Truncate = "end" if request.truncate else ""
        spec = service.spec(request.model)
        self.dimensions = spec.dimensions
        self.tokens = 0
        self.truncated: list[str] = []
        self._most = spec.max_tokens
        # The service reads as many characters of a text (`Pool.chars_most`), and tokenizes no longer one whole: with a
        # model of more than 1,024 tokens the two differ, and what nobody can count the tokens of is told as cut.
        self._chars = min(CHARS_PER_TOKEN * spec.max_tokens, TEXT_CHARS_MOST)
        self._tokenize = partial(service.tokenize, model=request.model)
        self._make = partial(
            service.token_vectors, model=request.model, lane=lane, tenant=tenant, truncate=side
        )

    async def of(
        self, texts: Sequence[str], names: Sequence[str], most: int | None = None
    ) -> tuple[bytes, ...]:
        """Return the texts' matrices, each of at most `most` tokens beside the marks. Raises PenstockError."""
        read = texts if most is None or most >= self._most else await self._shortened(texts, most)
        matrices = await _placed(self._make(read), names)
        lengths = [len(each) // (self.dimensions * FLOAT_BYTES) for each in matrices]
        self.tokens += sum(lengths)
        cut = {at for at, text in enumerate(read) if len(text) > self._chars or text is not texts[at]}
        # Of the others only what fills the model may have been cut by it; most texts need no second look.
        full = [at for at, length in enumerate(lengths) if length >= self._most and at not in cut]
        found = await self._tokenize([read[at] for at in full]) if full else ()
        cut |= {at for at, each in zip(full, found, strict=True) if len(each.ids) > self._most}
        self.truncated += [names[at] for at in sorted(cut)]
        return matrices

    async def _shortened(self, texts: Sequence[str], most: int) -> list[str]:
        """Return the texts, those of more than `most` tokens as far as the last of these stands."""
        found = await self._tokenize([text[: self._chars] for text in texts])
        return [_first(text, each, most) for text, each in zip(texts, found, strict=True)]


def _first(text: str, read: Tokenized, most: int) -> str:
    """Return a text up to the end of its `most`-th token; itself where it has no more."""
    ends = [end for _, end in read.spans if end]  # a mark stands nowhere in the text
    return text[: ends[most - 1]] if len(ends) > most else text


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
            remedy=REMEDY if error.reason == "context_length_exceeded" else error.remedy,
        ) from error
