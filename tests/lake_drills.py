"""Two drills of the lake on real stores, with figures: a day of a million records, and an intake that is killed often.

    python -m tests.lake_drills day 1000000        packed, asked, merged, asked again: seconds
    python -m tests.lake_drills kills 30           kill -9 at random points: each record there once

Promise: what is measured is what a user waits for: files fetched from blobs and verified, a fresh helper process, the
answer decoded. A life that is killed has told, on a file of its own, what the stream had taken before.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Self

import uvloop

from penstock.adapters.blobs.embedded import FileBlobs
from penstock.adapters.records.sqlite import SqliteRecords
from penstock.adapters.stream.embedded import SegmentStream
from penstock.adapters.tables.duckdb import DuckDbTables
from penstock.kernel.clock import ManualClock
from penstock.kernel.events import Call, RequestEvent
from penstock.mechanisms.audit import encoded
from penstock.mechanisms.lake.intake import COLLECTIONS, LEASE_S, TOPIC, LakeIntake
from penstock.mechanisms.lake.questions import LakeQuestions
from penstock.mechanisms.lake.upkeep import LakeUpkeep
from penstock.ports.tables import Bounds

DAY_S = 1_795_219_200.0
"""2026-11-21T00:00:00Z."""
DAY = date(2026, 11, 21)
TIMES = 7
QUESTIONS = {
    "count and sum": "SELECT count(*), sum(cost_nanos) FROM audit",
    "by team and model": "SELECT team, model_served, count(*), sum(cost_nanos) FROM audit GROUP BY ALL",
    "dearest users, p95": (
        'SELECT "user", sum(cost_nanos) AS cost, quantile_cont(latency_ms, 0.95) FROM audit '
        "GROUP BY 1 ORDER BY cost DESC LIMIT 20"
    ),
    "one request": "SELECT * FROM audit WHERE request_id = 'req_0000000500000'",
    "slowest, whole rows": "SELECT * FROM audit ORDER BY latency_ms DESC LIMIT 50",
    "calls by back end": (
        "SELECT c.provider, c.model, sum(c.cost_nanos) FROM (SELECT unnest(calls) AS c FROM audit) GROUP BY ALL"
    ),
}


def events(count: int) -> Iterator[bytes]:
    """Yield a day's records, with the names, hashes and calls that real ones have."""
    draw = random.Random(1)
    for n in range(count):
        cost = draw.randrange(10**7)
        model = draw.choice(("gpt-4o", "gpt-4o-mini", "sonnet", "flash"))
        event = RequestEvent(
            request_id=f"req_{n:013d}",
            at_s=DAY_S + 86_400 * n / count,
            org="acme",
            team=f"team{draw.randrange(20)}",
            project=f"p{draw.randrange(50)}",
            user=f"u{draw.randrange(2_000)}",
            key_id=f"k{draw.randrange(300):012x}",
            feature=draw.choice("abcdefgh"),
            face="openai",
            model="chat",
            provider="openai",
            model_used=model,
            route=f"chat -> openai/{model}",
            input_tokens=draw.randrange(4_000),
            output_tokens=draw.randrange(800),
            cost_nanos=cost,
            price_version="2026-11-20",
            latency_ms=draw.random() * 5_000,
            first_token_ms=draw.random() * 900,
            calls=(Call("openai", model, 1.0, 900.0, "ok", cost, 1, 2),),
            finish="stop",
            prompt_hash=f"{draw.getrandbits(128):032x}",
            answer_hash=f"{draw.getrandbits(128):032x}",
            trace_id=f"{draw.getrandbits(128):032x}",
        )
        yield encoded(event)


class House:
    """The lake's stores in a folder."""

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.folder, self.clock = folder, clock

    async def __aenter__(self) -> Self:
        self.records = await SqliteRecords.open(self.folder / "records.sqlite", COLLECTIONS, self.clock)
        self.stream = await SegmentStream.open(self.folder / "stream", self.clock)
        self.blobs = FileBlobs(self.folder / "blobs", self.clock)
        self.tables = DuckDbTables(self.folder / "tables")
        return self

    async def __aexit__(self, *_: object) -> None:
        for store in (self.tables, self.blobs, self.stream, self.records):
            await store.close()

    def intake(self, **options: object) -> LakeIntake:
        return LakeIntake(self.stream, self.tables, self.blobs, self.records, self.clock, **options)

    async def ask(self, sql: str, **bounds: int) -> tuple[tuple[object, ...], ...]:
        questions = LakeQuestions(self.tables, self.blobs, self.clock, bounds=Bounds(**bounds))
        return (await questions.ask("acme", sql, since=DAY, until=DAY)).rows


