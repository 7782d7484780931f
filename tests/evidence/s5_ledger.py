"""S5: the ledger against a model, failing disks, flipped bytes and jumping clocks, on both engines.

The state machine plays 1,000 games of up to 50 moves on SQLite and 150 of up to 40 on PostgreSQL (each move there is a
network round trip and each game starts and crashes processes, so it plays fewer).
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import apsw
import uvloop
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from penstock.adapters.ledger.sqlite import SqliteLedger
from penstock.kernel.clock import ManualClock
from tests import ledger_drills as drills
from tests.contracts.ledger_engines import Fleet
from tests.evidence.registry import Result
from tests.ledger_machine import LedgerMachine, PostgresMachine, PostgresStage
from tests.services import PostgresServer

ID = "S5"
TITLE = "Ledger against a model, on failing disks, with flipped bytes and jumping clocks"

FLIPS = 100


def produce(quick: bool) -> Result:
    """Run every drill; the first broken promise ends it and is the reason."""
    figures: dict[str, str | int | float | bool | None] = {}
    logging.getLogger("penstock.ledger").setLevel(
        logging.CRITICAL
    )  # it reports every failure that is staged here
    with tempfile.TemporaryDirectory(prefix="s5-") as name, PostgresServer() as server:
        folder = Path(name)
        for drill in (machines, disks, flips, clocks):
            try:
                figures |= drill(folder, server, quick)
            except Exception as error:  # because whatever breaks is the finding
                return Result(figures, "missed", f"{drill.__name__}: {error!r}")
    met = figures["flips_found_sqlite"] == figures["flips_found_postgres"] == figures["flips_made_on_each"]
    return Result(
        figures, "met" if met else "missed", "every drill kept every promise" if met else "a flip was missed"
    )


def machines(folder: Path, server: PostgresServer, quick: bool) -> dict[str, int | float]:
    """Play the state machine on both engines, with fresh seeds."""
    PostgresStage.dsn = server.fresh()
    games = {
        "sqlite": (LedgerMachine, 40 if quick else 1_000, 50),
        "postgres": (PostgresMachine, 5 if quick else 150, 40),
    }
    figures: dict[str, int | float] = {}
    for engine, (machine, examples, steps) in games.items():
        moves = counted(machine)
        began_s = time.monotonic()
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                database=None,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
        figures[f"machine_games_{engine}"] = examples
        figures[f"machine_most_moves_{engine}"] = steps
        figures[f"machine_moves_checked_{engine}"] = moves()
        figures[f"machine_{engine}_s"] = round(time.monotonic() - began_s, 1)
    return figures


def counted(machine: type[LedgerMachine]) -> Callable[[], int]:
    """Count how often the machine compared ledger and model."""
    machine.compared = 0
    return lambda: machine.compared


def disks(folder: Path, server: PostgresServer, quick: bool) -> dict[str, int]:
    """Fail the Nth write for every N until the day has no Nth write: full and broken, once and until healed."""
    figures: dict[str, int] = {}
    for error in (apsw.FullError, apsw.IOError):
        for once in (True, False):
            place = folder / f"{error.__name__}-{once}"
            place.mkdir()
            failed = uvloop.run(drills.fail_every_write(place, error, once=once, step=9 if quick else 1))
            figures[f"disk_{error.__name__}_{'once' if once else 'until_healed'}_writes_failed"] = failed
    return figures


def flips(folder: Path, server: PostgresServer, quick: bool) -> dict[str, int]:
    """Flip a byte of a journal, bodies and digests in turn, and look for it."""
    times = 10 if quick else FLIPS
    return {
        "flips_made_on_each": times,
        "flips_found_sqlite": uvloop.run(drills.flip_bytes_of_a_file(folder, Random(time.time_ns()), times)),
        "flips_found_postgres": uvloop.run(
            drills.flip_bytes_of_a_database(server.fresh(), Random(time.time_ns()), times)
        ),
    }


def clocks(folder: Path, server: PostgresServer, quick: bool) -> dict[str, int]:
    """Jump the wall clock by seconds to years either way, with the monotonic one frozen between the jumps."""
    holds = 20 if quick else 1_000
    dsn = server.fresh()

    async def on_sqlite() -> int:
        clock = ManualClock()
        ledger = await SqliteLedger.open(folder / "clocks.sqlite", clock)

        async def advance(seconds: float) -> None:
            clock.advance(seconds)

        try:
            return await drills.jump_the_clocks(ledger, clock, advance, Random(7), holds)
        finally:
            await ledger.close()

    async def on_postgres() -> int:
        fleet = Fleet(dsn)
        ledger = await fleet.start()
        try:
            return await drills.jump_the_clocks(ledger, fleet.clock, fleet.advance, Random(7), holds // 20)
        finally:
            await fleet.stop()

    return {
        "clock_holds_sqlite": holds,
        "clock_jumps_sqlite": uvloop.run(on_sqlite()),
        "clock_holds_postgres": holds // 20,
        "clock_jumps_postgres": uvloop.run(on_postgres()),
    }
