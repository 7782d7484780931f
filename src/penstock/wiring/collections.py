"""Collections, joined: their index, who reads and embeds documents, who works on them, and who hears of changes.

Promises: without the extras it needs everything else works, and whoever asks for a collection is told which; where the
rows are shared by several nodes and the index is not, nobody is served what only one of them would find; what works in
the background ends before the stores it works with; kept answers are forgotten when a document they were made from
changes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

from penstock.edge.routes import Policy, Serve
from penstock.embedding.catalog.announcing import Announcer
from penstock.embedding.catalog.backlog import Backlog
from penstock.embedding.catalog.collections import COLLECTIONS, DOCUMENTS, CollectionBook
from penstock.embedding.catalog.document_locks import DocumentLocks
from penstock.embedding.catalog.events import Events
from penstock.embedding.catalog.jobs import ENDS, JOBS, LISTS, JobBook
from penstock.embedding.catalog.library import Library
from penstock.embedding.catalog.sources import SOURCES, Sources
from penstock.embedding.collections_http import PATH, Collections
from penstock.embedding.ingest.building import Builder
from penstock.embedding.ingest.ingest import Ingest
from penstock.embedding.ingest.intake import Intake
from penstock.embedding.ingest.removal import Removal
from penstock.embedding.migrations.migration import MIGRATIONS, MigrationBook
from penstock.embedding.migrations.migrations import Migrations
from penstock.embedding.search.rerank import Reranking
from penstock.embedding.search.search import Searcher
from penstock.embedding.search.search_http import SearchDesk
from penstock.embedding.upkeep import Upkeep
from penstock.gateway.embeddings import Embeddings
from penstock.gateway.reranking import Reranking as RerankCalls
from penstock.kernel.context import Principal
from penstock.kernel.errors import Invalid
from penstock.kernel.ids import new_id
from penstock.kernel.settings import Settings
from penstock.mechanisms.telemetry import Metrics
from penstock.net.request import Request
from penstock.net.responder import Responder
from penstock.ports.parsers import Parser
from penstock.wiring import adapters
from penstock.wiring.changed_documents import ChangedDocuments
from penstock.wiring.faces import calls
from penstock.wiring.gateway_embedder import GatewayEmbedder
from penstock.wiring.parts import KeptIndex
from penstock.wiring.platform import Platform
from penstock.wiring.unpaid import Unpaid

_log = logging.getLogger("penstock.wiring")
KINDS: Final = (COLLECTIONS, DOCUMENTS, SOURCES, JOBS, ENDS, LISTS, MIGRATIONS)
METHODS: Final = ("GET", "POST", "DELETE")
INGEST: Final = {
    "documents_ended": "Documents whose ingest ended here, well or not.",
    "documents_failed": "Documents whose ingest failed here.",
    "waits": "Times documents were put back for a limit, or for something that may pass.",
    "stumbles": "Times the work on documents broke off unexpectedly.",
}


BACKLOG: Final = {
    "unread": "Messages on the stream that said nothing known.",
    "failures": "Times the stream of documents could not be read.",
}
CHANGED: Final = {
    "heard": "Changes of documents that kept answers were forgotten for.",
    "forgotten": "Kept answers forgotten here because a document changed.",
    "failures": "Times that could not be done; the changes are told again.",
    "unread": "Messages on the stream that said nothing known.",
}


UNSHARED: Final = partial(
    Invalid,
    "Collections are not served here: other nodes may share the records, and the index is each node's own.",
    code="collections_not_shared",
    field="collections.index",
    value="embedded",
    remedy="Let the operator point collections.index at PostgreSQL with pgvector, as store.records_url is.",
)


async def open_collections(platform: Platform, opening: AsyncExitStack) -> None:
    """Serve collections and work on them; `opening` ends both. Raises Unavailable."""
    if _shares_rows(platform.settings) and platform.settings.collections.index == "embedded":
        _log.warning("%s", UNSHARED())
        _refuse(platform, UNSHARED)
        return
    try:
        index, parser = await _engines(platform, opening)
    except Invalid as missing:
        if missing.field != adapters.NOT_INSTALLED:
            raise
        told = f"Collections are not installed here: {missing.message}"
        asked = {"field": missing.field, "value": missing.value, "remedy": missing.remedy}
        _refuse(platform, partial(Invalid, told, code="not_installed", **asked))
        return
    settings = platform.settings.collections
    platform.library = library = _library(platform, index, opening)
    announcer, removal = Announcer(library), Removal(library)
    reranking = Reranking(library.embedder, platform.late)
    searcher = Searcher(index, library.embedder, reranking, platform.clock)
    book = MigrationBook(library.book.rows)
    migrations = Migrations(library, book, announcer, searcher, kept_days=settings.old_space_days)
    searcher.stale = migrations.seen_stale
    builder = Builder(index, parser, library.embedder, library.sources, platform.late)
    ingest = Ingest(library, builder, documents_at_once=settings.batch_documents)
    ingest.follow = migrations.follow
    upkeep = Upkeep(
        library,
        announcer,
        removal,
        migrations,
        kept_days=settings.kept_days,
        is_eager=settings.reembed == "eager",
    )
    served = Collections(
        library,
        settings,
        announcer=announcer,
        intake=Intake(library, announcer, settings),
        removal=removal,
        migrations=migrations,
        searches=SearchDesk(searcher),
        wake=upkeep.wake,
    )
    _declare(platform, served.create, served.list, served.below)
    _show(platform.metrics, library, announcer, ingest, upkeep)
    tending = (upkeep.watch(), upkeep.compacting(settings.compact_s))
    works = [library.backlog.fill(), *tending, *[ingest.worker() for _ in range(settings.workers)]]
    if platform.answers is not None:
        changed = ChangedDocuments(platform.stores.stream, platform.answers.cache, library.runner)
        _count(platform.metrics, "changed_documents", changed, CHANGED)
        works.append(changed.watch())
    _work(works, opening)


async def _engines(platform: Platform, opening: AsyncExitStack) -> tuple[KeptIndex, Parser]:
    """Open what needs an extra. Raises Invalid naming the one that is missing."""
    settings = platform.settings
    parser = adapters.parser()
    opening.push_async_callback(parser.close)
    index = await adapters.index(settings.collections, Path(settings.store.data))
    opening.push_async_callback(index.close)
    platform.health.watch("index", index.healthy)
    return index, parser


def _shares_rows(settings: Settings) -> bool:
    """Tell whether other nodes may have the records as well."""
    return not settings.store.records_url.startswith("sqlite:")


def _library(platform: Platform, index: KeptIndex, opening: AsyncExitStack) -> Library:
    settings, clock, rows = platform.settings, platform.clock, platform.stores.records
    blobs = None
    if not _shares_rows(settings):
        folder = Path(settings.store.data) / "documents"
        blobs = adapters.adapter("blobs.embedded", "FileBlobs")(folder, clock)
        opening.push_async_callback(blobs.close)
    runner = new_id("runner_")
    embedder = GatewayEmbedder(
        calls(platform, Embeddings()),
        calls(platform, RerankCalls()),
        platform.embedding,
        {each.name: each for each in settings.embedding_models},
        Unpaid(platform.admission, clock),
        clock,
        deadline_s=settings.admission.deadline_s,
    )
    return Library(
        book=CollectionBook(rows),
        jobs=JobBook(rows),
        sources=Sources(rows, blobs, clock),
        events=Events(platform.stores.stream),
        locks=DocumentLocks(),
        backlog=Backlog(platform.stores.stream, clock, runner),
        index=index,
        embedder=embedder,
        principals=platform.tenancy,
        clock=clock,
        runner=runner,
    )


def _work(works: Sequence[Coroutine[object, object, None]], opening: AsyncExitStack) -> None:
    """Begin to work; `opening` ends it. What was under way is done again at the next start."""
    tasks = [asyncio.create_task(work, name="collections") for work in works]

    async def close() -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    opening.push_async_callback(close)


def _declare(platform: Platform, create: Serve, listing: Serve, below: Serve) -> None:
    routes = platform.routes
    routes.add("POST", PATH, Policy.CALLER, create)
    routes.add("GET", PATH, Policy.CALLER, listing)
    for method in METHODS:
        routes.mount(f"{PATH}/", Policy.CALLER, below, method=method)


def _refuse(platform: Platform, refusal: Callable[[], Invalid]) -> None:
    """Tell every caller why there are no collections here."""

    async def serve(_request: Request, _responder: Responder, _principal: Principal) -> None:
        raise refusal()

    _declare(platform, serve, serve, serve)


def _show(metrics: Metrics, library: Library, announcer: Announcer, ingest: Ingest, upkeep: Upkeep) -> None:
    """Show how the work on collections gets on."""
    _count(metrics, "ingest", ingest, INGEST)
    gauges: Mapping[str, tuple[str, Callable[[], float]]] = {
        "jobs_queued": ("Jobs of which no document has ended yet.", lambda: announcer.queued),
        "jobs_running": ("Jobs with documents that ended and documents left.", lambda: announcer.running),
        "stream_lag": ("Documents on the stream that have not ended.", lambda: announcer.lag),
        "backlog": ("Documents taken from the stream that wait here.", lambda: library.backlog.waiting),
        "batches": ("Batches of documents worked on here, now.", lambda: ingest.at_work),
    }
    for name, (text, read) in gauges.items():
        metrics.gauge(f"penstock_ingest_{name}", text, read)
    metrics.counter(
        "penstock_collections_compactions", "Times the index was compacted.", lambda: upkeep.compactions
    )
    metrics.counter(
        "penstock_collections_failures",
        "Times collections could not be tended.",
        lambda: upkeep.failures,
    )
    _count(metrics, "ingest", library.backlog, BACKLOG)


def _count(metrics: Metrics, noun: str, source: object, texts: Mapping[str, str]) -> None:
    for field, text in texts.items():
        metrics.counter(f"penstock_{noun}_{field}", text, _reader(source, field))


def _reader(source: object, field: str) -> Callable[[], float]:
    return lambda: getattr(source, field)
