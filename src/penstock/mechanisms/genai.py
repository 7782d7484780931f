"""The names under which traces show what a request was: OpenTelemetry's conventions for generative AI, in one place.

    1.41      the last release of the general conventions that has them; their own registry has not released any yet
    1.36      what most instrumentations still emit: `gen_ai.system`, input and output tokens
    1.26      what older dashboards read: `gen_ai.system`, prompt and completion tokens

Promise: whoever makes spans asks a `Names` for every name that is not Penstock's own (those begin with ``penstock.``),
so that another version of the conventions is another value here and no change elsewhere. What a version has no name
for is told under a name of ours rather than under one that its readers would misread.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

CHAT = "chat"
"""The operation that every span of ours is about."""


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """The names of one version. `schema_url` names it to collectors; `providers` gives the well-known names of vendors
    that Penstock's price table calls differently.
    """

    version: str
    schema_url: str
    provider: str
    input_tokens: str
    output_tokens: str
    cached_tokens: str = "gen_ai.usage.cache_read.input_tokens"
    reasoning_tokens: str = "gen_ai.usage.reasoning.output_tokens"
    operation: str = "gen_ai.operation.name"
    request_model: str = "gen_ai.request.model"
    request_temperature: str = "gen_ai.request.temperature"
    request_max_tokens: str = "gen_ai.request.max_tokens"
    request_stream: str = "gen_ai.request.stream"
    response_model: str = "gen_ai.response.model"
    finish_reasons: str = "gen_ai.response.finish_reasons"
    first_chunk_s: str = "gen_ai.response.time_to_first_chunk"
    error_type: str = "error.type"
    server_address: str = "server.address"
    server_port: str = "server.port"
    http_status: str = "http.response.status_code"
    providers: Mapping[str, str]

    def span(self, model: str) -> str:
        """Return the name of a span that asks `model`: ``{operation} {model}``."""
        return f"{CHAT} {model}" if model else CHAT

    def vendor(self, name: str) -> str:
        """Return the well-known name of a vendor, or the one it has here."""
        return self.providers.get(name, name)


_SINCE_1_37 = MappingProxyType(
    {
        "azure": "azure.ai.openai",
        "bedrock": "aws.bedrock",
        "gemini": "gcp.gemini",
        "google": "gcp.gemini",
        "mistral": "mistral_ai",
        "vertex": "gcp.vertex_ai",
        "watsonx": "ibm.watsonx.ai",
        "x-ai": "x_ai",
        "xai": "x_ai",
    }
)
_UNTIL_1_36 = MappingProxyType({**_SINCE_1_37, "x-ai": "xai", "xai": "xai"})

V1_41 = Names(
    version="1.41",
    schema_url="https://opentelemetry.io/schemas/1.41.1",
    provider="gen_ai.provider.name",
    input_tokens="gen_ai.usage.input_tokens",
    output_tokens="gen_ai.usage.output_tokens",
    providers=_SINCE_1_37,
)
V1_36 = Names(
    version="1.36",
    schema_url="https://opentelemetry.io/schemas/1.36.0",
    provider="gen_ai.system",
    input_tokens="gen_ai.usage.input_tokens",
    output_tokens="gen_ai.usage.output_tokens",
    cached_tokens="penstock.cached_tokens",
    reasoning_tokens="penstock.reasoning_tokens",
    request_stream="penstock.stream",
    first_chunk_s="penstock.time_to_first_chunk_s",
    providers=_UNTIL_1_36,
)
V1_26 = msgspec.structs.replace(
    V1_36,
    version="1.26",
    schema_url="https://opentelemetry.io/schemas/1.26.0",
    input_tokens="gen_ai.usage.prompt_tokens",
    output_tokens="gen_ai.usage.completion_tokens",
)
CURRENT = V1_41
VOCABULARIES: Mapping[str, Names] = MappingProxyType({each.version: each for each in (V1_41, V1_36, V1_26)})
"""Every version by the name that the setting `otel.names` gives it."""
