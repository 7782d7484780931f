"""Settings → a running platform: opens every adapter, joins them, serves, and lets go in the opposite order.

Promise: everything opened is closed, whatever fails half-way; what runs in the background is named here and
nowhere else; a platform that cannot be safe does not open a socket.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from penstock.dialects.codecs import CODECS
from penstock.edge import errors
from penstock.edge.app import Edge
from penstock.edge.routes import Routes
from penstock.gateway import models
from penstock.gateway.admission import Admission
from penstock.gateway.calling import Calling
from penstock.gateway.contents import ContentCare
from penstock.gateway.http import Chats
from penstock.gateway.idempotency import COLLECTION as IDEMPOTENCY
from penstock.gateway.idempotency import Idempotency
from penstock.gateway.later_book import COLLECTIONS as LATER
from penstock.gateway.output_care import OutputCare
from penstock.gateway.pipeline import Choices, Inspection, Pipeline
from penstock.gateway.prompt_cache import PromptCacheCare
from penstock.gateway.relay import Relay
from penstock.gateway.rollout_trials import COLLECTIONS as ROLLOUTS
from penstock.gateway.structured_care import StructuredCare
from penstock.gateway.wording import Wordings
from penstock.kernel.clock import Clock, SystemClock
from penstock.kernel.errors import PenstockError
from penstock.kernel.ids import new_id
from penstock.kernel.settings import ProviderSettings, Settings
from penstock.mechanisms.audit import AuditPipe, Listener
from penstock.mechanisms.config_versions import COLLECTIONS as ROUTING_VERSIONS
from penstock.mechanisms.feedback import COLLECTIONS as FEEDBACK
from penstock.mechanisms.feedback import Feedback
from penstock.mechanisms.headroom import Headroom
from penstock.mechanisms.limits import Plans
from penstock.mechanisms.resilience import Resilience
from penstock.mechanisms.telemetry import Metrics
from penstock.mechanisms.tenancy import Tenancy
from penstock.net.server import Cors, Server, ServerLimits
from penstock.net.tls import server_context
from penstock.ports.secrets import Secrets
from penstock.wiring import adapters
from penstock.wiring.answers import open_answers
from penstock.wiring.auditing import open_audit, settle_in_doubt, trim
from penstock.wiring.batches import COLLECTIONS as BATCHES
from penstock.wiring.callers import COLLECTIONS, SEAL_S, Rarely, open_callers, seal_changes, trim_changes
from penstock.wiring.catalogue import Catalogue
from penstock.wiring.collections import KINDS as KNOWLEDGE
from penstock.wiring.collections import open_collections
from penstock.wiring.contents import COLLECTIONS as CONTENTS
from penstock.wiring.contents import open_contents
from penstock.wiring.context import ContextRungs, Vendors, open_context
from penstock.wiring.embedding import Embedding, declare_embedding, open_embedding
from penstock.wiring.health import Health
from penstock.wiring.later import open_later, work_later
from penstock.wiring.overload import declare_overload, open_guard, open_waiting
from penstock.wiring.oversight import COLLECTIONS as OVERSIGHT
from penstock.wiring.oversight import open_oversight
from penstock.wiring.owner import ADMIN_KEY, adopt_admin_key
from penstock.wiring.platform import Platform, Stores, Waiting
from penstock.wiring.privacy import open_privacy
from penstock.wiring.rollouts import open_canaries
from penstock.wiring.routes import declare_routes
from penstock.wiring.routing import open_catalogue, open_routing
from penstock.wiring.semantic import open_semantic
from penstock.wiring.sight import declare_metrics
from penstock.wiring.sight_features import declare_canaries, declare_features
from penstock.wiring.sight_feeds import SightFeeds, TraceTrim, open_sight_feeds
from penstock.wiring.span_export import open_span_feed

_log = logging.getLogger("penstock.wiring")
TICK_S = 1.0


async def start(
    settings: Settings,
    env: dict[str, str],
    *,
    sock: socket.socket | None = None,
    listeners: tuple[Listener, ...] = (),
    file: Path | None = None,
) -> Platform:
    """Open everything and serve; whatever was opened is closed again if something fails. Raises
    PenstockError, OSError. `file` is where the settings were read from, for whoever asks.
    """
    make_private(Path(settings.store.data))
    async with AsyncExitStack() as opening:
        platform = await _assemble(settings, env, listeners, opening)
        declare_routes(platform)
        platform.guard = open_guard(platform, opening)
        declare_metrics(platform)
        declare_features(platform)
        declare_overload(platform)
        declare_embedding(platform)
        open_semantic(platform, opening)
        await open_collections(platform, opening)
        platform.oversight = await open_oversight(platform, adapters.secrets(settings, env), opening)
        work_later(platform, platform.oversight.webhooks, opening)
        canaries = open_canaries(
            settings,
            platform.stores,
            platform.clock,
            platform.routing.versions,
            platform.resilience,
            platform.oversight.alerts.tell,
        )
        platform.audit.listen(canaries)
        platform.canaries = canaries
        platform.feedback.listen(canaries.score)
        declare_canaries(platform.metrics, canaries)
        platform.audit.listen(platform.prompt_savings)
        if env.get(ADMIN_KEY):
            await adopt_admin_key(platform.tenancy, env[ADMIN_KEY])
        platform.settings_file = "" if file is None else str(file)
        tls = (
            server_context(settings.server.tls_cert, settings.server.tls_key)
            if settings.server.tls_cert
            else None
        )
        await platform.server.start(settings.server.host, settings.server.port, sock=sock, ssl=tls)
        platform.background = [
            asyncio.create_task(platform.tenancy.watch(), name="tenancy"),
            asyncio.create_task(platform.sessions.watch(), name="sessions"),
            asyncio.create_task(platform.routing.versions.watch(), name="routing"),
            asyncio.create_task(canaries.run(), name="canaries"),
            asyncio.create_task(_tick(platform), name="tick"),
        ]
        if platform.machines is not None:
            platform.background.append(asyncio.create_task(platform.machines.watch(), name="machines"))
        platform.resources = opening.pop_all()
        return platform


def make_private(folder: Path) -> None:
    """Make the data folder, readable by its owner only."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


