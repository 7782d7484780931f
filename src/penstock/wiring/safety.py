"""What must hold before a socket is opened; every violation at once, each with its remedy.

Promise: an unsafe deployment does not start: an open bind without host names, a weak or well-known admin key, TLS half
configured, requests that outlive their holds, more than one process on embedded stores, issuers that cannot be trusted
(wiring/trust), an SQLite with the WAL-reset bug.
"""

from __future__ import annotations

import importlib
from collections import Counter
from urllib.parse import urlsplit

import apsw

from penstock.kernel.errors import Invalid
from penstock.kernel.settings import AuthSettings, Settings
from penstock.mechanisms.limits import SLOT_LEASE_S
from penstock.net.pool import is_loopback

TRUST = "penstock.wiring.trust"
"""Loaded only for what it judges: signatures need cryptography, which is 10 MB of memory."""
SQLITE_LEAST = (3, 51, 3)
KEY_CHARS_LEAST = 49
KEY_DISTINCT_LEAST = 16


def check(settings: Settings, *, workers: int, admin_key: str) -> None:
    """Raise Invalid that lists every reason not to start."""
    server = settings.server
    reasons: list[str] = []
    if not is_loopback(server.host) and not server.allowed_hosts:
        reasons.append(
            f"server.host {server.host} is reachable from outside: list the names it answers to in "
            "server.allowed_hosts"
        )
    if bool(server.tls_cert) != bool(server.tls_key):
        reasons.append("server.tls_cert and server.tls_key go together: set both or neither")
    deadline_s, lapse_s = settings.admission.deadline_s, min(settings.ledger.hold_timeout_s, SLOT_LEASE_S)
    if deadline_s >= lapse_s:
        reasons.append(
            f"admission.deadline_s {deadline_s:g} would let a request outlive its money and its slots: keep it below "
            f"ledger.hold_timeout_s and {SLOT_LEASE_S} s"
        )
    if admin_key:
        reasons.extend(_weak(admin_key))
    urls = {
        "ledger.url": settings.ledger.url,
        "store.records_url": settings.store.records_url,
        "store.state_url": settings.store.state_url,
    }
    if settings.traces.store and settings.traces.url:
        urls["traces.url"] = settings.traces.url
    reasons.extend(
        f"{name} is not an address like scheme://user:password@host:port/name; "
        "in a password, write / : @ as %2F %3A %40"
        for name, url in {**urls, "cache.url": settings.cache.url or "memory:"}.items()
        if not _is_address(url)
    )
    if workers > 1:
        embedded = [name for name, url in urls.items() if url.startswith(("sqlite:", "memory:"))]
        if embedded:
            reasons.append(
                f"{workers} processes cannot share embedded stores: point {', '.join(embedded)} at "
                "PostgreSQL and Redis, or run one process"
            )
    reasons.extend(_mistrusted(settings))
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if version < SQLITE_LEAST:
        reasons.append(
            f"SQLite {apsw.sqlite_lib_version()} has the WAL-reset corruption bug: install apsw 3.51.3 or later"
        )
    if reasons:
        raise Invalid(
            "Penstock will not start like this:\n  - " + "\n  - ".join(reasons),
            code="unsafe_start",
            field="configuration",
            value=len(reasons),
        )


def _is_address(url: str) -> bool:
    """Tell whether a store's address can be taken apart."""
    try:
        parts = urlsplit(url)
        return bool(parts.scheme) and (parts.port is None or parts.port > 0)
    except ValueError:  # whose text may quote a password
        return False


def _mistrusted(settings: Settings) -> list[str]:
    """Return what is wrong with whom the settings trust to say who calls."""
    if settings.auth == AuthSettings():
        return []
    return importlib.import_module(TRUST).mistakes(settings.auth, host=settings.server.host)


def _weak(key: str) -> list[str]:
    """Return why an operator's own admin key is too weak to hold, without showing it."""
    if not key.startswith("pen-") or len(key) < KEY_CHARS_LEAST or key[16:17] != "-":
        return [
            "the admin key given is weak or well known: use `penstock keys mint`, or leave it out to have one made"
        ]
    if len(Counter(key[17:])) < KEY_DISTINCT_LEAST:
        return [
            f"the admin key given has fewer than {KEY_DISTINCT_LEAST} different characters: have one made instead"
        ]
    return []
