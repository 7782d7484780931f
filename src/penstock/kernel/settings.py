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


class TraceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of requests, to look them up and to add up what they cost."""

    store: Annotated[
        bool, _doc("Keep requests and totals. Off, the console shows the last 15 minutes only.")
    ] = True
    url: Annotated[
        Text, _doc("`sqlite:` (inside `data`) or `postgresql://…`; empty: like `store.records_url`.")
    ] = ""
    per_s: Annotated[
        Count,
        _doc(
            "Requests kept in each second at most, of each process, drawn by chance. Those that failed, were refused "
            "by a provider, were billed by an estimate or took 30 s are kept besides. Totals count every request."
        ),
    ] = 200
    retain_days: Annotated[Positive, _doc("Days requests are kept.")] = 30
    totals_days: Annotated[Positive, _doc("Days hourly totals are kept.")] = 400


class OtelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Traces of requests for a collector of OpenTelemetry, by OTLP over HTTP."""

    endpoint: Annotated[
        Text,
        _doc(
            "Where a collector takes OTLP over HTTP, e.g. `http://127.0.0.1:4318`; `/v1/traces` is added when it is "
            "not there. Empty sends nothing."
        ),
    ] = ""
    headers_secret: Annotated[
        Text,
        _doc(
            "Name of the secret that holds headers for it, as `name=value,name=value` (the form of "
            "`OTEL_EXPORTER_OTLP_HEADERS`); empty sends none."
        ),
    ] = ""
    share: Annotated[
        Annotated[float, Meta(ge=0, le=1)],
        _doc("Share of traces sent, by trace id. What was refused or failed is always sent."),
    ] = 1.0
    follow_caller: Annotated[
        bool, _doc("A caller that has decided about its own part of the trace has decided about ours.")
    ] = True
    names: Annotated[
        Literal["1.41", "1.36", "1.26"],
        _doc("Version of OpenTelemetry's conventions for generative AI that names the attributes."),
    ] = "1.41"
    service_name: Annotated[Text, Meta(min_length=1), _doc("Who sends: `service.name`.")] = "penstock"
    timeout_s: Annotated[Seconds, _doc("Seconds for one batch, from connecting to the answer.")] = 10.0
    buffer_requests: Annotated[
        Positive, _doc("Requests waiting at most; the traces of more are dropped and counted.")
    ] = 5_000
    ca_file: Annotated[Text, _doc("PEM file of extra certificate authorities.")] = ""
    proxy: Annotated[Text, _doc("HTTP proxy to reach it through; empty goes direct.")] = ""


Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]  # fmt: skip
"""Signatures by a private key only: with a shared secret whoever can check a token could make one."""


class IssuerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One issuer whose JWTs machines may call with. Its tokens are callers, never admins."""

    issuer: Annotated[Text, Meta(min_length=1), _doc("The exact `iss` of its tokens; unique.")]
    audience: Annotated[Text, Meta(min_length=1), _doc("The `aud` its tokens must be for: this deployment.")]
    jwks_url: Annotated[Text, _doc("Where its public keys are: https, or http on loopback.")] = ""
    jwks_file: Annotated[Text, _doc("File with its public keys (a JWK Set), instead of `jwks_url`.")] = ""
    ca_file: Annotated[Text, _doc("PEM file of the certificate authorities of `jwks_url`.")] = ""
    algorithms: Annotated[
        tuple[Algorithm, ...], Meta(min_length=1), _doc("Signature algorithms accepted of this issuer.")
    ] = ("RS256", "ES256", "EdDSA")
    org: Annotated[Text, _doc("Organisation of its machines. A token cannot choose another.")] = "default"
    org_claim: Annotated[
        Text, _doc("Claim that chooses among `orgs`; empty: every token belongs to `org`.")
    ] = ""
    orgs: Annotated[
        tuple[Text, ...], _doc("Organisations that `org_claim` may choose; others are refused.")
    ] = ()
    team: Annotated[Text, _doc("Team of a token without `team_claim`.")] = "default"
    team_claim: Annotated[Text, _doc("Claim that names the team; empty: always `team`.")] = ""
    project: Annotated[Text, _doc("Project of a token without `project_claim`.")] = "default"
    project_claim: Annotated[Text, _doc("Claim that names the project; empty: always `project`.")] = ""
    user_claim: Annotated[Text, Meta(min_length=1), _doc("Claim that names the user; a token needs it.")] = (
        "sub"
    )
    tier_claim: Annotated[Text, _doc("Claim that names the tier; empty: always `standard`.")] = ""
    models: Annotated[tuple[Text, ...], _doc("Models its machines may use; empty: every one.")] = ()
    models_claim: Annotated[
        Text,
        _doc("Claim that lists a token's models, within `models`; a token then needs it. Empty: `models`."),
    ] = ""
    max_lifetime_s: Annotated[Positive, _doc("Seconds from `iat` to `exp` at most.")] = 3_600
    leeway_s: Annotated[Annotated[int, Meta(ge=0, le=300)], _doc("Seconds that two clocks may differ.")] = 30


class OidcSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sign-in of people through an OpenID provider. Only people invited come in, by their verified email address."""

    issuer: Annotated[Text, _doc("The provider's issuer URL; empty: people sign in by password only.")] = ""
    name: Annotated[Text, _doc("What the button says.")] = "single sign-on"
    client_id: Annotated[Text, _doc("The client registered for this deployment at the provider.")] = ""
    client_secret: Annotated[
        Text,
        _doc("Name of the secret that holds the client's secret; empty for a public client (PKCE alone)."),
    ] = ""
    scopes: Annotated[tuple[Text, ...], _doc("Scopes asked for; `openid` and `email` are needed.")] = (
        "openid",
        "email",
    )
    algorithms: Annotated[
        tuple[Algorithm, ...], Meta(min_length=1), _doc("Signature algorithms accepted of ID tokens.")
    ] = ("RS256", "ES256", "EdDSA")
    ca_file: Annotated[Text, _doc("PEM file of extra certificate authorities.")] = ""


class AuthSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may come in, and for how long."""

    session_idle_s: Annotated[Positive, _doc("A session ends after this many seconds without use.")] = (
        8 * 3_600
    )
    session_absolute_s: Annotated[Positive, _doc("A session ends this many seconds after sign-in.")] = (
        7 * 86_400
    )
    changes_days: Annotated[Positive, _doc("Days the audit of admin writes is kept.")] = 400
    console_urls: Annotated[
        tuple[Text, ...],
        _doc(
            "Where people reach the console, e.g. `https://penstock.example`; sign-in returns to nowhere else "
            "(on a loopback bind also to loopback)."
        ),
    ] = ()
    oidc: Annotated[OidcSettings, _doc("Sign-in through an OpenID provider.")] = OidcSettings()
    issuers: Annotated[tuple[IssuerSettings, ...], _doc("Issuers of JWTs that machines call with.")] = ()


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of Penstock."""

    server: ServerSettings = ServerSettings()
    ledger: LedgerSettings = LedgerSettings()
    store: StoreSettings = StoreSettings()
    admission: AdmissionSettings = AdmissionSettings()
    resilience: ResilienceSettings = ResilienceSettings()
    audit: AuditSettings = AuditSettings()
    traces: TraceSettings = TraceSettings()
    otel: OtelSettings = OtelSettings()
    auth: AuthSettings = AuthSettings()
    providers: Annotated[tuple[ProviderSettings, ...], _doc("Providers of models.")] = ()
    routes: Annotated[tuple[RouteSettings, ...], _doc("Public model names.")] = ()
    prices: Annotated[tuple[PriceSettings, ...], _doc("Prices of your own, over the built-in table.")] = ()
    discover: Annotated[
        bool,
        _doc(
            "Add Ollama (11434) and vLLM (8000) on this machine and vendors whose key is in the environment."
        ),
    ] = True