async def _assemble(
    settings: Settings, env: dict[str, str], listeners: tuple[Listener, ...], opening: AsyncExitStack
) -> Platform:
    clock = SystemClock()
    kept = adapters.secrets(settings, env)
    stores = await _open_stores(settings, clock, opening)
    callers = await open_callers(settings, stores, kept, clock, opening)
    providers = await adapters.found_providers(settings, env)
    resilience, embedding, catalogue = await _open_models(settings, providers, kept, clock, opening)
    routing = await open_routing(settings, stores, catalogue, clock)
    plans = Plans(clock)
    admission = _admission(settings, stores, plans)
    metrics, routes = Metrics(), Routes()
    sight = await open_sight_feeds(settings, clock, opening)
    spans = await open_span_feed(settings.otel, providers, kept, opening)
    heard_by = (metrics, routing.tiers, *sight.listeners, *((spans,) if spans else ()), *listeners)
    audit, metering = open_audit(settings, stores, clock, heard_by, opening)
    answers = await open_answers(settings, stores.signals, kept, clock, opening)
    vendors = Vendors(catalogue, admission, resilience, answers)
    chosen = await _choices(settings, stores, vendors, callers.tenancy, clock, kept, opening=opening)
    contents = await open_contents(settings, stores, kept, clock, opening)
    waiting = open_waiting(settings.overload, catalogue, clock, audit)
    rungs = _Rungs(catalogue, callers.tenancy, admission, resilience, audit, contents, waiting, chosen)
    return Platform(
        settings=settings,
        clock=clock,
        stores=stores,
        tenancy=callers.tenancy,
        passwords=callers.passwords,
        people=callers.people,
        sessions=callers.sessions,
        changes=callers.changes,
        feedback=Feedback(stores.records, clock, days=settings.traces.retain_days),
        machines=callers.machines,
        authenticator=callers.authenticator,
        oidc=callers.oidc,
        catalogue=catalogue,
        embedding=embedding.service,
        late=embedding.late,
        routing=routing,
        admission=admission,
        resilience=resilience,
        audit=audit,
        metering=metering,
        metrics=metrics,
        plans=plans,
        headroom=Headroom(plans, stores.ledger, clock),
        recent=sight.recent,
        traces=sight.traces,
        trace_feed=sight.trace_feed,
        span_feed=spans,
        routes=routes,
        server=_server(settings, Edge(routes, callers.authenticator)),
        chats=_chats(settings, clock, stores, rungs),
        chosen=chosen,
        contents=contents,
        waiting=waiting,
        health=_health(stores, sight),
        resources=opening,
    )


async def _open_models(
    settings: Settings,
    providers: tuple[ProviderSettings, ...],
    kept: Secrets,
    clock: Clock,
    opening: AsyncExitStack,
) -> tuple[Resilience, Embedding, Catalogue]:
    """Open the models in this machine and, beside them, those of providers; return with them what keeps calls going."""
    resilience = Resilience(settings.resilience, clock)
    embedding = await open_embedding(settings, clock, opening)
    catalogue = await open_catalogue(
        settings, providers, kept, resilience, clock, opening, beside=embedding.beside
    )
    return resilience, embedding, catalogue


def _admission(settings: Settings, stores: Stores, plans: Plans) -> Admission:
    timeout_s = settings.ledger.hold_timeout_s
    return Admission(settings.admission, plans, stores.state, stores.ledger, timeout_s)


async def _choices(
    settings: Settings,
    stores: Stores,
    vendors: Vendors,
    tenancy: Tenancy,
    clock: Clock,
    kept: Secrets,
    *,
    opening: AsyncExitStack,
) -> Choices:
    """Return what this deployment has on the way of a chat beside the mandatory steps."""
    context = await open_context(settings, vendors, stores.signals, kept, clock, opening)
    inspections = await _inspections(settings, context, clock, opening)
    later = await open_later(settings, stores, tenancy, kept, clock)
    return Choices(inspections, vendors.answers, later, context.windows)


