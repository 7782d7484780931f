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
from penstock.dialects.openai import CODEC
from penstock.kernel.clock import Clock
from penstock.net.client import HttpClient
from penstock.ports.providers import ChatCall
from penstock.ports.secrets import Secret

_ENDINGS: Final = ("/", "/v1", "/openai")


class AzureProvider(VendorProvider):
    """A `ChatProvider` over a resource of Azure OpenAI."""

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

        def deployment(call: ChatCall) -> bytes:
            model, version = quote(call.model, safe=""), quote(api_version, safe="")
            return f"/openai/deployments/{model}/chat/completions?api-version={version}".encode()

        super().__init__(
            name,
            Manner(
                codec=CODEC,
                limit_name=quirks.limit_name,
                key_header=b"api-key: %b",
                target=deployment if api_version else _newest,
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


def _newest(_call: ChatCall) -> bytes:
    return b"/openai/v1/chat/completions"
