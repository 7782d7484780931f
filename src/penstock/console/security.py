"""What keeps a stranger's page, script or link from acting in somebody's name. Pure functions over a request.

Promises: nothing inline runs or styles (CSP); a form is taken only from a page of this site and with the token of the
session (OWASP CSRF cheat sheet: Fetch Metadata or Origin, plus a synchronizer token); the session's cookie is unknown
to scripts; a way back leads nowhere but into the console.
"""

from __future__ import annotations

import hmac
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.kernel.errors import Forbidden

PREFIX: Final = "/console"
COOKIE_S: Final = 30 * 86_400
"""How long a browser keeps the cookie; how long the session lives, the platform decides."""
TOKEN_BYTES_MAX: Final = 512
SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
CSRF_FIELD: Final = "csrf"
CSRF_HEADER: Final = "x-csrf-token"

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
_NO_STORE: Final = (b"cache-control", b"no-store")
_TLS_ONLY: Final = (b"strict-transport-security", b"max-age=31536000")


class Hardened:
    """ASGI middleware: every reply carries the headers, errors and streams included."""

    def __init__(self, app: ASGIApp, *, secure: bool) -> None:
        """Wrap `app`; `secure` tells that browsers reach it over TLS."""
        self._app = app
        self._headers = (*HEADERS, _TLS_ONLY) if secure else HEADERS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                if not any(name == b"cache-control" for name, _ in given):
                    given.append(_NO_STORE)
                message = {**message, "headers": [*given, *self._headers]}
            await send(message)

        await self._app(scope, receive, hardened)


def cookie_name(name: str, *, secure: bool) -> str:
    """Return the cookie's full name: `__Host-` has the browser refuse it from a sibling domain (RFC 6265bis)."""
    return f"__Host-penstock_{name}" if secure else f"penstock_{name}"


def set_cookie(response: Response, name: str, value: str, *, secure: bool, max_age_s: int) -> None:
    """Keep `value` in the browser, out of the reach of scripts."""
    response.set_cookie(
        cookie_name(name, secure=secure),
        value,
        max_age=max_age_s,
        path="/",
        secure=secure,
        httponly=True,
        samesite="lax",
    )


def drop_cookie(response: Response, name: str, *, secure: bool) -> None:
    """Have the browser forget a cookie."""
    set_cookie(response, name, "", secure=secure, max_age_s=0)


def session_token(request: Request, *, secure: bool) -> str:
    """Return the session's token of a request, "" when there is none that could be one."""
    token = request.cookies.get(cookie_name("session", secure=secure), "")
    usable = len(token) <= TOKEN_BYTES_MAX and token.isascii() and token.isprintable() and " " not in token
    return token if usable else ""


def must_be_ours(request: Request) -> None:
    """Raise Forbidden unless a browser says that a page of this very site sent the request.

    `Sec-Fetch-Site` decides where there is one: a proxy may have changed the `Host` that `Origin` is compared with.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site == "same-origin":
        return
    if site is not None:
        raise Forbidden(
            "This form was sent by another site.",
            code="cross_site",
            field="sec-fetch-site",
            value=site,
            remedy="Open the console itself and try again.",
        )
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host", ""):
        raise Forbidden(
            "This form was sent by another site.",
            code="cross_site",
            field="origin",
            value=origin[:200],
            remedy="Open the console itself and try again.",
        )
    if site is None and origin is None:
        raise Forbidden(
            "The browser did not say where this form came from.",
            code="cross_site",
            field="origin",
            remedy="Use a browser of this decade.",
        )


def must_match(given: str, csrf: str) -> None:
    """Raise Forbidden unless the form's token is that of the session."""
    if not csrf or not hmac.compare_digest(given.encode(), csrf.encode()):
        raise Forbidden(
            "This form is of an older session.",
            code="csrf",
            field=CSRF_FIELD,
            remedy="Go back, load the page again, and repeat what you did.",
        )


def local_path(wanted: str) -> str:
    """Return `wanted` if it leads into the console, else the console's start. Never raises."""
    start = f"{PREFIX}/"
    if not wanted.startswith(start) or len(wanted) > 2_000 or not wanted.isprintable():
        return start
    if "\\" in wanted or "//" in wanted.partition("?")[0] or "/../" in f"{wanted.partition('?')[0]}/":
        return start
    return wanted
