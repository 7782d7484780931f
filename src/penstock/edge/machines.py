"""Machines that call by a JWT of an issuer which the settings name: verified once, then known until it ends.

    token ─► known? ─► its issuer ─► signature by the issuer's keys ─► claims ─► Principal, with its limits

Promises: a token is believed for as long as its `exp`, its issuer's keys and the limits that were read all stand, and
never longer; an unknown key id costs at most one fetch per `jwks.PAUSE_S`, for which a bounded number of requests
waits; a refusal is remembered briefly, so that hammering with one costs no signature check; both memories are bounded
and hold keyed digests of whole tokens: tokens that differ anywhere are different; no error repeats the token.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from secrets import token_bytes
from typing import TypeVar

import msgspec

from penstock.edge import jwt
from penstock.edge.claims import machine
from penstock.edge.jwks import KeyRing, Load
from penstock.kernel.clock import Clock
from penstock.kernel.context import Principal
from penstock.kernel.errors import Invalid, Unauthenticated
from penstock.kernel.settings import IssuerSettings
from penstock.mechanisms.tenancy import Tenancy

REMEMBERED = 50_000
REFUSALS_REMEMBERED = 10_000
REFUSAL_REMEMBERED_S = 2.0
WAITING_MOST = 100
TICK_S = 1.0
Entry = TypeVar("Entry")


class Issuer:
    """One issuer: what it may say, what its tokens must say, and its keys."""

    __slots__ = ("keys", "settings", "terms")

    def __init__(self, settings: IssuerSettings, load: Load, clock: Clock) -> None:
        """`load` reads its JWK Set; nothing is read yet."""
        self.settings = settings
        self.keys = KeyRing(settings.issuer, load, clock)
        self.terms = jwt.Terms(
            issuer=settings.issuer,
            audience=settings.audience,
            algorithms=frozenset(settings.algorithms),
            max_lifetime_s=settings.max_lifetime_s,
            leeway_s=settings.leeway_s,
        )


@dataclass(slots=True, frozen=True)
class _Verified:
    """A token that was verified, by which keys and limits. `ends_s` is wall clock, `loaded_s` monotonic."""

    principal: Principal
    keys: KeyRing
    keys_generation: int
    limits_generation: int
    loaded_s: float
    ends_s: float


@dataclass(slots=True, frozen=True)
class _Refused:
    """A token that was refused, by which keys. `until_s` is monotonic."""

    message: str
    keys: KeyRing
    keys_generation: int
    until_s: float


class Machines:
    """The machines that call by tokens. One per process."""

    def __init__(self, issuers: Sequence[Issuer], tenancy: Tenancy, clock: Clock) -> None:
        """Believe `issuers`, whose names are unique; `tenancy` knows the limits of whom they name."""
        self._issuers = {each.terms.issuer: each for each in issuers}
        if len(self._issuers) != len(issuers):
            raise Invalid("An issuer is there twice.", field="auth.issuers")
        self._tenancy = tenancy
        self._clock = clock
        self._memory_key = token_bytes(32)
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self._refused: OrderedDict[bytes, _Refused] = OrderedDict()
        self._waiting = 0
        self.checked = 0

    # --- looking up ------------------------------------------------------------------------------------------------

    def known(self, token: bytes) -> Principal | None:
        """Return the caller if the token was verified before and still holds; None asks for `principal`."""
        digest = self._digest(token)
        entry = self._verified.get(digest)
        if entry is None:
            return None
        if entry.keys_generation != entry.keys.generation or self._clock.wall_s() >= entry.ends_s:
            del self._verified[digest]
            return None
        if not self._tenancy.is_fresh(entry.limits_generation, entry.loaded_s):
            return None
        self._verified.move_to_end(digest)
        return entry.principal

    async def principal(self, token: bytes) -> Principal:
        """Return the caller behind a token, fetching its issuer's keys if need be; raise Unauthenticated."""
        found = self.known(token)
        if found is not None:
            return found
        digest = self._digest(token)
        self._recall_refusal(digest)
        read = jwt.opened(token)
        issuer = self._issuers.get(read.issuer)
        if issuer is None:
            raise jwt.refused("its issuer is not known here")
        # Taken before looking: what changes meanwhile must not be remembered as it was.
        keys_generation, limits_generation = issuer.keys.generation, self._tenancy.generation
        loaded_s = self._clock.monotonic_s()
        try:
            ends_s = self._check(read, issuer)
            if ends_s is None:
                await self._refresh(issuer.keys)
                keys_generation = issuer.keys.generation
                ends_s = self._check(read, issuer)
            if ends_s is None:
                raise jwt.refused("its key is not its issuer's")
            named = machine(read.claims, issuer.settings)
        except Unauthenticated as error:
            self._remember_refusal(digest, error.message, issuer.keys, keys_generation)
            raise
        scopes = await self._tenancy.scopes_of(named.org, named.team, named.project, named.user)
        made = msgspec.structs.replace(named, scopes=scopes, expires_at_s=ends_s)
        entry = _Verified(made, issuer.keys, keys_generation, limits_generation, loaded_s, ends_s)
        _keep(self._verified, digest, entry, REMEMBERED)
        return made

    def _check(self, read: jwt.Opened, issuer: Issuer) -> float | None:
        self.checked += 1
        return jwt.verify(read, issuer.terms, issuer.keys, self._clock.wall_s())

    async def _refresh(self, keys: KeyRing) -> None:
        """Ask for newer keys, unless so many wait for them already that one more would only hold its place."""
        if self._waiting >= WAITING_MOST:
            return
        self._waiting += 1
        try:
            await keys.refresh()
        finally:
            self._waiting -= 1

    # --- remembering -----------------------------------------------------------------------------------------------

    def _digest(self, token: bytes) -> bytes:
        return blake2b(token, key=self._memory_key, digest_size=16).digest()

    def _recall_refusal(self, digest: bytes) -> None:
        """Refuse again what was refused just now, unless its issuer's keys changed since."""
        entry = self._refused.get(digest)
        if entry is None:
            return
        if self._clock.monotonic_s() < entry.until_s and entry.keys_generation == entry.keys.generation:
            raise jwt.unusable(entry.message)
        del self._refused[digest]

    def _remember_refusal(self, digest: bytes, message: str, keys: KeyRing, generation: int) -> None:
        until_s = self._clock.monotonic_s() + REFUSAL_REMEMBERED_S
        _keep(
            self._refused,
            digest,
            _Refused(message, keys, generation, until_s),
            REFUSALS_REMEMBERED,
        )

    # --- keeping keys fresh ----------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Load the issuers' keys, and load them again when they are old, until cancelled; without issuers, at once."""
        while self._issuers:
            await asyncio.gather(*(each.keys.tick() for each in self._issuers.values()))
            await asyncio.sleep(TICK_S)

    async def close(self) -> None:
        """Give up what is being fetched."""
        await asyncio.gather(*(each.keys.close() for each in self._issuers.values()))

    def stats(self) -> dict[str, int]:
        """Return counters (fetches, failures, signature checks) and how much is remembered now."""
        rings = [each.keys for each in self._issuers.values()]
        return {
            "fetches": sum(each.fetches for each in rings),
            "failures": sum(each.failures for each in rings),
            "checked": self.checked,
            "remembered": len(self._verified),
            "refusals_remembered": len(self._refused),
        }

    def stat(self, name: str) -> int:
        """Return one of `stats`."""
        return self.stats()[name]


def _keep(memory: OrderedDict[bytes, Entry], digest: bytes, entry: Entry, most: int) -> None:
    """Remember one more; the one longest unused goes when there are too many."""
    memory[digest] = entry
    memory.move_to_end(digest)
    if len(memory) > most:
        memory.popitem(last=False)
