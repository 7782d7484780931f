"""A provider that signs or says what it may not: nobody comes in by it. It is a script, since no real one lies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jws
from joserfc.jwk import ECKey

from penstock.edge.identity import Identity
from penstock.edge.oidc import OidcClient
from penstock.kernel.clock import SystemClock
from penstock.kernel.errors import PenstockError, Unauthenticated, Upstream
from penstock.kernel.settings import OidcSettings
from penstock.net.client import HttpClient
from tests.unit.edge.test_oidc import CONSOLE, KEY, visit


class Liar(ThreadingHTTPServer):
    """A provider by script: what it signs and says is the test's to choose."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Lies)
        self.key = ECKey.generate_key("P-256", {"kid": "one", "alg": "ES256", "use": "sig"})
        self.signing = self.key
        self.claims: dict[str, Any] = {}
        self.header: dict[str, Any] = {"alg": "ES256", "kid": "one"}
        self.userinfo: dict[str, Any] = {}
        self.described: dict[str, Any] = {}
        self.token_status = 200
        self.redeemed = 0

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def description(self) -> dict[str, Any]:
        paths = {"authorization_endpoint": "/auth", "token_endpoint": "/token", "jwks_uri": "/jwks"}
        told = {name: self.issuer + path for name, path in paths.items()}
        return {"issuer": self.issuer, "userinfo_endpoint": self.issuer + "/me", **told, **self.described}

    def id_token(self) -> str:
        now = int(SystemClock().wall_s())
        usual = {"iss": self.issuer, "aud": "basic", "sub": "kim", "iat": now, "exp": now + 60}
        claims = {name: value for name, value in (usual | self.claims).items() if value is not None}
        return jws.serialize_compact(
            self.header, json.dumps(claims).encode(), self.signing, ["ES256", "HS256"]
        )


class _Lies(BaseHTTPRequestHandler):
    server: Liar

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        documents: dict[str, Any] = {
            "/.well-known/openid-configuration": self.server.description(),
            "/jwks": {"keys": [self.server.key.as_dict(private=False)]},
            "/me": self.server.userinfo,
        }
        self._say(200, documents[self.path])

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.redeemed += 1
        self._say(self.server.token_status, {"id_token": self.server.id_token(), "access_token": "opaque"})

    def _say(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def liar() -> Iterator[Liar]:
    with Liar() as server:
        thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def told(liar: Liar, http: HttpClient) -> Identity:
    """Sign in at the liar, whose token carries the right nonce unless the test set another."""
    settings = OidcSettings(issuer=liar.issuer, client_id="basic", algorithms=("ES256",))
    it = OidcClient(
        settings, http, SystemClock(), secret="s", seal_key=KEY, console_urls=(), on_loopback=True
    )
    begun = await it.begin(CONSOLE)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(begun.url).query).items()}
    liar.claims.setdefault("nonce", asked["nonce"])
    return await it.finish(code="c", state=asked["state"], kept=begun.kept, redirect_uri=CONSOLE)


ANOTHER = ECKey.generate_key("P-256", {"kid": "one"})
LIES: dict[str, Callable[[Liar], None]] = {
    "the nonce of another sign-in": lambda it: it.claims.update(nonce="another"),
    "no nonce": lambda it: it.claims.update(nonce=None),
    "a nonce that is no text": lambda it: it.claims.update(nonce=["x"]),
    "another audience": lambda it: it.claims.update(aud="another"),
    "several audiences and no authorized party": lambda it: it.claims.update(aud=["basic", "other"]),
    "another authorized party": lambda it: it.claims.update(azp="other"),
    "another issuer": lambda it: it.claims.update(iss="https://accounts.example"),
    "an end in the past": lambda it: it.claims.update(exp=int(SystemClock().wall_s()) - 31),
    "no end": lambda it: it.claims.update(exp=None),
    "no subject": lambda it: it.claims.update(sub=None),
    "an empty subject": lambda it: it.claims.update(sub=""),
    "a subject of 256 characters": lambda it: it.claims.update(sub="s" * 256),
    "a subject that is a number": lambda it: it.claims.update(sub=7),
    "a key that is not the provider's": lambda it: setattr(it, "signing", ANOTHER),
    "a key id that nobody has": lambda it: it.header.update(kid="two"),
    "userinfo of somebody else": lambda it: it.userinfo.update(sub="mallory", email="m@example.org"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_provider_that_says_what_it_may_not_is_not_believed(liar: Liar, lie: str) -> None:
    LIES[lie](liar)
    liar.userinfo.setdefault("sub", "kim")

    async def case(http: HttpClient) -> None:
        with pytest.raises(Unauthenticated):
            await told(liar, http)

    visit(case)


def test_the_same_provider_is_believed_when_it_does_not_lie(liar: Liar) -> None:
    liar.userinfo = {"sub": "kim", "email": "kim@example.org", "email_verified": True}
    liar.claims.update(aud=["basic", "other"], azp="basic", sub="kim")

    async def case(http: HttpClient) -> None:
        assert await told(liar, http) == Identity(liar.issuer, "kim", "kim@example.org")

    visit(case)


@pytest.mark.parametrize("verified", ["true", 1, None, False])
def test_only_true_is_verified(liar: Liar, verified: object) -> None:
    liar.claims.update(email="kim@example.org", email_verified=verified)

    async def case(http: HttpClient) -> None:
        assert (await told(liar, http)).email == ""

    visit(case)


@pytest.mark.parametrize(
    "described",
    [
        {"issuer": "https://accounts.example"},
        {"token_endpoint": "http://accounts.example/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": 7},
        {"userinfo_endpoint": "http://accounts.example/me"},
    ],
)
def test_a_description_that_leads_elsewhere_is_not_followed(liar: Liar, described: dict[str, Any]) -> None:
    liar.described = described

    async def case(http: HttpClient) -> None:
        with pytest.raises(Upstream):
            await told(liar, http)
        assert liar.redeemed == 0

    visit(case)


@pytest.mark.parametrize(
    ("status", "error"), [(400, Unauthenticated), (401, Unauthenticated), (500, Upstream)]
)
def test_a_code_is_sent_once_whatever_the_provider_answers(
    liar: Liar, status: int, error: type[PenstockError]
) -> None:
    liar.token_status = status

    async def case(http: HttpClient) -> None:
        with pytest.raises(error):
            await told(liar, http)
        assert liar.redeemed == 1

    visit(case)
