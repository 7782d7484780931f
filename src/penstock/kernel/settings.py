"""Every setting of Penstock as a typed value with its unit, default and meaning. Nothing is read here.

`wiring.settings` reads one TOML file and the environment into these values once, refuses unknown keys and reports all
mistakes at once. `docs/reference/settings.md` is generated from the descriptions below.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Text = Annotated[str, Meta(max_length=2048)]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]


def _doc(text: str) -> Meta:
    return Meta(description=text)


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HTTP server."""

    host: Annotated[str, _doc("Address to bind. Anything but loopback needs keys and `allowed_hosts`.")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Meta(ge=0, le=65535), _doc("TCP port; 0 picks a free one.")] = 8700
    allowed_hosts: Annotated[
        tuple[str, ...], _doc("Host names answered; empty answers any on loopback.")
    ] = ()
    cors_origins: Annotated[tuple[str, ...], _doc("Browser origins allowed to call; empty allows none.")] = ()
    tls_cert: Annotated[str, _doc("PEM file with the certificate chain; empty serves plain HTTP.")] = ""
    tls_key: Annotated[str, _doc("PEM file with the private key of `tls_cert`.")] = ""
    body_bytes: Annotated[Positive, _doc("Largest request body, in bytes.")] = 8 * 1024 * 1024
    connections: Annotated[Positive, _doc("Open client connections at most.")] = 10_000
    in_flight: Annotated[Positive, _doc("Requests served at one time; more are refused with 503.")] = 2_000
    idle_s: Annotated[Seconds, _doc("An idle keep-alive connection is closed after this many seconds.")] = (
        75.0
    )
    write_idle_s: Annotated[Seconds, _doc("A client that reads nothing this many seconds is cut.")] = 30.0
    drain_s: Annotated[Seconds, _doc("On SIGTERM, seconds that running requests get to finish.")] = 30.0
    drain_grace_s: Annotated[
        Seconds, _doc("On SIGTERM, seconds that idle connections stay open for a request already on its way.")
    ] = 1.0
    on_vanished_client: Annotated[
        Literal["drain", "stop"],
        _doc(
            "When a client vanishes mid-answer: `drain` reads the vendor to the end within a cap and bills exactly; "
            "`stop` hangs up and bills a bounded, flagged estimate."
        ),
    ] = "stop"


class LedgerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where money is kept."""

    url: Annotated[Text, _doc("`sqlite:` (inside `data`) or `postgresql://…`.")] = "sqlite:"
    durability: Annotated[
        Literal["process", "power"],
        _doc(
            "`process` survives kill -9 of Penstock; `power` also survives loss of the machine (fsync a group)."
        ),
    ] = "process"
    hold_timeout_s: Annotated[
        Positive, _doc("A hold nobody settles is resolved after this many seconds.")
    ] = 900


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where everything else is kept."""

    data: Annotated[Text, _doc("Folder of all embedded stores.")] = "var"
    records_url: Annotated[Text, _doc("`sqlite:` (inside `data`) or `postgresql://…`.")] = "sqlite:"
    state_url: Annotated[Text, _doc("`memory:` or `redis://…`; more than one process needs Redis.")] = (
        "memory:"
    )
    secrets: Annotated[Text, _doc("Folder of secret files (mode 0600); relative to `data`.")] = "secrets"


class AdmissionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds on one request before it costs anything."""

    max_messages: Annotated[Positive, _doc("Messages in one conversation at most.")] = 2_000
    max_choices: Annotated[Positive, _doc("`n` at most.")] = 8
    max_output_tokens: Annotated[
        Positive, _doc("Answer tokens a request may ask for at most; more is clamped.")
    ] = 16_384
    default_output_tokens: Annotated[
        Positive, _doc("Answer tokens held and granted when the caller names none.")
    ] = 4_096
    max_request_nanos: Annotated[
        Count, _doc("Worst-case price of one request at most, nano-dollars; 0 no cap.")
    ] = 0
    deadline_s: Annotated[Seconds, _doc("A request is given up after this many seconds.")] = 600.0


class ProviderSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One provider of models."""

    name: Annotated[Text, _doc("How routes call it; unique.")]
    kind: Annotated[
        Literal["openai", "local", "scripted"], _doc("Wire: `openai` fits any OpenAI-compatible server.")
    ]
    vendor: Annotated[Text, _doc("Provider id in the price table; defaults to `name`.")] = ""
    base_url: Annotated[Text, _doc("Where its API lives, with `/v1`.")] = ""
    secret: Annotated[Text, _doc("Name of the secret that holds its key; empty sends none.")] = ""
    models: Annotated[tuple[str, ...], _doc("Models it serves; empty asks the server at start.")] = ()
    free: Annotated[bool, _doc("Its models cost nothing (your own hardware).")] = False
    connect_s: Annotated[Seconds, _doc("Seconds to connect.")] = 5.0
    first_byte_s: Annotated[Seconds, _doc("Seconds to the first byte of the answer.")] = 60.0
    between_chunks_s: Annotated[Seconds, _doc("Seconds between two pieces of an answer.")] = 30.0
    total_s: Annotated[Seconds, _doc("Seconds for a whole answer.")] = 600.0
    connections: Annotated[Positive, _doc("Connections at most.")] = 512
    proxy: Annotated[Text, _doc("HTTP proxy to reach it through; empty goes direct.")] = ""
    ca_file: Annotated[Text, _doc("PEM file of extra certificate authorities.")] = ""


class TargetSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One back end of a route."""

    provider: Annotated[Text, _doc("Name of a provider.")]
    model: Annotated[Text, _doc("The provider's own model name.")]
    weight: Annotated[Count, _doc("Share of traffic relative to the other targets; 0 is fallback only.")] = (
        100
    )


class RouteSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A public model name and what stands behind it."""

    model: Annotated[Text, _doc("The name callers use.")]
    targets: Annotated[
        tuple[TargetSettings, ...], Meta(min_length=1), _doc("Back ends, tried in order of the draw.")
    ]


class PriceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A price of your own. Text amounts are dollars per million tokens, exact decimals."""

    provider: Annotated[Text, _doc("Vendor id the price is for.")]
    model: Annotated[Text, _doc("Model the price is for, or `*`.")]
    input: Annotated[Text, _doc("Dollars per million input tokens.")] = "0"
    cached_input: Annotated[Text, _doc("Dollars per million cached input tokens; defaults to `input`.")] = ""
    output: Annotated[Text, _doc("Dollars per million output tokens.")] = "0"
    from_date: Annotated[Text, _doc("First day it holds, YYYY-MM-DD; empty holds always.")] = ""
    context_window: Annotated[Count, _doc("Tokens that prompt and answer may hold together; 0 unknown.")] = 0
    max_output: Annotated[Count, _doc("Answer tokens at most; 0 unknown.")] = 0
    free: Annotated[bool, _doc("Costs nothing, on purpose.")] = False


class ResilienceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Retries and breakers."""

    max_attempts: Annotated[Positive, _doc("Calls to vendors for one request at most.")] = 3
    backoff_base_s: Annotated[Seconds, _doc("First pause before a retry; doubles, with full jitter.")] = 0.1
    backoff_cap_s: Annotated[Seconds, _doc("Longest pause before a retry.")] = 5.0
    retry_share_percent: Annotated[Count, _doc("Retries at most, as a share of recent requests.")] = 20
    breaker_failures: Annotated[Positive, _doc("Failures in a row that open a back end's breaker.")] = 5
    breaker_open_s: Annotated[Seconds, _doc("Seconds before an open breaker lets one probe through.")] = 30.0


class AuditSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seeing it."""

    buffer_records: Annotated[
        Positive, _doc("Audit records waiting at most; more are dropped and counted.")
    ] = 10_000
    retain_days: Annotated[Positive, _doc("Days the audit stream is kept.")] = 90
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], _doc("Least severe level logged.")] = (
        "INFO"
    )
    request_log: Annotated[bool, _doc("Write one structured log line per request.")] = False


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of Penstock."""

    server: ServerSettings = ServerSettings()
    ledger: LedgerSettings = LedgerSettings()
    store: StoreSettings = StoreSettings()
    admission: AdmissionSettings = AdmissionSettings()
    resilience: ResilienceSettings = ResilienceSettings()
    audit: AuditSettings = AuditSettings()
    providers: Annotated[tuple[ProviderSettings, ...], _doc("Providers of models.")] = ()
    routes: Annotated[tuple[RouteSettings, ...], _doc("Public model names.")] = ()
    prices: Annotated[tuple[PriceSettings, ...], _doc("Prices of your own, over the built-in table.")] = ()
    discover: Annotated[
        bool,
        _doc(
            "Add Ollama (11434) and vLLM (8000) on this machine and vendors whose key is in the environment."
        ),
    ] = True
