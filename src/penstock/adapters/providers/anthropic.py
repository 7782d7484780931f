"""Anthropic's Messages API, as Anthropic itself serves it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

import msgspec
from msgspec import Raw

from penstock.adapters.providers.hints import ANTHROPIC_RATES
from penstock.adapters.providers.manner import Manner
from penstock.adapters.providers.vendor import VendorProvider, header_value
from penstock.dialects.anthropic import CODEC
from penstock.dialects.nonsense import UNREADABLE
from penstock.kernel.clock import Clock
from penstock.net.client import HttpClient
from penstock.ports.providers import ChatCall
from penstock.ports.secrets import Secret

API_VERSION: Final = "2023-06-01"
PAGES_MAX: Final = 10
"""Pages of 1,000 models that are asked for at most."""

_ENDS: Final = (
    re.compile(rb'"type": ?"message_stop"'),
    re.compile(rb'"error"'),
    re.compile(rb'"stop_reason": ?"'),
)
_COUNTED: Final = frozenset(
    # What count_tokens takes; the rest of a request says how to answer, and it refuses what it does not know.
    {"model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "output_format",
     "mcp_servers", "cache_control", "context_management"}
)  # fmt: skip


class AnthropicProvider(VendorProvider):
    """A `ChatProvider`, `ListsModels` and `CountsTokens`."""

    def __init__(
        self,
        name: str,
        *,
        base_url: str = "https://api.anthropic.com",
        client: HttpClient,
        key: Secret | None = None,
        vendor: str = "anthropic",
        headers: Mapping[str, str] | None = None,
        api_version: str = API_VERSION,
        clock: Clock | None = None,
    ) -> None:
        """Prepare calls to `base_url`, with or without its ``/v1``."""
        super().__init__(
            name,
            Manner(
                codec=CODEC,
                limit_name="max_tokens",
                key_header=b"x-api-key: %b",
                target=_target,
                answer_marks=(b'"stop_reason"',),
                ends=_ENDS,
                rates=ANTHROPIC_RATES,
                headers=b"anthropic-version: %b\r\n" % header_value("api_version", api_version),
            ),
            base_url=base_url.removesuffix("/").removesuffix("/v1"),
            client=client,
            key=key,
            vendor=vendor,
            headers=headers,
            clock=clock,
        )

    async def models(self) -> Sequence[str]:
        """Return the model names. Raises `ProviderFailure`."""
        names: list[str] = []
        target = b"/v1/models?limit=1000"
        for _ in range(PAGES_MAX):
            try:
                page = _PAGE.decode(await self._aside(b"GET", target))
            except UNREADABLE:
                raise self._nonsense("a list of models") from None
            names += [model.id for model in page.data]
            if not page.has_more or not page.last_id:
                break
            target = f"/v1/models?limit=1000&after_id={quote(page.last_id, safe='')}".encode()
        return names

    async def count_tokens(self, call: ChatCall) -> int:
        """Return how many input tokens `call` would have. Raises `ProviderFailure`."""
        asked = {name: raw for name, raw in _REQUEST.decode(call.body).items() if name in _COUNTED}
        body = await self._aside(b"POST", b"/v1/messages/count_tokens", msgspec.json.encode(asked))
        try:
            return _COUNT.decode(body).input_tokens
        except UNREADABLE:
            raise self._nonsense("a count of tokens") from None


def _target(_call: ChatCall) -> bytes:
    return b"/v1/messages"


class _Model(msgspec.Struct, gc=False):
    id: str


class _Page(msgspec.Struct, gc=False):
    data: list[_Model]
    has_more: bool = False
    last_id: str | None = None


class _Count(msgspec.Struct, gc=False):
    input_tokens: int


_PAGE: Final = msgspec.json.Decoder(_Page)
_COUNT: Final = msgspec.json.Decoder(_Count)
_REQUEST: Final = msgspec.json.Decoder(dict[str, Raw])
