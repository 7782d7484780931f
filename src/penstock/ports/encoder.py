"""A model in this machine that turns tokens into vectors: the bare computation, without queue, cache or policy.

Who waits and what goes together is `embedding/serving/batcher`'s; an encoder computes a few batches at a time per lane
(`EncoderSpec.query_processes`), as fast as the machine can, outside of the event loop.

Promises
1. The same tokens give the same vector, whatever shares their batch, to 1e-3 of cosine distance.
2. `encode` returns one vector a text, in order, each of `spec.dimensions` little-endian float32, pooled as the model
   says and of length 1; `encode_tokens` one row a token, in the same space and normalised each for itself.
3. `tokenize` never cuts and never pads: every text's tokens, the model's own marks around them, and for each token
   where in the text it stands (characters, end exclusive; (0, 0) for a mark).
4. The two lanes share no queue: work in "ingest" never makes "query" wait for more than what is computed now, and
   yields the processor to it.
5. A helper that dies fails what it computed with `Unavailable` and is started anew; nothing hangs, nothing is lost in
   silence.
6. `close` is idempotent and leaves no process, task or file behind.
7. After `warm` no batch waits for a helper to start.

Errors: Unavailable; Invalid (an empty batch, more than `spec.batch_tokens` padded tokens, a text over
`spec.max_tokens`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

Lane = Literal["query", "ingest"]


class EncoderSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is. `version` changes with everything that changes its vectors: weights, pooling, precision of the
    computation. `max_tokens` holds the model's marks too. `languages` are ISO 639-1 codes, () for any.
    """

    name: str
    version: str
    dimensions: int
    max_tokens: int
    batch_tokens: int
    precision: str
    pooling: str = "mean"
    languages: tuple[str, ...] = ()
    lowercases: bool = False
    """Whether texts that differ only in case have the same tokens."""
    query_prefix: str = ""
    passage_prefix: str = ""
    vocabulary: int = 0
    """How many tokens it knows: their numbers are below that; 0 where that is not known."""
    query_processes: int = 1
    ingest_processes: int = 1
    """Batches of either lane that it computes at one time."""


class Tokenized(msgspec.Struct, frozen=True, gc=False):
    """A text in tokens."""

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


class Encoder(Protocol):
    """A model in this machine. See the promises above."""

    spec: EncoderSpec

    async def tokenize(self, texts: Sequence[str]) -> Sequence[Tokenized]:
        """Return each text's tokens, marks included."""
        ...

    async def encode(self, batch: Sequence[Sequence[int]], lane: Lane) -> Sequence[bytes]:
        """Return one vector a text of one batch, given as tokens with marks."""
        ...

    async def encode_tokens(self, batch: Sequence[Sequence[int]], lane: Lane) -> Sequence[bytes]:
        """Return one matrix a text: `len(tokens)` rows of `spec.dimensions`, little-endian float32."""
        ...

    async def warm(self) -> None:
        """Start every helper. Raises Unavailable for one that does not start."""
        ...

    async def close(self) -> None:
        """Let everything go."""
        ...
