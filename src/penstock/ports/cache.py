"""A bounded cache of bytes, with a time to live and tags to forget by. Losing it costs time, never correctness.

Promises
1. `get` returns the bytes last put under that tenant and key, or None; never another tenant's.
2. An entry is gone `ttl_s` seconds after it was put (not before, not after).
3. `invalidate` forgets every entry of the tenant that carries the tag, and no other.
4. The bytes held never exceed the bound: the least recently used entries go first, and each is counted.
5. A value over the bound of one entry is not stored, and counted; `put` returns False.
6. What survives a restart is whole: a torn entry is a miss.

Errors: Unavailable (a shared engine that cannot be reached); callers treat it as a miss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Cache(Protocol):
    """Bytes by key. See the promises above."""

    async def get(self, tenant: str, key: str) -> bytes | None:
        """Return the value, or None."""
        ...

    async def put(
        self, tenant: str, key: str, value: bytes, *, ttl_s: float, tags: Sequence[str] = ()
    ) -> bool:
        """Store a value for `ttl_s` seconds; False when it was refused for its size."""
        ...

    async def invalidate(self, tenant: str, tag: str) -> int:
        """Forget every entry with the tag; returns how many."""
        ...

    async def stats(self) -> dict[str, int]:
        """Return hits, misses, evictions, refused, entries and bytes."""
        ...
