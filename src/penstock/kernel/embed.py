"""The values of the three calls beside chat: embeddings, reranking and moderation.

Promise: as in `kernel.chat`, what a dialect says beyond these fields is kept in `extras` (raw JSON by name). A vector
is little-endian float32, four bytes a dimension, as models compute and stores keep it.
"""

from __future__ import annotations

import msgspec

from penstock.kernel.chat import Extras, Image, Text


class EmbedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to embed, one vector an input: `texts`, or `parted` texts (several pieces that make one vector), or `tokens`
    (the numbers of each input's tokens). Exactly one of the three has inputs.

    `dialect` is "openai" or "gemini", in whose words `extras` (of the request) and `each` (of every input for itself;
    () when none says anything) are. `encoding` is how the caller wants the vectors: "float" or "base64". `dimensions`
    None: the model's own.
    """

    model: str
    dialect: str = "openai"
    texts: tuple[str, ...] = ()
    parted: tuple[tuple[str, ...], ...] = ()
    tokens: tuple[tuple[int, ...], ...] = ()
    dimensions: int | None = None
    encoding: str = "float"
    user: str = ""
    each: tuple[Extras, ...] = ()
    extras: Extras = {}

    @property
    def inputs(self) -> int:
        """Return how many vectors are asked for."""
        return len(self.texts or self.parted or self.tokens)


class EmbedReply(msgspec.Struct, frozen=True, kw_only=True):
    """One vector an input, in the order of the inputs; `input_tokens` is None when the vendor did not say. `extras` are
    in the words of `dialect`.

    `dtype` is what the vectors' bytes are: "float" (float32), "float16", "int8" (`scales` says what each vector's
    numbers are multiplied by), "binary" or "ubinary" (a bit a dimension, eight to a signed or unsigned byte).
    `truncated` are the places of inputs that were cut because they were too long.
    """

    model: str
    dialect: str = "openai"
    vectors: tuple[bytes, ...]
    input_tokens: int | None = None
    dtype: str = "float"
    scales: tuple[float, ...] = ()
    truncated: tuple[int, ...] = ()
    extras: Extras = {}


class RerankRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Documents to order by how well they answer `query`. `dialect` is "cohere" or "tei", in whose words `extras` are.

    `top_n` None: all of them. `raw_scores`: the model's own figures instead of 0 to 1. `truncate`: cut documents that
    are too long rather than refuse them, at `document_tokens` when that is given.
    """

    model: str
    query: str
    documents: tuple[str, ...]
    dialect: str = "cohere"
    top_n: int | None = None
    document_tokens: int | None = None
    return_documents: bool = False
    raw_scores: bool = False
    truncate: bool = True
    extras: Extras = {}


class Ranked(msgspec.Struct, frozen=True):
    """The document at `index` of the request and its score."""

    index: int
    score: float
    extras: Extras = {}


class RerankReply(msgspec.Struct, frozen=True, kw_only=True):
    """Documents, best first. `search_units` is what Cohere bills; None where the vendor did not say. `truncated` are
    the request's texts that were cut because they were too long, as its caller names them: "query", "documents[3]".
    """

    results: tuple[Ranked, ...]
    id: str = ""
    input_tokens: int | None = None
    search_units: int | None = None
    truncated: tuple[str, ...] = ()
    extras: Extras = {}


class ModerationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to judge: one verdict an input. An input is a tuple of texts and pictures that belong together.

    `model` is "" when the caller leaves the choice to the vendor.
    """

    inputs: tuple[tuple[Text | Image, ...], ...]
    model: str = ""
    extras: Extras = {}


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """By category: whether it applies, how much (0 to 1), and to which kinds of input ("text", "image")."""

    flagged: bool
    categories: dict[str, bool]
    scores: dict[str, float]
    applied: dict[str, tuple[str, ...]] = {}
    extras: Extras = {}


class ModerationReply(msgspec.Struct, frozen=True, kw_only=True):
    """One verdict an input, in the order of the inputs."""

    id: str
    model: str
    results: tuple[Verdict, ...]
    extras: Extras = {}
