"""One alert of each kind, caused for real, told once with a valid signature and shown by the API."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.gateway import rollouts
from penstock.mechanisms import webhooks
from penstock.mechanisms.alerts import book
from tests.alarms import RULES, alarms
from tests.support import run


@pytest.mark.redis
def test_every_kind_of_alert_reaches_a_receiver_that_checks_signatures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name, seconds in (
        (book, "TOTALS_EVERY_S", 0.5),
        (webhooks, "EVERY_S", 0.1),
        (rollouts, "LOOK_S", 0.2),
    ):
        monkeypatch.setattr(module, name, seconds)

    async def journey() -> None:
        async with alarms(tmp_path) as them:
            fired = await them.ring(within_s=20.0)
            assert [each.rule for each in fired if not each.times] == []
            assert {each.rule: (each.times, each.is_shown) for each in fired} == dict.fromkeys(
                RULES, (1, True)
            )
            assert them.receiver.refused == []

    run(journey(), ceiling_s=90.0)
