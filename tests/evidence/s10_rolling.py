"""S10: two gateway processes on Redis and PostgreSQL are replaced twenty times under requests and streams."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from tests.evidence.registry import Result, Scalar
from tests.fleet.config import Engines
from tests.fleet.rolling import PER_S, STREAMS, Tally, drill
from tests.services import PostgresServer, RedisServer

ID = "S10"
TITLE = "20 rolling restarts of two processes under load: no request failed, no stream cut"
RESTARTS, QUICK_RESTARTS = 20, 2


async def produce(quick: bool) -> Result:
    """Run `penstock serve --workers 2` and send it SIGHUP."""
    with tempfile.TemporaryDirectory(prefix="penstock-s10-") as folder:
        tally = await rolled(Path(folder), QUICK_RESTARTS if quick else RESTARTS, "served")
    found = faults(tally)
    return Result(
        figures(tally),
        "missed" if found else "met",
        "; ".join(found)
        or f"{tally.restarts} restarts of two processes: {tally.requests} requests at {PER_S}/s and {tally.streams} "
        f"streams, {STREAMS} at a time; none failed, none was cut",
    )


async def rolled(folder: Path, restarts: int, kind: str) -> Tally:
    """Run the drill on fresh engines."""
    with RedisServer() as redis, PostgresServer() as postgres:
        dsn = await asyncio.to_thread(postgres.fresh)
        engines = Engines(ledger=dsn, records=dsn, state=redis.url)
        return await drill(folder, engines, restarts=restarts, kind=kind)


def faults(tally: Tally) -> list[str]:
    """Return what went wrong."""
    found = [f"{count} requests failed: {what}" for what, count in tally.failed.items()]
    found += [f"{count} streams cut: {what}" for what, count in tally.cut.items()]
    books = tally.books
    checks = {"missing": books.missing, "twice": books.settled_twice, "unequal": books.unequal}
    found += [f"{count} operations {what} in the books" for what, count in checks.items() if count]
    if books.verdict is None or books.verdict.problems or books.verdict.held_nanos:
        found.append(f"verify says {books.verdict}")
    if not tally.requests or not tally.streams:
        found.append("there was no load")
    return found


def figures(tally: Tally) -> dict[str, Scalar | dict[str, Scalar]]:
    """Return the figures by name."""
    return {
        "restarts": tally.restarts,
        "requests": tally.requests,
        "requests_failed": sum(tally.failed.values()),
        "request_p99_ms": round(tally.request_p99_s * 1000, 1),
        "request_max_ms": round(tally.request_max_s * 1000, 1),
        "streams": tally.streams,
        "streams_cut": sum(tally.cut.values()),
        "restart_of_both_max_s": round(max(tally.restart_s, default=0.0), 2),
        "operations_billed": tally.books.billed,
        "missing": tally.books.missing,
        "billed_twice": tally.books.settled_twice,
        "estimated": tally.books.estimated,
        "seconds": round(tally.seconds, 1),
    }
