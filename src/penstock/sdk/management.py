"""The management API as a typed client.

    async with ManagementClient(HttpTransport(url, key)) as client:
        made = await client.create_key(KeyRequest(team="search"))

Promises: every method is one route (lists page through it until its end or `ROWS_MAX`); arguments are encoded, never
pasted into a path; a refused call raises the kernel error that the server raised.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Self, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from penstock.kernel.errors import Upstream
from penstock.sdk.replies import (
    Budget,
    Key,
    KeyRequest,
    LedgerReport,
    MadeKey,
    ModelPrice,
    ScopeLimits,
    ScopeRequest,
    Status,
    Usage,
)
from penstock.sdk.transport import Transport

PAGE_ROWS: Final = 1000
ROWS_MAX: Final = 100_000
T = TypeVar("T")


class ManagementClient:
    """Keys, limits, budgets, usage, prices and the ledger of a running Penstock."""

    def __init__(self, transport: Transport) -> None:
        """Own `transport`: it is closed with the client."""
        self._transport = transport

    async def __aenter__(self) -> Self:
        """Use as a context."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self._transport.close()

    # --- keys -----------------------------------------------------------------------------------------------------

    async def create_key(self, request: KeyRequest) -> MadeKey:
        """Make a key."""
        return await self._ask("POST", "/keys", MadeKey, body=request)

    async def keys(self, org: str = "") -> list[Key]:
        """Return every key of an organisation ("" is the caller's own)."""
        return await self._pages("/keys", list[Key], lambda key: key.id, org=org)

    async def revoke_key(self, key_id: str) -> Key:
        """Revoke a key now."""
        return await self._ask("DELETE", f"/keys/{quote(key_id, safe='')}", Key)

    async def rotate_key(self, key_id: str, *, overlap_s: int) -> MadeKey:
        """Make a key with the same rights; the old one goes on for `overlap_s` seconds."""
        path = f"/keys/{quote(key_id, safe='')}/rotate"
        return await self._ask("POST", path, MadeKey, body={"overlap_s": overlap_s})

    # --- limits and money -----------------------------------------------------------------------------------------

    async def put_scope(self, request: ScopeRequest) -> ScopeLimits:
        """Set the limits of one level, replacing what was set there."""
        return await self._ask("PUT", "/scopes", ScopeLimits, body=request)

    async def scopes(self, level: str, org: str = "") -> list[ScopeLimits]:
        """Return every configured scope of one level."""
        return await self._pages("/scopes", list[ScopeLimits], lambda scope: scope.path, level=level, org=org)

    async def usage(self, org: str = "", prefix: str = "") -> list[Usage]:
        """Return the accounts of an organisation whose names go on with `prefix` after ``org:NAME``.

        All of them is asked for in two parts, ``@`` its own and ``/`` those below it, so that an organisation whose
        name begins alike never fills a page.
        """
        rows: list[Usage] = []
        for start in (prefix,) if prefix else ("@", "/"):
            rows += await self._pages("/usage", list[Usage], lambda row: row.account, org=org, prefix=start)
        return rows

    async def budgets(self, org: str = "") -> list[Budget]:
        """Return every budget of an organisation."""
        return await self._ask("GET", "/budgets", list[Budget], org=org)

    async def prices(self, provider: str = "", model: str = "") -> list[ModelPrice]:
        """Return the prices in force today; `model` is any part of a name."""
        return await self._pages(
            "/prices", list[ModelPrice], lambda p: f"{p.provider}/{p.model}", provider=provider, model=model
        )

    async def verify_ledger(self) -> LedgerReport:
        """Have the server walk its whole ledger."""
        return await self._ask("GET", "/ledger/verify", LedgerReport)

    async def status(self) -> Status:
        """Return how the platform is."""
        return await self._ask("GET", "/status", Status)

    # --------------------------------------------------------------------------------------------------------------

    async def _ask(self, method: str, path: str, kind: type[T], *, body: object = None, **query: str) -> T:
        """Call one route and decode its reply into `kind`."""
        given = urlencode({name: value for name, value in query.items() if value})
        target = f"/api/v1{path}" + (f"?{given}" if given else "")
        data = await self._transport.call(method, target, b"" if body is None else msgspec.json.encode(body))
        try:
            return msgspec.json.decode(data, type=kind)
        except msgspec.DecodeError as error:
            raise Upstream(
                f"The server's reply was not understood: {error}.",
                code="malformed_reply",
                field=path,
                remedy="Is it a Penstock of this version?",
            ) from None

    async def _pages(self, path: str, kind: type[list[T]], name: Callable[[T], str], **query: str) -> list[T]:
        """Collect a list page by page."""

        def page(after: str) -> Awaitable[Sequence[T]]:
            return self._ask("GET", path, kind, after=after, limit=str(PAGE_ROWS), **query)

        rows = list(await page(""))
        full = len(rows) == PAGE_ROWS
        while full and len(rows) < ROWS_MAX:
            more = await page(name(rows[-1]))
            rows.extend(more)
            full = len(more) == PAGE_ROWS
        return rows
