"""The lake, joined: audit records from the stream into files, looked after, and asked about.

Promises: a deployment without a lake opens nothing, and loads no engine; the intake ends before the stores it works
with, and what it has not taken yet waits in the stream.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from penstock.kernel.clock import Clock
from penstock.kernel.errors import Invalid, PenstockError
from penstock.kernel.settings import Settings
from penstock.mechanisms.lake.intake import LakeIntake
from penstock.mechanisms.lake.questions import LakeQuestions
from penstock.mechanisms.lake.upkeep import PRESETS, LakeUpkeep
from penstock.wiring import adapters
from penstock.wiring.health import Health
from penstock.wiring.platform import Stores

UPKEEP_S: Final = 60.0
_log = logging.getLogger("penstock.wiring")


async def open_lake(
    settings: Settings, stores: Stores, clock: Clock, health: Health, opening: AsyncExitStack
) -> tuple[LakeIntake, LakeQuestions] | None:
    """Fill the lake from now on; return what fills it and what answers about it, None where there is none.

    Raises Invalid without its engine, or where several processes would share its files.
    """
    if not settings.lake.store:
        return None
    if not settings.ledger.url.startswith("sqlite:"):
        raise Invalid(
            "The lake's files are of one process.",
            field="lake.store",
            value=True,
            remedy="Switch it off, or keep the ledger in `sqlite:`.",
        )
    data = Path(settings.store.data)
    tables = adapters.adapter("tables.duckdb", "DuckDbTables")(data / "tables")
    opening.push_async_callback(tables.close)
    blobs = adapters.adapter("blobs.embedded", "FileBlobs")(data / "lake", clock)
    opening.push_async_callback(blobs.close)
    intake = LakeIntake(
        stores.stream,
        tables,
        blobs,
        stores.records,
        clock,
        batch_records=settings.lake.batch_records,
        flush_s=settings.lake.flush_s,
    )
    upkeep = LakeUpkeep(tables, blobs, stores.records, clock, retention=PRESETS[settings.lake.retention])
    intake.start()
    opening.push_async_callback(intake.close)
    task = asyncio.create_task(_look_after(upkeep), name="lake upkeep")
    opening.push_async_callback(_ended, task)

    async def fills() -> bool:
        return intake.healthy

    health.watch("lake", fills)
    return intake, LakeQuestions(tables, blobs, clock)


async def _look_after(upkeep: LakeUpkeep) -> None:
    """Merge and forget when it is due."""
    while True:
        try:
            await upkeep.round()
        except PenstockError as error:
            _log.warning("the lake could not be looked after: %s", error)
        except Exception:  # because the next round may find things in order
            _log.exception("the lake's upkeep stumbled")
        await asyncio.sleep(UPKEEP_S)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
