"""Somebody invited signs in through a real OpenID provider, and nobody else does.

Promise: the platform as configured, the provider in a process of its own, the SDK as the console uses it; the person
invited by an address that the provider vouches for comes in, again and again; others and those with a password do not.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from penstock.kernel.errors import Invalid, Unauthenticated
from penstock.kernel.settings import OidcSettings
from penstock.mechanisms.changes import THE_PLATFORM
from penstock.sdk.client import Client
from penstock.sdk.people import OidcSignIn, OidcView
from penstock.wiring.owner import write_private
from tests.oidc_provider import SECRETS, provider, signed_in
from tests.stage import stage
from tests.support import run

BACK = "http://127.0.0.1:9/console/sign-in/oidc/back"


async def come_in(client: Client, name: str) -> OidcSignIn:
    """Sign in at the provider; returns what the browser brings back."""
    begun = await client.sessions.begin_oidc(BACK)
    came = await asyncio.to_thread(signed_in, begun.url, name)
    return OidcSignIn(code=came["code"], state=came["state"], kept=begun.kept, redirect_uri=BACK)


def test_only_somebody_invited_comes_in_through_the_provider(tmp_path: Path) -> None:
    secrets = tmp_path / "data" / "secrets"
    secrets.mkdir(parents=True, mode=0o700)
    write_private(secrets / "provider", SECRETS["basic"])

    async def case(issuer: str) -> None:
        oidc = OidcSettings(issuer=issuer, name="Acme SSO", client_id="basic", client_secret="provider")
        async with (
            stage(tmp_path, auth={"oidc": oidc}) as it,
            Client(f"http://127.0.0.1:{it.platform.port}") as anyone,
        ):
            assert await anyone.sessions.oidc() == OidcView(enabled=True, name="Acme SSO")
            people = it.platform.people
            invited, _ = await people.invite(
                THE_PLATFORM, "Kim@example.org", "Kim", "developer", org="acme", team="search"
            )
            for _ in range(2):
                made = await anyone.sessions.finish_oidc(await come_in(anyone, "kim"))
                assert (made.person.id, made.person.state, made.person.oidc) == (
                    invited.id,
                    "active",
                    True,
                )
            async with Client(f"http://127.0.0.1:{it.platform.port}", made.token) as kim:
                assert (await kim.me()).email == "kim@example.org"
                [session, _] = await kim.sessions.list()
                assert session.method == "oidc"
            _, link = await people.invite(
                THE_PLATFORM, "eve@example.org", "Eve", "owner", org="acme", team="search"
            )
            await people.accept(link, "a long enough pass phrase", peer="192.0.2.1")
            for name in ("nobody", "kim-unverified", "eve"):
                with pytest.raises(Unauthenticated) as refused:
                    await anyone.sessions.finish_oidc(await come_in(anyone, name))
                assert refused.value.reason == "unknown_identity"
            with pytest.raises(Invalid):
                await anyone.sessions.begin_oidc("https://elsewhere.test/console/sign-in/oidc/back")

    with provider([BACK]) as issuer:
        run(case(issuer))


def test_without_a_provider_configured_there_is_none(tmp_path: Path) -> None:
    async def case() -> None:
        async with stage(tmp_path) as it, Client(f"http://127.0.0.1:{it.platform.port}") as anyone:
            assert await anyone.sessions.oidc() == OidcView(enabled=False, name="")

    run(case())
