"""The management API, mounted so that a gateway nobody manages never loads FastAPI.

Promise: the application is imported and built once, on the first request for it, off the event loop, so that answers
on their way are not held up; a build that failed is tried again by the next request.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable

from penstock.edge.asgi import AsgiApp, Message, Receive, Send
from penstock.kernel.clock import Clock
from penstock.mechanisms.prices import PriceBook
from penstock.mechanisms.tenancy import Tenancy
from penstock.ports.ledger import Ledger

PREFIX = "/api/v1/"


class LateApp:
    """An ASGI application that is built when it is first called."""

    def __init__(self, build: Callable[[], AsgiApp]) -> None:
        """`build` runs in a thread."""
        self._build = build
        self._app: AsgiApp | None = None
        self._building = asyncio.Lock()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request, building the application before the first."""
        app = self._app
        if app is None:
            async with self._building:
                app = self._app = self._app or await asyncio.to_thread(self._build)
        await app(scope, receive, send)


def management(tenancy: Tenancy, ledger: Ledger, prices: PriceBook, clock: Clock) -> LateApp:
    """Return the management API over these."""

    def build() -> AsgiApp:
        api = importlib.import_module("penstock.gateway.management")
        return api.application(api.Management(tenancy, ledger, prices, clock))

    return LateApp(build)
