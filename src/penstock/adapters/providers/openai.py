"""Any server that speaks OpenAI chat completions: OpenAI, vLLM, SGLang, Ollama, OpenRouter, Groq and so on.

How they differ from one another is data (`quirks`); Azure's own paths and key header are in `azure`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Raw

from penstock.adapters.providers.manner import Manner
from penstock.adapters.providers.quirks import PLAIN, QUIRKS
from penstock.adapters.providers.vendor import VendorProvider
from penstock.dialects import embeddings, moderations, rerank
from penstock.dialects.nonsense import UNREADABLE
from penstock.dialects.openai import CODEC
from penstock.kernel.clock import Clock
from penstock.kernel.embed import EmbedReply, ModerationReply, RerankReply
from penstock.net.client import HttpClient
from penstock.ports.providers import ChatCall, EmbedCall, ModerateCall, RerankCall
from penstock.ports.secrets import Secret

ANSWER_MARKS: Final = (b'"choices"',)
ENDS: Final = (
    re.compile(rb"\ndata: ?\[DONE\]"),
    re.compile(rb'"error"'),
    re.compile(rb'"finish_reason": ?"'),
)
"""The mark, an error event, or a finish reason: not everybody sends the mark."""


class OpenAIProvider(VendorProvider):
    """A `ChatProvider`, `Embeds`, `Reranks`, `Moderates` and `ListsModels` over an OpenAI-compatible server, which
    refuses by itself what it does not do.
    """

    def __init__(
        self,
        name: str,
        *,
        base_url: str,
        client: HttpClient,
        key: Secret | None = None,
        vendor: str = "",
        headers: Mapping[str, str] | None = None,
        limit_name: str = "",
        clock: Clock | None = None,
    ) -> None:
        """Prepare calls to `base_url` (with its ``/v1`` where the server has one).

        `limit_name` is the member this server obeys as bound of an answer, where `quirks` does not know it.
        """
        quirks = QUIRKS.get(vendor or name, PLAIN)
        self._rerank = quirks.rerank
        self.rerank_dialects = (quirks.rerank.dialect,)
        super().__init__(
            name,
            Manner(
                codec=CODEC,
                limit_name=limit_name or quirks.limit_name,
                key_header=b"authorization: Bearer %b",
                target=_target,
                answer_marks=ANSWER_MARKS,
                ends=ENDS,
                rates=quirks.rates,
                shape=quirks.shaped if quirks.refuses or quirks.refuses_empty else bytes,
                inner_error=_inner_error if quirks.choice_errors else None,
            ),
            base_url=base_url,
            client=client,
            key=key,
            vendor=vendor,
            headers=headers,
            clock=clock,
        )

    async def embed(self, call: EmbedCall) -> EmbedReply:
        """Make one attempt to have texts embedded. Raises `ProviderFailure`."""
        with self._telling("embeddings"):
            body = embeddings.render_request(call.request).body
            told = await self._called(b"/embeddings", body, call.request_id, call.timers)
            return embeddings.parse_reply(told)

    async def rerank(self, call: RerankCall) -> RerankReply:
        """Make one attempt to have documents ordered. Raises `ProviderFailure`."""
        request, how = call.request, self._rerank
        with self._telling("a ranking"):
            body = rerank.render_request(request, how.dialect).body
            under = how.under(self._path)
            told = await self._called(how.target, body, call.request_id, call.timers, under=under)
            return rerank.parse_reply(told, len(request.documents))

    async def moderate(self, call: ModerateCall) -> ModerationReply:
        """Make one attempt to have texts and pictures judged. Raises `ProviderFailure`."""
        with self._telling("a moderation"):
            body = moderations.render_request(call.request)
            told = await self._called(b"/moderations", body, call.request_id, call.timers)
            return moderations.parse_reply(told)

    async def models(self) -> Sequence[str]:
        """Return the server's model names. Raises `ProviderFailure`."""
        body = await self._aside(b"GET", b"/models")
        try:
            return [model.id for model in _MODELS.decode(body).data]
        except UNREADABLE:
            raise self._nonsense("a list of models") from None


def _target(_call: ChatCall) -> bytes:
    return b"/chat/completions"


class _Model(msgspec.Struct, gc=False):
    id: str


class _Models(msgspec.Struct, gc=False):
    data: list[_Model]


class _Choice(msgspec.Struct, gc=False):
    error: Raw = Raw()


class _Failed(msgspec.Struct, gc=False):
    error: Raw = Raw()
    choices: list[_Choice] | None = None


_MODELS: Final = msgspec.json.Decoder(_Models)
_FAILED: Final = msgspec.json.Decoder(_Failed)


def _inner_error(body: bytes) -> bytes:
    """Return the error inside a whole reply that has choices, as a body of its own; b"" when there is none."""
    if b'"error"' not in body:
        return b""
    try:
        failed = _FAILED.decode(body)
    except UNREADABLE:
        return b""
    for error in (failed.error, *[choice.error for choice in failed.choices or ()]):
        if bytes(error) not in (b"", b"null"):
            return b'{"error":%b}' % bytes(error)
    return b""
