"""JSON Web Tokens, verified (RFC 7519, RFC 7515) with the advice of RFC 8725: what is not expected is refused.

    opened(token)          bytes → parts, strictly; nothing is believed yet
    verified(…)            the signature, by a key of the issuer's own; then what the claims must say
    claims of `Verified`   may be believed

Promises: the issuer's list of algorithms decides, never the token; a key is found among the issuer's own by its id and
nothing in the header can bring another (`jwk`, `jku`, `x5u`, `x5c` are refused, so is `crit`); base64url and JSON have
one reading (no padding, no stray bits, no member twice, no NaN); `iss` and `aud` match exactly; `exp` and `iat` are
there and the lifetime is bounded; no error repeats what the token said.

An ES256 signature (r, s) has a twin (r, n − s) that verifies too, for the same header and claims. It is accepted: it
gives nobody a claim that the issuer did not sign, no twin is kept apart by anything here, and issuers do send both.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Protocol, cast

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import Key
from joserfc.jws import JWSRegistry

from penstock.kernel.errors import Unauthenticated

TOKEN_BYTES = 8_192
HEADER_BYTES = 1_024
KID_MOST = 256
AUDIENCES_MOST = 64
TYPES = frozenset({"", "jwt", "at+jwt", "application/jwt", "application/at+jwt"})
"""What `typ` may say of a token that is not made for another purpose (RFC 8725 §3.11, RFC 9068 §2.1)."""
REFUSED_HEADERS = frozenset({"crit", "b64", "jwk", "jku", "x5u", "x5c", "enc", "zip", "cty", "epk"})
_PART = re.compile(rb"[A-Za-z0-9_-]++")
_NUMBER_MOST = 1 << 53

Object = Mapping[str, object]


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a token must say to be one of an issuer's for us. `max_lifetime_s` 0 leaves it to `exp` alone."""

    issuer: str
    audience: str
    algorithms: frozenset[str]
    max_lifetime_s: int
    leeway_s: int = 30


class Keys(Protocol):
    """The public keys of one issuer."""

    def find(self, kid: str, algorithm: str) -> Key | None:
        """Return the one key with this id for this algorithm; with no id, the only key there is for it."""
        ...


class Opened(msgspec.Struct, frozen=True):
    """A token taken apart. Nothing of it may be believed."""

    header: Object
    claims: Object
    signed: bytes
    signature: bytes

    @property
    def issuer(self) -> str:
        """Who the token says made it; empty when it does not say."""
        issuer = self.claims.get("iss")
        return issuer if isinstance(issuer, str) else ""

    @property
    def kid(self) -> str:
        """The id of the key the token says it is signed with; empty when it does not say."""
        kid = self.header.get("kid", "")
        if not isinstance(kid, str) or len(kid) > KID_MOST:
            raise refused("its key id is not a short text")
        return kid


def refused(why: str) -> Unauthenticated:
    """Return the error of a token that cannot be used; `why` repeats nothing of it."""
    return unusable(f"This token cannot be used: {why}.")


def unusable(message: str) -> Unauthenticated:
    """Return the error of `refused` by its whole message."""
    return Unauthenticated(message, code="invalid_token", remedy="Get a new one.")


def opened(token: bytes) -> Opened:
    """Take a compact JWS apart; raises Unauthenticated unless there is exactly one way to read it."""
    if len(token) > TOKEN_BYTES:
        raise refused(f"it is longer than {TOKEN_BYTES} bytes")
    parts = token.split(b".")
    if len(parts) != 3:
        raise refused("it is not a signed JWT of three parts")
    header_part, claims_part, signature_part = parts
    if len(header_part) > HEADER_BYTES:
        raise refused(f"its header is longer than {HEADER_BYTES} bytes")
    return Opened(
        header=_object(_decoded(header_part)),
        claims=_object(_decoded(claims_part)),
        signed=b"%b.%b" % (header_part, claims_part),
        signature=_decoded(signature_part),
    )


