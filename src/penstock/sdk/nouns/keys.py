"""Keys: made, changed, rotated, revoked."""

from __future__ import annotations

from penstock.sdk.calls import Calls, inside
from penstock.sdk.replies import Key, KeyChange, KeyRequest, MadeKey


class KeyCalls(Calls):
    """The keys within reach."""

    async def create(self, request: KeyRequest) -> MadeKey:
        """Make a key; its token is shown only here."""
        return await self._ask("POST", "/keys", MadeKey, body=request)

    async def list(self, org: str = "") -> tuple[Key, ...]:
        """Return every key of an organisation ("" is the caller's own)."""
        return await self._rows("/keys", tuple[Key, ...], lambda key: key.id, {"org": org})

    async def get(self, key_id: str) -> Key:
        """Return one key. Raises NotFound."""
        return await self._ask("GET", inside("keys", key_id), Key)

    async def change(self, key_id: str, change: KeyChange) -> Key:
        """Change a key; what is not given stays. Raises StaleVersion when somebody else changed it meanwhile."""
        return await self._ask("PATCH", inside("keys", key_id), Key, body=change)

    async def revoke(self, key_id: str) -> Key:
        """Revoke a key now, everywhere within a second."""
        return await self._ask("DELETE", inside("keys", key_id), Key)

    async def rotate(self, key_id: str, *, overlap_s: int = 3600) -> MadeKey:
        """Make a key with the same rights; the old one goes on for `overlap_s` seconds."""
        path = inside("keys", key_id, "rotate")
        return await self._ask("POST", path, MadeKey, body={"overlap_s": overlap_s})
