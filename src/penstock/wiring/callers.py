"""Who may call, joined together: keys, people and their sessions, machines, and who tells them apart at the edge.

Promise: all of them know one pepper and one store; what was opened here is let go by the stack it was given.
"""

from __future__ import annotations

import hmac
import importlib
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from hashlib import sha256
from types import ModuleType
from typing import TYPE_CHECKING

from penstock.edge.auth import Authenticator
from penstock.kernel.clock import Clock
from penstock.kernel.settings import Settings
from penstock.mechanisms import changes as audit_of_changes
from penstock.mechanisms import persons
from penstock.mechanisms import sessions as people_sessions
from penstock.mechanisms import tenancy as keys
from penstock.mechanisms.changes import Changes
from penstock.mechanisms.passwords import Passwords
from penstock.mechanisms.people import People
from penstock.mechanisms.sessions import Lifetimes, Sessions
from penstock.mechanisms.tenancy import Tenancy
from penstock.ports.secrets import Secrets
from penstock.wiring.pepper import load_pepper
from penstock.wiring.platform import Platform, Stores

if TYPE_CHECKING:
    from penstock.edge.machines import Machines
    from penstock.edge.oidc import OidcClient

COLLECTIONS = (
    *keys.COLLECTIONS,
    *persons.COLLECTIONS,
    *people_sessions.COLLECTIONS,
    *audit_of_changes.COLLECTIONS,
)
DAY_S = 86_400
RARELY_S = 3_600.0
SEAL_S = 10.0
OUTSIDERS = "penstock.wiring.outsiders"
"""Loaded only where it is needed: signatures need cryptography, which is 10 MB of memory."""


@dataclass(slots=True)
class Callers:
    """Everybody who may call."""

    tenancy: Tenancy
    passwords: Passwords
    sessions: Sessions
    people: People
    changes: Changes
    machines: Machines | None
    """None when no issuer of machines' tokens is trusted."""
    authenticator: Authenticator
    oidc: OidcClient | None
    """None when people sign in by password only."""


async def open_callers(
    settings: Settings, stores: Stores, kept: Secrets, clock: Clock, opening: AsyncExitStack
) -> Callers:
    """Join them; `opening` closes what needs closing."""
    pepper = await load_pepper(kept, settings)
    tenancy = Tenancy(stores.records, stores.signals, clock, pepper)
    passwords = Passwords()
    opening.callback(passwords.close)
    auth = settings.auth
    lifetimes = Lifetimes(float(auth.session_idle_s), float(auth.session_absolute_s))
    sessions = Sessions(stores.records, stores.signals, tenancy, clock, pepper=pepper, lifetimes=lifetimes)
    people = People(stores.records, stores.state, clock, passwords, news=sessions.news, pepper=pepper)
    machines = _outsiders().machines(auth.issuers, tenancy, clock, opening) if auth.issuers else None
    door = await _outsiders().oidc_door(settings, kept, pepper, clock, opening) if auth.oidc.issuer else None
    return Callers(
        tenancy=tenancy,
        passwords=passwords,
        sessions=sessions,
        people=people,
        changes=Changes(stores.records, hmac.digest(pepper, b"change seals", sha256().name)),
        machines=machines,
        authenticator=Authenticator(tenancy, sessions, machines),
        oidc=door,
    )


def _outsiders() -> ModuleType:
    return importlib.import_module(OUTSIDERS)


class Rarely:
    """Work of a tick that is done once an hour or so, the first time at the first tick."""

    def __init__(
        self, work: Callable[[], Awaitable[object]], clock: Clock, every_s: float = RARELY_S
    ) -> None:
        """Do `work` every `every_s` seconds."""
        self._work = work
        self._every_s = every_s
        self._clock = clock
        self._due_s = 0.0

    async def tick(self) -> None:
        """Do the work if it is due; what failed is due again after the same time."""
        now_s = self._clock.monotonic_s()
        if now_s >= self._due_s:
            self._due_s = now_s + self._every_s
            await self._work()


async def trim_changes(platform: Platform) -> int:
    """Forget admin writes older than `auth.changes_days`; returns how many went."""
    kept_s = platform.settings.auth.changes_days * DAY_S
    return await platform.changes.trim(platform.clock.wall_s() - kept_s)


async def seal_changes(platform: Platform) -> int:
    """Seal the admin writes that have settled; returns how many."""
    return await platform.changes.seals.seal(platform.clock.wall_s())
