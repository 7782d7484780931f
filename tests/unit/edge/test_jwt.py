"""Tokens taken apart and checked: every bound from both sides, and no byte that does not matter."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import Key

from penstock.edge.jwks import signature_keys
from penstock.edge.jwt import AUDIENCES_MOST, HEADER_BYTES, KID_MOST, TOKEN_BYTES, Terms, opened, verify
from penstock.kernel.errors import Unauthenticated
from tests.unit.edge.jwt_mint import AUDIENCE, ISSUER, Mint, b64, documents, issuer_keys
from tests.unit.edge.jwt_tampering import P256_ORDER

NOW_S = 1_800_000_000.0
MINT = Mint(issuer_keys(), NOW_S)
TERMS = Terms(
    issuer=ISSUER,
    audience=AUDIENCE,
    algorithms=frozenset({"RS256", "ES256", "EdDSA"}),
    max_lifetime_s=3_600,
    leeway_s=30,
)
SOUND = MINT.token("EdDSA")


class Ring:
    """The keys of the first issuer, found by id alone."""

    def __init__(self) -> None:
        self.keys = {key.kid: key for key in signature_keys(documents(issuer_keys())[ISSUER])}

    def find(self, kid: str, algorithm: str) -> Key | None:
        return self.keys.get(kid)


RING = Ring()


def checked(token: str | bytes, terms: Terms = TERMS, now_s: float = NOW_S) -> str:
    """Return "sound", "no such key", or why a token is refused."""
    try:
        ends_s = verify(opened(token.encode() if isinstance(token, str) else token), terms, RING, now_s)
    except Unauthenticated as error:
        return error.message if error.reason == "invalid_token" else "sound"
    return "no such key" if ends_s is None else "sound"


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"exp": NOW_S - 29}, "sound"), ({"exp": NOW_S - 30}, "expired"), ({"exp": NOW_S - 31}, "expired"),
        ({"iat": NOW_S + 30}, "sound"), ({"iat": NOW_S + 31}, "not valid yet"),
        ({"nbf": NOW_S + 30}, "sound"), ({"nbf": NOW_S + 31}, "not valid yet"),
        ({"iat": NOW_S, "exp": NOW_S + 3_600}, "sound"), ({"iat": NOW_S, "exp": NOW_S + 3_601}, "lives longer"),
        ({"iat": 0}, "its iat"), ({"exp": 0}, "its exp"), ({"nbf": 0}, "its nbf"),
        ({"aud": ["a"] * (AUDIENCES_MOST - 1) + [AUDIENCE]}, "sound"),
        ({"aud": ["a"] * AUDIENCES_MOST + [AUDIENCE]}, "audience"),
    ],
)  # fmt: skip
def test_a_claim_is_kept_to_its_bound_from_both_sides(claims: dict[str, object], why: str) -> None:
    assert why in checked(MINT.token("EdDSA", claims=claims))


def test_a_life_without_a_bound_of_ours_ends_by_exp_alone() -> None:
    eternal = Terms(issuer=ISSUER, audience=AUDIENCE, algorithms=TERMS.algorithms, max_lifetime_s=0)
    token = MINT.token(claims={"exp": NOW_S + 10**9})
    assert checked(token, eternal) == "sound"
    assert "expired" in checked(token, eternal, NOW_S + 10**9 + 30)


def test_a_token_and_its_header_are_kept_to_their_lengths() -> None:
    def long(header: int = 0, whole: int = 0) -> str:
        """A token whose header, or all of it, has so many bytes."""
        base = json.dumps({"alg": "EdDSA", "kid": "ed", "x": ""})
        head = base.replace('""', f'"{"h" * (header * 3 // 4 - len(base))}"') if header else base
        if not whole:
            return MINT.token("EdDSA", head=head)
        other = len(MINT.token("EdDSA", head=head, body="{}")) - len(b64(b"{}"))
        pad = (whole - other) * 3 // 4 - len(json.dumps({**MINT.claims(), "x": ""}))
        return MINT.token("EdDSA", head=head, body=json.dumps({**MINT.claims(), "x": "c" * pad}))

    exact, over = long(header=HEADER_BYTES), long(header=HEADER_BYTES + 4)
    assert [len(each.split(".")[0]) for each in (exact, over)] == [HEADER_BYTES, HEADER_BYTES + 4]
    assert checked(exact) == "sound"
    assert "its header is longer" in checked(over)
    within, beyond = long(whole=TOKEN_BYTES), long(whole=TOKEN_BYTES + 2)
    assert len(within) <= TOKEN_BYTES < len(beyond)
    assert checked(within) == "sound"
    assert "it is longer" in checked(beyond)


@pytest.mark.parametrize(("kid", "why"), [("k" * KID_MOST, "no such key"), ("k" * (KID_MOST + 1), "key id")])
def test_a_key_id_is_short(kid: str, why: str) -> None:
    assert why in checked(MINT.token("EdDSA", header={"kid": kid}))


@pytest.mark.parametrize(
    "typ", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/jwt", "application/at+jwt", ""]
)
def test_a_token_for_any_use_or_for_access_is_of_our_type(typ: str) -> None:
    assert checked(MINT.token("EdDSA", header={"typ": typ})) == "sound"


def test_the_algorithms_of_the_issuer_decide() -> None:
    only = Terms(issuer=ISSUER, audience=AUDIENCE, algorithms=frozenset({"ES256"}), max_lifetime_s=3_600)
    assert [checked(MINT.token(alg), only)[:5] for alg in ("ES256", "RS256", "EdDSA")] == [
        "sound",
        "This ",
        "This ",
    ]


def test_the_twin_of_an_es256_signature_says_the_same_and_is_accepted() -> None:
    """The module's docstring tells why; should that change, this is where it is felt."""
    head, body, signed = MINT.token("ES256").split(".")
    raw = opened(f"{head}.{body}.{signed}".encode()).signature
    r, s = raw[:32], int.from_bytes(raw[32:], "big")
    twin = b64(r + (P256_ORDER - s).to_bytes(32, "big"))
    assert twin != signed
    assert checked(f"{head}.{body}.{twin}") == "sound"


@given(st.data())
def test_no_byte_of_a_token_can_be_another(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(SOUND) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != ord(SOUND[at])))
    changed = bytearray(SOUND.encode())
    changed[at] = other
    assert checked(bytes(changed)) != "sound"


@given(
    st.binary(max_size=400)
    | st.lists(st.binary(max_size=60), min_size=3, max_size=3).map(lambda p: b".".join(map(_b64, p)))
)
def test_nonsense_is_refused_and_never_an_exception_of_another_kind(token: bytes) -> None:
    assert checked(token) != "sound"


def _b64(data: bytes) -> bytes:
    return b64(data).encode()
