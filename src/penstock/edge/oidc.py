"""Sign-in of people through an OpenID provider: OpenID Connect Core 1.0, the authorization code flow with PKCE.

    begin   → where to send the browser, and sealed text that the browser keeps meanwhile
    finish  → who came back: code → token endpoint → ID token, verified → subject and verified email address

Promises: a code is redeemed only with what `begin` sealed for this very browser (state, nonce, PKCE verifier, RFC 7636,
RFC 9700 §2.1), within `SEAL_LIFE_S`, and for the address it was begun for; people return nowhere but to the console; an
ID token is verified by `edge.jwt` with the provider's own keys, its nonce and authorized party are ours; an email
address counts only when the provider says it is verified; no code, token or secret is in an error or a log.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Final, cast
from urllib.parse import quote_plus, urlencode, urlsplit

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from penstock.edge import jwt
from penstock.edge.documents import DOCUMENT_BYTES, TIMERS, address, fetched, parsed
from penstock.edge.identity import Begun, Identity
from penstock.edge.jwks import KeyRing
from penstock.kernel.clock import Clock
from penstock.kernel.errors import Invalid, PenstockError, Unauthenticated, Upstream
from penstock.kernel.settings import OidcSettings
from penstock.net.client import HttpClient
from penstock.net.pool import is_loopback

SEAL_LIFE_S: Final = 600.0
DESCRIPTION_FRESH_S: Final = 3_600.0
CODE_BYTES: Final = 4_096
KEPT_BYTES: Final = 4_096
SUBJECT_MOST: Final = 255
CONSOLE_PATH: Final = "/console/"
_FORM: Final = b"user-agent: penstock\r\naccept: application/json\r\naccept-encoding: identity\r\n"


class _Sealed(msgspec.Struct, frozen=True):
    state: str
    nonce: str
    verifier: str
    redirect_uri: str
    ends_s: float


class _Provider(msgspec.Struct, frozen=True):
    """What the provider says of itself (OpenID Connect Discovery 1.0 §3); only what is used here."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str
    access_token: str = ""


