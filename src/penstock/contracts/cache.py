"""What every cache must keep: the promises of `ports/cache.py` as cases.

`CacheHarness` says what the cache was opened with, and may restart it in an orderly way, with damage in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from penstock.contracts.case import Contract, Harness, expect, needs
from penstock.ports.cache import Cache

CASES: Contract[Cache] = Contract("cache")

Damage = Callable[[bytes], bytes]

RESTART = "restart the cache, its file damaged"


@dataclass(slots=True)
class CacheHarness(Harness[Cache]):
    """A harness that knows the bounds (0: not known, the cases that need them raise NotTried).

    `restart(damage)` closes the cache, applies `damage` to the bytes of its file, and opens it again.
    """

    max_bytes: int = 0
    max_entry_bytes: int = 0
    restart: Callable[[Damage], Awaitable[Cache]] | None = None


def _bounded(h: Harness[Cache]) -> CacheHarness:
    return needs(
        h if isinstance(h, CacheHarness) and h.max_bytes else None, "know what the cache is bound to"
    )


def _bounded_entries(h: Harness[Cache]) -> CacheHarness:
    return needs(
        h if isinstance(h, CacheHarness) and h.max_entry_bytes else None, "know what an entry is bound to"
    )


@CASES.case(1)
async def what_was_put_last_comes_back(h: Harness[Cache]) -> None:
    """Any bytes under any key, the last put winning; what was never put is None."""
    tenant = h.name("acme")
    expect(await h.port.get(tenant, "k") is None, "what was never put is a miss")
    for key, value in (
        ("k", b"one"),
        ("k", b"two"),
        ("", b"empty key"),
        ("é\n/..", bytes(range(256))),
        ("e", b""),
    ):
        expect(await h.port.put(tenant, key, value, ttl_s=60.0), "put tells it was stored", key=key)
        expect(await h.port.get(tenant, key) == value, "get returns what was put last", key=key)
    expect(await h.port.get(tenant, "k") == b"two", "other keys change nothing")


@CASES.case(1)
async def tenants_do_not_meet(h: Harness[Cache]) -> None:
    """However tenant and key are cut, and also when forgetting by tag."""
    one, two = h.name("a"), h.name("b")
    await h.port.put(one, "k:x", b"one", ttl_s=60.0, tags=["t"])
    await h.port.put(one + ":k", "x", b"joined", ttl_s=60.0, tags=["t"])
    expect(await h.port.get(two, "k:x") is None, "another tenant's key is a miss")
    await h.port.put(two, "k:x", b"two", ttl_s=60.0, tags=["t"])
    expect(await h.port.get(one, "k:x") == b"one", "tenant and key do not run together")
    expect(await h.port.get(one + ":k", "x") == b"joined", "in either direction")
    expect(await h.port.invalidate(two, "t") == 1, "a tag is a tenant's own")
    expect(await h.port.get(one, "k:x") == b"one", "and so is forgetting")


@CASES.case(2)
async def an_entry_ends_when_it_says(h: Harness[Cache]) -> None:
    """There just before `ttl_s`, gone just after; putting again starts anew; a shorter put is shorter."""
    tenant = h.name("acme")
    await h.port.put(tenant, "k", b"v", ttl_s=2.0, tags=["t"])
    await h.port.put(tenant, "renewed", b"v", ttl_s=2.0)
    await h.port.put(tenant, "shortened", b"v", ttl_s=60.0)
    await h.port.put(tenant, "shortened", b"w", ttl_s=2.0)
    await h.advance(1.8)
    expect(await h.port.get(tenant, "k") == b"v", "it is there before its time")
    await h.port.put(tenant, "renewed", b"v", ttl_s=2.0)
    await h.advance(0.3)
    expect(await h.port.get(tenant, "k") is None, "it is gone after its time")
    expect(await h.port.get(tenant, "shortened") is None, "the last put's time counts")
    expect(await h.port.get(tenant, "renewed") == b"v", "putting again starts anew")
    expect(await h.port.invalidate(tenant, "t") == 0, "what ended cannot be forgotten")
    expect(await h.port.put(tenant, "none", b"v", ttl_s=0.0) is True, "no time at all is not a refusal")
    expect(await h.port.get(tenant, "none") is None, "and nothing to keep")


@CASES.case(3)
async def a_tag_forgets_what_carries_it(h: Harness[Cache]) -> None:
    """All of it and nothing else; an entry put anew carries its new tags only."""
    tenant = h.name("acme")
    for number in range(10):
        tags = ["all", "even" if number % 2 == 0 else "odd", "even" if number % 2 == 0 else "odd"]
        await h.port.put(tenant, f"k{number}", b"v", ttl_s=60.0, tags=tags)
    await h.port.put(tenant, "plain", b"v", ttl_s=60.0)
    await h.port.put(tenant, "k0", b"again", ttl_s=60.0, tags=["other"])
    count = await h.port.invalidate(tenant, "even")
    expect(count == 4, "invalidate tells how many it forgot", count=count)
    left = [number for number in range(10) if await h.port.get(tenant, f"k{number}") is not None]
    expect(left == [0, 1, 3, 5, 7, 9], "the tag's entries are gone, no other", left=left)
    expect(await h.port.invalidate(tenant, "even") == 0, "nothing is forgotten twice")
    expect(await h.port.invalidate(tenant, "unknown") == 0, "an unknown tag forgets nothing")
    expect(await h.port.invalidate(tenant, "all") == 5, "the rest still carries its other tag")
    expect(await h.port.get(tenant, "plain") == b"v", "what carries no tag stays")


@CASES.case(4)
async def the_least_recently_used_go_first(h: Harness[Cache]) -> None:
    """The bound is never passed, each eviction is counted, and reading an entry keeps it."""
    own = _bounded(h)
    tenant, value = h.name("acme"), b"v" * (own.max_entry_bytes // 2)
    count = 3 * own.max_bytes // len(value)
    before = await h.port.stats()
    for number in range(count):
        await h.port.put(tenant, f"k{number}", value, ttl_s=60.0)
        expect(await h.port.get(tenant, "k0") == value, "what is read again and again stays", number=number)
        stats = await h.port.stats()
        expect(
            stats["bytes"] <= own.max_bytes,
            "the bound is never passed",
            bytes=stats["bytes"],
            limit=own.max_bytes,
        )
    evicted = (await h.port.stats())["evictions"] - before["evictions"]
    alive = [number for number in range(count) if await h.port.get(tenant, f"k{number}") is not None]
    expect(evicted == count - len(alive), "each eviction is counted", evicted=evicted, alive=len(alive))
    expect(
        alive == [0, *range(count - len(alive) + 1, count)], "the least recently used went first", alive=alive
    )
    expect(len(alive) * len(value) > own.max_bytes // 2, "most of the bound is used", alive=len(alive))


@CASES.case(4)
async def what_is_put_anew_does_not_add_up(h: Harness[Cache]) -> None:
    """Replacing, forgetting and ending give the bytes back."""
    _bounded(h)  # whoever cannot say what it is bound to cannot count what it holds either
    tenant = h.name("acme")
    before = await h.port.stats()
    for number in range(50):
        await h.port.put(tenant, "k", b"v" * number, ttl_s=60.0, tags=["t"])
    await h.port.put(tenant, "short", b"v" * 100, ttl_s=1.0)
    stats = await h.port.stats()
    expect(stats["entries"] == before["entries"] + 2, "one key is one entry", entries=stats["entries"])
    await h.port.invalidate(tenant, "t")
    await h.advance(1.1)
    after = await h.port.stats()
    figures = {name: after[name] - before[name] for name in ("entries", "bytes", "evictions", "refused")}
    expect(not any(figures.values()), "what is forgotten or ended takes no room", **figures)


@CASES.case(5)
async def a_value_over_the_bound_of_one_entry_is_refused(h: Harness[Cache]) -> None:
    """Refused, counted, and the old value does not stand in for it."""
    own, tenant = _bounded_entries(h), h.name("acme")
    before = await h.port.stats()
    await h.port.put(tenant, "k", b"old", ttl_s=60.0)
    stored = await h.port.put(tenant, "k", b"v" * (own.max_entry_bytes + 1), ttl_s=60.0)
    expect(stored is False, "a value over the bound is refused", stored=stored)
    stats = await h.port.stats()
    expect(stats["refused"] - before["refused"] == 1, "the refusal is counted", refused=stats["refused"])
    expect(await h.port.get(tenant, "k") is None, "what was put before is not what was put last")
    expect(
        await h.port.put(tenant, "k", b"v" * (own.max_entry_bytes // 2), ttl_s=60.0),
        "half the bound is stored",
    )


@CASES.case(1, 4)
async def hits_and_misses_are_counted(h: Harness[Cache]) -> None:
    """Every get is one or the other."""
    tenant = h.name("acme")
    before = await h.port.stats()
    await h.port.put(tenant, "k", b"v", ttl_s=1.0)
    await asyncio.gather(*(h.port.get(tenant, key) for key in ("k", "k", "none")))
    await h.advance(1.1)
    await h.port.get(tenant, "k")
    after = await h.port.stats()
    hits, misses = after["hits"] - before["hits"], after["misses"] - before["misses"]
    expect((hits, misses) == (2, 2), "gets are counted", hits=hits, misses=misses)


def _with_rubbish(data: bytes) -> bytes:
    return data + b"\0" * 40


def _emptied(_: bytes) -> bytes:
    return b""


def _doubled(data: bytes) -> bytes:
    return data * 2


def _cut(sevenths: int) -> Damage:
    return lambda data: data[: len(data) * sevenths // 7]


def _flipped(at: int) -> Damage:
    return lambda data: data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]


@CASES.case(6, 2)
async def what_survives_a_restart_is_whole(h: Harness[Cache]) -> None:
    """Torn anywhere, or with any byte changed, each entry is what was put or a miss; its time goes on."""
    restart = needs(h.restart if isinstance(h, CacheHarness) else None, RESTART)
    tenant = h.name("acme")
    values = {f"k{number}": bytes([number]) * (10 + number) for number in range(20)}
    damages = [
        _with_rubbish,
        _emptied,
        _doubled,
        *(_cut(part) for part in range(7)),
        *map(_flipped, range(0, 300, 11)),
    ]
    port = h.port
    for damage in damages:
        for key, value in values.items():
            await port.put(tenant, key, value, ttl_s=2.0, tags=["t"])
        port = await restart(damage)
        for key, value in values.items():
            found = await port.get(tenant, key)
            expect(found is None or found == value, "a survivor is whole", key=key, found=found)
    for key, value in values.items():
        await port.put(tenant, key, value, ttl_s=2.0, tags=["t"])
    await h.advance(1.8)
    port = await restart(lambda data: data)
    alive = [key for key in values if await port.get(tenant, key) == values[key]]
    expect(alive == list(values), "an undamaged file loses nothing", alive=alive)
    expect(await port.invalidate(tenant, "t") == len(values), "survivors carry their tags")
    await port.put(tenant, "k", b"v", ttl_s=2.0)
    await h.advance(1.8)
    port = await restart(lambda data: data)
    await h.advance(0.3)
    expect(await port.get(tenant, "k") is None, "a restart does not prolong a life")


@CASES.case(1, 3, 6)
async def a_crash_brings_nothing_back(h: Harness[Cache]) -> None:
    """What was overwritten or invalidated stays so, though an orderly restart had kept it before."""
    restart = h.restart if isinstance(h, CacheHarness) else None
    tenant = h.name("acme")
    await h.port.put(tenant, "k", b"old", ttl_s=60.0)
    await h.port.put(tenant, "wrong", b"wrong", ttl_s=60.0, tags=["t"])
    port = await restart(lambda data: data) if restart else h.port
    await port.put(tenant, "k", b"new", ttl_s=60.0)
    await port.invalidate(tenant, "t")
    port = await h.reopen()
    expect(await port.get(tenant, "k") in {None, b"new"}, "an overwritten value does not come back")
    expect(await port.get(tenant, "wrong") is None, "an invalidated value does not come back")
    needs(restart, RESTART)
