"""Cross-origin rules (the Fetch standard's CORS protocol): deny unless an origin is listed."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.net.refusals import CrossOriginRefused
from penstock.net.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """Who may call from a browser. `origins` are exact (`https://app.example`); `*` means any."""

    origins: frozenset[str]
    methods: tuple[str, ...] = ("GET", "POST", "PUT", "PATCH", "DELETE")
    headers: tuple[str, ...] = ("authorization", "content-type", "idempotency-key", "x-request-id")
    exposed: tuple[str, ...] = ("x-request-id", "retry-after")
    max_age_s: int = 600

    def allows(self, origin: bytes) -> bool:
        """Whether `origin` (the header's value) may read our replies."""
        return "*" in self.origins or origin.decode("latin-1") in self.origins

    def reply_headers(self, origin: bytes) -> bytes:
        """Lines to add to a reply for `origin`; `vary` alone when it may not read it."""
        if not self.allows(origin):
            return b"vary: origin\r\n"
        exposed = ", ".join(self.exposed).encode()
        lines = b"access-control-allow-origin: %b\r\nvary: origin\r\n" % origin
        return lines + (b"access-control-expose-headers: %b\r\n" % exposed if exposed else b"")

    def preflight_headers(self) -> bytes:
        """Lines that only the reply to a preflight carries."""
        return (
            f"access-control-allow-methods: {', '.join(self.methods)}\r\n"
            f"access-control-allow-headers: {', '.join(self.headers)}\r\n"
            f"access-control-max-age: {self.max_age_s}\r\n"
        ).encode()


def is_preflight(request: Request) -> bool:
    """Whether the browser asks for permission before the real request."""
    return (
        request.method == "OPTIONS"
        and request.header(b"origin") is not None
        and request.header(b"access-control-request-method") is not None
    )


def answer_preflight(cors: Cors | None, request: Request) -> bytes:
    """Header lines of the 204 that permits the call; raises CrossOriginRefused otherwise."""
    origin = request.header(b"origin") or b""
    if cors is None or not cors.allows(origin):
        raise CrossOriginRefused(field="origin", value=origin.decode("latin-1"))
    return cors.preflight_headers()
