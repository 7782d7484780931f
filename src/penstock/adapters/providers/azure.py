"""Azure OpenAI: OpenAI's words, under paths and with a key header of its own.

Without an `api_version` the v1 API is spoken (``/openai/v1``, the deployment's name as model); with one, the older API
that has the deployment in the path. It lists base models, not deployments, so the models it serves must be configured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from penstock.adapters.providers.manner import Manner
from penstock.adapters.providers.openai import ANSWER_MARKS, ENDS
from penstock.adapters.providers.quirks import QUIRKS
from penstock.adapters.providers.vendor import VendorProvider
from penstock.dialects import embeddings
from penstock.dialects.openai import CODEC
from penstock.kernel.clock import Clock
from penstock.kernel.embed import EmbedReply
from penstock.net.client import HttpClient
from penstock.ports.providers import EmbedCall
from penstock.ports.secrets import Secret

_ENDINGS: Final = ("/", "/v1", "/openai")


class AzureProvider(VendorProvider):
    """A `ChatProvider` and `Embeds` over a resource of Azure OpenAI."""

    def __init__(
        self,
        name: str,
        *,
        base_url: str,
        client: HttpClient,
        key: Secret | None = None,
        vendor: str = "azure",
        headers: Mapping[str, str] | None = None,
        api_version: str = "",
        clock: Clock | None = None,
    ) -> None:
        """Prepare calls to the resource at `base_url`, ``https://NAME.openai.azure.com`` with or without
        ``/openai/v1``.
        """
        quirks = QUIRKS["azure"]
        for ending in _ENDINGS:
            base_url = base_url.removesuffix(ending)

        self._version = quote(api_version, safe="")
        super().__init__(
            name,
            Manner(
                codec=CODEC,
                limit_name=quirks.limit_name,
                key_header=b"api-key: %b",
                target=lambda call: self._target(call.model, "chat/completions"),
                answer_marks=ANSWER_MARKS,
                ends=ENDS,
                rates=quirks.rates,
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
            target = self._target(call.request.model, "embeddings")
            return embeddings.parse_reply(await self._called(target, body, call.request_id, call.timers))

    def _target(self, model: str, verb: str) -> bytes:
        if not self._version:
            return f"/openai/v1/{verb}".encode()
        deployment = quote(model, safe="")
        return f"/openai/deployments/{deployment}/{verb}?api-version={self._version}".encode()
