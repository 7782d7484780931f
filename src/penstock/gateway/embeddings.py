"""Embeddings: `POST /v1/embeddings` in OpenAI's words, ``:embedContent`` and ``:batchEmbedContents`` in Gemini's,
answered by any provider that embeds.

Promises: one vector for each input, in order, in the encoding the caller asked for; an answer with another number of
them is a failed attempt; what a provider's wire cannot be told is refused by the name its caller wrote.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, cast
from urllib.parse import unquote

from msgspec.structs import replace

from penstock.dialects import embeddings, gemini_embeddings, openai
from penstock.gateway.calls import Told
from penstock.gateway.faces import GEMINI, Face
from penstock.gateway.lanes import is_able
from penstock.gateway.oneshot import OneShot, Words
from penstock.gateway.targets import Target
from penstock.kernel.embed import EmbedReply, EmbedRequest
from penstock.kernel.money import Usage
from penstock.mechanisms.redaction.texts import Texts
from penstock.ports.providers import CallTimers, ChatProvider, EmbedCall, Embeds, ProviderFailure

_TRUNCATED: Final = b"x-penstock-truncated: %d\r\n"
"""How many inputs were cut; which, the body tells where its wire has room for that."""
PER_TURN: Final = 32
"""Vectors written in one turn of the event loop: about a millisecond."""
_RENDER: Final = {"openai": embeddings.render_request, "gemini": gemini_embeddings.render_request}


def _read(request: EmbedRequest) -> Texts:
    texts = (*request.texts, *[piece for pieces in request.parted for piece in pieces])
    unread = ["tokens"] if request.tokens else []
    unread += [f"extras.{name}" for extras in (request.extras, *request.each) for name in extras]
    return Texts((*texts, request.user) if request.user else texts, tuple(sorted(set(unread))))


def _write(request: EmbedRequest, texts: Sequence[str]) -> EmbedRequest:
    following = iter(texts)
    return replace(
        request,
        texts=tuple([next(following) for _ in request.texts]),
        parted=tuple([tuple([next(following) for _ in pieces]) for pieces in request.parted]),
        user=next(following, ""),
    )


_WORDS: Final = Words(_read, _write)


class _Embedding(OneShot[EmbedRequest]):
    """A request for vectors. `many` is whether a reply of Gemini's lists them."""

    __slots__ = ("many",)

    def __init__(self, request: EmbedRequest, body: bytes, *, many: bool = True) -> None:
        super().__init__(request, body, _WORDS, model=request.model, inputs=request.inputs, user=request.user)
        self.many = many

    async def reply(self, reply: EmbedReply) -> bytes:
        """Return `reply` in the caller's words; others have their turn while many vectors are written."""
        if self.request.dialect == "gemini":
            return gemini_embeddings.render_reply(reply, many=self.many)
        encoding, many = self.request.encoding, len(reply.vectors)
        written = [embeddings.render_vectors(reply, encoding, 0, PER_TURN)]
        for start in range(PER_TURN, many, PER_TURN):
            await asyncio.sleep(0)
            written.append(embeddings.render_vectors(reply, encoding, start, start + PER_TURN))
        return embeddings.render_around(reply, written)


def _open_openai(body: bytes, _path: str) -> _Embedding:
    return _Embedding(embeddings.parse_request(body), body)


def _open_gemini(body: bytes, path: str) -> _Embedding:
    model, _, verb = path.rpartition("/models/")[2].rpartition(":")
    many = verb == "batchEmbedContents"
    return _Embedding(gemini_embeddings.parse_request(body, unquote(model), many=many), body, many=many)


EMBEDDINGS: Final = Face(codec=openai.CODEC, open=_open_openai)
EMBEDDINGS_GEMINI: Final = replace(GEMINI, open=_open_gemini)


class Embeddings:
    """The kind of call that embeds."""

    name = "embeddings"
    has_lanes = True

    def can(self, provider: ChatProvider, model: str) -> bool:
        """Tell whether a provider's model embeds."""
        return is_able(provider, model, "embed")

    def left_out(self, asked: OneShot[Any], target: Target) -> tuple[str, ...]:
        """Name what `target` is not told. Raises `Invalid` for what it must be told and cannot."""
        dialect = target.provider.dialect
        return () if dialect == asked.request.dialect else _RENDER[dialect](asked.request).left_out

    async def call(self, asked: OneShot[Any], target: Target, request_id: str, timers: CallTimers) -> Told:
        """Make one attempt. Raises ProviderFailure."""
        asked = cast("_Embedding", asked)
        request = replace(asked.request, model=target.model)
        provider = cast("Embeds", target.provider)
        reply = await provider.embed(
            EmbedCall(
                request=request, request_id=request_id, timers=timers, lane=asked.lane, tenant=asked.tenant
            )
        )
        if len(reply.vectors) != request.inputs:
            raise ProviderFailure(
                f"The provider sent {len(reply.vectors)} vectors for {request.inputs} inputs.",
                kind="malformed_reply",
            )
        tokens = reply.input_tokens
        cut = _TRUNCATED % len(reply.truncated) if reply.truncated else b""
        return Told(await asked.reply(reply), Usage(input_tokens=tokens) if tokens else None, cut)
