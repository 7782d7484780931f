"""The two wires of reranking, both ways: Cohere's v2 and that of text-embeddings-inference (TEI).

    Cohere   {model, query, documents, top_n, max_tokens_per_doc, return_documents} → {id, results: [{index,
             relevance_score, document?}], meta: {billed_units, tokens}}
    TEI      {query, texts, raw_scores, return_text, truncate} → [{index, score, text?}]

Promises: a request with `texts` is TEI's, any other Cohere's. `parse_request(render_request(x, x.dialect)) == x`.
`render_reply` keeps what the request asked for whoever answered: at most `top_n` results, best first, the caller's own
documents told when asked; in Cohere's words also which texts were cut. What a provider's wire cannot be told is refused
by the name its caller wrote. An error is OpenAI's `error`, which most servers of this wire send, beside Cohere's
`message`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Raw
from msgspec.structs import replace

from penstock.dialects import openai
from penstock.dialects.codec import Rendered, untranslatable
from penstock.dialects.members import ANY, FLAG, Members, check_numbers
from penstock.dialects.openai_envelope import MAX_MODEL_CHARS
from penstock.dialects.openai_errors import render_error as openai_error
from penstock.dialects.strict_json import decode_object, shorten
from penstock.kernel.chat import Extras
from penstock.kernel.embed import Ranked, RerankReply, RerankRequest
from penstock.kernel.errors import Invalid, PenstockError, Upstream

Dialect = Literal["cohere", "tei"]

MAX_DOCUMENTS: Final = 10_000
UNIT_DOCUMENTS: Final = 100
"""Documents in one search unit, and"""
UNIT_TOKENS: Final = 500
"""tokens of query and document together that count as one document (Cohere, "How pricing works", 2026-11-21)."""
REMEDIES: Final = {
    "": "See the Cohere reference of rerank (v2) for this member.",
    "model": f"Name a model this server offers (1 to {MAX_MODEL_CHARS} characters); GET /v1/models lists them.",
    "query": "Send the question as a string that is not empty.",
    "documents": f"Send a list of 1 to {MAX_DOCUMENTS} strings.",
    "texts": f"Send a list of 1 to {MAX_DOCUMENTS} strings.",
    "top_n": "Send a whole number of at least 1, or leave it out.",
    "max_tokens_per_doc": "Send a whole number of at least 1, or leave it out.",
    "text": "Give each document a text.",
}
_COUNT: Final = msgspec.json.Decoder(Annotated[int, Meta(ge=1, le=2**31 - 1)])
_MODEL: Final = msgspec.json.Decoder(Annotated[str, Meta(min_length=1, max_length=MAX_MODEL_CHARS)])


# --------------------------------------------------------------------------------------------------- requests


def parse_request(body: bytes) -> RerankRequest:
    """Read a request of either wire. Raises `Invalid`."""
    members = Members(decode_object(body), "", REMEDIES)
    check_numbers(body)
    tei = members.has("texts")
    model = members.take("model", _MODEL, "")
    if not model and not tei:
        raise members.missing("model")
    query = members.need_text("query")
    if not query:
        raise members.wrong("query", "The query is empty.", "", "at least 1 character")
    documents = _documents(members, "texts" if tei else "documents")
    if tei:
        return RerankRequest(
            model=model,
            query=query,
            documents=documents,
            dialect="tei",
            return_documents=members.take("return_text", FLAG, default=False),
            raw_scores=members.take("raw_scores", FLAG, default=False),
            truncate=members.take("truncate", FLAG, default=False),
            extras=members.rest(),
        )
    return RerankRequest(
        model=model,
        query=query,
        documents=documents,
        top_n=members.take_optional("top_n", _COUNT),
        document_tokens=members.take_optional("max_tokens_per_doc", _COUNT),
        return_documents=members.take("return_documents", FLAG, default=False),
        extras=members.rest(),
    )


def _documents(members: Members, name: str) -> tuple[str, ...]:
    items = members.need_items(name, MAX_DOCUMENTS)
    path = members.at(name)
    return tuple(
        [
            Members.of(item, f"{path}[{at}]", REMEDIES).need_text("text")
            if bytes(item)[:1] == b"{"
            else Members({name: item}, "", REMEDIES).need_text(name)
            for at, item in enumerate(items)
        ]
    )


def render_request(request: RerankRequest, dialect: Dialect) -> Rendered:
    """Return the request in one of the wires. Raises `Invalid` (``untranslatable``).

    `top_n` and the documents in the reply are not asked of TEI, nor the latter of Cohere: `render_reply` sees to them.
    """
    if request.dialect == dialect:
        return Rendered(msgspec.json.encode({**_own_members(request), **request.extras}))
    for name, value in request.extras.items():
        raise untranslatable(name, shorten(bytes(value).decode("utf-8", "replace")), dialect)
    if request.raw_scores:
        raise untranslatable("raw_scores", "true", dialect, "Take the scores from 0 to 1.")
    if request.document_tokens is not None:
        raise untranslatable("max_tokens_per_doc", request.document_tokens, dialect)
    if dialect == "tei":
        wire: dict[str, Any] = {"query": request.query, "texts": request.documents, "truncate": True}
        return Rendered(msgspec.json.encode(wire))
    if not request.truncate:
        remedy = "Set truncate to true, or use a model whose provider speaks the dialect of this request."
        raise untranslatable("truncate", "false", dialect, remedy)
    wire = {"model": request.model, "query": request.query, "documents": request.documents}
    return Rendered(msgspec.json.encode(wire))


def search_units_max(request: RerankRequest) -> int:
    """Return the most search units a vendor can bill: a token covers at least one byte."""
    query = len(request.query.encode())
    documents = sum([-(-(query + len(each.encode())) // UNIT_TOKENS) for each in request.documents])
    return -(-documents // UNIT_DOCUMENTS)


def _own_members(request: RerankRequest) -> dict[str, Any]:
    wire: dict[str, Any] = {"model": request.model} if request.model else {}
    wire["query"] = request.query
    if request.dialect == "tei":
        return {
            **wire,
            "texts": request.documents,
            "return_text": request.return_documents,
            "raw_scores": request.raw_scores,
            "truncate": request.truncate,
        }
    wire["documents"] = request.documents
    optional = (
        ("top_n", request.top_n),
        ("max_tokens_per_doc", request.document_tokens),
        ("return_documents", True if request.return_documents else None),
    )
    return {**wire, **{name: value for name, value in optional if value is not None}}


# ---------------------------------------------------------------------------------------------------- replies


class _Result(msgspec.Struct, gc=False):
    index: Annotated[int, Meta(ge=0)]
    relevance_score: float | None = None
    score: float | None = None

    def ranked(self, members: Extras) -> Ranked:
        """Return it in canonical form; `members` are all it has. Raises ValueError without a score."""
        score = self.relevance_score if self.score is None else self.score
        if score is None:
            msg = "a result has no score"
            raise ValueError(msg)
        return Ranked(self.index, score, {name: each for name, each in members.items() if name not in _KNOWN})


_KNOWN: Final = frozenset({"index", "relevance_score", "score", "document", "text"})
"""Members of a result that we say ourselves. The caller knows its documents better than who was sent them."""


class _Units(msgspec.Struct, gc=False):
    search_units: int | None = None


class _Tokens(msgspec.Struct, gc=False):
    input_tokens: int | None = None


class _Meta(msgspec.Struct, gc=False):
    billed_units: _Units | None = None
    tokens: _Tokens | None = None


_RESULTS: Final = msgspec.json.Decoder(list[_Result])
_EVERYTHING: Final = msgspec.json.Decoder(list[Extras])
_META: Final = msgspec.json.Decoder(_Meta, strict=False)


def parse_reply(body: bytes, documents: int) -> RerankReply:
    """Read a reply of either wire to a request of so many `documents`. Raises `Upstream`."""
    try:
        if body[:1] == b"[":
            return RerankReply(results=_best_first(body, documents))
        members = Members(decode_object(body), "", REMEDIES)
        results = members.take_raw("results")
        if results is None:
            raise members.missing("results")
        reply_id, given = members.take_text("id"), members.take_raw("meta")
        meta = _Meta() if given is None else _META.decode(given)
        reply = RerankReply(
            results=_best_first(results, documents),
            id=reply_id,
            input_tokens=None if meta.tokens is None else meta.tokens.input_tokens,
            search_units=None if meta.billed_units is None else meta.billed_units.search_units,
            extras=members.rest(),
        )
        if given is None or ANY.decode(given) == _meta(reply).get("meta"):
            return reply
        return replace(reply, extras={**reply.extras, "meta": given})
    except (Invalid, ValueError, RecursionError) as error:
        raise Upstream(f"The provider's reply is no ranking: {error}", code="malformed_reply") from None


def _best_first(results: bytes | Raw, documents: int) -> tuple[Ranked, ...]:
    found = zip(_RESULTS.decode(results), _EVERYTHING.decode(results), strict=True)
    ranked = [result.ranked(members) for result, members in found]
    indexes = {each.index for each in ranked}
    if len(indexes) != len(ranked) or any(index >= documents for index in indexes):
        msg = "a document is ranked twice, or was never sent"
        raise ValueError(msg)
    return tuple(sorted(ranked, key=lambda each: -each.score))


def render_reply(reply: RerankReply, request: RerankRequest) -> bytes:
    """Return the reply to `request`, in its wire."""
    is_tei = request.dialect == "tei"
    score, told = ("score", "text") if is_tei else ("relevance_score", "document")
    ranked: list[dict[str, Any]] = []
    for each in reply.results[: request.top_n]:
        result: dict[str, Any] = {"index": each.index, score: each.score, **each.extras}
        if request.return_documents:
            text = request.documents[each.index]
            result[told] = text if is_tei else {"text": text}
        ranked.append(result)
    if is_tei:
        return msgspec.json.encode(ranked)
    cut = {"truncated": reply.truncated} if reply.truncated else {}
    return msgspec.json.encode({"id": reply.id, "results": ranked, **_meta(reply), **cut, **reply.extras})


def _meta(reply: RerankReply) -> dict[str, Any]:
    meta: dict[str, Any] = {}
    if reply.search_units is not None:
        meta["billed_units"] = {"search_units": reply.search_units}
    if reply.input_tokens is not None:
        meta["tokens"] = {"input_tokens": reply.input_tokens}
    return {"meta": meta} if meta else {}


class _Said(msgspec.Struct, gc=False):
    error: Extras


_SAID: Final = msgspec.json.Decoder(_Said)


def render_error(error: PenstockError) -> tuple[int, bytes]:
    """Return status and body of an error."""
    status, body = openai_error(error)
    said = _SAID.decode(body).error
    return status, msgspec.json.encode({"message": said["message"], "error": said})


CODEC: Final = replace(openai.CODEC, name="cohere", render_error=render_error)
"""What callers of this wire are told errors in; it has no chats of its own."""
