"""A platform with everything on that the pages of oversight are about: a route with a canary, kept answers, a lake that
is filled at once, and somebody who is told of alerts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import msgspec

from penstock.kernel.settings import LakeSettings, RouteSettings, Settings, TargetSettings, WebhookSettings
from penstock.kernel.settings_routes import CanarySettings
from tests.stage import MODELS

ROUTE = "smart"
NEWCOMER = "sim/newcomer"


def target(model: str, weight: int = 100) -> TargetSettings:
    return TargetSettings(provider="sim", model=model, weight=weight)


def furnished(hook: str = "", *, newcomer: str = NEWCOMER, percent: float = 10.0) -> dict[str, Any]:
    """Return what `house` is to be given; alerts are posted to the address `hook`, if there is one."""
    route = RouteSettings(
        model=ROUTE,
        targets=(target(MODELS[0], 80), target(MODELS[1], 20)),
        canary=CanarySettings(targets=(target(newcomer),), percent=percent),
        fallbacks=("small",),
    )
    small = RouteSettings(model="small", targets=(target(MODELS[1]),))
    told = (WebhookSettings(name="on-call", url=hook),) if hook else ()

    def altered(settings: Settings) -> Settings:
        lake = LakeSettings(store=True, flush_s=0.2)
        return msgspec.structs.replace(settings, lake=lake, webhooks=told)

    return {
        "routes": (route, small),
        "provider": {"models": (*MODELS, newcomer)},
        "cache": {"url": "memory:"},
        "altered": altered,
    }


@contextmanager
def receiver() -> Iterator[tuple[str, list[bytes]]]:
    """Take what webhooks post, on an address of this machine; gives the address and the bodies that came."""
    came: list[bytes] = []

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", came
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
