"""Reranking: `POST /v2/rerank` and `/v1/rerank` in Cohere's words, or in TEI's (also at `/rerank`), told apart by the
body; answered by any provider that reranks, whichever of the two it speaks.

Promises: the documents told are the caller's own, whatever a provider was sent of them; a vendor that bills searches is
held at the most searches its rule can make of the request and billed by those it told; what a model in this machine
did not read to the end is said. Where a caller of TEI names no
model, as none of TEI's own do, it is `DEFAULT_MODEL`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

from msgspec.structs import replace

from penstock.dialects import rerank
from penstock.dialects.embeddings import told_tokens
from penstock.gateway.calls import Told
from penstock.gateway.faces import Face
from penstock.gateway.lanes import is_able
from penstock.gateway.oneshot import OneShot, Words
from penstock.gateway.targets import Target
from penstock.kernel.embed import RerankReply, RerankRequest
from penstock.kernel.money import Usage
from penstock.mechanisms.redaction.texts import Texts
from penstock.ports.providers import CallTimers, ChatProvider, RerankCall, Reranks

DEFAULT_MODEL: Final = "rerank"
_TRUNCATED: Final = b"x-penstock-truncated: %d\r\n"
"""How many texts were cut; which, the body tells where its wire has room for that."""
TOKENS_PER_DOCUMENT: Final = 140
"""What a model puts around a document and its query: 70 with the template of Qwen3's; doubled."""


def _read(request: RerankRequest) -> Texts:
    return Texts((*request.documents, request.query), tuple([f"extras.{name}" for name in request.extras]))


def _write(request: RerankRequest, texts: Sequence[str]) -> RerankRequest:
    return replace(request, documents=tuple(texts[:-1]), query=texts[-1])


_WORDS: Final = Words(_read, _write)


class _Reranking(OneShot[RerankRequest]):
    """A request for an order. `original` is what its caller said."""

    __slots__ = ("original",)

    def __init__(self, request: RerankRequest, body: bytes) -> None:
        super().__init__(
            request,
            body,
            _WORDS,
            model=request.model or DEFAULT_MODEL,
            inputs=0,
        )
        self.original = request
        self._bound()

    def reword(self, texts: Sequence[str]) -> None:
        """Say `texts` instead of its words."""
        super().reword(texts)
        self._bound()

    def _bound(self) -> None:
        """Bound what a model reads: the query once more with each document; and what that can be in searches."""
        documents, query = self.request.documents, len(self.request.query.encode())
        words = sum([len(each.encode()) for each in documents])
        self.prompt_bytes = max(len(self.body), words + (query + TOKENS_PER_DOCUMENT) * len(documents))
        self.requests = rerank.search_units_max(self.request)


def _open(body: bytes, _path: str) -> _Reranking:
    return _Reranking(rerank.parse_request(body), body)


RERANKING: Final = Face(codec=rerank.CODEC, open=_open)


class Reranking:
    """The kind of call that orders documents."""

    name = "rerank"
    has_lanes = True

    def can(self, provider: ChatProvider, model: str) -> bool:
        """Tell whether a provider's model reranks."""
        return is_able(provider, model, "rerank")

    def left_out(self, asked: OneShot[Any], target: Target) -> tuple[str, ...]:
        """Name what `target` is not told. Raises `Invalid` for what it must be told and cannot."""
        dialects = cast("Reranks", target.provider).rerank_dialects
        if asked.request.dialect in dialects:
            return ()
        return rerank.render_request(asked.request, dialects[0]).left_out

    async def call(self, asked: OneShot[Any], target: Target, request_id: str, timers: CallTimers) -> Told:
        """Make one attempt. Raises ProviderFailure."""
        asked = cast("_Reranking", asked)
        # Nobody is asked for documents that the caller has.
        request = replace(asked.request, model=target.model, return_documents=False)
        provider = cast("Reranks", target.provider)
        reply = await provider.rerank(
            RerankCall(
                request=request, request_id=request_id, timers=timers, lane=asked.lane, tenant=asked.tenant
            )
        )
        cut = _TRUNCATED % len(reply.truncated) if reply.truncated else b""
        return Told(rerank.render_reply(reply, asked.original), _usage(reply), cut)


def _usage(reply: RerankReply) -> Usage | None:
    """Return what the vendor bills: tokens, or searches; None where it told neither."""
    tokens = told_tokens(reply.extras) if reply.input_tokens is None else reply.input_tokens
    if not tokens and not reply.search_units:
        return None
    return Usage(input_tokens=tokens or 0, requests=1 if reply.search_units is None else reply.search_units)
