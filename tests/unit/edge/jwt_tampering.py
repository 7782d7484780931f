"""Attacks on a token's form rather than on what it says: other bytes, other parts, keys brought along."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Iterator

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.unit.edge.jwt_mint import Mint, b64, joined, jwk, signature

ALGORITHM = "its algorithm is not one of its issuer's"
SIGNATURE = "its signature is not its issuer's"
KEY = "its key is not its issuer's"
HEADER = "its header holds what is not supported here"
ENCODING = "it is not base64url"
PARTS = "it is not a signed JWT of three parts"
LONG = "longer than"
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
Attack = tuple[str, str, str]


def embedded(mint: Mint) -> Iterator[Attack]:
    """Yield tokens that bring their key along, or take a public one for a secret."""
    keys = mint.keys
    own = jwk(keys.stranger, "rsa")
    yield "jwk", mint.token(by="stranger", header={"jwk": own}), HEADER
    yield "jwk of the issuer's own key", mint.token(header={"jwk": jwk(keys.rsa, "rsa")}), HEADER
    yield "jwk in the claims", mint.token(by="stranger", claims={"cnf": {"jwk": own}}), SIGNATURE
    yield "epk", mint.token(header={"epk": own}), HEADER
    public, point = keys.rsa.public_key(), keys.ec.public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    secrets = {
        "as PEM": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "as PEM of PKCS #1": public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        "as DER": der,
        "as the text of its JWK": json.dumps(jwk(keys.rsa, "rsa")).encode(),
        "of ES256 as PEM": point.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "which is empty": b"",
        "which everybody can read": b"everybody can read this secret!!",
    }
    for name, secret in secrets.items():
        for size in ("256", "512"):
            signed = _signed(mint, {"alg": f"HS{size}", "typ": "JWT", "kid": "rsa"})
            mac = hmac.digest(secret, signed.encode(), f"sha{size}")
            yield f"HS{size} with a public key {name}", f"{signed}.{b64(mac)}", ALGORITHM
    signed = _signed(mint, {"alg": "RS256", "typ": "JWT", "kid": "rsa"})
    mac = hmac.digest(der, signed.encode(), hashlib.sha256)
    yield "an HMAC called RS256", f"{signed}.{b64(mac)}", SIGNATURE


def tampered(mint: Mint) -> Iterator[Attack]:
    """Yield sound tokens that somebody changed."""
    sound, other = mint.token(), mint.token(claims={"sub": "other"})
    head, body, signed_by = sound.split(".")
    none, owner = b64(b'{"alg":"none"}'), b64(json.dumps({**mint.claims(), "sub": "owner"}).encode())
    yield "other claims under a sound signature", f"{head}.{owner}.{signed_by}", SIGNATURE
    yield "another header under a sound signature", f"{b64(_without_typ(mint))}.{body}.{signed_by}", SIGNATURE
    yield "the signature of another token", f"{head}.{body}.{other.split('.')[2]}", SIGNATURE
    stranger = signature("RS256", mint.keys.stranger, f"{head}.{body}".encode())
    yield "the same header and claims by a stranger", f"{head}.{body}.{b64(stranger)}", SIGNATURE
    yield "a signature of one bit less", f"{head}.{body}.{_flipped(signed_by)}", SIGNATURE
    yield "a signature cut short", f"{head}.{body}.{b64(_raw(signed_by)[:-1])}", SIGNATURE
    yield "a signature drawn out", f"{head}.{body}.{b64(b'x')}{signed_by}", SIGNATURE
    yield "a signature of zeros", f"{head}.{body}.{b64(bytes(256))}", SIGNATURE
    yield "a signature drawn out by a zero", f"{head}.{body}.{b64(_raw(signed_by) + bytes(1))}", SIGNATURE
    yield "a signature led by a zero", f"{head}.{body}.{b64(bytes(1) + _raw(signed_by))}", SIGNATURE
    yield "alg none and no signature", f"{none}.{body}.", ENCODING
    yield "alg none and a sound signature", f"{none}.{body}.{signed_by}", ALGORITHM
    yield "no signature", f"{head}.{body}.", ENCODING
    yield from _curves(mint)
    yield from _spelled(head, body, signed_by)
    yield from _parts(sound, head, body, signed_by)


def _curves(mint: Mint) -> Iterator[Attack]:
    key = mint.keys.ec
    head, body, _ = mint.token("ES256").split(".")
    for name, r, s in (("0", 0, 0), ("the order", P256_ORDER, P256_ORDER), ("1", 1, 1)):
        yield f"ECDSA r and s {name}", f"{head}.{body}.{b64(joined(key, r, s))}", SIGNATURE
    edwards, claims, _ = mint.token("EdDSA").split(".")
    yield "Ed25519 of zeros", f"{edwards}.{claims}.{b64(bytes(64))}", SIGNATURE
    yield "Ed25519 of the neutral point", f"{edwards}.{claims}.{b64(bytes([1]) + bytes(63))}", SIGNATURE


def _spelled(head: str, body: str, signed_by: str) -> Iterator[Attack]:
    """Yield the same bytes, written otherwise: there must be one way only."""
    yield "padding", f"{head}.{body}.{signed_by}==", ENCODING
    yield "padding in the header", f"{head}=.{body}.{signed_by}", ENCODING
    yield "padding as a URL has it", f"{head}.{body}.{signed_by}%3D%3D", ENCODING
    yield "a blank inside", f"{head}.{body[:9]} {body[9:]}.{signed_by}", ENCODING
    yield "a tab inside", f"{head}.{body}.\t{signed_by}", ENCODING
    yield "an asterisk inside", f"{head}.{body[:9]}*{body[9:]}.{signed_by}", ENCODING
    last = ALPHABET[ALPHABET.index(signed_by[-1]) ^ 1]
    yield "stray bits at the end", f"{head}.{body}.{signed_by[:-1]}{last}", ENCODING
    raw = _raw(signed_by)
    common = b64encode(raw).decode().rstrip("=")
    if common == signed_by:  # a signature without - and _ is as good in either alphabet: give it one
        common = f"+/{common[2:]}"
    yield "the common alphabet", f"{head}.{body}.{common}", ENCODING
    yield "a length that none has", f"{head}.{body}.{signed_by}AAA", ENCODING


def _parts(sound: str, head: str, body: str, signed_by: str) -> Iterator[Attack]:
    """Yield tokens of other than three parts, and parts that are empty or nested."""
    yield "one part", head, PARTS
    yield "two parts", f"{head}.{body}", PARTS
    yield "four parts", f"{sound}.{signed_by}", PARTS
    yield "five parts, as a JWE", f"{head}.{signed_by}.AAAA.{body}.{signed_by[:22]}", PARTS
    yield "a dot at the end", f"{sound}.", PARTS
    yield "a token twice", f"{sound}.{sound}", PARTS
    yield "no claims", f"{head}..{signed_by}", ENCODING
    yield "a token inside a token", f"{head}.{b64(sound.encode())}.{signed_by}", "it is not JSON"
    yield "a SD-JWT's tilde", f"{sound}~{body}~", ENCODING
    yield "no header", f"eyJ.{body}.{signed_by}", ENCODING
    written = json.dumps({"protected": head, "payload": body, "signature": signed_by})
    yield "the JSON serialization", b64(written.encode()), PARTS
    yield "over-long", f"{head}.{body}.{signed_by * 30}", LONG


def _signed(mint: Mint, header: dict[str, str]) -> str:
    return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(mint.claims()).encode())}"


def _without_typ(mint: Mint) -> bytes:
    return json.dumps({"alg": "RS256", "kid": "rsa"}).encode()


def _flipped(signed_by: str) -> str:
    """Return a signature with one bit changed, not at its end."""
    raw = bytearray(_raw(signed_by))
    raw[100] ^= 1
    return b64(bytes(raw))


def _raw(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))
