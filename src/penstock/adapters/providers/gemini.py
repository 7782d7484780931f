"""Gemini's generateContent, as Google's Generative Language API serves it.

The model and whether the answer is streamed are in the path. The key goes in a header, never in a query, which ends in
people's logs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Raw

from penstock.adapters.providers.manner import Manner
from penstock.adapters.providers.vendor import VendorProvider
from penstock.dialects.embeddings import packed
from penstock.dialects.gemini import CODEC
from penstock.kernel.clock import Clock
from penstock.kernel.embed import EmbedReply
from penstock.kernel.errors import Upstream
from penstock.net.client import HttpClient
from penstock.ports.providers import ChatCall, EmbedCall, ProviderFailure
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
        """Return the names of the models that can answer, without their ``models/``. Raises `ProviderFailure`."""
        names: list[str] = []
        target = b"/models?pageSize=1000"
        for _ in range(PAGES_MAX):
            try:
                page = _PAGE.decode(await self._aside(b"GET", target))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
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
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise self._nonsense("a count of tokens") from None

    async def embed(self, call: EmbedCall) -> EmbedReply:
        """Make one attempt to have texts embedded; it takes no numbers of tokens. Raises `ProviderFailure`."""
        request = call.request
        if not request.texts or request.extras:
            raise ProviderFailure(
                "Gemini embeds texts alone, and is told nothing else about them.",
                kind="invalid",
                dispatched=False,
            )
        path = resource(request.model)
        each: dict[str, Any] = {"model": path}
        if request.dimensions is not None:
            each["outputDimensionality"] = request.dimensions
        wire = {"requests": [{**each, "content": {"parts": [{"text": text}]}} for text in request.texts]}
        body = await self._called(
            f"/{quote(path)}:batchEmbedContents".encode(),
            msgspec.json.encode(wire),
            call.request_id,
            call.timers,
        )
        try:
            told = _EMBEDDED.decode(body)
            vectors = tuple([packed(embedding.values) for embedding in told.embeddings])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, Upstream):
            raise self._nonsense("embeddings") from None
        usage = told.usage_metadata
        return EmbedReply(
            model=request.model,
            vectors=vectors,
            input_tokens=None if usage is None else usage.prompt_token_count,
        )


def resource(model: str) -> str:
    """Return the resource that `model` is: itself when it names its collection (``tunedModels/…``)."""
    return model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"


def _target(call: ChatCall) -> bytes:
    verb = "streamGenerateContent?alt=sse" if call.stream else "generateContent"
    collection, _, name = resource(call.model).partition("/")
    return f"/{collection}/{quote(name)}:{verb}".encode()


class _Model(msgspec.Struct, gc=False, rename="camel"):
    name: str
    supported_generation_methods: list[str] = []

    @property
    def answers(self) -> bool:
        """Tell whether it can answer a chat."""
        return not self.supported_generation_methods or "generateContent" in self.supported_generation_methods


class _Page(msgspec.Struct, gc=False, rename="camel"):
    models: list[_Model] = []
    next_page_token: str | None = None


class _Count(msgspec.Struct, gc=False, rename="camel"):
    total_tokens: int


class _Embedding(msgspec.Struct, gc=False):
    values: list[float]


class _Usage(msgspec.Struct, gc=False, rename="camel"):
    prompt_token_count: int | None = None


class _Embedded(msgspec.Struct, gc=False, rename="camel"):
    embeddings: list[_Embedding]
    usage_metadata: _Usage | None = None


_EMBEDDED: Final = msgspec.json.Decoder(_Embedded)
_PAGE: Final = msgspec.json.Decoder(_Page)
_COUNT: Final = msgspec.json.Decoder(_Count)
_REQUEST: Final = msgspec.json.Decoder(dict[str, Raw])
