"""Requests that wait for a provider, joined: who takes them, who works on them, where they are kept.

Promise: what works in the background ends before the stores it works with; nothing that seals is loaded until there is
something to seal.
"""

from __future__ import annotations

import asyncio
import hmac
import importlib
from collections.abc import Callable
from contextlib import AsyncExitStack

from penstock.edge.routes import Policy
from penstock.gateway.faces import COMPLETIONS, GEMINI, OPENAI, RESPONSES, anthropic_face
from penstock.gateway.later import PATH, Later
from penstock.gateway.later_book import LaterBook
from penstock.gateway.later_runs import LaterRuns
from penstock.kernel.clock import Clock
from penstock.kernel.settings import Settings
from penstock.mechanisms.contents.keys import Seal
from penstock.mechanisms.tenancy import Tenancy
from penstock.mechanisms.webhooks import Webhooks
from penstock.ports.secrets import Secrets
from penstock.wiring.pepper import load_pepper
from penstock.wiring.platform import Platform, Stores

COUNTERS = {
    "attempts": "Times a request that waited was asked again.",
    "answered": "Requests that waited and were answered.",
    "failed": "Requests that waited and were refused or given up.",
    "expired": "Requests that waited until their time was over.",
    "stumbles": "Times the work on a request that waited broke off.",
}


class LateSeal:
    """AES, loaded when it is first needed."""

    def seal(self, key: bytes, plain: bytes, context: bytes) -> bytes:
        """Return what is sealed."""
        return _aes().seal(key, plain, context)

    def open(self, key: bytes, sealed: bytes, context: bytes) -> bytes:
        """Return what was sealed. Raises Broken."""
        return _aes().open(key, sealed, context)


def _aes() -> Seal:
    return importlib.import_module("penstock.mechanisms.contents.sealing").AesSeal()


async def open_later(
    settings: Settings, stores: Stores, tenancy: Tenancy, kept: Secrets, clock: Clock
) -> Later:
    """Return who takes requests to be answered later; `work_later` answers them."""
    chosen = settings.later
    secret = hmac.digest(await load_pepper(kept, settings), b"later", "sha256")
    takes = {each.name: frozenset(each.orgs) for each in settings.webhooks}
    book = LaterBook(stores.records, LateSeal(), secret, chosen)
    return Later(book, tenancy, clock, takes=takes, kept_s=chosen.kept_s)


def work_later(platform: Platform, webhooks: Webhooks, opening: AsyncExitStack) -> None:
    """Answer requests that wait, tell `webhooks` of it, and show them to their callers; `opening` ends the work."""
    settings, later, clock = platform.settings, platform.chosen.later, platform.clock
    if later is None:
        return
    faces = (OPENAI, RESPONSES, COMPLETIONS, GEMINI, anthropic_face(clock))
    runs = LaterRuns(
        later.book,
        platform.chats.line,
        {face.name: face for face in faces},
        platform.tenancy,
        webhooks,
        clock,
        deadline_s=settings.admission.deadline_s,
        kept_s=settings.later.kept_s,
        concurrency=settings.later.concurrency,
    )
    platform.routes.mount(PATH, Policy.CALLER, later.one, method="GET")
    platform.routes.mount(PATH, Policy.CALLER, later.delete, method="DELETE")
    watching = asyncio.create_task(runs.watch(), name="later")

    async def close() -> None:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await runs.close()

    opening.push_async_callback(close)
    platform.metrics.counter(
        "penstock_later_accepted", "Requests accepted to be answered later.", lambda: later.accepted
    )
    for field, text in COUNTERS.items():
        platform.metrics.counter(f"penstock_later_{field}", text, _reader(runs, field))


def _reader(runs: LaterRuns, field: str) -> Callable[[], int]:
    return lambda: getattr(runs, field)
