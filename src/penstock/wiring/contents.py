"""Contents, joined: who may be known what of, what is hashed, and where what is kept lies sealed.

Promises: a deployment that keeps no contents opens no files and loads no cryptography; what waits when the process ends
is written first; the secrets are made of the pepper, each for its own use, so that a fleet has them in common.
"""

from __future__ import annotations

import asyncio
import hmac
import importlib
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path
from typing import Final

from penstock.gateway.contents import ContentCare
from penstock.kernel.clock import Clock
from penstock.kernel.errors import Invalid, PenstockError
from penstock.kernel.settings import Settings
from penstock.mechanisms.contents import keys, rules, store
from penstock.mechanisms.contents.keys import ContentKeys
from penstock.mechanisms.contents.rules import ContentRules
from penstock.mechanisms.contents.store import ContentStore
from penstock.ports.secrets import Secrets
from penstock.wiring import adapters
from penstock.wiring.pepper import load_pepper
from penstock.wiring.platform import Stores

COLLECTIONS = (*keys.COLLECTIONS, *rules.COLLECTIONS, *store.COLLECTIONS)
REFRESH_S: Final = 2.0
TRIM_S: Final = 3_600.0
_log = logging.getLogger("penstock.wiring")


async def open_contents(
    settings: Settings, stores: Stores, kept: Secrets, clock: Clock, opening: AsyncExitStack
) -> ContentCare | None:
    """Look at contents as far as the settings say; None where nothing is known of any. `opening` ends it.

    Raises Invalid where several processes would keep contents in files of their own.
    """
    chosen = settings.contents
    if chosen.most == "none":
        return None
    if chosen.most == "full" and not settings.ledger.url.startswith("sqlite:"):
        raise Invalid(
            "Contents are kept in files of one process.",
            field="contents.most",
            value="full",
            remedy="Keep hashes, or keep the ledger in `sqlite:`.",
        )
    pepper = await load_pepper(kept, settings)
    known = ContentRules(stores.records, clock)
    await known.load()
    _repeat(known.load, REFRESH_S, "content rules", opening)
    contents = _open_store(settings, stores, clock, pepper, opening) if chosen.most == "full" else None
    return ContentCare(known, _secret(pepper, "content hashes"), contents)


def _open_store(
    settings: Settings, stores: Stores, clock: Clock, pepper: bytes, opening: AsyncExitStack
) -> ContentStore:
    seal = importlib.import_module("penstock.mechanisms.contents.sealing").AesSeal()
    blobs = adapters.adapter("blobs.embedded", "FileBlobs")(Path(settings.store.data) / "contents", clock)
    opening.push_async_callback(blobs.close)
    contents = ContentStore(
        ContentKeys(stores.records, seal, _secret(pepper, "content keys"), clock),
        seal,
        blobs,
        stores.records,
        clock,
        days=settings.contents.days,
        capacity_bytes=settings.contents.buffer_bytes,
    )
    contents.start()
    opening.push_async_callback(contents.close)
    _repeat(contents.trim, TRIM_S, "contents past their time", opening)
    return contents


def _secret(pepper: bytes, use: str) -> bytes:
    """Return 32 secret bytes of the pepper's that are good for one use."""
    return hmac.digest(pepper, use.encode(), sha256().name)


def _repeat(
    work: Callable[[], Awaitable[object]], every_s: float, name: str, opening: AsyncExitStack
) -> None:
    """Do something again and again until `opening` ends; what fails is tried at the next turn."""

    async def repeated() -> None:
        while True:
            await asyncio.sleep(every_s)
            try:
                await work()
            except PenstockError as error:
                _log.warning("%s: %s", name, error)
            except Exception:  # because the next turn may find things in order
                _log.exception("%s", name)

    task = asyncio.create_task(repeated(), name=name)

    async def ended() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    opening.push_async_callback(ended)
