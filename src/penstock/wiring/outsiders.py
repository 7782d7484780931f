"""Who is vouched for from outside, joined together: machines by their issuers' tokens, people by an OpenID provider.

Promise: nothing here is loaded, or asked, in a deployment that trusts no issuer and no provider.
"""

from __future__ import annotations

import hmac
from contextlib import AsyncExitStack
from functools import partial

from penstock.edge import documents
from penstock.edge.jwks import Load
from penstock.edge.machines import Issuer, Machines
from penstock.edge.oidc import OidcClient
from penstock.kernel.clock import Clock
from penstock.kernel.settings import IssuerSettings, Settings
from penstock.mechanisms.tenancy import Tenancy
from penstock.net.client import HttpClient
from penstock.net.pool import is_loopback
from penstock.net.tls import client_context
from penstock.ports.secrets import Secrets

OIDC_CONNECTIONS = 8


def machines(
    issuers: tuple[IssuerSettings, ...], tenancy: Tenancy, clock: Clock, opening: AsyncExitStack
) -> Machines:
    """Join the machines; their keys are fetched once they are watched, or by the first token."""
    known = Machines([Issuer(each, _keys_of(each, opening), clock) for each in issuers], tenancy, clock)
    opening.push_async_callback(known.close)
    return known


def _keys_of(issuer: IssuerSettings, opening: AsyncExitStack) -> Load:
    """Return what reads an issuer's keys."""
    if issuer.jwks_file:
        return partial(documents.read, issuer.jwks_file)
    context = client_context(ca_file=issuer.ca_file) if issuer.ca_file else None
    client = HttpClient(connections_per_origin=1, idle_max=0, ssl_context=context)
    opening.push_async_callback(client.close)
    return partial(documents.fetched, client, issuer.jwks_url)


async def oidc_door(
    settings: Settings, kept: Secrets, pepper: bytes, clock: Clock, opening: AsyncExitStack
) -> OidcClient:
    """Open the way to the OpenID provider; what was begun on one node may be finished on another."""
    auth, oidc = settings.auth, settings.auth.oidc
    context = client_context(ca_file=oidc.ca_file) if oidc.ca_file else None
    http = HttpClient(connections_per_origin=OIDC_CONNECTIONS, ssl_context=context)
    opening.push_async_callback(http.close)
    door = OidcClient(
        oidc,
        http,
        clock,
        secret=(await kept.read(oidc.client_secret)).reveal() if oidc.client_secret else "",
        seal_key=hmac.digest(pepper, b"sign-in by oidc", "sha256"),
        console_urls=auth.console_urls,
        on_loopback=is_loopback(settings.server.host),
    )
    opening.push_async_callback(door.close)
    return door
