"""Gemini's generateContent, as Google's Generative Language API serves it.

The model and whether the answer is streamed are in the path. The key goes in a header, never in a query, which ends in
people's logs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

import msgspec
from msgspec import Raw

from penstock.adapters.providers.manner import Manner
from penstock.adapters.providers.vendor import VendorProvider
from penstock.dialects import gemini_embeddings
from penstock.dialects.gemini import CODEC
from penstock.dialects.nonsense import UNREADABLE
from penstock.kernel.clock import Clock
from penstock.kernel.embed import EmbedReply
from penstock.net.client import HttpClient
from penstock.ports.providers import ChatCall, EmbedCall
from penstock.ports.secrets import Secret

PAGES_MAX: Final = 10
"""Pages of 1,000 models that are asked for at most."""

_ENDS: Final = (
    re.compile(rb'"finishReason": ?"'),
    re.compile(rb'"error"'),
    re.compile(rb'"blockReason": ?"'),
)
_VERSIONED: Final = re.compile(r"/v1(?:beta|alpha)?$")


class GeminiProvider(VendorProvider):
    """A `ChatProvider`, `Embeds`, `ListsModels` and `CountsTokens`."""

    def __init__(
        self,
        name: str,
        *,
        base_url: str = "https://generativelanguage.googleapis.com/v1beta",
        client: HttpClient,
        key: Secret | None = None,
        vendor: str = "google",
        headers: Mapping[str, str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Prepare calls to `base_url`; without a version it is ``/v1beta``."""
        base_url = base_url.removesuffix("/")
        super().__init__(
            name,
            Manner(
                codec=CODEC,
                limit_name="maxOutputTokens",
                key_header=b"x-goog-api-key: %b",
                target=_target,
                answer_marks=(b'"candidates"', b'"promptFeedback"'),
                ends=_ENDS,
                rates={},  # it tells none
            ),
            base_url=base_url if _VERSIONED.search(base_url) else f"{base_url}/v1beta",
            client=client,
            key=key,
            vendor=vendor,
            headers=headers,
            clock=clock,
        )

    async def models(self) -> Sequence[str]:
        """Return the names of the models that answer or embed, without their ``models/``. Raises `ProviderFailure`."""
        names: list[str] = []
        target = b"/models?pageSize=1000"
        for _ in range(PAGES_MAX):
            try:
                page = _PAGE.decode(await self._aside(b"GET", target))
            except UNREADABLE:
                raise self._nonsense("a list of models") from None
            names += [model.name.removeprefix("models/") for model in page.models if model.answers]
            if not page.next_page_token:
                break
            target = f"/models?pageSize=1000&pageToken={quote(page.next_page_token, safe='')}".encode()
        return names

    async def count_tokens(self, call: ChatCall) -> int:
        """Return how many input tokens `call` would have. Raises `ProviderFailure`."""
        path = resource(call.model)
        asked = {**_REQUEST.decode(call.body), "model": path}
        body = await self._aside(
            b"POST",
            f"/{quote(path)}:countTokens".encode(),
            msgspec.json.encode({"generateContentRequest": asked}),
        )
        try:
            return _COUNT.decode(body).total_tokens
        except UNREADABLE:
            raise self._nonsense("a count of tokens") from None

    async def embed(self, call: EmbedCall) -> EmbedReply:
        """Make one attempt to have texts embedded. Raises `ProviderFailure`."""
        model = call.request.model
        path = resource(model)
        with self._telling("embeddings"):
            body = gemini_embeddings.render_request(msgspec.structs.replace(call.request, model=path)).body
            target = f"/{quote(path)}:batchEmbedContents".encode()
            told = await self._called(target, body, call.request_id, call.timers)
            return gemini_embeddings.parse_reply(told, model)


def resource(model: str) -> str:
    """Return the resource that `model` is: itself when it names its collection (``tunedModels/…``)."""
    return model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"


def _target(call: ChatCall) -> bytes:
    verb = "streamGenerateContent?alt=sse" if call.stream else "generateContent"
    collection, _, name = resource(call.model).partition("/")
    return f"/{collection}/{quote(name)}:{verb}".encode()


_VERBS: Final = frozenset({"generateContent", "embedContent", "batchEmbedContents"})


class _Model(msgspec.Struct, gc=False, rename="camel"):
    name: str
    supported_generation_methods: list[str] = []

    @property
    def answers(self) -> bool:
        """Tell whether it answers anything that is asked here."""
        return not self.supported_generation_methods or not _VERBS.isdisjoint(
            self.supported_generation_methods
        )


class _Page(msgspec.Struct, gc=False, rename="camel"):
    models: list[_Model] = []
    next_page_token: str | None = None


class _Count(msgspec.Struct, gc=False, rename="camel"):
    total_tokens: int


_PAGE: Final = msgspec.json.Decoder(_Page)
_COUNT: Final = msgspec.json.Decoder(_Count)
_REQUEST: Final = msgspec.json.Decoder(dict[str, Raw])
