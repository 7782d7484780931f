"""What the simulated provider answers beside chats: embeddings on two wires, rerankings on three, moderations.

    openai, gemini   vectors        the same input has the same vector (of length 1) whatever stands beside it
    openai           verdicts       an input is violent when it says so; given away, as at OpenAI
    cohere           an order       by the words that query and document share; bills searches
    vllm, tei        the same       in the words of those servers; vllm bills tokens, and so is tei billed, untold

Promise: pure functions. Tokens are counted as runs of non-blank characters, and numbers of tokens one by one; a
reranker reads the query once more with each document.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Callable
from typing import Final

import msgspec

from penstock.dialects import embeddings, gemini_embeddings, moderations, rerank
from penstock.kernel.chat import Text
from penstock.kernel.embed import (
    EmbedReply,
    EmbedRequest,
    ModerationReply,
    ModerationRequest,
    Ranked,
    RerankReply,
    RerankRequest,
    Verdict,
)
from penstock.net.server import Request
from penstock.simulator.faces import GEMINI, OPENAI, Face, gemini_target
from penstock.simulator.wire import encode

DIMENSIONS: Final = 8
VIOLENT: Final = "violence"


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is no chat, understood. `searches` is what it is billed by instead of tokens, where it is."""

    model: str
    input_tokens: int
    answer: bytes
    searches: int = 0
    free: bool = False


class Served(msgspec.Struct, frozen=True):
    """How one path is served: on which wire, and by what. `open` raises `Invalid`."""

    face: Face
    open: Callable[[Request], Call]


# ------------------------------------------------------------------------------------------------- embeddings


def _embed_openai(request: Request) -> Call:
    asked = embeddings.parse_request(request.body)
    reply = _vectors(asked)
    return Call(
        model=asked.model,
        input_tokens=reply.input_tokens or 0,
        answer=embeddings.render_reply(reply, asked.encoding),
    )


def _embed_gemini(request: Request) -> Call:
    model, verb = gemini_target(request.path)
    many = verb == "batchEmbedContents"
    asked = gemini_embeddings.parse_request(request.body, model, many=many)
    reply = _vectors(asked)
    answer = gemini_embeddings.render_reply(reply, many=many)
    return Call(model=model, input_tokens=reply.input_tokens or 0, answer=answer)


def _vectors(asked: EmbedRequest) -> EmbedReply:
    size = asked.dimensions or DIMENSIONS
    inputs = asked.texts or tuple(["\n".join(pieces) for pieces in asked.parted]) or asked.tokens
    tokens = sum([len(each.split()) if isinstance(each, str) else len(each) for each in inputs])
    vectors = tuple([_vector(repr(each).encode(), size) for each in inputs])
    return EmbedReply(model=asked.model, vectors=vectors, input_tokens=tokens)


def _vector(text: bytes, size: int) -> bytes:
    drawn = hashlib.shake_256(text).digest(size)
    length = math.sqrt(sum((byte + 1) ** 2 for byte in drawn))
    return array("f", [(byte + 1) / length for byte in drawn]).tobytes()


# ------------------------------------------------------------------------------------------------ moderations


def _moderate(request: Request) -> Call:
    asked = moderations.parse_request(request.body)
    verdicts = tuple([_verdict(_words(asked, at)) for at in range(len(asked.inputs))])
    tokens = sum([len(_words(asked, at).split()) for at in range(len(asked.inputs))])
    reply = ModerationReply(id="modr-simulated", model=asked.model, results=verdicts)
    return Call(model=asked.model, input_tokens=tokens, answer=moderations.render_reply(reply), free=True)


def _words(asked: ModerationRequest, at: int) -> str:
    return "\n".join([part.text for part in asked.inputs[at] if isinstance(part, Text)])


def _verdict(words: str) -> Verdict:
    violent = VIOLENT in words
    return Verdict(
        flagged=violent,
        categories={VIOLENT: violent, "harassment": False},
        scores={VIOLENT: 0.9 if violent else 0.1, "harassment": 0.0},
        applied={VIOLENT: ("text",), "harassment": ("text",)},
    )


# ------------------------------------------------------------------------------------------------- rerankings


def _rerank_cohere(request: Request) -> Call:
    asked = rerank.parse_request(request.body)
    tokens = _read_tokens(asked)
    searches = -(-sum([-(-each // rerank.UNIT_TOKENS) for each in tokens]) // rerank.UNIT_DOCUMENTS)
    reply = RerankReply(id="rerank-simulated", results=_ranked(asked), search_units=searches)
    return Call(
        model=asked.model,
        input_tokens=sum(tokens),
        answer=rerank.render_reply(reply, asked),
        searches=searches,
    )


def _rerank_vllm(request: Request) -> Call:
    asked = rerank.parse_request(request.body)
    tokens = sum(_read_tokens(asked))
    results = [
        {
            "index": each.index,
            "document": {"text": asked.documents[each.index]},
            "relevance_score": each.score,
        }
        for each in _ranked(asked)[: asked.top_n]
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    told = {"id": "rerank-simulated", "model": asked.model, "usage": usage, "results": results}
    return Call(model=asked.model, input_tokens=tokens, answer=encode(told))


def _rerank_tei(request: Request) -> Call:
    asked = rerank.parse_request(request.body)
    reply = RerankReply(results=_ranked(asked))
    answer = rerank.render_reply(reply, msgspec.structs.replace(asked, dialect="tei"))
    return Call(model=asked.model, input_tokens=sum(_read_tokens(asked)), answer=answer)


def _read_tokens(asked: RerankRequest) -> list[int]:
    query = len(asked.query.split())
    return [query + len(each.split()) for each in asked.documents]


def _ranked(asked: RerankRequest) -> tuple[Ranked, ...]:
    wanted = set(asked.query.lower().split())
    shares = [len(wanted & set(each.lower().split())) / len(wanted) for each in asked.documents]
    return tuple(sorted([Ranked(at, share) for at, share in enumerate(shares)], key=lambda each: -each.score))


SERVED: Final = {
    "/v1/embeddings": Served(OPENAI, _embed_openai),
    "/v1/moderations": Served(OPENAI, _moderate),
    "/v2/rerank": Served(OPENAI, _rerank_cohere),
    "/v1/rerank": Served(OPENAI, _rerank_vllm),
    "/rerank": Served(OPENAI, _rerank_tei),
}
EMBED_GEMINI: Final = Served(GEMINI, _embed_gemini)
