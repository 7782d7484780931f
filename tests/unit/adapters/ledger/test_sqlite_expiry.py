"""What the embedded ledger lets expire is told, once, whatever its disk does meanwhile."""

from __future__ import annotations

import asyncio

import apsw
import pytest

from penstock.adapters.ledger import commits
from penstock.adapters.ledger.sqlite import SqliteLedger
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Unavailable
from penstock.ports.ledger import Hold, Line
from tests.faulty_disk import FaultyDisk
from tests.support import run

ORG = (Line("org"),)


def test_what_expired_while_the_disk_failed_is_told_once_when_it_is_back(tmp_path, monkeypatch):
    monkeypatch.setattr(commits, "FIRST_PAUSE_S", 0.005)

    async def drill() -> None:
        disk, clock = FaultyDisk(), ManualClock()
        ledger = await SqliteLedger.open(tmp_path / "ledger.sqlite", clock, vfs=disk.name, timeout_s=0.05)
        try:
            await ledger.hold(Hold("op", 10, (*ORG, Line("org/user")), timeout_s=1))
            clock.advance(2)
            disk.fail(apsw.FullError)
            with pytest.raises(Unavailable):
                await ledger.expire()
            disk.heal()
            while not ledger.healthy():
                await asyncio.sleep(0.002)
            (told,) = await ledger.expire()
            assert (told.operation, told.amount_nanos, told.accounts) == ("op", 10, ("org", "org/user"))
            assert await ledger.expire() == []
        finally:
            await ledger.close()

    run(drill())
