"""The gateway: bounds on a request, providers, routes, prices, resilience."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from penstock.kernel.settings_types import Count, Positive, Seconds, Text, doc

_VENDORS = {"anthropic": "anthropic", "gemini": "google", "azure": "azure"}


class AdmissionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds on one request before it costs anything."""

    max_messages: Annotated[Positive, doc("Messages in one conversation at most.")] = 2_000
    max_choices: Annotated[Positive, doc("`n` at most.")] = 8
    max_output_tokens: Annotated[
        Positive, doc("Answer tokens a request may ask for at most; more is clamped.")
    ] = 16_384
    default_output_tokens: Annotated[
        Positive, doc("Answer tokens held and granted when the caller names none.")
    ] = 4_096
    require_output_limit: Annotated[
        bool, doc("Refuse requests that name no answer length, rather than grant `default_output_tokens`.")
    ] = False
    max_request_nanos: Annotated[
        Count, doc("Worst-case price of one request at most, nano-dollars; 0 no cap.")
    ] = 0
    deadline_s: Annotated[Seconds, doc("A request is given up after this many seconds.")] = 600.0


class QuotaSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a vendor allows each key a minute, of each model, as its contract says; its headers go before it."""

    requests_per_minute: Annotated[Count, doc("Requests a minute; 0 is what the tier says.")] = 0
    tokens_per_minute: Annotated[Count, doc("Tokens a minute; 0 is what the tier says.")] = 0

    @property
    def is_named(self) -> bool:
        """Tell whether any figure is named."""
        return bool(self.requests_per_minute or self.tokens_per_minute)


class ProviderSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One provider of models."""

    name: Annotated[Text, doc("How routes call it; unique.")]
    kind: Annotated[
        Literal["openai", "anthropic", "gemini", "azure", "local", "scripted"],
        doc("Wire: `openai` fits any OpenAI-compatible server; `azure` is OpenAI's under Azure's paths."),
    ]
    vendor: Annotated[
        Text,
        doc(
            "Provider id in the price table; defaults to `anthropic`, `google` or `azure` for these kinds, "
            "else to `name`."
        ),
    ] = ""
    base_url: Annotated[
        Text,
        doc(
            "Where its API lives: with `/v1` for `openai`, the resource's address for `azure`; the kinds "
            "`anthropic` and `gemini` default to their vendor's own."
        ),
    ] = ""
    api_version: Annotated[
        Text,
        doc(
            "Version of its API: Azure's `api-version` (empty speaks its v1 API) or Anthropic's "
            "`anthropic-version` (empty is 2023-06-01)."
        ),
    ] = ""
    secret: Annotated[Text, doc("Name of the secret that holds its key; empty sends none.")] = ""
    secrets: Annotated[
        tuple[Text, ...],
        doc("Names of several secrets, each with a key of its own: every call takes the least loaded key."),
    ] = ()
    tier: Annotated[
        Text,
        doc(
            "Usage tier of its keys at the vendor, e.g. `tier-2` (`penstock prices quotas`): its limits hold until the "
            "vendor tells others; empty waits for the vendor."
        ),
    ] = ""
    quota: QuotaSettings = QuotaSettings()
    region: Annotated[Text, doc("Where it runs, e.g. `eu`; routes and organisations may ask for it.")] = ""
    models: Annotated[tuple[str, ...], doc("Models it serves; empty asks the server at start.")] = ()
    free: Annotated[bool, doc("Its models cost nothing (your own hardware).")] = False
    connect_s: Annotated[Seconds, doc("Seconds to connect.")] = 5.0
    first_byte_s: Annotated[Seconds, doc("Seconds to the first byte of the answer.")] = 60.0
    between_chunks_s: Annotated[Seconds, doc("Seconds between two pieces of an answer.")] = 30.0
    total_s: Annotated[Seconds, doc("Seconds for a whole answer.")] = 600.0
    connections: Annotated[Positive, doc("Connections at most.")] = 512
    proxy: Annotated[Text, doc("HTTP proxy to reach it through; empty goes direct.")] = ""
    ca_file: Annotated[Text, doc("PEM file of extra certificate authorities.")] = ""

    @property
    def billed_by(self) -> str:
        """Return the provider id under which the price table knows who bills."""
        return self.vendor or _VENDORS.get(self.kind, self.name)


class PriceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A price of your own. Text amounts are dollars per million tokens, exact decimals."""

    org: Annotated[Text, doc("Organisation whose requests alone it is for; empty is for everybody.")] = ""
    provider: Annotated[Text, doc("Vendor id the price is for.")]
    model: Annotated[Text, doc("Model the price is for, or `*`.")]
    input: Annotated[Text, doc("Dollars per million input tokens.")] = "0"
    cached_input: Annotated[Text, doc("Dollars per million cached input tokens; defaults to `input`.")] = ""
    output: Annotated[Text, doc("Dollars per million output tokens.")] = "0"
    per_request: Annotated[
        Text, doc("Dollars for each request besides; for a reranker that bills searches, for each search.")
    ] = "0"
    from_date: Annotated[Text, doc("First day it holds, YYYY-MM-DD; empty holds always.")] = ""
    context_window: Annotated[Count, doc("Tokens that prompt and answer may hold together; 0 unknown.")] = 0
    max_output: Annotated[Count, doc("Answer tokens at most; 0 unknown.")] = 0
    free: Annotated[bool, doc("Costs nothing, on purpose.")] = False


class ResilienceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Retries and breakers."""

    max_attempts: Annotated[Positive, doc("Calls to vendors for one request at most.")] = 3
    backoff_base_s: Annotated[Seconds, doc("First pause before a retry; doubles, with full jitter.")] = 0.1
    backoff_cap_s: Annotated[Seconds, doc("Longest pause before a retry.")] = 5.0
    retry_share_percent: Annotated[Count, doc("Retries at most, as a share of recent requests.")] = 20
    breaker_failures: Annotated[Positive, doc("Failures in a row that open a back end's breaker.")] = 5
    breaker_open_s: Annotated[Seconds, doc("Seconds before an open breaker lets one probe through.")] = 30.0
