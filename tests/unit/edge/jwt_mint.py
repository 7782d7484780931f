"""Mints JWTs, sound and unsound ones, by hand: nothing here is shared with what is tested but the settings' types.

keys = issuer_keys()
documents(keys)      → the JWK Set of each issuer
settings()           → the issuers as a deployment names them, without where their keys are
Mint(keys).token(…)  → a sound token, but for what is asked to be different
"""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from penstock.kernel.settings import IssuerSettings

ISSUER = "https://issuer.test/tenant"
SECOND = "https://second.test"
AUDIENCE = "https://penstock.test"
MODELS = ("local/extractive", "gpt-4o-mini")
LIFETIME_S = 3_600
LEEWAY_S = 30
Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class At:
    """A time, so many seconds from the second that is now."""

    seconds: float


@dataclass(frozen=True)
class IssuerKeys:
    """The private keys of the two issuers, and of those who would like to be one."""

    rsa: rsa.RSAPrivateKey
    ec: ec.EllipticCurvePrivateKey
    ed: ed25519.Ed25519PrivateKey
    second: ec.EllipticCurvePrivateKey
    """Of the second issuer, ES256 only."""
    weak: rsa.RSAPrivateKey
    """Published, but of 1,024 bits."""
    p384: ec.EllipticCurvePrivateKey
    sealing: rsa.RSAPrivateKey
    """Published for encryption only."""
    bound: rsa.RSAPrivateKey
    """Published for RS512 only."""
    twin: rsa.RSAPrivateKey
    """Published under a key id that another key has too."""
    retired: rsa.RSAPrivateKey
    """Published no more."""
    stranger: rsa.RSAPrivateKey
    stranger_ec: ec.EllipticCurvePrivateKey
    stranger_ed: ed25519.Ed25519PrivateKey


@cache
def issuer_keys() -> IssuerKeys:
    """Return the keys, made once."""
    return IssuerKeys(
        rsa=_rsa(),
        ec=ec.generate_private_key(ec.SECP256R1()),
        ed=ed25519.Ed25519PrivateKey.generate(),
        second=ec.generate_private_key(ec.SECP256R1()),
        weak=_rsa(1_024),
        p384=ec.generate_private_key(ec.SECP384R1()),
        sealing=_rsa(),
        bound=_rsa(),
        twin=_rsa(),
        retired=_rsa(),
        stranger=_rsa(),
        stranger_ec=ec.generate_private_key(ec.SECP256R1()),
        stranger_ed=ed25519.Ed25519PrivateKey.generate(),
    )


def documents(keys: IssuerKeys) -> dict[str, dict[str, Any]]:
    """Return the JWK Set that each issuer publishes."""
    shared = {"kty": "oct", "kid": "shared", "k": b64(b"everybody can read this secret!!")}
    first = [
        jwk(keys.rsa, "rsa"), jwk(keys.ec, "ec"), jwk(keys.ed, "ed"), jwk(keys.p384, "p384"), jwk(keys.weak, "weak"),
        jwk(keys.sealing, "sealing", use="enc"), jwk(keys.bound, "bound", alg="RS512"), shared,
        jwk(keys.twin, "twins"), jwk(keys.rsa, "twins"), {"kty": "new", "kid": "unheard-of"},
    ]  # fmt: skip
    return {ISSUER: {"keys": first}, SECOND: {"keys": [jwk(keys.second, "second")]}}


def settings(**where: Mapping[str, str]) -> tuple[IssuerSettings, ...]:
    """Return both issuers; `first` and `second` say where their keys are: a `jwks_url` or a `jwks_file`."""
    return (
        IssuerSettings(
            issuer=ISSUER,
            audience=AUDIENCE,
            org_claim="org",
            orgs=("acme", "beta"),
            team_claim="team",
            project_claim="project",
            tier_claim="tier",
            models=MODELS,
            models_claim="models",
            max_lifetime_s=LIFETIME_S,
            leeway_s=LEEWAY_S,
            **where.get("first", {}),
        ),
        IssuerSettings(
            issuer=SECOND, audience=AUDIENCE, algorithms=("ES256",), org="second", **where.get("second", {})
        ),
    )


