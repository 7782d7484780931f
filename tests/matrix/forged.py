"""Machines' tokens, forged in every way known and sound, shown to a running server.

The list is the one that the code is tested with alone (tests/unit/edge/jwt_attacks.py); here each goes over HTTP to the
models' door and to the management API.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from penstock.kernel.settings import IssuerSettings
from tests.matrix.callers import Caller
from tests.matrix.world import World
from tests.unit.edge.jwt_attacks import cases
from tests.unit.edge.jwt_mint import ISSUER, SECOND, documents, issuer_keys, settings

TARGETS = ("/v1/models", "/api/v1/me")
LONGEST = 60_000
"""Bytes of a token that fit into the headers of a request; the server cuts a longer one off before anybody reads it."""


@dataclass(frozen=True)
class Shown:
    """One token at both doors. `accepted` when either let it in; `good` when both should."""

    name: str
    good: bool
    accepted: bool


def issuers(folder: Path) -> tuple[IssuerSettings, ...]:
    """Return the issuers of the list, their keys in files."""
    sets = documents(issuer_keys())
    files = {name: folder / f"{name}.jwks" for name in ("first", "second")}
    for name, issuer in (("first", ISSUER), ("second", SECOND)):
        files[name].write_text(json.dumps(sets[issuer]))
    return settings(**{name: {"jwks_file": str(file)} for name, file in files.items()})


async def show_all(world: World) -> list[Shown]:
    """Show every token, the sound ones first, each twice: what is remembered of one must not help another."""
    shown = []
    for name, token, good in cases(issuer_keys()):
        caller = Caller(name, sendable(token))
        told = [await world.wire.ask(caller, "GET", target) for target in TARGETS * 2]
        let_in = [each.status not in (400, 401, 431) for each in told]
        shown.append(Shown(name, good, all(let_in) if good else any(let_in)))
    return shown


def sendable(token: str) -> str:
    """Return a token as far as it fits into a header line: blanks, tabs and foreign letters go as they are."""
    return token.replace("\r", "").replace("\n", "").replace("\0", "")[:LONGEST]
