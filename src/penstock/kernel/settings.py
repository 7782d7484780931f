"""Every setting of Penstock as a typed value with its unit, default and meaning. Nothing is read here.

`wiring.settings` reads one TOML file and the environment into these values once, refuses unknown keys and reports all
mistakes at once. `docs/reference/settings.md` is generated from the descriptions below.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from penstock.kernel.settings_auth import AuthSettings, IssuerSettings, OidcSettings
from penstock.kernel.settings_batches import BatchSettings
from penstock.kernel.settings_cache import CacheSettings, SemanticSettings
from penstock.kernel.settings_collections import CollectionSettings
from penstock.kernel.settings_context import ContextSettings
from penstock.kernel.settings_embedding import EmbeddingModelSettings, EmbeddingSettings
from penstock.kernel.settings_features import FeatureSettings, LaterSettings
from penstock.kernel.settings_gateway import (
    AdmissionSettings,
    PriceSettings,
    ProviderSettings,
    ResilienceSettings,
)
from penstock.kernel.settings_output import OutputSettings
from penstock.kernel.settings_overload import OverloadSettings
from penstock.kernel.settings_oversight import (
    AlertSettings,
    ContentSettings,
    LakeSettings,
    WebhookSettings,
)
from penstock.kernel.settings_privacy import GuardSettings, PrivacySettings, RecogniserSettings
from penstock.kernel.settings_rollouts import RolloutSettings
from penstock.kernel.settings_routes import ResidencySettings, RouteSettings, RoutingDocument, TargetSettings
from penstock.kernel.settings_sight import AuditSettings, OtelSettings, TraceSettings
from penstock.kernel.settings_types import Positive, Seconds, Text, doc

__all__ = [
    "AdmissionSettings",
    "AlertSettings",
    "AuditSettings",
    "AuthSettings",
    "BatchSettings",
    "CacheSettings",
    "CollectionSettings",
    "ContentSettings",
    "ContextSettings",
    "EmbeddingModelSettings",
    "EmbeddingSettings",
    "FeatureSettings",
    "GuardSettings",
    "IssuerSettings",
    "LakeSettings",
    "LaterSettings",
    "LedgerSettings",
    "OidcSettings",
    "OtelSettings",
    "OutputSettings",
    "OverloadSettings",
    "PriceSettings",
    "PrivacySettings",
    "ProviderSettings",
    "RecogniserSettings",
    "ResidencySettings",
    "ResilienceSettings",
    "RolloutSettings",
    "RouteSettings",
    "RoutingDocument",
    "ServerSettings",
    "Settings",
    "StoreSettings",
    "TargetSettings",
    "TraceSettings",
    "WebhookSettings",
]


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HTTP server."""

    host: Annotated[str, doc("Address to bind. Anything but loopback needs keys and `allowed_hosts`.")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Meta(ge=0, le=65535), doc("TCP port; 0 picks a free one.")] = 8700
    allowed_hosts: Annotated[tuple[str, ...], doc("Host names answered; empty answers any on loopback.")] = ()
    cors_origins: Annotated[tuple[str, ...], doc("Browser origins allowed to call; empty allows none.")] = ()
    tls_cert: Annotated[str, doc("PEM file with the certificate chain; empty serves plain HTTP.")] = ""
    tls_key: Annotated[str, doc("PEM file with the private key of `tls_cert`.")] = ""
    body_bytes: Annotated[Positive, doc("Largest request body, in bytes.")] = 8 * 1024 * 1024
    connections: Annotated[Positive, doc("Open client connections at most.")] = 10_000
    in_flight: Annotated[
        Positive, doc("Requests served at one time, those that wait for a place among them.")
    ] = 4_000
    idle_s: Annotated[Seconds, doc("An idle keep-alive connection is closed after this many seconds.")] = 75.0
    write_idle_s: Annotated[Seconds, doc("A client that reads nothing this many seconds is cut.")] = 30.0
    drain_s: Annotated[Seconds, doc("On SIGTERM, seconds that running requests get to finish.")] = 30.0
    drain_grace_s: Annotated[
        Seconds, doc("On SIGTERM, seconds that idle connections stay open for a request already on its way.")
    ] = 1.0
    on_vanished_client: Annotated[
        Literal["drain", "stop"],
        doc(
            "When a client vanishes mid-answer: `drain` reads the vendor to the end within a cap and bills exactly; "
            "`stop` hangs up and bills a bounded, flagged estimate."
        ),
    ] = "stop"


class LedgerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where money is kept."""

    url: Annotated[Text, doc("`sqlite:` (inside `data`) or `postgresql://…`.")] = "sqlite:"
    durability: Annotated[
        Literal["process", "power"],
        doc(
            "`process` survives kill -9 of Penstock; `power` also survives loss of the machine (fsync a group)."
        ),
    ] = "process"
    hold_timeout_s: Annotated[Positive, doc("A hold nobody settles is resolved after this many seconds.")] = (
        900
    )


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where everything else is kept."""

    data: Annotated[Text, doc("Folder of all embedded stores.")] = "var"
    records_url: Annotated[Text, doc("`sqlite:` (inside `data`) or `postgresql://…`.")] = "sqlite:"
    state_url: Annotated[Text, doc("`memory:` or `redis://…`; more than one process needs Redis.")] = (
        "memory:"
    )
    secrets: Annotated[Text, doc("Folder of secret files (mode 0600); relative to `data`.")] = "secrets"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of Penstock."""

    server: ServerSettings = ServerSettings()
    ledger: LedgerSettings = LedgerSettings()
    store: StoreSettings = StoreSettings()
    admission: AdmissionSettings = AdmissionSettings()
    overload: OverloadSettings = OverloadSettings()
    batches: BatchSettings = BatchSettings()
    resilience: ResilienceSettings = ResilienceSettings()
    cache: CacheSettings = CacheSettings()
    semantic: SemanticSettings = SemanticSettings()
    audit: AuditSettings = AuditSettings()
    traces: TraceSettings = TraceSettings()
    otel: OtelSettings = OtelSettings()
    lake: LakeSettings = LakeSettings()
    contents: ContentSettings = ContentSettings()
    alerts: Annotated[tuple[AlertSettings, ...], doc("Alerts that fire otherwise than by themselves.")] = ()
    webhooks: Annotated[tuple[WebhookSettings, ...], doc("Who is told of alerts.")] = ()
    auth: AuthSettings = AuthSettings()
    providers: Annotated[tuple[ProviderSettings, ...], doc("Providers of models.")] = ()
    routes: Annotated[tuple[RouteSettings, ...], doc("Public model names.")] = ()
    residency: Annotated[tuple[ResidencySettings, ...], doc("Where organisations may be served.")] = ()
    features: Annotated[
        tuple[FeatureSettings, ...],
        doc("What features may be answered by, and what stands in for their models."),
    ] = ()
    later: LaterSettings = LaterSettings()
    rollouts: RolloutSettings = RolloutSettings()
    privacy: Annotated[
        tuple[PrivacySettings, ...],
        doc("What becomes of personal data and secrets, by organisation and team."),
    ] = ()
    context: Annotated[
        tuple[ContextSettings, ...],
        doc("What becomes of conversations that are too long, by organisation and team."),
    ] = ()
    output: Annotated[
        tuple[OutputSettings, ...],
        doc(
            "What answers may be: their length, their stops, what of them is shown, in which pieces they come."
        ),
    ] = ()
    recogniser: RecogniserSettings = RecogniserSettings()
    guards: Annotated[tuple[GuardSettings, ...], doc("What may be asked, by organisation and team.")] = ()
    prices: Annotated[tuple[PriceSettings, ...], doc("Prices of your own, over the built-in table.")] = ()
    embedding: EmbeddingSettings = EmbeddingSettings()
    collections: CollectionSettings = CollectionSettings()
    embedding_models: Annotated[
        tuple[EmbeddingModelSettings, ...], doc("What is known of embedding models elsewhere.")
    ] = ()
    discover: Annotated[
        bool,
        doc(
            "Add Ollama (11434) and vLLM (8000) on this machine and vendors whose key is in the environment."
        ),
    ] = True


LISTS: Final = frozenset(field.name for field in msgspec.structs.fields(Settings) if field.default == ())
"""What is a list of tables, which the environment cannot hold."""
