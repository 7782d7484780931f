"""Sign-in through an OpenID provider: who comes back is whom the provider vouches for, and nobody else can come back.

The provider is a real one (npm `oidc-provider`), signed in at through its own pages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from penstock.edge.identity import Identity
from penstock.edge.oidc import SEAL_LIFE_S, OidcClient
from penstock.kernel.clock import Clock, ManualClock, SystemClock
from penstock.kernel.errors import Invalid, PenstockError, Unauthenticated
from penstock.kernel.settings import OidcSettings
from penstock.kernel.settings_auth import Algorithm
from penstock.net.client import HttpClient
from tests.oidc_provider import SECRETS, provider, signed_in
from tests.support import run

CONSOLE = "http://127.0.0.1:9/console/sign-in/oidc"
KEY = b"k" * 32


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with provider([CONSOLE]) as found:
        yield found


@pytest.fixture(scope="module")
def plain_issuer() -> Iterator[str]:
    """One that puts the email address into the ID token."""
    with provider([CONSOLE], email_at_userinfo_only=False) as found:
        yield found


def door(
    http: HttpClient,
    issuer: str,
    client: str = "basic",
    *,
    clock: Clock | None = None,
    secret: str | None = None,
    seal_key: bytes = KEY,
    console_urls: tuple[str, ...] = (),
    on_loopback: bool = True,
) -> OidcClient:
    algorithms: tuple[Algorithm, ...] = ("ES256",) if client == "es256" else ("RS256",)
    return OidcClient(
        OidcSettings(issuer=issuer, client_id=client, algorithms=algorithms),
        http,
        clock or SystemClock(),
        secret=SECRETS[client] if secret is None else secret,
        seal_key=seal_key,
        console_urls=console_urls,
        on_loopback=on_loopback,
    )


def visit(case: Callable[[HttpClient], Awaitable[None]]) -> None:
    async def opened() -> None:
        http = HttpClient()
        try:
            await case(http)
        finally:
            await http.close()

    run(opened())


async def come_back(door: OidcClient, name: str) -> tuple[dict[str, str], str]:
    begun = await door.begin(CONSOLE)
    return await asyncio.to_thread(signed_in, begun.url, name), begun.kept


@pytest.mark.parametrize("client", ["basic", "post", "public", "es256"])
def test_whoever_signed_in_comes_back_with_subject_and_verified_email(issuer: str, client: str) -> None:
    async def case(http: HttpClient) -> None:
        it = door(http, issuer, client)
        back, kept = await come_back(it, "kim")
        who = await it.finish(code=back["code"], state=back["state"], kept=kept, redirect_uri=CONSOLE)
        assert who == Identity(issuer, "kim", "kim@example.org")
        await it.close()

    visit(case)


def test_the_email_of_the_id_token_is_used_where_it_is_there(plain_issuer: str) -> None:
    async def case(http: HttpClient) -> None:
        it = door(http, plain_issuer)
        back, kept = await come_back(it, "kim")
        who = await it.finish(code=back["code"], state=back["state"], kept=kept, redirect_uri=CONSOLE)
        assert who.email == "kim@example.org"

    visit(case)


@pytest.mark.parametrize("name", ["kim-unverified", "kim-silent"])
def test_an_email_nobody_verified_is_no_email(issuer: str, name: str) -> None:
    async def case(http: HttpClient) -> None:
        it = door(http, issuer)
        back, kept = await come_back(it, name)
        who = await it.finish(code=back["code"], state=back["state"], kept=kept, redirect_uri=CONSOLE)
        assert who == Identity(issuer, name, "")

    visit(case)


def test_a_code_is_redeemed_once(issuer: str) -> None:
    async def case(http: HttpClient) -> None:
        it = door(http, issuer)
        back, kept = await come_back(it, "kim")
        given = {"code": back["code"], "state": back["state"], "kept": kept, "redirect_uri": CONSOLE}
        await it.finish(**given)
        with pytest.raises(Unauthenticated, match="does not know this code"):
            await it.finish(**given)

    visit(case)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("state", "another"),
        ("state", ""),
        ("state", "\ud800"),
        ("kept", ""),
        ("kept", "A" * 5_000),
        ("kept", "é"),
        ("code", ""),
        ("code", "guessed"),
        ("code", "c" * 4_097),
        ("redirect_uri", CONSOLE + "/"),
    ],
)
def test_what_does_not_belong_together_is_refused_without_saying_what_it_was(
    issuer: str, member: str, value: str
) -> None:
    async def case(http: HttpClient) -> None:
        it = door(http, issuer)
        back, kept = await come_back(it, "kim")
        given = {"code": back["code"], "state": back["state"], "kept": kept, "redirect_uri": CONSOLE}
        with pytest.raises(Unauthenticated) as refused:
            await it.finish(**{**given, member: value})
        assert back["code"] not in str(refused.value)
        assert not value or len(value) < 3 or value not in str(refused.value)

    visit(case)


def test_what_another_browser_began_is_refused(issuer: str) -> None:
    async def case(http: HttpClient) -> None:
        it = door(http, issuer)
        mine, _ = await come_back(it, "kim")
        _, theirs = await come_back(it, "mallory")
        with pytest.raises(Unauthenticated):
            await it.finish(code=mine["code"], state=mine["state"], kept=theirs, redirect_uri=CONSOLE)

    visit(case)


def test_a_code_injected_into_another_sign_in_is_refused(issuer: str) -> None:
    """PKCE and nonce: the attacker's code comes with the victim's own state."""

    async def case(http: HttpClient) -> None:
        it = door(http, issuer)
        stolen, _ = await come_back(it, "kim")
        mine, kept = await come_back(it, "mallory")
        with pytest.raises(Unauthenticated):
            await it.finish(code=stolen["code"], state=mine["state"], kept=kept, redirect_uri=CONSOLE)

    visit(case)


def test_what_another_deployment_sealed_is_refused(issuer: str) -> None:
    async def case(http: HttpClient) -> None:
        back, kept = await come_back(door(http, issuer, seal_key=b"x" * 32), "kim")
        with pytest.raises(Unauthenticated, match="not begun here"):
            await door(http, issuer).finish(
                code=back["code"], state=back["state"], kept=kept, redirect_uri=CONSOLE
            )

    visit(case)


@pytest.mark.parametrize(("after_s", "taken"), [(SEAL_LIFE_S - 1, True), (SEAL_LIFE_S, False)])
def test_a_sign_in_that_took_too_long_is_refused(issuer: str, after_s: float, taken: bool) -> None:
    async def case(http: HttpClient) -> None:
        clock = ManualClock(wall_s=SystemClock().wall_s() - after_s)
        it = door(http, issuer, clock=clock)
        back, kept = await come_back(it, "kim")
        clock.advance(after_s)
        given = {"code": back["code"], "state": back["state"], "kept": kept, "redirect_uri": CONSOLE}
        if taken:
            assert (await it.finish(**given)).subject == "kim"
        else:
            with pytest.raises(Unauthenticated, match="too long"):
                await it.finish(**given)

    visit(case)


def test_the_request_to_the_provider_says_what_openid_connect_asks_for(issuer: str) -> None:
    async def case(http: HttpClient) -> None:
        begun = await door(http, issuer).begin(CONSOLE)
        asked = {name: values[0] for name, values in parse_qs(urlsplit(begun.url).query).items()}
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert asked["scope"].split() == ["openid", "email"]
        assert len(asked["state"]) >= 43
        assert len(asked["nonce"]) >= 43
        assert asked["state"] not in begun.kept
        again = await door(http, issuer).begin(CONSOLE)
        assert again.kept != begun.kept

    visit(case)


@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.example/console/",
        "http://127.0.0.1.evil.example/console/",
        "http://127.0.0.1@evil.example/console/",
        "http://user@127.0.0.1/console/",
        "http://127.0.0.1/elsewhere",
        "http://127.0.0.1/console/../v1",
        "http://127.0.0.1/console/?next=x",
        "http://127.0.0.1/console/#x",
        "https://penstock.example.evil/console/",
        "http://penstock.example/console/",
        "javascript:alert(1)",
        "//127.0.0.1/console/",
        "",
    ],
)
def test_people_return_to_the_console_only(issuer: str, uri: str) -> None:
    async def case(http: HttpClient) -> None:
        it = door(http, issuer, console_urls=("https://penstock.example",))
        with pytest.raises(Invalid) as refused:
            await it.begin(uri)
        assert refused.value.field == "redirect_uri"

    visit(case)


@pytest.mark.parametrize(
    ("console", "on_loopback", "uri"),
    [
        ("https://penstock.example", False, "https://penstock.example/console/sign-in/oidc"),
        ("https://penstock.example/", False, "https://PENSTOCK.example/console/x"),
        ("https://penstock.example", True, "http://[::1]:8080/console/x"),
        ("https://penstock.example", True, "http://localhost:1/console/x"),
    ],
)
def test_the_console_is_where_the_settings_say_and_on_loopback(
    issuer: str, console: str, on_loopback: bool, uri: str
) -> None:
    async def case(http: HttpClient) -> None:
        it = door(http, issuer, console_urls=(console,), on_loopback=on_loopback)
        assert (await it.begin(uri)).url.startswith(issuer)

    visit(case)


def test_a_loopback_address_is_nobodys_console_on_a_public_bind(issuer: str) -> None:
    async def case(http: HttpClient) -> None:
        with pytest.raises(Invalid):
            await door(http, issuer, on_loopback=False).begin(CONSOLE)

    visit(case)


def test_a_provider_that_is_not_there_or_another_is_an_error_that_names_no_secret(issuer: str) -> None:
    async def case(http: HttpClient) -> None:
        for wrong in ("http://127.0.0.1:1", issuer + "/", issuer.replace("127.0.0.1", "localhost")):
            with pytest.raises(PenstockError) as refused:
                await door(http, wrong).begin(CONSOLE)
            assert SECRETS["basic"] not in str(refused.value)

    visit(case)


def test_a_wrong_secret_is_refused(issuer: str) -> None:
    async def case(http: HttpClient) -> None:
        it = door(http, issuer, secret="not the secret")
        back, kept = await come_back(it, "kim")
        with pytest.raises(Unauthenticated) as refused:
            await it.finish(code=back["code"], state=back["state"], kept=kept, redirect_uri=CONSOLE)
        assert "not the secret" not in str(refused.value)

    visit(case)
