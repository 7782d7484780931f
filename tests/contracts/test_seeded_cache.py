"""The suite finds bugs: ten are seeded into the embedded cache, one at a time, and every one is caught."""

from __future__ import annotations

import msgspec
import pytest

from penstock.adapters.cache import embedded
from penstock.adapters.cache.embedded import MemoryCache
from penstock.contracts.cache import CASES
from tests.contracts.file_harness import first_broken
from tests.contracts.test_cache import on_memory_cache


def joins_tenant_and_key(patch):
    """Tenant and key run together in one text."""
    get, put = MemoryCache.get, MemoryCache.put
    patch.setattr(MemoryCache, "get", lambda cache, tenant, key: get(cache, "", f"{tenant}:{key}"))
    patch.setattr(
        MemoryCache,
        "put",
        lambda cache, tenant, key, value, *, ttl_s, tags=(): put(
            cache, "", f"{tenant}:{key}", value, ttl_s=ttl_s, tags=tags
        ),
    )
    forget = MemoryCache.invalidate
    patch.setattr(MemoryCache, "invalidate", lambda cache, tenant, tag: forget(cache, "", tag))


def never_ends(patch):
    """An entry lives for ever."""

    async def eternal(cache, tenant, key):
        entry = cache._entries.get((tenant, key))
        return entry.value if entry is not None else None

    patch.setattr(MemoryCache, "get", eternal)


def evicts_the_oldest_put(patch):
    """First in, first out: reading keeps nothing alive."""

    async def unmoved(cache, tenant, key):
        order = list(cache._entries)
        value = await honest(cache, tenant, key)
        for place in order:
            if place in cache._entries:
                cache._entries.move_to_end(place)
        return value

    honest = MemoryCache.get
    patch.setattr(MemoryCache, "get", unmoved)


def forgets_by_tag_for_everybody(patch):
    """A tag is taken for the tag of every tenant."""

    async def everywhere(cache, tenant, tag):
        return sum([await honest(cache, other, tag) for other, name in list(cache._tagged) if name == tag])

    honest = MemoryCache.invalidate
    patch.setattr(MemoryCache, "invalidate", everywhere)


def keeps_tags_of_what_was_replaced(patch):
    """The old tags of a key still point at it."""
    honest = MemoryCache._forget

    def sloppy(cache, tenant, key):
        entry = cache._entries.get((tenant, key))
        honest(cache, tenant, key)
        for tag in entry.tags if entry is not None else ():
            cache._tagged.setdefault((tenant, tag), set()).add(key)

    patch.setattr(MemoryCache, "_forget", sloppy)


def counts_replaced_bytes_twice(patch):
    """Replacing gives no bytes back."""

    async def heavier(cache, tenant, key, value, *, ttl_s, tags=()):
        before = cache._entries.get((tenant, key))
        stored = await honest(cache, tenant, key, value, ttl_s=ttl_s, tags=tags)
        cache._bytes += before.size if before is not None else 0
        return stored

    honest = MemoryCache.put
    patch.setattr(MemoryCache, "put", heavier)


def keeps_the_old_value_of_a_refused_put(patch):
    """A put that is refused leaves what was there."""

    async def lingering(cache, tenant, key, value, *, ttl_s, tags=()):
        if len(value) > cache._max_entry_bytes:
            cache._refused += 1
            return False
        return await honest(cache, tenant, key, value, ttl_s=ttl_s, tags=tags)

    honest = MemoryCache.put
    patch.setattr(MemoryCache, "put", lingering)


def believes_a_torn_file(patch):
    """Entries are read without their checksum."""
    patch.setattr(embedded, "crc32", lambda body: 0)


def revives_with_a_whole_new_life(patch):
    """A restart starts every entry's time anew."""
    honest = MemoryCache._revive

    def renewed(cache, entry):
        honest(cache, msgspec.structs.replace(entry, until_s=cache._clock.wall_s() + entry.ttl_s))

    patch.setattr(MemoryCache, "_revive", renewed)


def keeps_its_file_after_opening(patch):
    """The file of the last life is left for the life after a crash."""

    def kept(file):
        return list(embedded._whole(file.read_bytes())) if file.exists() else []

    patch.setattr(embedded, "_taken", kept)


SEEDED = [
    joins_tenant_and_key,
    never_ends,
    evicts_the_oldest_put,
    forgets_by_tag_for_everybody,
    keeps_tags_of_what_was_replaced,
    counts_replaced_bytes_twice,
    keeps_the_old_value_of_a_refused_put,
    believes_a_torn_file,
    revives_with_a_whole_new_life,
    keeps_its_file_after_opening,
]


@pytest.mark.parametrize("seed", SEEDED, ids=lambda seed: seed.__name__)
def test_the_suite_catches(seed, monkeypatch, tmp_path):
    seed(monkeypatch)
    assert first_broken(CASES.cases, tmp_path, on_memory_cache), seed.__doc__


def test_and_blames_nothing_else(tmp_path):
    assert not first_broken(CASES.cases, tmp_path, on_memory_cache)
