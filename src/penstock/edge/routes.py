"""Routes, each with the policy that decides who may call it. Deny by default: a route without a policy cannot be made.

Promise: `Routes` finds a handler by exact method and path in one dictionary look-up; anything else is asked of the
fallback (the management API behind the ASGI bridge) if there is one, or answered 404, or 405 naming what is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import Enum
from typing import Any

from penstock.kernel.context import Principal
from penstock.kernel.errors import Invalid, NotFound
from penstock.net.request import Request
from penstock.net.responder import Responder

Serve = Callable[[Request, Responder, Principal], Coroutine[Any, Any, None]]
"""Serves one request of a caller that the route's policy admitted."""


class Policy(Enum):
    """Who may call a route. Which role that is, mechanisms/roles says."""

    PUBLIC = "anyone"
    CALLER = "whoever may use models"
    METRICS = "whoever may read metrics"
    DECLARED = (
        "whoever the application behind admits: each of its routes declares an action, or that it is public"
    )


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """One route; `serve` runs only for callers that `policy` admits."""

    method: str
    path: str
    policy: Policy
    serve: Serve


class MethodNotAllowed(NotFound):
    """This path exists, but not for that method."""

    code, status = "method_not_allowed", 405


class Routes:
    """The exact routes of the hot path, and a fallback by path prefix for what is not hot."""

    __slots__ = ("_exact", "_methods", "_prefixes")

    def __init__(self) -> None:
        """Start empty: nothing is served until it is declared."""
        self._exact: dict[tuple[str, str], RouteEntry] = {}
        self._methods: dict[str, list[str]] = {}
        self._prefixes: list[tuple[str, RouteEntry]] = []

    def add(self, method: str, path: str, policy: Policy, serve: Serve) -> None:
        """Declare one route; declaring it twice is refused."""
        if (method, path) in self._exact:
            raise Invalid("A route is declared twice.", field="route", value=f"{method} {path}")
        self._exact[method, path] = RouteEntry(method, path, policy, serve)
        self._methods.setdefault(path, []).append(method)

    def mount(self, prefix: str, policy: Policy, serve: Serve, method: str = "*") -> None:
        """Send everything below `prefix` to `serve`, or what comes with one `method` only."""
        self._prefixes.append((prefix, RouteEntry(method, prefix, policy, serve)))

    def find(self, method: str, path: str) -> RouteEntry:
        """Return the entry, or raise NotFound / MethodNotAllowed."""
        entry = self._exact.get((method, path))
        if entry is not None:
            return entry
        if method == "HEAD" and ("GET", path) in self._exact:
            return self._exact["GET", path]
        if path in self._methods:
            raise MethodNotAllowed(field="method", value=method, limit=", ".join(self._methods[path]))
        for prefix, mounted in self._prefixes:
            if path.startswith(prefix) and mounted.method in ("*", method):
                return mounted
        raise NotFound("There is nothing at this path.", field="path", value=path[:200])

    def entries(self) -> list[RouteEntry]:
        """Return every declared route, for the reference and the tests."""
        return [*self._exact.values(), *(entry for _, entry in self._prefixes)]
