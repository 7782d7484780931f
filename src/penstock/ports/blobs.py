"""Large immutable bytes by digest, and small named pointers to them.

Promises
1. `put` returns the SHA-256 of the bytes; the same bytes are stored once per tenant; `get` returns them
whole or raises.
2. A blob is visible whole or not at all: a crash in mid-write leaves nothing readable.
3. `name` binds a name to bytes atomically; the previous binding is replaced, readers see one or the other.
4. A tenant never reads another tenant's blob, even knowing its digest; names with ``..``, ``/`` at the ends
or NUL are refused.
5. `list` returns names under a prefix in order, in pages, none twice, none missed.
6. `expire` removes what is older than the bound and not named; returns how many and the bytes.
7. A flipped byte on disk is found when read: Broken, never wrong bytes.
8. `unname` ends a name at once and durably; the bytes stay until they expire.

Errors: NotFound, Invalid, Unavailable (disk full), Broken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Blobs(Protocol):
    """Bytes by digest and by name. See the promises above."""

    async def put(self, tenant: str, value: bytes) -> str:
        """Store bytes; returns their SHA-256 as 64 hexadecimal digits."""
        ...

    async def name(self, tenant: str, name: str, value: bytes) -> str:
        """Store bytes and bind `name` to them; returns the digest."""
        ...

    async def unname(self, tenant: str, name: str) -> bool:
        """End a name; False when there was none."""
        ...

    async def get(self, tenant: str, digest_or_name: str) -> bytes:
        """Return the bytes of a digest (64 hexadecimal digits) or of a name."""
        ...

    async def list(
        self, tenant: str, prefix: str = "", *, after: str = "", limit: int = 1000
    ) -> Sequence[str]:
        """Return up to `limit` names that start with `prefix`, after the name `after`."""
        ...

    async def expire(self, tenant: str, before_s: float) -> tuple[int, int]:
        """Remove unnamed blobs last written before the wall time `before_s`; returns (count, bytes)."""
        ...
