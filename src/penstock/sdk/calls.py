"""What every noun of the client is made of: one method, one route, one typed value.

Promises: arguments are encoded, never pasted into a path; what is "" or None is not sent; a reply that is not
understood is one `Upstream` with a sentence; a list is read to its end, or to `ROWS_MAX` rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from penstock.kernel.errors import Invalid, Upstream
from penstock.sdk.streams import Live, Query
from penstock.sdk.transport import LIVE, Transport

BASE: Final = "/api/v1"
PAGE_ROWS: Final = 1000
ROWS_MAX: Final = 100_000
T = TypeVar("T")


class Calls:
    """Calls over one transport."""

    def __init__(self, transport: Transport) -> None:
        """Use `transport`; whoever made it closes it."""
        self._transport = transport

    async def _ask(
        self, method: str, path: str, kind: type[T], *, body: object = None, query: Query | None = None
    ) -> T:
        """Call one route of the management API and decode its reply into `kind`."""
        reply = await self._transport.call(method, target(path, query), encoded(body))
        return decoded(reply.body, kind, path)

    async def _tell(self, method: str, path: str) -> None:
        """Call one route that has nothing to say."""
        await self._transport.call(method, target(path))

    async def _rows(
        self, path: str, kind: type[tuple[T, ...]], name: Callable[[T], str], query: Query
    ) -> tuple[T, ...]:
        """Collect a list page by page; `name` is what its order goes by."""
        rows: list[T] = []
        after = ""
        while len(rows) < ROWS_MAX:
            page = await self._ask("GET", path, kind, query={**query, "after": after, "limit": PAGE_ROWS})
            rows.extend(page)
            if len(page) < PAGE_ROWS:
                break
            after = name(page[-1])
        return tuple(rows)

    def _live(self, path: str, event: bytes, kind: type[T], query: Query) -> Live[T]:
        """Return a stream of events that is opened when it is entered."""
        return Live(lambda: self._transport.stream("GET", target(path, query), timers=LIVE), event, kind)


def inside(*parts: str) -> str:
    """Return a path of encoded parts: ``/keys/a%2Fb``. Raises Invalid for a part that would name another route."""
    if any(part in ("", ".", "..") for part in parts):
        raise Invalid("An id may not be empty.", field="id", remedy="Take it from a list.")
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def target(path: str, query: Query | None = None) -> str:
    """Return what a route of the management API is asked for."""
    given = urlencode({name: value for name, value in (query or {}).items() if value not in ("", None)})
    return f"{BASE}{path}?{given}" if given else f"{BASE}{path}"


def encoded(body: object) -> bytes:
    """Return a body as JSON, None as nothing. Raises Invalid for what JSON cannot say."""
    try:
        return b"" if body is None else msgspec.json.encode(body)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Invalid(f"This cannot be written as JSON: {error}.", field="body") from None


def decoded(data: bytes, kind: type[T], what: str) -> T:
    """Return a reply's body as a `kind`. Raises Upstream."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Upstream(
            f"The server's reply was not understood: {error}.",
            code="malformed_reply",
            field=what,
            remedy="Is it a Penstock of this version?",
        ) from None
