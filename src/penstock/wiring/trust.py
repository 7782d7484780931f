"""Whom a deployment trusts to say who calls: what is wrong with the issuers of machines' tokens and of sign-in.

Promise: every mistake is told at once, each with its setting, before a socket is opened: keys that would be fetched in
the clear, an issuer named twice, a file without keys, names that no key could have, a console that sign-in could not
return to. Nothing is fetched, and no address that may hold a password is repeated.
"""

from __future__ import annotations

from collections.abc import Iterator

from penstock.edge.claims import NAME
from penstock.edge.documents import address, read_now
from penstock.edge.jwks import signature_keys
from penstock.kernel.errors import PenstockError
from penstock.kernel.settings import AuthSettings, IssuerSettings, OidcSettings
from penstock.net.pool import Origin, is_loopback
from penstock.net.tls import client_context

SCOPES_NEEDED = ("openid", "email")


def mistakes(auth: AuthSettings, *, host: str) -> list[str]:
    """Return what is wrong; `host` is the address that is bound."""
    found: list[str] = []
    names = [each.issuer for each in auth.issuers]
    for index, issuer in enumerate(auth.issuers):
        path = f"auth.issuers[{index}]"
        if names.index(issuer.issuer) < index:
            found.append(f"{path}.issuer {issuer.issuer} is there more than once")
        if issuer.issuer == auth.oidc.issuer and issuer.audience == auth.oidc.client_id:
            found.append(
                f"{path}.audience is auth.oidc.client_id: whoever signs in could call as a machine; "
                "give machines an audience of their own"
            )
        found += [f"{path}.{each}" for each in (*_keys(issuer), *_names(issuer))]
    found += [f"auth.oidc.{each}" for each in _oidc(auth.oidc)]
    found += [each for url in auth.console_urls if (each := _console(url))]
    if auth.oidc.issuer and not auth.console_urls and not is_loopback(host):
        found.append("auth.console_urls is empty: sign-in through auth.oidc could return to nowhere")
    return found


def _keys(issuer: IssuerSettings) -> Iterator[str]:
    """Yield what is wrong with where an issuer's keys are."""
    if bool(issuer.jwks_url) == bool(issuer.jwks_file):
        yield "jwks_url or jwks_file says where its keys are: set one of them"
        return
    if issuer.jwks_url:
        yield from _address("jwks_url", issuer.jwks_url)
        yield from _authorities(issuer.ca_file)
        return
    if issuer.ca_file:
        yield "ca_file is for jwks_url only"
    try:
        signature_keys(read_now(issuer.jwks_file))
    except PenstockError as error:
        yield f"jwks_file: {error.message}"


def _names(issuer: IssuerSettings) -> Iterator[str]:
    """Yield the names that no key could have, and settings that do not go together."""
    named = {"org": issuer.org, "team": issuer.team, "project": issuer.project}
    named |= {f"orgs[{index}]": org for index, org in enumerate(issuer.orgs)}
    for setting, name in named.items():
        if NAME.fullmatch(name) is None:
            yield f"{setting} is not a name: use 1 to 64 of a-z A-Z 0-9 . _ -"
    if bool(issuer.org_claim) != bool(issuer.orgs):
        yield "org_claim and orgs go together: the claim chooses among the list"


def _oidc(oidc: OidcSettings) -> Iterator[str]:
    if not oidc.issuer:
        if oidc.client_id or oidc.client_secret:
            yield "issuer is missing"
        return
    yield from _address("issuer", oidc.issuer)
    yield from _authorities(oidc.ca_file)
    if not oidc.client_id:
        yield "client_id is missing"
    missing = [scope for scope in SCOPES_NEEDED if scope not in oidc.scopes]
    if missing:
        yield f"scopes lacks {' and '.join(missing)}"


def _address(setting: str, url: str) -> Iterator[str]:
    try:
        address(url)
    except PenstockError as error:
        yield f"{setting} cannot be asked: {error.message} Use https, or http on this machine"


def _authorities(ca_file: str) -> Iterator[str]:
    if ca_file:
        try:
            client_context(ca_file=ca_file)
        except PenstockError as error:
            yield f"ca_file {ca_file}: {error.message}"


def _console(url: str) -> str:
    """Return what is wrong with where people reach the console, or nothing."""
    wrong = "auth.console_urls holds what is not https://host[:port] (or http on this machine)"
    try:
        origin, path = Origin.parse(url)
    except PenstockError:
        return wrong
    return wrong if path or (origin.scheme != "https" and not is_loopback(origin.host)) else ""