def check_header(token: Opened, terms: Terms) -> str:
    """Return the algorithm of a token whose header may be acted on; raises Unauthenticated."""
    if not REFUSED_HEADERS.isdisjoint(token.header):
        raise refused("its header holds what is not supported here")
    kind = token.header.get("typ", "")
    if not isinstance(kind, str) or kind.lower() not in TYPES:
        raise refused("it is a token of another type")
    algorithm = token.header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in terms.algorithms:
        raise refused("its algorithm is not one of its issuer's")
    return algorithm


def check_signature(token: Opened, algorithm: str, key: Key) -> None:
    """Raise Unauthenticated unless `key` signed the token by `algorithm`, which `check_header` returned."""
    model = JWSRegistry.algorithms[algorithm]
    try:
        model.check_key(key)
        holds = model.verify(token.signed, token.signature, key)
    except (JoseError, ValueError, TypeError):
        holds = False
    if not holds:
        raise refused("its signature is not its issuer's")


def check_claims(token: Opened, terms: Terms, now_s: float) -> float:
    """Return when the token ends (seconds since 1970); raises Unauthenticated unless its claims are for us, now."""
    claims, leeway_s = token.claims, terms.leeway_s
    if token.issuer != terms.issuer:
        raise refused("it is of another issuer")
    if terms.audience not in _audiences(claims):
        raise refused("it is for another audience")
    expires_s, issued_s = _time(claims, "exp"), _time(claims, "iat")
    begins_s = _time(claims, "nbf") if "nbf" in claims else issued_s
    if now_s >= expires_s + leeway_s:
        raise refused("it has expired")
    if issued_s > now_s + leeway_s or begins_s > now_s + leeway_s:
        raise refused("it is not valid yet")
    if terms.max_lifetime_s and expires_s - issued_s > terms.max_lifetime_s:
        raise refused(f"it lives longer than {terms.max_lifetime_s} seconds")
    return expires_s


def verify(token: Opened, terms: Terms, keys: Keys, now_s: float) -> float | None:
    """Return when a verified token ends, or None when its key is not known; raises Unauthenticated."""
    algorithm = check_header(token, terms)
    if token.issuer != terms.issuer:
        raise refused("it is of another issuer")
    key = keys.find(token.kid, algorithm)
    if key is None:
        return None
    check_signature(token, algorithm, key)
    return check_claims(token, terms, now_s)


# --- one reading ---------------------------------------------------------------------------------------------------


def _decoded(part: bytes) -> bytes:
    """Return what base64url without padding encodes; refused unless encoding it again gives the same."""
    if _PART.fullmatch(part) is None or len(part) % 4 == 1:
        raise refused("it is not base64url")
    data = urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    if urlsafe_b64encode(data).rstrip(b"=") != part:
        raise refused("it is not base64url")
    return data


def _object(data: bytes) -> Object:
    try:
        value = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise refused("it is not JSON") from None
    if not isinstance(value, dict):
        raise refused("it is not a JSON object")
    return cast("Object", value)


def _once(members: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(members)
    if len(found) != len(members):
        raise ValueError("a member is there twice")
    return found


def _no_constant(_name: str) -> object:
    raise ValueError("not a number of JSON")


# --- claims --------------------------------------------------------------------------------------------------------


def _audiences(claims: Object) -> tuple[str, ...]:
    """Return whom the token is for: a text, or a list of texts (RFC 7519 §4.1.3)."""
    given = claims.get("aud")
    if isinstance(given, str):
        return (given,)
    if not isinstance(given, list):
        raise refused("it does not say for whom it is")
    items = cast("list[object]", given)
    audiences = tuple(each for each in items if isinstance(each, str))
    if len(audiences) != len(items) or len(items) > AUDIENCES_MOST:
        raise refused("its audience is not a short list of texts")
    return audiences


def _time(claims: Object, name: str) -> float:
    """Return a NumericDate: a finite JSON number that is no boolean (RFC 7519 §2)."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refused(f"its {name} is missing or not a time")
    if not 0 < value < _NUMBER_MOST:  # nor NaN, nor infinite, which 1e999 is
        raise refused(f"its {name} is not a time")
    return float(value)
