"""Every route, asked by every role about its own things and about another organisation's: nothing is reached or told.

The whole matrix, with mates, other teams, clocks and forged tokens, is `make evidence ID=P2`.
"""

from __future__ import annotations

from pathlib import Path

from penstock.kernel.settings import AuthSettings, OidcSettings
from tests.evidence.p2_matrix import declared
from tests.matrix.judge import ask_everything
from tests.matrix.operations import BACK
from tests.matrix.smuggled import escalate
from tests.matrix.world import open_world
from tests.oidc_provider import provider
from tests.support import run


def test_nothing_of_another_organisation_is_reached_or_told(tmp_path: Path) -> None:
    async def case(issuer: str) -> None:
        auth = AuthSettings(oidc=OidcSettings(issuer=issuer, client_id="public"))
        async with open_world(tmp_path / "data", auth) as world:
            found, undeclared = await declared(world)
            assert undeclared == []
            seen = await ask_everything(world, found, only=frozenset({"own", "other organisation"}))
            assert seen.faults == []
            assert seen.leaks == []
            assert {each.name for each in found} == seen.answered
            assert [each.what for each in await escalate(world) if each.accepted] == []

    with provider([BACK]) as issuer:
        run(case(issuer), ceiling_s=300.0)
