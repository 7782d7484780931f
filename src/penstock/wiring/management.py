"""The management API, mounted so that a gateway nobody manages never loads FastAPI.

Promise: the application is imported and built once, on the first request for it, off the event loop, so that answers
on their way are not held up; a build that failed is tried again by the next request.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable

from penstock.edge.asgi import AsgiApp, Message, Receive, Send
from penstock.sdk.replies import Status
from penstock.wiring.platform import Platform

PREFIX = "/api/v1/"
HOME = "penstock.gateway.management"


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


def management(platform: Platform, status: Callable[[], Status]) -> LateApp:
    """Return the management API of a platform; `status()` tells how it is."""

    def build() -> AsgiApp:
        parts = importlib.import_module(f"{HOME}.parts")
        application = importlib.import_module(f"{HOME}.application").application
        return application(
            parts.Management(
                clock=platform.clock,
                settings=platform.settings,
                tenancy=platform.tenancy,
                people=platform.people,
                sessions=platform.sessions,
                changes=platform.changes,
                ledger=platform.stores.ledger,
                headroom=platform.headroom,
                prices=platform.catalogue.prices,
                feedback=platform.feedback,
                status=status,
                dropped=lambda: dropped(platform),
                traces=platform.traces,
                recent=platform.recent,
                oidc=platform.oidc,
                settings_file=platform.settings_file,
                routing=platform.routing,
                canaries=platform.canaries,
                oversight=platform.oversight,
                contents=platform.contents,
                answers=platform.answers.cache if platform.answers is not None else None,
                semantic=platform.semantic,
                prompt_savings=platform.prompt_savings,
                sight=importlib.import_module("penstock.wiring.pressures").sight(platform),
            )
        )

    return LateApp(build)


def dropped(platform: Platform) -> dict[str, int]:
    """Return how much of each kind was let go since the start, because a bound was met."""
    found = {"audit records": platform.audit.dropped, "live figures": platform.recent.left_out}
    if (feed := platform.trace_feed) is not None:
        found |= {"cost totals": feed.dropped, "requests": feed.kept_dropped}
    if (spans := platform.span_feed) is not None:
        found["spans"] = spans.dropped
    if platform.metering is not None:
        found["settlements' records"] = platform.metering.pipe.dropped
    return found