class OidcClient:
    """One provider. `secret` is "" for a public client; `console_urls` are where people reach the console."""

    def __init__(
        self,
        settings: OidcSettings,
        http: HttpClient,
        clock: Clock,
        *,
        secret: str,
        seal_key: bytes,
        console_urls: tuple[str, ...],
        on_loopback: bool,
    ) -> None:
        """`seal_key` is 32 secret bytes that all processes share; `on_loopback` lets people return to this machine."""
        address(settings.issuer)
        self._settings = settings
        self._http = http
        self._clock = clock
        self._secret = secret
        self._seal = AESGCM(seal_key)
        self._origins = frozenset(_origin(url) for url in console_urls)
        self._on_loopback = on_loopback
        self._provider: _Provider | None = None
        self._described_s = 0.0
        self._terms = jwt.Terms(
            issuer=settings.issuer,
            audience=settings.client_id,
            algorithms=frozenset(settings.algorithms),
            max_lifetime_s=0,
        )
        self._keys = KeyRing(settings.issuer, self._load_keys, clock)

    @property
    def name(self) -> str:
        """What the button says."""
        return self._settings.name

    async def begin(self, redirect_uri: str) -> Begun:
        """Return where to send the browser; Invalid for an address that is not the console's, Upstream, Unavailable."""
        self._must_be_ours(redirect_uri)
        provider = await self._described()
        sealed = _Sealed(
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            redirect_uri=redirect_uri,
            ends_s=self._clock.wall_s() + SEAL_LIFE_S,
        )
        asked = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(self._settings.scopes),
            "state": sealed.state,
            "nonce": sealed.nonce,
            "code_challenge": _text(sha256(sealed.verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        mark = "&" if "?" in provider.authorization_endpoint else "?"
        return Begun(f"{provider.authorization_endpoint}{mark}{urlencode(asked)}", self._sealed(sealed))

    async def finish(self, *, code: str, state: str, kept: str, redirect_uri: str) -> Identity:
        """Return who came back; Unauthenticated unless all of it belongs to one `begin`; Upstream, Unavailable."""
        sealed = self._unsealed(kept)
        if not hmac.compare_digest(sealed.state.encode(), state.encode(errors="replace")):
            raise _failed("it was begun elsewhere")
        if sealed.redirect_uri != redirect_uri or self._clock.wall_s() >= sealed.ends_s:
            raise _failed("it took too long, or came back elsewhere")
        if not 0 < len(code) <= CODE_BYTES:
            raise _failed("the provider sent no code")
        provider = await self._described()
        tokens = await self._redeemed(provider, code, sealed)
        claims = await self._verified(tokens.id_token, sealed.nonce)
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_MOST:
            raise _failed("the provider does not say who came back")
        if "email" not in claims and provider.userinfo_endpoint and tokens.access_token:
            claims = await self._userinfo(provider, tokens.access_token, subject)
        return Identity(self._settings.issuer, subject, _verified_email(claims))

    async def close(self) -> None:
        """Give up what is being fetched."""
        await self._keys.close()

    # --- the provider ----------------------------------------------------------------------------------------------

    async def _described(self) -> _Provider:
        """Return the provider's description, fetched anew each hour; the last one serves while it cannot be."""
        now_s = self._clock.monotonic_s()
        if self._provider is None or now_s - self._described_s >= DESCRIPTION_FRESH_S:
            url = f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration"
            try:
                self._provider = _description(await fetched(self._http, url), self._settings.issuer)
            except PenstockError as error:
                if self._provider is None:
                    raise _upstream(f"its description cannot be used ({error.message})") from None
            self._described_s = now_s
        return self._provider

    async def _load_keys(self) -> object:
        return await fetched(self._http, (await self._described()).jwks_uri)

    async def _redeemed(self, provider: _Provider, code: str, sealed: _Sealed) -> _Tokens:
        """Exchange the code (RFC 6749 §4.1.3); sent once, since a code may be used once."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": sealed.redirect_uri,
            "code_verifier": sealed.verifier,
        }
        headers = _FORM + b"content-type: application/x-www-form-urlencoded\r\n"
        client_id, methods = self._settings.client_id, provider.token_endpoint_auth_methods_supported
        if not self._secret:
            form["client_id"] = client_id
        elif "client_secret_basic" in methods or "client_secret_post" not in methods:
            # RFC 6749 §2.3.1: both are form-encoded before they are joined.
            pair = f"{quote_plus(client_id)}:{quote_plus(self._secret)}"
            headers += b"authorization: Basic %b\r\n" % b64encode(pair.encode())
        else:
            form |= {"client_id": client_id, "client_secret": self._secret}
        status, body = await self._ask(provider.token_endpoint, b"POST", headers, urlencode(form).encode())
        if 400 <= status < 500:
            raise _failed("the provider does not know this code")
        if status != 200:
            raise _upstream(f"its token endpoint answers {status}")
        try:
            return msgspec.convert(parsed(body), _Tokens)
        except msgspec.ValidationError:
            raise _upstream("its token endpoint sends no ID token") from None

    async def _verified(self, id_token: str, nonce: str) -> Mapping[str, object]:
        """Return the claims of an ID token (OpenID Connect Core 1.0 §3.1.3.7)."""
        token = jwt.opened(id_token.encode(errors="replace"))
        now_s = self._clock.wall_s()
        if jwt.verify(token, self._terms, self._keys, now_s) is None:
            await self._keys.refresh()
            if jwt.verify(token, self._terms, self._keys, now_s) is None:
                raise _failed("the ID token's key is not the provider's")
        claims = token.claims
        given = claims.get("nonce")
        if not isinstance(given, str) or not hmac.compare_digest(
            given.encode(errors="replace"), nonce.encode()
        ):
            raise _failed("the ID token is of another sign-in")
        several = isinstance(claims.get("aud"), list) and len(cast("list[object]", claims["aud"])) > 1
        if claims.get("azp", None if several else self._settings.client_id) != self._settings.client_id:
            raise _failed("the ID token is for another client")
        return claims

    async def _userinfo(self, provider: _Provider, access_token: str, subject: str) -> Mapping[str, object]:
        """Return what the provider says of the person (§5.3); it counts only when it is of the same subject."""
        if not access_token.isascii() or not access_token.isprintable():
            raise _upstream("its access token is none")
        headers = _FORM + b"authorization: Bearer %b\r\n" % access_token.encode()
        status, body = await self._ask(provider.userinfo_endpoint, b"GET", headers, b"")
        if status != 200:
            raise _upstream(f"its userinfo endpoint answers {status}")
        told = parsed(body)
        claims = cast("dict[str, object]", told) if isinstance(told, dict) else {}
        if claims.get("sub") != subject:
            raise _failed("the provider speaks of somebody else")
        return claims

    async def _ask(self, url: str, method: bytes, headers: bytes, body: bytes) -> tuple[int, bytes]:
        origin, target = address(url)
        response = await self._http.request(origin, method, target, headers, body, TIMERS, again=False)
        try:
            return response.status, await response.read(DOCUMENT_BYTES)
        finally:
            response.close()

    # --- the browser -----------------------------------------------------------------------------------------------

    def _must_be_ours(self, redirect_uri: str) -> None:
        """Raise Invalid unless an address is one of the console's own pages."""
        parts = urlsplit(redirect_uri)
        plain = (
            redirect_uri.isascii() and redirect_uri.isprintable() and not parts.query and not parts.fragment
        )
        inside = parts.path.startswith(CONSOLE_PATH) and ".." not in parts.path and "\\" not in redirect_uri
        near = self._on_loopback and parts.scheme == "http" and is_loopback(parts.hostname or "")
        known = _origin(redirect_uri) in self._origins
        if not (plain and inside and (known or (near and "@" not in parts.netloc))):
            raise Invalid(
                "People return from signing in to the console only.",
                field="redirect_uri",
                value=redirect_uri[:200],
                limit=", ".join(sorted(self._origins)) or "this machine",
                remedy="Add the console's address to auth.console_urls.",
            )

    def _sealed(self, value: _Sealed) -> str:
        nonce = secrets.token_bytes(12)
        return _text(nonce + self._seal.encrypt(nonce, msgspec.json.encode(value), None))

    def _unsealed(self, kept: str) -> _Sealed:
        try:
            data = urlsafe_b64decode(kept[:KEPT_BYTES].encode("ascii") + b"==")
            return msgspec.json.decode(self._seal.decrypt(data[:12], data[12:], None), type=_Sealed)
        except (InvalidTag, ValueError, msgspec.MsgspecError):  # UnicodeEncodeError is a ValueError
            raise _failed("it was not begun here") from None


def _description(document: object, issuer: str) -> _Provider:
    """Return a provider's description; Upstream unless it is of this issuer and all its addresses may be asked."""
    try:
        provider = msgspec.convert(document, _Provider)
    except msgspec.ValidationError:
        raise Upstream("The description lacks what is needed.", code="bad_document") from None
    if provider.issuer != issuer:
        raise Upstream("The description is of another issuer.", code="bad_document")
    for url in (provider.authorization_endpoint, provider.token_endpoint, provider.jwks_uri):
        address(url)
    if provider.userinfo_endpoint:
        address(provider.userinfo_endpoint)
    return provider


def _verified_email(claims: Mapping[str, object]) -> str:
    """Return the email address that the provider vouches for (§5.7: only `sub` says who somebody is)."""
    email = claims.get("email")
    return email if isinstance(email, str) and claims.get("email_verified") is True else ""


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _failed(why: str) -> Unauthenticated:
    return Unauthenticated(f"This sign-in failed: {why}.", code="sign_in_failed", remedy="Sign in again.")


def _upstream(why: str) -> Upstream:
    return Upstream(f"The identity provider cannot be used: {why}.", code="bad_identity_provider")
