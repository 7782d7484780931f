"""Files and batches, joined: where they are kept, who serves them, and who works on them.

Promise: what works in the background ends before the stores it works with.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from penstock.dialects.anthropic_batches import PATH as MESSAGES
from penstock.edge.routes import Policy
from penstock.gateway import batch_lines, batches, files
from penstock.gateway.batch_lines import Lines, Way
from penstock.gateway.batch_runs import BatchRuns
from penstock.gateway.batches import BatchBook, Batches
from penstock.gateway.faces import Face
from penstock.gateway.files import DAY_S, Bounds, Files
from penstock.gateway.idempotency import Idempotency
from penstock.gateway.message_batches import MessageBatches
from penstock.kernel.errors import PenstockError
from penstock.wiring import adapters
from penstock.wiring.platform import Platform
from penstock.wiring.sight_features import declare_batches

COLLECTIONS = (files.COLLECTION, batches.COLLECTION, *batch_lines.COLLECTIONS)
FORGET_S = 3_600.0
_log = logging.getLogger("penstock.wiring")


def open_batches(platform: Platform, ways: Mapping[str, Way], anthropic: Face) -> None:
    """Serve files and batches, Anthropic's by the face `anthropic`, and work on those of the endpoints in `ways`."""
    settings, clock, records = platform.settings, platform.clock, platform.stores.records
    chosen = settings.batches
    blobs = adapters.adapter("blobs.embedded", "FileBlobs")(Path(settings.store.data) / "blobs", clock)
    platform.resources.push_async_callback(blobs.close)
    book = BatchBook(records)
    bounds = Bounds(chosen.files_per_project, chosen.bytes_per_project)
    kept = Files(blobs, records, clock, kept_days=chosen.kept_days, bounds=bounds, needed=book.needs)
    lines = Lines(
        ways,
        Idempotency(records, clock),
        records,
        platform.catalogue.current,
        clock,
        deadline_s=settings.admission.deadline_s,
        max_lines=chosen.max_lines,
    )
    runs = BatchRuns(
        book,
        lines,
        kept,
        platform.tenancy,
        clock,
        concurrency=chosen.concurrency,
        running=chosen.running,
    )
    declare_batches(platform.metrics, runs)
    tasks = [
        asyncio.create_task(runs.watch(), name="batches"),
        asyncio.create_task(_forget(runs, chosen.kept_days * DAY_S), name="forget batches"),
    ]

    async def close() -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await runs.close()

    platform.resources.push_async_callback(close)
    most = chosen.open_per_project
    _declare(platform, kept, Batches(book, kept, platform.tenancy, clock, runs.wake, open_most=most))
    messages = MessageBatches(
        book, kept, platform.tenancy, clock, anthropic, runs.wake, max_lines=chosen.max_lines, open_most=most
    )
    _declare_messages(platform, messages)


def _declare(platform: Platform, kept: Files, served: Batches) -> None:
    routes = platform.routes
    routes.add("POST", "/v1/files", Policy.CALLER, kept.create)
    routes.add("GET", "/v1/files", Policy.CALLER, kept.list)
    routes.mount("/v1/files/", Policy.CALLER, kept.one, method="GET")
    routes.mount("/v1/files/", Policy.CALLER, kept.delete, method="DELETE")
    routes.add("POST", "/v1/batches", Policy.CALLER, served.create)
    routes.add("GET", "/v1/batches", Policy.CALLER, served.list)
    routes.mount("/v1/batches/", Policy.CALLER, served.one, method="GET")
    routes.mount("/v1/batches/", Policy.CALLER, served.cancel, method="POST")


def _declare_messages(platform: Platform, served: MessageBatches) -> None:
    routes = platform.routes
    routes.add("POST", MESSAGES, Policy.CALLER, served.create)
    routes.add("GET", MESSAGES, Policy.CALLER, served.list)
    routes.mount(f"{MESSAGES}/", Policy.CALLER, served.one, method="GET")
    routes.mount(f"{MESSAGES}/", Policy.CALLER, served.cancel, method="POST")
    routes.mount(f"{MESSAGES}/", Policy.CALLER, served.delete, method="DELETE")


async def _forget(runs: BatchRuns, kept_s: float) -> None:
    """Forget what is past its time, once an hour."""
    while True:
        await asyncio.sleep(FORGET_S)
        try:
            await runs.forget(kept_s)
        except PenstockError as error:
            _log.warning("what is past its time could not be forgotten: %s", error)
