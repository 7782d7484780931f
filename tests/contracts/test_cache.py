"""Both caches keep every promise of their port: the one in the process, and the one in a real Redis."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from penstock.adapters.cache.embedded import MemoryCache
from penstock.adapters.cache.redis import TRIP_AFTER, RedisCache
from penstock.contracts.cache import CASES, CacheHarness, Damage
from penstock.kernel.errors import Invalid, Unavailable
from penstock.ports import cache as port
from tests.contracts.engines import SOCKET_S, Relay
from tests.contracts.file_harness import Life, bind, promises_checked, promises_of
from tests.contracts.not_tried import tried
from tests.services import RedisServer
from tests.support import run

MAX_BYTES, MAX_ENTRY_BYTES = 100_000, 10_000


async def on_memory_cache(case: Callable, folder: Path) -> None:
    """Run one case on a fresh cache in `folder`."""
    life = Life(
        folder,
        lambda place, clock: MemoryCache.open(
            place, clock, max_bytes=MAX_BYTES, max_entry_bytes=MAX_ENTRY_BYTES
        ),
    )

    async def restart(damage: Damage):
        await life.stop()
        (file,) = life.folder.iterdir()
        file.write_bytes(damage(file.read_bytes()))
        return await life.start()

    harness = CacheHarness(
        port=await life.start(),
        advance=life.advance,
        reopen=life.crash,
        peer=life.peer,
        single_process=True,
        max_bytes=MAX_BYTES,
        max_entry_bytes=MAX_ENTRY_BYTES,
        restart=restart,
    )
    bind(harness, life)
    try:
        await case(harness)
    finally:
        await life.stop()


async def on_redis_cache(case: Callable, url: str, adapter: type[RedisCache] = RedisCache) -> None:
    """Run one case on a real Redis, whose clock moves by the adapter's offset."""
    opened: list[RedisCache] = []

    async def start() -> RedisCache:
        cache = await adapter.open(url, timeout_s=SOCKET_S, max_entry_bytes=MAX_ENTRY_BYTES)
        cache.clock_offset_s = opened[0].clock_offset_s if opened else 0.0
        opened.append(cache)
        return cache

    async def advance(seconds: float) -> None:
        for cache in opened:
            cache.clock_offset_s += seconds

    try:
        await case(
            CacheHarness(
                port=await start(), advance=advance, reopen=start, peer=start, max_entry_bytes=MAX_ENTRY_BYTES
            )
        )
    finally:
        for cache in opened:
            await cache.close()


EACH_CASE = pytest.mark.parametrize(
    "case", [case for _, _, case in CASES.cases], ids=[name for name, _, _ in CASES.cases]
)


@EACH_CASE
def test_redis(case, redis_url):
    run(tried("cache/redis", case, on_redis_cache(case, redis_url)))


def test_a_redis_that_evicts_gives_what_was_put_or_nothing_and_nothing_forgotten_comes_back():
    """Whatever it throws away, tags among it: a forgotten entry is never served again."""
    chance = random.Random(7)

    async def story(url: str) -> None:
        cache = await RedisCache.open(url, timeout_s=SOCKET_S)
        alive: dict[str, bytes] = {}
        for number in range(6_000):
            key, tag = f"k{chance.randrange(400)}", f"t{chance.randrange(20)}"
            if number % 20 == 0:
                await cache.invalidate("acme", tag)
                alive = {
                    name: value for name, value in alive.items() if not value.startswith(tag.encode() + b" ")
                }
            else:
                alive[key] = b"%b %d " % (tag.encode(), number) + chance.randbytes(8_000)
                await cache.put("acme", key, alive[key], ttl_s=60.0, tags=[tag])
            looked = f"k{chance.randrange(400)}"
            assert await cache.get("acme", looked) in {None, alive.get(looked)}
        stats = await cache.stats()
        assert stats["evictions"] > 0 and stats["hits"] > 0
        await cache.close()

    with RedisServer({"maxmemory": "3mb", "maxmemory-policy": "allkeys-lru"}) as server:
        run(story(server.url))


def test_a_redis_that_hangs_is_given_up_on_for_a_while(redis_url):
    async def story() -> None:
        server = urlsplit(redis_url)
        async with Relay(server.port) as relay:
            cache = await RedisCache.open(
                redis_url.replace(f":{server.port}", f":{relay.port}"), timeout_s=0.05
            )
            relay.cut()
            for _ in range(TRIP_AFTER + 20):
                with pytest.raises(Unavailable):
                    await cache.get("acme", "k")
            assert cache.trips == 1
            assert not await cache.healthy()
            await cache.close()

    run(story())


def test_a_redis_without_our_script_is_told_it_again(redis_url):
    async def story() -> None:
        cache = await RedisCache.open(redis_url, timeout_s=SOCKET_S)
        await cache._redis.script_flush()
        assert await cache.put("acme", "k", b"v", ttl_s=60.0) and await cache.get("acme", "k") == b"v"
        await cache.close()

    run(story())


@pytest.mark.parametrize(("url", "error"), [("mysql://x", Invalid), ("redis://127.0.0.1:1/0", Unavailable)])
def test_a_wrong_address_is_told(url, error):
    with pytest.raises(error):
        run(RedisCache.open(url))


@EACH_CASE
def test_embedded(case, tmp_path):
    run(tried("cache/embedded", case, on_memory_cache(case, tmp_path)))


def test_every_promise_has_a_case():
    assert promises_checked(CASES) == promises_of(port)
