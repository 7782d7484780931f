"""State in Redis: limits and leases that several gateway processes share.

Promises, beyond the port's: every verb is one call of one Lua script (state.lua), so all asks of a request are taken
in one atomic round trip; concurrent calls of a process share round trips; a Redis that hangs costs `timeout_s` at most,
and soon nothing (redis_link.py). Every key expires by itself. Keys carry the tenant as hash tag, ``{acme}|…``, so that
a tenant's keys live in one slot of a cluster. The server must not evict (checked on opening): give the cache its own.

Time is the server's TIME, a wall clock: set back, it neither refills nor drains (state.lua). Set forward, it counts as
time that passed; keep the server's clock slewed, as NTP daemons do.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from importlib.resources import files
from typing import ClassVar

from penstock.adapters.state.limits import MICROS, check_ask, check_key, check_prefix, check_ttl
from penstock.adapters.state.redis_link import RedisLink
from penstock.ports.state import Ask, Claim, Taken

KINDS = {"bucket": 1, "window": 2, "slots": 3}
ASK = struct.Struct("<Bddd")
NOTHING_ASKED = Taken(-1, (), ())


class RedisState:
    """The State port on a Redis (7.0 or later, or a Valkey). Open it with `RedisState.open`.

    `clock_offset_s` is a testing affordance, 0 otherwise: the script adds it to the server's time, so that a suite can
    let an hour pass, or set the clock back.
    """

    script: ClassVar[str] = files("penstock.adapters.state").joinpath("state.lua").read_text("utf-8")

    def __init__(self, link: RedisLink, prefix: str) -> None:
        """Use `open`."""
        self._link = link
        self._prefix = prefix
        self.clock_offset_s = 0.0

    @classmethod
    async def open(cls, url: str, *, prefix: str = "penstock", timeout_s: float = 0.1) -> RedisState:
        """Connect. Invalid: a server that evicts, a prefix with braces; Unavailable."""
        check_prefix(prefix)
        return cls(await RedisLink.open(url, cls.script, timeout_s), prefix)

    @property
    def trips(self) -> int:
        """How often Redis was given up on for a while."""
        return self._link.trips

    async def take(self, asks: Sequence[Ask], holder: str) -> Taken:
        """Take all asks or none. See ports/state.py."""
        for ask in asks:
            check_ask(ask)
        return await self._measure("take", asks, holder)

    async def give_back(self, asks: Sequence[Ask], holder: str) -> None:
        """Return unused amounts and slots. See ports/state.py."""
        for ask in asks:
            if ask.amount < 0:
                check_ask(ask)
        if asks:
            await self._limits("give", asks, holder)

    async def peek(self, asks: Sequence[Ask]) -> Taken:
        """Tell what is left. See ports/state.py."""
        return await self._measure("peek", asks, "")

    async def claim(self, key: str, owner: str, ttl_s: float) -> Claim | None:
        """Lease `key`. Fences follow Redis's clock in microseconds, so they grow even if Redis lost its data."""
        check_key(key, "key")
        fence = int(await self._lease("claim", key, owner, check_ttl(ttl_s), 0))
        return Claim(key, owner, fence) if fence else None

    async def renew(self, claim: Claim, ttl_s: float) -> bool:
        """Extend a lease that is still held under `claim`."""
        return await self._lease("renew", claim.key, claim.owner, check_ttl(ttl_s), claim.fence) != b"0"

    async def release(self, claim: Claim) -> bool:
        """End a lease that is still held under `claim`."""
        return await self._lease("release", claim.key, claim.owner, 0, claim.fence) != b"0"

    async def healthy(self) -> bool:
        """Tell whether Redis answers in time."""
        return await self._link.ping()

    async def close(self) -> None:
        """Close every connection; later calls raise Unavailable."""
        await self._link.close()

    async def _measure(self, verb: str, asks: Sequence[Ask], holder: str) -> Taken:
        if not asks:
            return NOTHING_ASKED
        reply = await self._limits(verb, asks, holder)
        refused, retry_us, *figures = struct.unpack(f"<{len(asks) * 2 + 2}d", reply)
        remaining = tuple(map(int, figures[::2]))
        return Taken(int(refused), remaining, tuple([us / MICROS for us in figures[1::2]]), retry_us / MICROS)

    async def _limits(self, verb: str, asks: Sequence[Ask], holder: str) -> bytes:
        keys = [self._key(ask.key, ask.kind) for ask in asks]
        packed = b"".join(
            [ASK.pack(KINDS[ask.kind], ask.limit, ask.period_s * MICROS, ask.amount) for ask in asks]
        )
        return await self._link.call(keys, verb, self._offset_us(), holder, packed)

    async def _lease(self, verb: str, key: str, owner: str, ttl_us: int, fence: int) -> bytes:
        return await self._link.call([self._key(key, "lease")], verb, self._offset_us(), owner, ttl_us, fence)

    def _offset_us(self) -> int:
        return int(self.clock_offset_s * MICROS)

    def _key(self, key: str, kind: str) -> str:
        tenant, bar, rest = key.partition("|")
        return f"{self._prefix}:{kind}:{{{tenant}}}{bar}{rest}"
