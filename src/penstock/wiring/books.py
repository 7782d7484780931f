"""The ledger verified without a server: straight from its file, or from PostgreSQL.

Promise: nothing in the ledger is changed and no lock is taken, so it may run beside a server that serves it.
"""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from typing import Any

from penstock.kernel.errors import NotFound, Unavailable
from penstock.kernel.settings import Settings
from penstock.ports.ledger import Verdict
from penstock.wiring import adapters

PATIENCE_S = 5.0


async def verify_offline(settings: Settings) -> Verdict:
    """Walk the whole ledger that `settings` name. Raises NotFound when there is none yet, Unavailable, Invalid."""
    if settings.ledger.url.startswith("sqlite:"):
        path = Path(settings.store.data) / "ledger.sqlite"
        if not path.is_file():
            raise _none("store.data", str(path))
        verify_file = importlib.import_module("penstock.adapters.ledger.verify").verify_file
        return await asyncio.to_thread(verify_file, path)
    reads = adapters.adapter("ledger.postgres_reads", "Reads")(settings.ledger.url, 1, PATIENCE_S)
    missing: Any = importlib.import_module("asyncpg").UndefinedTableError
    try:
        return await reads.verify()
    except Unavailable as error:
        if isinstance(error.__cause__, missing):
            raise _none("ledger.url", "the PostgreSQL named") from None
        raise
    finally:
        reads.stop()


def _none(field: str, place: str) -> NotFound:
    return NotFound(
        "There is no ledger here yet.",
        field=field,
        value=place,
        remedy="Run this where the server runs, or name its settings with --config.",
    )