def _health(stores: Stores, sight: SightFeeds) -> Health:
    health = Health()
    health.watch("records", stores.records.healthy)
    health.watch("state", stores.state.healthy)
    health.watch("signals", stores.signals.healthy)
    health.watch("stream", stores.stream.healthy)
    if sight.traces is not None:
        health.watch("traces", sight.traces.healthy)
    return health


async def _inspections(
    settings: Settings, context: ContextRungs, clock: Clock, opening: AsyncExitStack
) -> tuple[Inspection, ...]:
    """Return what looks into requests, in order: what is cut off need not be looked at, what is summarised must be;
    whoever marks what a vendor may keep sees what is really sent.
    """
    privacy = await open_privacy(settings, clock, opening)
    marks = (PromptCacheCare(clock),) if settings.cache.mark_prompts else ()
    return (*context.first, *privacy, *context.last, StructuredCare(), OutputCare(settings.output), *marks)


class _Rungs(NamedTuple):
    """What a paid request passes, beside the stores."""

    catalogue: Catalogue
    tenancy: Tenancy
    admission: Admission
    resilience: Resilience
    audit: AuditPipe
    contents: ContentCare | None
    waiting: Waiting
    chosen: Choices


def _chats(settings: Settings, clock: Clock, stores: Stores, rungs: _Rungs) -> Chats:
    pipeline = Pipeline(
        routes=rungs.catalogue.current,
        tenancy=rungs.tenancy,
        admission=rungs.admission,
        calling=Calling(rungs.admission, rungs.resilience, rungs.catalogue.loads, rungs.waiting.rooms),
        ledger=stores.ledger,
        relay=Relay(stores.ledger, rungs.resilience, clock),
        audit=rungs.audit,
        wordings=Wordings(CODECS, clock),
        chosen=rungs.chosen,
    )
    return Chats(
        rungs.waiting.places.before(pipeline if rungs.contents is None else rungs.contents.over(pipeline)),
        Idempotency(stores.records, clock),
        clock,
        deadline_s=settings.admission.deadline_s,
        drain_vanished=settings.server.on_vanished_client == "drain",
    )


async def _open_stores(settings: Settings, clock: Clock, opening: AsyncExitStack) -> Stores:
    stream = await adapters.stream(settings, clock)
    opening.push_async_callback(stream.close)
    records = await adapters.records(
        settings,
        (
            *COLLECTIONS,
            *ROUTING_VERSIONS,
            *BATCHES,
            *OVERSIGHT,
            *ROLLOUTS,
            *CONTENTS,
            *FEEDBACK,
            *LATER,
            *KNOWLEDGE,
            IDEMPOTENCY,
        ),
        clock,
    )
    opening.push_async_callback(records.close)
    state = await adapters.state(settings, clock)
    opening.push_async_callback(state.close)
    signals = await adapters.signals(settings)
    opening.push_async_callback(signals.close)
    # The ledger opens last and closes first: nothing that could still spend is open without it.
    ledger = await adapters.ledger(settings, clock, new_id("node_"))
    opening.push_async_callback(ledger.close)
    return Stores(ledger, records, state, signals, stream)


def _server(settings: Settings, edge: Edge) -> Server:
    server = settings.server
    return Server(
        edge.handle,
        ServerLimits(
            body_bytes=server.body_bytes,
            connections=server.connections,
            in_flight=server.in_flight,
            idle_timeout_s=server.idle_s,
            write_idle_s=server.write_idle_s,
            drain_grace_s=server.drain_grace_s,
        ),
        allowed_hosts=frozenset(server.allowed_hosts) or None,
        cors=Cors(origins=frozenset(server.cors_origins)) if server.cors_origins else None,
        error_renderer=errors.render,
        named_below=models.BELOW,
    )


async def _tick(platform: Platform) -> None:
    """Once a second: settle what is in doubt, follow the day, watch the budgets, forget what is past its time."""
    clock = platform.clock
    forget_changes = Rarely(partial(trim_changes, platform), clock)
    seal = Rarely(partial(seal_changes, platform), clock, SEAL_S)
    forget_alerts = Rarely(platform.oversight.alerts.trim, clock) if platform.oversight is not None else None
    forget_scores = Rarely(platform.feedback.trim, clock)
    forget_traces = TraceTrim(platform)

    while True:
        for work in (
            platform.health.tick,
            partial(settle_in_doubt, platform),
            platform.catalogue.tick,
            platform.headroom.tick,
            partial(trim, platform),
            forget_changes.tick,
            seal.tick,
            *((forget_alerts.tick,) if forget_alerts is not None else ()),
            forget_scores.tick,
            forget_traces.tick,
            *((platform.guard.tick,) if platform.guard is not None else ()),
        ):
            try:
                await work()
            except PenstockError as error:
                _log.warning("background work failed: %s", error)
            except Exception:  # because one chore must not end the others, `expire` among them
                _log.exception("background work stumbled")
        await asyncio.sleep(TICK_S)