class Mint:
    """Makes tokens around one moment."""

    def __init__(self, keys: IssuerKeys, now_s: float | None = None) -> None:
        self.keys = keys
        self.now_s = time.time() if now_s is None else now_s
        self._usual: dict[str, tuple[str, Private]] = {
            "RS256": ("rsa", keys.rsa), "ES256": ("ec", keys.ec), "EdDSA": ("ed", keys.ed),
        }  # fmt: skip

    def token(
        self,
        alg: object = "RS256",
        *,
        by: str = "",
        sign: str = "",
        header: Mapping[str, object] | None = None,
        claims: Mapping[str, object] | None = None,
        without: Iterable[str] = (),
        head: str | bytes = "",
        body: str | bytes = "",
    ) -> str:
        """Return a token that says `alg`, signed `by` one of the keys, by the algorithm `sign` (both as `alg` says).

        `header` and `claims` replace members, `without` leaves some out, `head` and `body` replace the JSON whole.
        """
        kid, key = self._usual.get(str(alg), self._usual["RS256"])
        top = {"alg": alg, "typ": "JWT", "kid": kid, **(header or {})}
        said = {**self.claims(), **{name: self._fixed(value) for name, value in (claims or {}).items()}}
        for name in without:
            top.pop(name, None)
            said.pop(name, None)
        signed = f"{b64(_bytes(head or json.dumps(top)))}.{b64(_bytes(body or json.dumps(said)))}"
        signer = getattr(self.keys, by) if by else key
        return f"{signed}.{b64(signature(sign or usual(signer), signer, signed.encode()))}"

    def claims(self) -> dict[str, object]:
        """Return the claims of a sound token."""
        return {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "indexer",
            "iat": int(self.now_s) - 1,
            "exp": int(self.now_s) + 600,
            "org": "acme",
            "models": list(MODELS),
        }

    def _fixed(self, value: object) -> object:
        return int(self.now_s) + value.seconds if isinstance(value, At) else value


# --- by hand -------------------------------------------------------------------------------------------------------


def signature(sign: str, key: Private, message: bytes) -> bytes:
    """Sign as RFC 7518 and RFC 8037 say; "DER" is what an ES256 signature must not look like."""
    if isinstance(key, rsa.RSAPrivateKey):
        digest = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}[sign[-3:]]()
        if sign.startswith("PS"):
            return key.sign(message, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
        return key.sign(message, padding.PKCS1v15(), digest)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    der = key.sign(message, ec.ECDSA(hashes.SHA384() if sign == "ES384" else hashes.SHA256()))
    return der if sign == "DER" else joined(key, *decode_dss_signature(der))


def joined(key: ec.EllipticCurvePrivateKey, r: int, s: int) -> bytes:
    """Return an ECDSA signature as JWS has it."""
    size = (key.curve.key_size + 7) // 8
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def usual(key: Private) -> str:
    """Return the algorithm a key is usually used with."""
    if isinstance(key, rsa.RSAPrivateKey):
        return "RS256"
    return "EdDSA" if isinstance(key, ed25519.Ed25519PrivateKey) else "ES256"


def jwk(key: Private, kid: str, **members: str) -> dict[str, str]:
    """Return the public half as RFC 7518 §6 and RFC 8037 §2 write it."""
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        own = {"kty": "RSA", "n": _uint(numbers.n), "e": _uint(numbers.e)}
    elif isinstance(public, ed25519.Ed25519PublicKey):
        own = {"kty": "OKP", "crv": "Ed25519", "x": b64(public.public_bytes_raw())}
    else:
        point, size = public.public_numbers(), (public.curve.key_size + 7) // 8
        own = {"kty": "EC", "crv": f"P-{public.curve.key_size}"}
        own |= {"x": b64(point.x.to_bytes(size, "big")), "y": b64(point.y.to_bytes(size, "big"))}
    return {**own, "kid": kid, **members}


def b64(data: bytes) -> str:
    """Encode as base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _uint(number: int) -> str:
    return b64(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _rsa(bits: int = 2_048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=bits)
