"""Documents that an issuer publishes (its keys, an OpenID provider's description): fetched, or read from a file.

Promises: nothing is fetched over plain HTTP except from this machine; no redirect is followed, no credentials are in an
address; size and time are bounded; whatever is wrong is an `Upstream` or a call's own error, never an exception of
another kind, and never repeats what the document held.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from penstock.kernel.errors import Invalid, Upstream
from penstock.net.client import HttpClient, Origin, Timers
from penstock.net.pool import is_loopback

DOCUMENT_BYTES = 262_144
TIMERS = Timers(connect_s=3.0, first_byte_s=5.0, between_chunks_s=3.0, total_s=8.0)
_HEADERS = b"user-agent: penstock\r\naccept: application/json\r\naccept-encoding: identity\r\n"


def address(url: str) -> tuple[Origin, bytes]:
    """Return where an issuer's document is: origin and target. Invalid unless https, or http on loopback."""
    parts = urlsplit(url)
    origin, _ = Origin.parse(urlunsplit((parts.scheme, parts.netloc, parts.path, "", parts.fragment)))
    if origin.scheme != "https" and not is_loopback(origin.host):
        raise Invalid("An issuer is asked over https only.", field="url", value=url, remedy="Use https://…")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise Invalid("Not the address of a document.", field="url", value=url)
    return origin, f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}".encode()


async def fetched(client: HttpClient, url: str) -> object:
    """Return the decoded JSON at `url`; raises PenstockError."""
    origin, target = address(url)
    response = await client.request(origin, b"GET", target, _HEADERS, b"", TIMERS)
    try:
        if response.status != 200:
            raise Upstream(f"{origin} answers {response.status}.", code="bad_document")
        return parsed(await response.read(DOCUMENT_BYTES))
    finally:
        response.close()


async def read(path: str) -> object:
    """Return the decoded JSON of a file, read on a thread; Upstream."""
    return await asyncio.to_thread(read_now, path)


def read_now(path: str) -> object:
    """Return the decoded JSON of a file; Upstream."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(DOCUMENT_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a null in it
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise Upstream(f"{path} cannot be read: {reason}.", code="bad_document") from None
    if len(text) > DOCUMENT_BYTES:
        raise Upstream(f"{path} is too large.", code="bad_document", limit=DOCUMENT_BYTES)
    return parsed(text)


def parsed(text: bytes) -> object:
    """Return decoded JSON; Upstream."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Upstream("The document is not JSON.", code="bad_document") from None