# ------------------------------------------------------------------------------------------------ a day of records


async def day(folder: Path, count: int) -> dict[str, object]:
    """Take a day into the lake and ask about it, before and after its files are merged; seconds."""
    async with House(folder, ManualClock(wall_s=DAY_S + 86_399)) as house:
        batch: list[bytes] = []
        for value in events(count):
            batch.append(value)
            if len(batch) == 5_000:
                await house.stream.append(TOPIC, batch)
                batch.clear()
        if batch:
            await house.stream.append(TOPIC, batch)
        intake = house.intake()
        began = time.perf_counter()
        while await intake.step(flush=True):
            pass
        taken_s = time.perf_counter() - began
        figures: dict[str, object] = {
            "records": intake.stored,
            "batches": intake.batches,
            "records_per_s": round(count / taken_s),
        }
        figures["small_files_s"] = await asked(house, count)
        house.clock.advance(86_400)
        began = time.perf_counter()
        upkeep = LakeUpkeep(house.tables, house.blobs, house.records, house.clock)
        await upkeep.round()
        figures["merge_s"] = round(time.perf_counter() - began, 2)
        figures["files"] = len(await house.blobs.list("audit:acme"))
        figures["merged_s"] = await asked(house, count)
        figures["mib"] = round(sum(p.stat().st_size for p in folder.glob("blobs/*/objects/*/*")) / 2**20, 1)
        return figures


async def asked(house: House, count: int) -> dict[str, tuple[float, float]]:
    """Return the median and the worst of each question."""
    ((found, _),) = await house.ask(QUESTIONS["count and sum"])
    assert found == count, f"{found} of {count} records are in the lake"
    told: dict[str, tuple[float, float]] = {}
    for name, sql in QUESTIONS.items():
        took: list[float] = []
        for _ in range(TIMES):
            began = time.perf_counter()
            await house.ask(sql)
            took.append(time.perf_counter() - began)
        told[name] = round(statistics.median(took), 3), round(max(took), 3)
    return told


# ------------------------------------------------------------------------------------------------------- kill -9


async def live(folder: Path, life: int) -> None:
    """One life: tell records and take them, until killed. What the stream took is noted first in `told`."""
    clock = ManualClock(wall_s=DAY_S + life * (LEASE_S + 1))
    async with House(folder, clock) as house:
        intake = house.intake(batch_records=200)
        with (folder / "told").open("a") as told:
            for n in range(1_000_000):
                ids = [f"req_{life:04d}{n:08d}{k:04d}" for k in range(100)]
                await house.stream.append(
                    TOPIC, [encoded(RequestEvent(request_id=id, at_s=DAY_S, org="acme")) for id in ids]
                )
                told.write("".join(f"{id}\n" for id in ids))
                told.flush()
                await intake.step(flush=True)


def kills(folder: Path, lives: int) -> dict[str, object]:
    """Kill so many lives at random points; then take the rest and count."""
    draw = random.Random(2)
    for life in range(lives):
        process = subprocess.Popen(
            (sys.executable, "-m", "tests.lake_drills", "live", str(folder), str(life))
        )
        time.sleep(0.7 + draw.random())
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    return uvloop.run(counted(folder, lives))


async def counted(folder: Path, lives: int) -> dict[str, object]:
    """Take what is left and tell how often each record is in the lake, before and after the day is merged."""
    async with House(folder, ManualClock(wall_s=DAY_S + lives * (LEASE_S + 1))) as house:
        intake = house.intake()
        while await intake.step(flush=True):
            pass
        told = set((folder / "told").read_text().split())
        figures: dict[str, object] = {"lives": lives, "told": len(told)}
        for state in ("before", "merged"):
            rows = await house.ask("SELECT request_id FROM audit", rows=10_000_000, answer_bytes=1 << 30)
            often = Counter(str(id) for (id,) in rows)
            figures[f"{state}_missing"] = len(told - often.keys())
            figures[f"{state}_twice"] = sum(count > 1 for count in often.values())
            house.clock.advance(2 * 86_400)
            await LakeUpkeep(house.tables, house.blobs, house.records, house.clock).round()
        return figures


def main() -> None:
    """Run a drill in a folder that goes with it, and print its figures."""
    verb, *rest = sys.argv[1:]
    if verb == "live":
        uvloop.run(live(Path(rest[0]), int(rest[1])))
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = (
            asyncio.run(day(Path(folder), int(rest[0])))
            if verb == "day"
            else kills(Path(folder), int(rest[0]))
        )
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
