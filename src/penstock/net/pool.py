"""Where requests go (Origin) and which of its connections they may use (Pool).

Promises: at most `limit` connections per origin, idle and connecting ones included; at most `max_waiting` callers
queue for one, in order; a connection or the permission for one is never lost to a cancelled waiter.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Generic, Protocol, TypeVar
from urllib.parse import urlsplit

from penstock.kernel.errors import Invalid
from penstock.net.failures import CallRefused

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of a server; hashable, and cheap to look up when the same object is used again."""

    scheme: str
    host: str
    port: int
    host_header: bytes = field(init=False, compare=False, repr=False)
    """The Host header's value: the port only when it is not the scheme's own."""
    _hash: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Check and precompute."""
        if self.scheme not in _DEFAULT_PORTS:
            raise Invalid(
                "An upstream's URL must start with http:// or https://.", field="url", value=self.scheme
            )
        name = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        object.__setattr__(
            self, "host_header", f"{name}{port}".encode("idna" if not name.isascii() else "ascii")
        )
        object.__setattr__(self, "_hash", hash((self.scheme, self.host, self.port)))

    def __hash__(self) -> int:
        """Precomputed."""
        return self._hash

    @classmethod
    def parse(cls, url: str) -> tuple[Origin, str]:
        """The origin of `url` and its path without a closing slash. Raises Invalid naming what is wrong."""
        try:
            parts = urlsplit(url.strip())
            scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
            host = host.encode("idna").decode("ascii") if host and not host.isascii() else host
        except ValueError as error:
            raise Invalid(f"Not a URL: {error}.", field="url", value=url) from None
        if parts.username is not None or parts.password is not None:
            raise Invalid("Credentials do not belong in a URL.", field="url", remedy="Pass them as a secret.")
        if (
            not host
            or parts.query
            or parts.fragment
            or any(c <= " " or c == "\x7f" for c in host + parts.path)
        ):
            raise Invalid(
                "Not the base URL of a server.",
                field="url",
                value=url,
                remedy="Use https://host[:port]/path.",
            )
        return cls(scheme, host, port or _DEFAULT_PORTS.get(scheme, 0)), parts.path.rstrip("/")

    def __str__(self) -> str:
        """As in a URL."""
        return f"{self.scheme}://{self.host_header.decode()}"


def is_loopback(host: str) -> bool:
    """Tell whether `host` can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Poolable(Protocol):
    """What a pool knows of a connection."""

    idle_since: float

    def usable(self) -> bool:
        """Open, as far as is known."""
        ...

    def drop(self) -> None:
        """Close now; calls the pool's `forget` once."""
        ...


C = TypeVar("C", bound=Poolable)


class Pool(Generic[C]):
    """The connections of one origin. Newest first, so that the surplus goes idle and is closed."""

    __slots__ = ("_idle", "_idle_max", "_limit", "_max_waiting", "_waiters", "open")

    def __init__(self, *, limit: int, idle_max: int, max_waiting: int) -> None:
        """`limit` connections in all, `idle_max` of them unused, `max_waiting` callers in the queue."""
        self._limit = limit
        self._idle_max = idle_max
        self._max_waiting = max_waiting
        self._idle: list[C] = []
        self._waiters: deque[asyncio.Future[C | None]] = deque()
        self.open = 0
        """Connections in use, idle or being made."""

    @property
    def idle(self) -> int:
        """Connections ready for use."""
        return len(self._idle)

    def take(self) -> C | None:
        """The connection used last, or None."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable():
                return connection
        return None

    async def slot(self, wait_s: float) -> C | None:
        """A connection that became free, or None: permission to make one, which `forget` gives back.

        Raises CallRefused when the queue is full (`pool_full`) or did not move for `wait_s` (`pool_timeout`).
        """
        if self.open < self._limit:
            self.open += 1
            return None
        if len(self._waiters) >= self._max_waiting:
            raise CallRefused(
                "Every connection to the upstream is in use and the queue is full.",
                code="pool_full",
                limit=self._max_waiting,
            )
        waiter: asyncio.Future[C | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(wait_s):
                return await waiter
        except (TimeoutError, asyncio.CancelledError) as error:
            self._give_up(waiter)
            if isinstance(error, TimeoutError):
                raise CallRefused(
                    "No connection to the upstream became free in time.",
                    code="pool_timeout",
                    limit=f"{wait_s:g} s",
                ) from None
            raise

    def _give_up(self, waiter: asyncio.Future[C | None]) -> None:
        """A waiter left; what it may have been given in the meantime goes to the next."""
        if not waiter.done() or waiter.cancelled():
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            return
        given = waiter.result()
        if given is None:
            self.forget()
        else:
            self.give(given)

    def give(self, connection: C) -> None:
        """Take a reusable connection back: to the first waiter, else onto the idle list, else closed."""
        waiter = self._next_waiter() if self._waiters else None
        if waiter is not None:
            waiter.set_result(connection)
        elif len(self._idle) < self._idle_max:
            self._idle.append(connection)
        else:
            connection.drop()

    def forget(self) -> None:
        """A connection is closed, or could not be made: its place goes to the first waiter."""
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(None)
        else:
            self.open -= 1

    def make_room(self) -> None:
        """Close the oldest idle connection if nothing else would let a new one be made."""
        if self.open >= self._limit and self._idle:
            self._idle.pop(0).drop()

    def lost(self, connection: C) -> None:
        """A connection ended by itself: drop it from the idle list if it was there, and free its place."""
        if connection in self._idle:
            self._idle.remove(connection)
        self.forget()

    def expire(self, before: float) -> None:
        """Close what has been idle since before the loop time `before`; the oldest are first in the list."""
        while self._idle and self._idle[0].idle_since < before:
            self._idle.pop(0).drop()

    def close(self) -> None:
        """Close what is idle."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.drop()

    def _next_waiter(self) -> asyncio.Future[C | None] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None
