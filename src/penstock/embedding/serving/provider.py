"""The provider `local`: the models in this machine as the gateway's routes see them, beside what quotes (`extractive`).

    {"model": "local/all-MiniLM-L6-v2", "input": …, "encoding_format", "dimensions",   as OpenAI's
     "truncate": "none|start|end", "input_type": "query|document", "output_dtype": "float|float16|int8|binary|ubinary"}

Promises: as `ports/providers`; what a caller says that means nothing here is refused by its name; a refusal tells its
field, value, limit and remedy, and nothing was computed for it; a full queue is "rate_limited" with its seconds, so
that it is never taken for an outage; nothing here is tried twice on the same model (`batcher` has done so),
another target of the route may be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar, cast

import msgspec

from penstock.embedding.serving.outputs import PACKERS, OutputType, shortened
from penstock.embedding.serving.service import PREFIX, EmbeddingService, Purpose, Vectors
from penstock.embedding.serving.tokens import Truncate
from penstock.kernel.chat import Extras
from penstock.kernel.embed import EmbedReply, EmbedRequest, Ranked, RerankReply, RerankRequest
from penstock.kernel.errors import Invalid, NotFound, Overloaded, PenstockError, Rejected
from penstock.ports.encoder import EncoderSpec, Lane
from penstock.ports.providers import (
    ChatCall,
    ChatProvider,
    ChatReplyStream,
    EmbedCall,
    ListsModels,
    ProviderFailure,
    RerankCall,
)

T = TypeVar("T")
_TRUNCATE: Final[dict[str, Truncate]] = {"none": "", "start": "start", "end": "end"}
_PURPOSE: Final[dict[str, Purpose]] = {
    # as Voyage, Cohere and NVIDIA call them
    "query": "query",
    "search_query": "query",
    "document": "passage",
    "search_document": "passage",
    "passage": "passage",
}
_TYPES: Final[dict[str, OutputType]] = {name: name for name in PACKERS}
MEMBERS: Final[Mapping[str, Mapping[str, str]]] = {
    "truncate": cast("Mapping[str, str]", _TRUNCATE),
    "input_type": cast("Mapping[str, str]", _PURPOSE),
    "output_dtype": cast("Mapping[str, str]", _TYPES),
}
"""What a caller may say beside OpenAI's members, and what each word means."""
PER_TURN: Final = 64
"""Vectors written in another type before other tasks get their turn."""


class Reranked(msgspec.Struct, frozen=True):
    """A score for each document, in their order, the tokens that were read, and the texts that were cut, by name."""

    scores: Sequence[float]
    tokens: int
    truncated: tuple[str, ...] = ()


class Reranker(Protocol):
    """Orders documents with a model in this machine (`embedding/search/late_interaction`)."""

    async def rerank(self, request: RerankRequest, *, lane: Lane, tenant: str) -> Reranked:
        """Return how well each document answers the query. Raises PenstockError."""
        ...


