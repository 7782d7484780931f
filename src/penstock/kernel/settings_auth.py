"""Who may come in, and for how long."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock.kernel.settings_types import Positive, Text, doc

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]  # fmt: skip
"""Signatures by a private key only: with a shared secret whoever can check a token could make one."""


class IssuerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One issuer whose JWTs machines may call with. Its tokens are callers, never admins."""

    issuer: Annotated[Text, Meta(min_length=1), doc("The exact `iss` of its tokens; unique.")]
    audience: Annotated[Text, Meta(min_length=1), doc("The `aud` its tokens must be for: this deployment.")]
    jwks_url: Annotated[Text, doc("Where its public keys are: https, or http on loopback.")] = ""
    jwks_file: Annotated[Text, doc("File with its public keys (a JWK Set), instead of `jwks_url`.")] = ""
    ca_file: Annotated[Text, doc("PEM file of the certificate authorities of `jwks_url`.")] = ""
    algorithms: Annotated[
        tuple[Algorithm, ...], Meta(min_length=1), doc("Signature algorithms accepted of this issuer.")
    ] = ("RS256", "ES256", "EdDSA")
    org: Annotated[Text, doc("Organisation of its machines. A token cannot choose another.")] = "default"
    org_claim: Annotated[
        Text, doc("Claim that chooses among `orgs`; empty: every token belongs to `org`.")
    ] = ""
    orgs: Annotated[
        tuple[Text, ...], doc("Organisations that `org_claim` may choose; others are refused.")
    ] = ()
    team: Annotated[Text, doc("Team of a token without `team_claim`.")] = "default"
    team_claim: Annotated[Text, doc("Claim that names the team; empty: always `team`.")] = ""
    project: Annotated[Text, doc("Project of a token without `project_claim`.")] = "default"
    project_claim: Annotated[Text, doc("Claim that names the project; empty: always `project`.")] = ""
    user_claim: Annotated[Text, Meta(min_length=1), doc("Claim that names the user; a token needs it.")] = (
        "sub"
    )
    tier_claim: Annotated[Text, doc("Claim that names the tier; empty: always `standard`.")] = ""
    models: Annotated[tuple[Text, ...], doc("Models its machines may use; empty: every one.")] = ()
    models_claim: Annotated[
        Text,
        doc("Claim that lists a token's models, within `models`; a token then needs it. Empty: `models`."),
    ] = ""
    max_lifetime_s: Annotated[Positive, doc("Seconds from `iat` to `exp` at most.")] = 3_600
    leeway_s: Annotated[Annotated[int, Meta(ge=0, le=300)], doc("Seconds that two clocks may differ.")] = 30


class OidcSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sign-in of people through an OpenID provider. Only people invited come in, by their verified email address."""

    issuer: Annotated[Text, doc("The provider's issuer URL; empty: people sign in by password only.")] = ""
    name: Annotated[Text, doc("What the button says.")] = "single sign-on"
    client_id: Annotated[Text, doc("The client registered for this deployment at the provider.")] = ""
    client_secret: Annotated[
        Text,
        doc("Name of the secret that holds the client's secret; empty for a public client (PKCE alone)."),
    ] = ""
    scopes: Annotated[tuple[Text, ...], doc("Scopes asked for; `openid` and `email` are needed.")] = (
        "openid",
        "email",
    )
    algorithms: Annotated[
        tuple[Algorithm, ...], Meta(min_length=1), doc("Signature algorithms accepted of ID tokens.")
    ] = ("RS256", "ES256", "EdDSA")
    ca_file: Annotated[Text, doc("PEM file of extra certificate authorities.")] = ""


class AuthSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may come in, and for how long."""

    session_idle_s: Annotated[Positive, doc("A session ends after this many seconds without use.")] = (
        8 * 3_600
    )
    session_absolute_s: Annotated[Positive, doc("A session ends this many seconds after sign-in.")] = (
        7 * 86_400
    )
    changes_days: Annotated[Positive, doc("Days the audit of admin writes is kept.")] = 400
    console_urls: Annotated[
        tuple[Text, ...],
        doc(
            "Where people reach the console, e.g. `https://penstock.example`; sign-in returns to nowhere else "
            "(on a loopback bind also to loopback)."
        ),
    ] = ()
    oidc: Annotated[OidcSettings, doc("Sign-in through an OpenID provider.")] = OidcSettings()
    issuers: Annotated[tuple[IssuerSettings, ...], doc("Issuers of JWTs that machines call with.")] = ()
