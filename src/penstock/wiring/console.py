"""The console, mounted as one more customer of the platform: its pages reach the API from inside, as any program would.

    browser ──► server ──► /console/… ──► pages ──► sdk ──► InProcessTransport ──► edge ──► /api/v1/…

Promises: what a page may see and do is decided where every other caller's rights are; the application is built on the
first request for it; `/` leads to it; its calls end with the platform.
"""

from __future__ import annotations

import importlib
from typing import Final

from penstock.edge import errors
from penstock.edge.app import Edge
from penstock.edge.asgi import AsgiApp, AsgiBridge
from penstock.edge.routes import Policy
from penstock.kernel.context import Principal
from penstock.net.request import Request
from penstock.net.responder import Responder
from penstock.sdk.client import Client
from penstock.sdk.in_process import InProcessTransport
from penstock.wiring.management import LateApp
from penstock.wiring.platform import Platform

PREFIX: Final = "/console/"
HOME: Final = "penstock.console.app"


def mount_console(platform: Platform) -> None:
    """Serve the console below `PREFIX`, and lead there from `/`."""
    routes = platform.routes
    routes.mount(PREFIX, Policy.PUBLIC, AsgiBridge(console(platform)).serve)
    for path in ("/", PREFIX.rstrip("/")):
        routes.add("GET", path, Policy.PUBLIC, _lead_there)


def console(platform: Platform) -> LateApp:
    """Return the console of a platform."""

    def build() -> AsgiApp:
        return importlib.import_module(HOME).application(
            client.under,
            platform.clock,
            secure=is_secure(platform),
            urls=platform.settings.auth.console_urls,
            draining=lambda: platform.draining,
        )

    edge = Edge(platform.routes, platform.authenticator)
    client = Client(transport=InProcessTransport(edge.handle, "", render=errors.render))
    platform.resources.push_async_callback(client.close)
    return LateApp(build)


def is_secure(platform: Platform) -> bool:
    """Tell whether browsers come over TLS: the server's own, or that of a proxy before it."""
    urls = platform.settings.auth.console_urls
    return bool(platform.settings.server.tls_cert) or bool(
        urls and all(url.startswith("https:") for url in urls)
    )


async def _lead_there(_request: Request, responder: Responder, _principal: Principal) -> None:
    responder.send(303, b"location: %b\r\n" % PREFIX.encode(), b"")
