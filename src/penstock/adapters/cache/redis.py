"""A cache of bytes in Redis that several gateway processes share. Give it a Redis of its own, which may evict.

Promises, beyond the port's: every verb is one call of one Lua script (cache.lua), so an entry and its tags change
together; the server may evict anything (``maxmemory-policy allkeys-lru``): what can no longer be forgotten by its tags
is a miss. A Redis that hangs costs `timeout_s` at most, and after `TRIP_AFTER` failures in a row nothing for `PAUSE_S`.
Keys carry the tenant as hash tag, its name as a digest. The bytes held are bounded by the server's ``maxmemory``;
`stats` tells hits, misses and refusals of this process, the rest of the whole server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Any, ClassVar, Final, Self, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from penstock.kernel.errors import Invalid, Unavailable

CONNECTIONS: Final = 16
TRIP_AFTER: Final = 3
PAUSE_S: Final = 1.0
MICROS: Final = 1_000_000
FOREIGN: Final = (RedisError, OSError, TimeoutError, RuntimeError)
"""What a call may raise: the driver's errors, the network's, and uvloop's for a socket that was closed a moment ago."""


class RedisCache:
    """The Cache port on a Redis (7.0 or later, or a Valkey). Open it with `RedisCache.open`.

    `clock_offset_s` is a testing affordance, 0 otherwise: the script adds it to the server's time.
    """

    script: ClassVar[str] = files("penstock.adapters.cache").joinpath("cache.lua").read_text("utf-8")

    def __init__(self, url: str, *, prefix: str, timeout_s: float, max_entry_bytes: int) -> None:
        """Use `open`."""
        self._prefix = prefix
        self._timeout_s = timeout_s
        self._max_entry_bytes = max_entry_bytes
        # The driver's commands are typed for the synchronous client too; what comes out is typed where it is used.
        pool = cast("Any", BlockingConnectionPool).from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = cast("Any", Redis).from_pool(pool)
        self._sha = ""
        self._failures = 0
        self._paused_until_s = 0.0
        self._hits = self._misses = self._refused = 0
        self.clock_offset_s = 0.0
        self.trips = 0
        """How often Redis was given up on for a while."""

    @classmethod
    async def open(
        cls, url: str, *, prefix: str = "penstock", timeout_s: float = 0.25, max_entry_bytes: int = 1 << 20
    ) -> Self:
        """Connect; one entry holds at most `max_entry_bytes`. Raises Invalid for a URL that is none, Unavailable."""
        try:
            cache = cls(url, prefix=prefix, timeout_s=timeout_s, max_entry_bytes=max_entry_bytes)
        except ValueError as error:
            raise Invalid(f"This is not the URL of a Redis: {error}", field="url") from error
        try:
            async with asyncio.timeout(timeout_s * 5):
                cache._sha = str(await cache._redis.script_load(cls.script))
        except FOREIGN as error:
            await cache.close()
            raise Unavailable(
                f"The cache's Redis cannot be reached. ({error})", remedy="Check that it runs, and its URL."
            ) from error
        return cache

    async def get(self, tenant: str, key: str) -> bytes | None:
        """Return the value, or None. Raises Unavailable."""
        value = await self._call(tenant, "get", key)
        if value is None:
            self._misses += 1
            return None
        self._hits += 1
        return cast("bytes", value)

    async def put(
        self, tenant: str, key: str, value: bytes, *, ttl_s: float, tags: Sequence[str] = ()
    ) -> bool:
        """Store a value for `ttl_s` seconds; False when it was refused for its size (the old value is gone then).
        Raises Unavailable.
        """
        size = len(value) + len(key) + sum(map(len, tags))
        if size > self._max_entry_bytes:
            self._refused += 1
            await self._call(tenant, "put", key, 0, b"")
            return False
        await self._call(tenant, "put", key, int(ttl_s * MICROS), value, *dict.fromkeys(tags))
        return True

    async def invalidate(self, tenant: str, tag: str) -> int:
        """Forget every entry of the tenant with the tag; returns how many were alive. Raises Unavailable."""
        return cast("int", await self._call(tenant, "tag", tag))

    async def stats(self) -> dict[str, int]:
        """Return hits, misses and refused of this process; evictions, entries (tags among them) and bytes of the
        server. Raises Unavailable.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                told: dict[str, Any] = await self._redis.info()
                entries = int(await self._redis.dbsize())
        except FOREIGN as error:
            raise _unavailable(error) from error
        return {
            "hits": self._hits,
            "misses": self._misses,
            "evictions": int(told.get("evicted_keys", 0)),
            "refused": self._refused,
            "entries": entries,
            "bytes": int(told.get("used_memory", 0)),
        }

    async def healthy(self) -> bool:
        """Tell whether Redis answers in time."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._redis.ping()
        except FOREIGN:
            return False
        return True

    async def close(self) -> None:
        """Close every connection; later calls raise Unavailable."""
        self._paused_until_s = float("inf")
        await self._redis.aclose(close_connection_pool=True)

    async def _call(self, tenant: str, verb: str, *arguments: object) -> object:
        """Run the script once, or once more on a Redis that does not know it (it was restarted)."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._paused_until_s:
            raise Unavailable("The cache's Redis is not asked just now.", retry_after_s=PAUSE_S)
        digest = sha256(tenant.encode()).hexdigest()[:32]
        root = f"{self._prefix}:cache:{{{digest}}}:"
        told = ("EVALSHA", self._sha, 1, root, verb, int(self.clock_offset_s * MICROS), *arguments)
        try:
            async with asyncio.timeout(self._timeout_s):
                try:
                    value = await self._redis.execute_command(*told)
                except NoScriptError:
                    await self._redis.script_load(self.script)
                    value = await self._redis.execute_command(*told)
        except FOREIGN as error:
            self._failed(now_s)
            raise _unavailable(error) from error
        self._failures = 0
        return value

    def _failed(self, now_s: float) -> None:
        self._failures += 1
        if self._failures >= TRIP_AFTER:
            self._failures = 0
            self.trips += 1
            self._paused_until_s = max(self._paused_until_s, now_s + PAUSE_S)


def _unavailable(error: BaseException) -> Unavailable:
    return Unavailable(f"The cache's Redis did not answer. ({error!r})", retry_after_s=PAUSE_S)