class LocalModels:
    """A `ChatProvider` that also lists, embeds and reranks. One per configured provider of kind `local`."""

    dialect = "openai"
    rerank_dialects = ("cohere", "tei")

    def __init__(
        self,
        chats: ChatProvider,
        service: EmbeddingService,
        *,
        reranker: Reranker | None = None,
        shorter: Mapping[str, Sequence[int]] | None = None,
        missing: Mapping[str, str] | None = None,
    ) -> None:
        """Let `chats` chat and `service` embed. `shorter` are the lengths that a model's vectors may be cut to;
        `missing` says of a model that is not here what would bring it.
        """
        self.name = chats.name
        self.vendor = chats.vendor
        self.limit_name = chats.limit_name
        self.missing = dict(missing or {})
        self.chats = chats
        self._service = service
        self._reranker = reranker
        self._shorter = shorter or {}

    @property
    def encoders(self) -> tuple[str, ...]:
        """The models in this machine that make vectors."""
        return tuple([PREFIX + name for name in self._service.pools])

    async def models(self) -> Sequence[str]:
        """Return the models of both."""
        chats = await cast("ListsModels", self.chats).models()
        return [*chats, *self.encoders]

    def able(self, model: str, ability: str) -> bool:
        """Tell whether a model has an ability."""
        is_encoder = model.removeprefix(PREFIX) in self._service.pools
        if ability == "rerank":
            return is_encoder and self._reranker is not None
        return is_encoder == (ability == "embed")

    async def chat(self, call: ChatCall) -> ChatReplyStream:
        """Have it answered by what can. Raises ProviderFailure."""
        if self.able(call.model, "chat"):
            return await self.chats.chat(call)
        raise _failure(
            Invalid(
                f"{call.model} makes vectors and cannot chat.",
                field="model",
                value=call.model,
                remedy="Ask POST /v1/embeddings for its vectors, or choose another model.",
            )
        )

    async def embed(self, call: EmbedCall) -> EmbedReply:
        """Return the vectors. Raises ProviderFailure."""
        try:
            async with asyncio.timeout(call.timers.total_s):
                return await self._embed(call)
        except PenstockError as error:
            raise _failure(error) from error
        except TimeoutError:
            raise _failure(None) from None

    async def rerank(self, call: RerankCall) -> RerankReply:
        """Return the documents' order, best first. Raises ProviderFailure."""
        request = call.request
        try:
            if self._reranker is None:
                raise Invalid("Nothing in this machine reranks.", field="model", value=request.model)
            _refuse_unknown(request.extras, {})
            async with asyncio.timeout(call.timers.total_s):
                ranked = await self._reranker.rerank(request, lane=call.lane, tenant=call.tenant)
        except PenstockError as error:
            raise _failure(error) from error
        except TimeoutError:
            raise _failure(None) from None
        best = sorted(enumerate(ranked.scores), key=lambda each: -each[1])[: request.top_n]
        return RerankReply(
            results=tuple([Ranked(index, score) for index, score in best]),
            input_tokens=ranked.tokens,
            truncated=ranked.truncated,
        )

    async def close(self) -> None:
        """Let the chats go; the service is its owner's."""
        await self.chats.close()

    # ------------------------------------------------------------------------------------------------------ vectors

    async def _embed(self, call: EmbedCall) -> EmbedReply:
        request = call.request
        spec = self._service.spec(request.model)
        said = _said(request.extras)
        cut = self._dimensions(request, spec)
        got = await self._computed(call, said)
        vectors: Sequence[bytes] = got.vectors
        if cut:
            vectors = await _each(vectors, lambda vector: shortened(vector, cut))
        dtype = cast("OutputType", said.get("output_dtype", "float"))
        scales: tuple[float, ...] = ()
        if dtype != "float":
            packed = await _each(vectors, PACKERS[dtype])
            vectors = [each.data for each in packed]
            scales = tuple([each.scale for each in packed if each.scale is not None])
        return EmbedReply(
            model=request.model,
            vectors=tuple(vectors),
            input_tokens=got.tokens,
            dtype=dtype,
            scales=scales,
            truncated=got.truncated,
        )

    async def _computed(self, call: EmbedCall, said: Mapping[str, str]) -> Vectors:
        request = call.request
        truncate = cast("Truncate", said.get("truncate", ""))
        if request.tokens:
            return await self._service.embed_tokens(
                request.tokens, model=request.model, lane=call.lane, tenant=call.tenant, truncate=truncate
            )
        return await self._service.embed(
            request.texts,
            model=request.model,
            lane=call.lane,
            tenant=call.tenant,
            purpose=cast("Purpose", said.get("input_type", "passage")),
            truncate=truncate,
        )

    def _dimensions(self, request: EmbedRequest, spec: EncoderSpec) -> int:
        """Return how many dimensions to cut to, 0 for none. Raises Invalid for what the model was not trained for."""
        asked = request.dimensions
        if asked is None or asked == spec.dimensions:
            return 0
        may_be = self._shorter.get(spec.name) or self._shorter.get(PREFIX + spec.name) or ()
        if asked in may_be and asked < spec.dimensions:
            return asked
        raise Invalid(
            f"The vectors of {spec.name} have {spec.dimensions} dimensions: it was not trained to be cut to {asked}.",
            code="dimensions_not_supported",
            field="dimensions",
            value=asked,
            limit=", ".join(map(str, (*sorted(may_be), spec.dimensions))),
            remedy="Leave dimensions out. For fewer bytes output_dtype float16 and int8 lose nothing; cutting loses "
            "1 to 5 % of nDCG at two thirds of the dimensions and 8 to 10 % at one third (measured).",
        )


def _said(extras: Extras) -> dict[str, str]:
    """Return what the members beside OpenAI's mean. Raises Invalid."""
    _refuse_unknown(extras, MEMBERS)
    said: dict[str, str] = {}
    for name, raw in extras.items():
        word: Any = msgspec.json.decode(raw)
        meaning = MEMBERS[name].get(word.lower()) if isinstance(word, str) else None
        if meaning is None and word is not None:
            raise Invalid(
                f"{name} cannot be that.", field=name, value=str(word)[:64], limit=", ".join(MEMBERS[name])
            )
        if meaning is not None:
            said[name] = meaning
    return said


def _refuse_unknown(extras: Extras, known: Mapping[str, object]) -> None:
    for name in extras:
        if name not in known:
            raise Invalid(
                "The models in this machine know nothing of this member.",
                code="unknown_member",
                field=name,
                remedy="Leave it out." + (f" Known are {', '.join(known)}." if known else ""),
            )


async def _each(vectors: Sequence[bytes], write: Callable[[bytes], T]) -> list[T]:
    """Write every vector, letting others have their turn."""
    written: list[T] = []
    for at in range(0, len(vectors), PER_TURN):
        if at:
            await asyncio.sleep(0)
        written += [write(vector) for vector in vectors[at : at + PER_TURN]]
    return written


def _failure(error: PenstockError | None) -> ProviderFailure:
    """Return the failure a vendor's refusal would have been; nothing is owed for it. None: time ran out."""
    if error is None:
        return ProviderFailure("The vectors took too long.", kind="total_timeout", dispatched=False)
    failure = ProviderFailure(
        error.message,
        kind=_kind(error),
        dispatched=False,
        retry_after_s=error.retry_after_s,
        may_retry=False,
    )
    failure.field, failure.value, failure.limit = error.field, error.value, error.limit
    failure.remedy = error.remedy
    return failure


def _kind(error: PenstockError) -> str:
    if error.reason == "context_length_exceeded":
        return "context_overflow"
    if isinstance(error, NotFound):
        return "not_found"
    if isinstance(error, Rejected):
        return "invalid"
    return "rate_limited" if isinstance(error, Overloaded) else "overloaded"
