"""The console over made-up data, for looking at pages: `python -m tests.browser.preview [--empty] [--port 8790]`.

It signs everybody in as the owner of the made-up organisation.
"""

from __future__ import annotations

import argparse
import asyncio

from penstock.console.app import application
from penstock.edge import errors
from penstock.edge.asgi import AsgiBridge
from penstock.edge.routes import Policy, Routes
from penstock.kernel.clock import SystemClock
from penstock.kernel.context import Principal
from penstock.net.request import Request
from penstock.net.responder import Responder
from penstock.net.server import Server, ServerLimits
from tests.browser import made_up
from tests.unit.console.support import TOKEN, Platform

COOKIE = (b"cookie", f"penstock_session={TOKEN}".encode())
NOBODY = Principal(key_id="", org="", team="", project="", user="", scopes=())


async def serve(platform: Platform, port: int, *, signed_in: bool = True) -> Server:
    """Serve the console over a scripted platform; whoever comes without a cookie is signed in."""
    routes = Routes()
    app = application(platform.connect, SystemClock(), secure=False)
    routes.mount("/console", Policy.PUBLIC, AsgiBridge(app).serve)

    async def handle(request: Request, responder: Responder) -> None:
        entry = routes.find(request.method, request.path)
        if signed_in and not any(
            name == b"cookie" and b"penstock_session" in value for name, value in request.headers
        ):
            request.headers.append(COOKIE)
        await entry.serve(request, responder, NOBODY)

    server = Server(handle, ServerLimits(), allowed_hosts=None, cors=None, error_renderer=errors.render)
    await server.start("127.0.0.1", port)
    return server


async def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--empty", action="store_true")
    parser.add_argument("--port", type=int, default=8790)
    given = parser.parse_args()
    server = await serve(made_up.platform(is_empty=given.empty), given.port)
    print(f"http://127.0.0.1:{server.port}/console/", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main())
