"""What is out of reach and what does not exist are refused alike, also by a clock: both wait, for how long is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.gateway.management import policy
from tests.unit.gateway.management.office import Office, office


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return how long the routes waited, in order."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(policy.asyncio, "sleep", sleep)
    return waited


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_what_is_not_there_and_what_is_others_wait_alike(
    tmp_path: Path, waits: list[float], method: str
) -> None:
    async def case(it: Office) -> None:
        admin, foreign = await it.as_("admin"), await it.key(org="rival")
        body: dict[str, Any] | None = {"name": "x"} if method == "PATCH" else None
        for key_id in (foreign.id, "none") * 10:
            assert (await it.ask(method, f"/api/v1/keys/{key_id}", body, by=admin)).status == 404
        assert len(waits) == len(set(waits)) == 20
        assert min(waits) >= 0.5 * policy.LEVEL_S
        assert max(waits) <= 1.5 * policy.LEVEL_S

    office(tmp_path, case)


def test_what_is_answered_or_refused_openly_waits_for_nothing(tmp_path: Path, waits: list[float]) -> None:
    async def case(it: Office) -> None:
        admin, key = await it.as_("admin"), await it.key()
        assert (await it.ask("GET", f"/api/v1/keys/{key.id}", by=admin)).status == 200
        assert (await it.ask("GET", "/api/v1/keys?org=rival", by=admin)).status == 403
        assert waits == []

    office(tmp_path, case)
