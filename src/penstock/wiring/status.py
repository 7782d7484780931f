"""GET /api/v1/status: how the platform is, in one JSON object for people and for `penstock status`.

Promise: it asks nothing of any dependency, so it answers when they are down; it names no tenant and no secret.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata

import msgspec

from penstock.kernel.context import Principal
from penstock.net.request import Request
from penstock.net.responder import Responder
from penstock.sdk.replies import Status

PATH = "/api/v1/status"
_JSON_TYPE = b"content-type: application/json\r\n"


class StatusRoute:
    """Serves the status."""

    def __init__(self, status: Callable[[], Status]) -> None:
        """`status()` tells how things are now."""
        self._status = status

    async def serve(self, _request: Request, responder: Responder, _principal: Principal) -> None:
        """Serve GET /api/v1/status."""
        responder.send(200, _JSON_TYPE, msgspec.json.encode(self._status()))


def version() -> str:
    """Return the version of Penstock that is installed."""
    return metadata.version("penstock")
