"""Posts a message to an address that an operator configured, over Penstock's own client.

Promises: over https only, plain HTTP to this machine itself; no redirect is followed, no credentials are in an address;
time is bounded, and of the answer nothing but its status is read. What goes wrong is an `Unavailable`, an address that
may not be posted to an `Invalid`; neither repeats the address's path, which is often a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from penstock.kernel.errors import Invalid
from penstock.net.client import HttpClient, Origin, Timers
from penstock.net.pool import is_loopback

TIMERS: Final = Timers(connect_s=5.0, first_byte_s=10.0, between_chunks_s=5.0, total_s=15.0)


def address(url: str) -> tuple[Origin, bytes]:
    """Return where to post: origin and target. Raises Invalid unless https, or http on loopback."""
    remedy = "Use https://…, or http:// to this machine itself."
    if not url.isascii() or not url.isprintable() or " " in url:
        raise Invalid("Not the address of a webhook.", field="url", remedy=remedy)
    try:
        parts = urlsplit(url)
        origin, _ = Origin.parse(urlunsplit((parts.scheme, parts.netloc, "", "", parts.fragment)))
    except ValueError:
        raise Invalid("Not the address of a webhook.", field="url", remedy=remedy) from None
    except Invalid as error:
        raise Invalid(error.message, field="url", remedy=error.remedy or remedy) from None
    if origin.scheme != "https" and not is_loopback(origin.host):
        raise Invalid(
            "A webhook is posted to over https only.", field="url", value=origin.host, remedy=remedy
        )
    return origin, f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}".encode()


class HttpsHooks:
    """Posts messages. It owns its `HttpClient`."""

    def __init__(self, client: HttpClient) -> None:
        """Post through `client`, which follows no redirects."""
        self._client = client

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """Post a body with headers (names and values without line ends); returns the status of the answer."""
        origin, target = address(url)
        lines = [f"{name}: {value}" for name, value in {"user-agent": "penstock", **headers}.items()]
        if any("\r" in line or "\n" in line for line in lines):
            raise Invalid("A header has no line ends.", field="headers")
        head = ("\r\n".join(lines) + "\r\n").encode()
        response = await self._client.request(origin, b"POST", target, head, body, TIMERS)
        response.close()
        return response.status

    async def close(self) -> None:
        """Let the connections go; a post on its way fails."""
        await self._client.close()
