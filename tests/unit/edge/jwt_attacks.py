"""Tokens that must not be believed, each with the reason that is given, and the sound ones beside them that must be.

    for name, token, accepted in cases(issuer_keys()): …

The same list is tried on the code alone (test_machines.py) and live over HTTP. The issuers are those of
`jwt_mint.settings()`; order matters to whoever remembers tokens: the sound ones come first, so that every attack meets
a warm memory. A row is the reason and what `Mint.token` is asked to do differently.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.unit.edge.jwt_mint import (
    AUDIENCE,
    ISSUER,
    LEEWAY_S,
    LIFETIME_S,
    MODELS,
    SECOND,
    At,
    IssuerKeys,
    Mint,
)
from tests.unit.edge.jwt_tampering import (
    ALGORITHM,
    HEADER,
    KEY,
    LONG,
    SIGNATURE,
    embedded,
    tampered,
)

TYPE = "it is a token of another type"
KID = "its key id is not a short text"
UNKNOWN = "its issuer is not known here"
FOREIGN = "it is for another audience"
NOBODY = "it does not say for whom it is"
AUDIENCES = "its audience is not a short list of texts"
EXPIRED = "it has expired"
EARLY = "it is not valid yet"
LIVES = f"it lives longer than {LIFETIME_S} seconds"
JSON = "it is not JSON"
OBJECT = "it is not a JSON object"
ORG = "its issuer may not speak for that organisation"
NONE_LEFT = "it may use none of its issuer's models"
Row = tuple[str, dict[str, Any]]


def is_no(claim: str) -> str:
    """The reason of a time that is none."""
    return f"its {claim} is"


def unnamed(claim: str) -> str:
    """The reason of a name that is none."""
    return f"its claim {claim} is not a name"


def unlisted(what: str) -> str:
    """The reason of a list of models that is none."""
    return f"its claim models {what}"


SOUND: dict[str, dict[str, Any]] = {
    "RS256": {},
    "ES256": {"alg": "ES256"},
    "EdDSA": {"alg": "EdDSA"},
    "of the second issuer": {"alg": "ES256", "by": "second", "header": {"kid": "second"}, "claims": {"iss": SECOND}},
    "without typ": {"without": ("typ",)},
    "an access token by RFC 9068": {"header": {"typ": "at+JWT"}},
    "without kid, where one key fits": {"alg": "EdDSA", "without": ("kid",)},
    "a thumbprint beside the kid": {"header": {"x5t": "c2hhMQ"}},
    "several audiences, ours among them": {"claims": {"aud": ["https://other.test", AUDIENCE]}},
    "nbf now": {"claims": {"nbf": At(0)}},
    "times with a fraction": {"claims": {"iat": At(-1.5), "exp": At(60.5)}},
    "expired within the leeway": {"claims": {"exp": At(-LEEWAY_S / 2)}},
    "issued within the leeway": {"claims": {"iat": At(LEEWAY_S - 5), "exp": At(300)}},
    "the longest life": {"claims": {"iat": At(-10), "exp": At(LIFETIME_S - 10)}},
    "the other organisation of its issuer": {"claims": {"org": "beta"}},
    "team, project and tier by claim": {"claims": {"team": "search", "project": "web", "tier": "gold"}},
    "fewer models than its issuer": {"claims": {"models": [MODELS[0]]}},
    "a model of another's beside its own": {"claims": {"models": [MODELS[0], "o1"]}},
    "claims nobody asked for": {"claims": {"realm": {"roles": ["owner"]}, "jti": "1", "azp": None}},
    "role owner, which is ignored": {"claims": {"role": "owner", "roles": ["admin"], "scope": "admin *"}},
}  # fmt: skip

ALGORITHMS: dict[str, Row] = {
    **{f"alg {alg}": (ALGORITHM, {"alg": alg}) for alg in ("none", "None", "NONE", "nOnE", "none ", "", "HS256")},
    **{f"alg {alg}": (ALGORITHM, {"alg": alg}) for alg in ("RS384", "RS512", "PS256", "rs256", "RS256 ")},
    "alg with a null": (ALGORITHM, {"alg": "RS256\u0000"}),
    "alg of look-alikes": (ALGORITHM, {"alg": "R\u0405256"}),
    "alg null": (ALGORITHM, {"alg": None}),
    "alg a list": (ALGORITHM, {"alg": ["RS256"]}),
    "alg an object": (ALGORITHM, {"alg": {"alg": "RS256"}}),
    "alg a number": (ALGORITHM, {"alg": 256}),
    "no alg": (ALGORITHM, {"without": ("alg",)}),
    "ES256K": (ALGORITHM, {"alg": "ES256K", "by": "ec", "header": {"kid": "ec"}}),
    "ES384 by its own key": (ALGORITHM, {"alg": "ES384", "by": "p384", "sign": "ES384", "header": {"kid": "p384"}}),
    "the second issuer by an algorithm not its own": (ALGORITHM, {"claims": {"iss": SECOND}}),
    "a PSS signature called RS256": (SIGNATURE, {"sign": "PS256"}),
    "SHA-512 called RS256": (SIGNATURE, {"sign": "RS512"}),
    "a PSS signature called PS256": (ALGORITHM, {"alg": "PS256", "sign": "PS256"}),
    "a DER signature": (SIGNATURE, {"alg": "ES256", "sign": "DER"}),
}  # fmt: skip

KEYS: dict[str, Row] = {
    "RS256 with the key of ES256": (KEY, {"by": "ec", "header": {"kid": "ec"}}),
    "ES256 with the key of RS256": (KEY, {"alg": "ES256", "by": "rsa", "header": {"kid": "rsa"}}),
    "EdDSA with the key of ES256": (KEY, {"alg": "EdDSA", "by": "ec", "header": {"kid": "ec"}}),
    "another curve": (KEY, {"alg": "ES256", "by": "p384", "sign": "ES384", "header": {"kid": "p384"}}),
    "a weak key, though published": (KEY, {"by": "weak", "header": {"kid": "weak"}}),
    "a key for encryption": (KEY, {"by": "sealing", "header": {"kid": "sealing"}}),
    "a key for another algorithm": (KEY, {"by": "bound", "header": {"kid": "bound"}}),
    "a key id that two keys have": (KEY, {"by": "twin", "header": {"kid": "twins"}}),
    "a shared secret, though published": (KEY, {"header": {"kid": "shared"}}),
    "a key withdrawn": (KEY, {"by": "retired", "header": {"kid": "retired"}}),
    "a key of nobody's": (KEY, {"by": "stranger", "header": {"kid": "stranger"}}),
    "the second issuer's key and its id": (KEY, {"alg": "ES256", "by": "second", "header": {"kid": "second"}}),
    "the second issuer's key under our id": (SIGNATURE, {"alg": "ES256", "by": "second"}),
    "the second issuer's name with our key": (KEY, {"alg": "ES256", "claims": {"iss": SECOND}}),
    "a stranger's EC key under our id": (SIGNATURE, {"alg": "ES256", "by": "stranger_ec"}),
    "a stranger's Ed25519 key under our id": (SIGNATURE, {"alg": "EdDSA", "by": "stranger_ed"}),
    "no kid, where several keys fit": (KEY, {"without": ("kid",)}),
    "no kid, by a stranger": (KEY, {"by": "stranger", "without": ("kid",)}),
    "kid a path": (KEY, {"by": "stranger", "header": {"kid": "../../../../../../dev/null"}}),
    "kid a file's address": (KEY, {"by": "stranger", "header": {"kid": "file:///proc/self/environ"}}),
    "kid an address": (KEY, {"by": "stranger", "header": {"kid": "https://evil.test/jwks.json"}}),
    "kid SQL": (KEY, {"by": "stranger", "header": {"kid": "rsa' UNION SELECT 'k'; --"}}),
    "kid a command": (KEY, {"by": "stranger", "header": {"kid": "rsa|/bin/id"}}),
    "kid with a null": (KEY, {"header": {"kid": "rsa\u0000"}}),
    "kid with a blank": (KEY, {"header": {"kid": " rsa"}}),
    "kid in another case": (KEY, {"header": {"kid": "RSA"}}),
    "kid in full-width letters": (KEY, {"header": {"kid": "\uff52\uff53\uff41"}}),
    "kid null": (KID, {"header": {"kid": None}}),
    "kid a list": (KID, {"header": {"kid": ["rsa"]}}),
    "kid an object": (KID, {"header": {"kid": {"$ne": ""}}}),
    "kid a number": (KID, {"header": {"kid": 0}}),
    "kid over-long": (KID, {"header": {"kid": "r" * 257}}),
}  # fmt: skip

HEADERS: dict[str, Row] = {
    "crit exp": (HEADER, {"header": {"crit": ["exp"]}}),
    "crit empty": (HEADER, {"header": {"crit": []}}),
    "crit unheard-of": (HEADER, {"header": {"crit": ["x"], "x": True}}),
    "an unencoded payload": (HEADER, {"header": {"crit": ["b64"], "b64": False}}),
    "b64 alone": (HEADER, {"header": {"b64": True}}),
    "jku": (HEADER, {"by": "stranger", "header": {"jku": "https://evil.test/jwks.json"}}),
    "jku of the issuer": (HEADER, {"header": {"jku": f"{ISSUER}/jwks.json"}}),
    "x5u": (HEADER, {"by": "stranger", "header": {"x5u": "https://evil.test/chain.pem"}}),
    "x5c": (HEADER, {"by": "stranger", "header": {"x5c": ["MIIB"]}}),
    "zip": (HEADER, {"header": {"zip": "DEF"}}),
    "enc": (HEADER, {"header": {"enc": "A256GCM"}}),
    "a nested token by cty": (HEADER, {"header": {"cty": "JWT"}}),
    **{f"typ {typ}": (TYPE, {"header": {"typ": typ}}) for typ in ("JWE", "dpop+jwt", "logout+jwt", "secevent+jwt")},
    "typ null": (TYPE, {"header": {"typ": None}}),
    "typ a list": (TYPE, {"header": {"typ": ["JWT"]}}),
}  # fmt: skip

TIMES: dict[str, Row] = {
    "expired": (EXPIRED, {"claims": {"iat": At(-600), "exp": At(-LEEWAY_S - 1)}}),
    "expired long ago": (EXPIRED, {"claims": {"iat": 1, "exp": 2}}),
    "nbf in the future": (EARLY, {"claims": {"nbf": At(LEEWAY_S + 300)}}),
    "iat in the future": (EARLY, {"claims": {"iat": At(LEEWAY_S + 300), "exp": At(600)}}),
    "iat in the future behind an nbf": (EARLY, {"claims": {"iat": At(LEEWAY_S + 300), "exp": At(600), "nbf": At(0)}}),
    "an eternal life": (LIVES, {"claims": {"exp": At(10 * 365 * 86_400)}}),
    "a life a little too long": (LIVES, {"claims": {"iat": At(-10), "exp": At(LIFETIME_S)}}),
    "a long life begun long ago": (LIVES, {"claims": {"iat": 1}}),
    "no exp": (is_no("exp"), {"without": ("exp",)}),
    "no iat": (is_no("iat"), {"without": ("iat",)}),
    **{
        f"exp {value!r}": (is_no("exp"), {"claims": {"exp": value}})
        for value in (None, True, "9999999999", 0, -1, 1 << 53, 10**30, [9_999_999_999], {"at": 1})
    },
    "nbf a text": (is_no("nbf"), {"claims": {"nbf": "0"}}),
    "nbf null": (is_no("nbf"), {"claims": {"nbf": None}}),
    "iat true": (is_no("iat"), {"claims": {"iat": True}}),
}  # fmt: skip

FOR_WHOM: dict[str, Row] = {
    "no aud": (NOBODY, {"without": ("aud",)}),
    "aud null": (NOBODY, {"claims": {"aud": None}}),
    "aud an object": (NOBODY, {"claims": {"aud": {AUDIENCE: True}}}),
    "aud another's": (FOREIGN, {"claims": {"aud": "https://other.test"}}),
    "aud ours as a prefix": (FOREIGN, {"claims": {"aud": f"{AUDIENCE}.evil.test"}}),
    "aud a prefix of ours": (FOREIGN, {"claims": {"aud": AUDIENCE[:-1]}}),
    "aud with a closing slash": (FOREIGN, {"claims": {"aud": f"{AUDIENCE}/"}}),
    "aud in another case": (FOREIGN, {"claims": {"aud": AUDIENCE.upper()}}),
    "aud two in one text": (FOREIGN, {"claims": {"aud": f"{AUDIENCE} https://other.test"}}),
    "aud empty": (FOREIGN, {"claims": {"aud": ""}}),
    "aud an empty list": (FOREIGN, {"claims": {"aud": []}}),
    "aud a list of others": (FOREIGN, {"claims": {"aud": ["https://other.test", "*"]}}),
    "aud a list in a list": (AUDIENCES, {"claims": {"aud": [[AUDIENCE]]}}),
    "aud a list with a number": (AUDIENCES, {"claims": {"aud": [AUDIENCE, 1]}}),
    "aud an over-long list": (AUDIENCES, {"claims": {"aud": [AUDIENCE, *"a" * 64]}}),
    "no iss": (UNKNOWN, {"without": ("iss",)}),
    "iss null": (UNKNOWN, {"claims": {"iss": None}}),
    "iss a list": (UNKNOWN, {"claims": {"iss": [ISSUER]}}),
    "iss another's": (UNKNOWN, {"claims": {"iss": "https://evil.test"}}),
    "iss ours as a prefix": (UNKNOWN, {"claims": {"iss": f"{ISSUER}.evil.test"}}),
    "iss a prefix of ours": (UNKNOWN, {"claims": {"iss": ISSUER[:-1]}}),
    "iss with a closing slash": (UNKNOWN, {"claims": {"iss": f"{ISSUER}/"}}),
    "iss in another case": (UNKNOWN, {"claims": {"iss": ISSUER.replace("issuer", "Issuer")}}),
    "iss of look-alikes": (UNKNOWN, {"claims": {"iss": ISSUER.replace("e", "\u0435")}}),
    "iss with a null": (UNKNOWN, {"claims": {"iss": f"{ISSUER}\u0000"}}),
    "iss with a blank": (UNKNOWN, {"claims": {"iss": f" {ISSUER}"}}),
    "iss over http": (UNKNOWN, {"claims": {"iss": ISSUER.replace("https", "http")}}),
}  # fmt: skip

READINGS: dict[str, Row] = {
    "alg twice": (JSON, {"head": '{"alg":"RS256","kid":"rsa","alg":"none"}'}),
    "alg twice, once escaped": (JSON, {"head": '{"alg":"none","kid":"rsa","\\u0061lg":"RS256"}'}),
    "aud twice": (JSON, {"body": f'{{"aud":"x","aud":"{AUDIENCE}"}}'}),
    "a member twice, deep inside": (JSON, {"body": '{"a":[{"b":1,"b":2}]}'}),
    "exp NaN": (JSON, {"body": '{"exp":NaN}'}),
    "exp Infinity": (JSON, {"body": '{"exp":Infinity}'}),
    "exp beyond a float": (is_no("exp"), {"body": json.dumps({"iss": ISSUER, "aud": AUDIENCE})[:-1] + ',"exp":1e999}'}),
    "exp of 5,000 digits": (JSON, {"body": f'{{"exp":{"9" * 5_000}}}'}),
    "a byte-order mark": (JSON, {"body": b"\xef\xbb\xbf{}"}),
    "not UTF-8": (JSON, {"body": b'{"sub":"\xff"}'}),
    "UTF-16": (JSON, {"body": "{}".encode("utf-16")}),
    "two documents": (JSON, {"body": "{}{}"}),
    "a comment": (JSON, {"body": "{}//"}),
    "a depth of 3,000": (JSON, {"body": "[" * 3_000}),
    "claims a list": (OBJECT, {"body": "[]"}),
    "claims a text": (OBJECT, {"body": '"owner"'}),
    "claims null": (OBJECT, {"body": "null"}),
    "header a list": (OBJECT, {"head": '["RS256"]'}),
    "header over-long": (LONG, {"header": {"jti": "j" * 1_024}}),
    "claims over-long": (LONG, {"claims": {"filler": "f" * 8_192}}),
}  # fmt: skip

WHO: dict[str, Row] = {
    "another organisation": (ORG, {"claims": {"org": "rival"}}),
    "the second issuer's organisation": (ORG, {"claims": {"org": "second"}}),
    "an organisation in another case": (ORG, {"claims": {"org": "Acme"}}),
    "the organisation of look-alikes": (unnamed("org"), {"claims": {"org": "\u0430cme"}}),
    "no organisation": (unnamed("org"), {"without": ("org",)}),
    "every organisation": (unnamed("org"), {"claims": {"org": "*"}}),
    "a list of organisations": (unnamed("org"), {"claims": {"org": ["acme"]}}),
    "a path in the organisation": (unnamed("org"), {"claims": {"org": "acme/team:search"}}),
    "nobody": (unnamed("sub"), {"without": ("sub",)}),
    **{
        f"user {user!r:.24}": (unnamed("sub"), {"claims": {"sub": user}})
        for user in ("", "a/b", "kim@2026-11", "a:b", "k\u0131m", "kim\n", "kim|x", "u" * 65, 7, None, ["kim"])
    },
    "a path in the team": (unnamed("team"), {"claims": {"team": "search/project:web"}}),
    "a list of tiers": (unnamed("tier"), {"claims": {"tier": ["gold"]}}),
    "project null": (unnamed("project"), {"claims": {"project": None}}),
    "no models": (unlisted("is not a list"), {"without": ("models",)}),
    "models null": (unlisted("is not a list"), {"claims": {"models": None}}),
    "models a text": (unlisted("is not a list"), {"claims": {"models": "*"}}),
    "models an over-long list": (unlisted("is not a list"), {"claims": {"models": ["m"] * 201}}),
    "models an empty list, which would be all": (NONE_LEFT, {"claims": {"models": []}}),
    "models of others only": (NONE_LEFT, {"claims": {"models": ["o1", "*"]}}),
    "models with a number": (unlisted("holds"), {"claims": {"models": [MODELS[0], 1]}}),
}  # fmt: skip

ROWS = {**ALGORITHMS, **KEYS, **HEADERS, **TIMES, **FOR_WHOM, **READINGS, **WHO}


def sound(mint: Mint) -> Iterator[tuple[str, str]]:
    """Yield (name, token) of what must be accepted."""
    for name, asked in SOUND.items():
        yield f"sound: {name}", mint.token(**asked)


def attacks(mint: Mint) -> Iterator[tuple[str, str, str]]:
    """Yield (name, token, reason) of what must be refused."""
    for name, (why, asked) in ROWS.items():
        yield name, mint.token(**asked), why
    yield from embedded(mint)
    yield from tampered(mint)


def cases(keys: IssuerKeys, now_s: float | None = None) -> list[tuple[str, str, bool]]:
    """Return (name, token, accepted): the sound tokens first. `now_s` None is the machine's own time."""
    mint = Mint(keys, now_s)
    made = [(name, token, True) for name, token in sound(mint)]
    return made + [(name, token, False) for name, token, _ in attacks(mint)]
