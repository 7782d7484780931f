"""Whom a deployment trusts: each mistake is caught alone, all are told together, and none shows a password."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penstock.kernel.errors import Invalid
from penstock.kernel.settings import AuthSettings, IssuerSettings, OidcSettings, ServerSettings, Settings
from penstock.wiring import safety
from penstock.wiring.trust import mistakes
from tests.unit.edge.jwt_mint import ISSUER, documents, issuer_keys

URL = "https://issuer.test/keys"
OIDC = OidcSettings(issuer="https://login.test", client_id="penstock")


def issuer(**changed: Any) -> IssuerSettings:
    """Return a sound issuer, but for what is changed."""
    return IssuerSettings(**{"issuer": ISSUER, "audience": "machines", "jwks_url": URL, **changed})


def told(*issuers: IssuerSettings, host: str = "127.0.0.1", **others: Any) -> list[str]:
    """Return what is wrong."""
    return mistakes(AuthSettings(issuers=issuers, **others), host=host)


@pytest.mark.parametrize(
    "changed",
    [
        {}, {"jwks_url": "http://127.0.0.1:9/keys"}, {"jwks_url": "http://localhost:9/keys?p=b2c"},
        {"org_claim": "org", "orgs": ("acme", "a.b_c-d")}, {"team": "t" * 64},
    ],
)  # fmt: skip
def test_a_sound_issuer_is_trusted(changed: dict[str, Any]) -> None:
    assert told(issuer(**changed)) == []


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"jwks_url": ""}, "jwks_url or jwks_file"), ({"jwks_file": "keys.json"}, "jwks_url or jwks_file"),
        ({"jwks_url": "http://issuer.test/keys"}, "jwks_url cannot be asked"),
        ({"jwks_url": "http://192.168.1.9/keys"}, "jwks_url cannot be asked"),
        ({"jwks_url": "file:///etc/keys"}, "jwks_url cannot be asked"),
        ({"jwks_url": "keys"}, "jwks_url cannot be asked"),
        ({"jwks_url": "https://u:hunter2@issuer.test/"}, "jwks_url cannot be asked"),
        ({"jwks_url": "", "jwks_file": "none.json"}, "jwks_file: none.json cannot be read"),
        ({"ca_file": "none.pem"}, "ca_file none.pem"),
        ({"org": ""}, "org is not a name"), ({"org": "*"}, "org is not a name"), ({"org": "a/b"}, "org is not a name"),
        ({"team": "t" * 65}, "team is not a name"), ({"project": "a:b"}, "project is not a name"),
        ({"org_claim": "org"}, "org_claim and orgs"), ({"orgs": ("acme",)}, "org_claim and orgs"),
        ({"org_claim": "org", "orgs": ("acme", "*")}, "orgs[1] is not a name"),
    ],
)  # fmt: skip
def test_an_issuer_that_cannot_be_trusted_is_named_with_its_setting(
    changed: dict[str, Any], why: str
) -> None:
    found = told(issuer(issuer="https://other.test"), issuer(**changed))
    assert len(found) == 1
    assert found[0].startswith(f"auth.issuers[1].{why}")
    assert "hunter2" not in found[0]


def test_an_issuer_is_there_once() -> None:
    assert told(issuer(), issuer(audience="another")) == [
        f"auth.issuers[1].issuer {ISSUER} is there more than once"
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (json.dumps(documents(issuer_keys())[ISSUER]), ""), ("{", "not JSON"), ("{}", "not a JWK Set"),
        ('{"keys": []}', "no public key"), ('{"keys": [{"kty": "oct", "k": "AAAA"}]}', "no public key"),
    ],
)  # fmt: skip
def test_a_file_of_keys_holds_some(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(text)
    found = told(issuer(jwks_url="", jwks_file=str(file)))
    assert len(found) == bool(why)
    assert all("jwks_file" in each and why in each for each in found)


def test_authorities_without_an_address_are_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(documents(issuer_keys())[ISSUER]))
    assert told(issuer(jwks_url="", jwks_file=str(file), ca_file="ca.pem")) == [
        "auth.issuers[0].ca_file is for jwks_url only"
    ]


@pytest.mark.parametrize(
    ("oidc", "why"),
    [
        (OidcSettings(), ""), (OIDC, ""),
        (OidcSettings(issuer="http://localhost:9", client_id="p"), ""),
        (OidcSettings(client_id="p"), "issuer is missing"), (OidcSettings(client_secret="s"), "issuer is missing"),
        (OidcSettings(issuer="https://login.test"), "client_id is missing"),
        (OidcSettings(issuer="http://login.test", client_id="p"), "issuer cannot be asked"),
        (OidcSettings(issuer="https://login.test", client_id="p", scopes=("openid",)), "scopes lacks email"),
        (OidcSettings(issuer="https://login.test", client_id="p", scopes=()), "scopes lacks openid and email"),
        (OidcSettings(issuer="https://login.test", client_id="p", ca_file="none.pem"), "ca_file none.pem"),
    ],
)  # fmt: skip
def test_sign_in_is_whole_or_not_at_all(oidc: OidcSettings, why: str) -> None:
    found = told(oidc=oidc)
    assert len(found) == bool(why)
    assert all(each.startswith(f"auth.oidc.{why}") for each in found)


def test_people_cannot_call_as_machines_by_the_token_of_their_sign_in() -> None:
    same = {"issuer": OIDC.issuer, "audience": OIDC.client_id}
    assert [each.partition(":")[0] for each in told(issuer(**same), oidc=OIDC)] == [
        "auth.issuers[0].audience is auth.oidc.client_id"
    ]
    assert (
        told(issuer(issuer=OIDC.issuer), oidc=OIDC) == told(issuer(audience=OIDC.client_id), oidc=OIDC) == []
    )


@pytest.mark.parametrize(
    ("url", "sound"),
    [
        ("https://penstock.example", True), ("https://penstock.example:8443/", True), ("http://127.0.0.1:8700", True),
        ("http://localhost", True), ("http://penstock.example", False), ("https://penstock.example/x", False),
        ("https://penstock.example?x=1", False), ("penstock.example", False), ("", False),
        ("https://u:hunter2@penstock.example", False),
    ],
)  # fmt: skip
def test_the_console_is_at_an_origin_of_https_or_of_this_machine(url: str, sound: bool) -> None:
    found = told(console_urls=(url,))
    assert (found == []) is sound
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("host", "urls", "sound"),
    [
        ("127.0.0.1", (), True),
        ("192.168.1.4", (), False),
        ("192.168.1.4", ("https://penstock.example",), True),
    ],
)
def test_sign_in_has_somewhere_to_return_to(host: str, urls: tuple[str, ...], sound: bool) -> None:
    found = told(oidc=OIDC, host=host, console_urls=urls)
    assert ["auth.console_urls" in each for each in found] == ([] if sound else [True])


def test_every_mistake_is_told_at_once_beside_those_of_the_rest() -> None:
    wrong = AuthSettings(
        issuers=(issuer(org="*"), issuer(team="")), oidc=OidcSettings(client_id="p"), console_urls=("x",)
    )
    settings = Settings(server=ServerSettings(tls_cert="c"), auth=wrong)
    with pytest.raises(Invalid) as caught:
        safety.check(settings, workers=1, admin_key="")
    assert caught.value.reason == "unsafe_start"
    assert caught.value.value == 6
