"""Short versions of the ledger's drills; `make evidence ID=S5` runs them in full."""

from __future__ import annotations

from random import Random

import apsw
import pytest

from penstock.adapters.ledger.sqlite import SqliteLedger
from penstock.kernel.clock import ManualClock
from tests import ledger_drills as drills
from tests.contracts.ledger_engines import Fleet
from tests.support import run


@pytest.mark.parametrize("once", [True, False], ids=["once", "until healed"])
@pytest.mark.parametrize("error", [apsw.FullError, apsw.IOError])
def test_a_disk_that_fails_loses_nothing(error, once, tmp_path):
    assert run(drills.fail_every_write(tmp_path, error, once=once, step=2)) >= 10


def test_a_flipped_byte_of_a_file_is_found(tmp_path):
    assert run(drills.flip_bytes_of_a_file(tmp_path, Random(5), 20)) == 20


@pytest.mark.postgres
def test_a_flipped_byte_of_a_database_is_found(fresh_postgres):
    dsn = fresh_postgres()
    assert run(drills.flip_bytes_of_a_database(dsn, Random(5), 6)) == 6


def test_clocks_that_jump_move_no_timeout_of_sqlite(tmp_path):
    async def drill() -> int:
        clock = ManualClock()
        ledger = await SqliteLedger.open(tmp_path / "ledger.sqlite", clock)

        async def advance(seconds: float) -> None:
            clock.advance(seconds)

        try:
            return await drills.jump_the_clocks(ledger, clock, advance, Random(5), 20)
        finally:
            await ledger.close()

    assert run(drill()) >= 20


@pytest.mark.postgres
def test_clocks_that_jump_move_no_timeout_of_postgres(fresh_postgres):
    dsn = fresh_postgres()

    async def drill() -> int:
        fleet = Fleet(dsn)
        ledger = await fleet.start()
        try:
            return await drills.jump_the_clocks(ledger, fleet.clock, fleet.advance, Random(5), 3)
        finally:
            await fleet.stop()

    assert run(drill()) >= 3
