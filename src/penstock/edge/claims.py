"""From the claims of a verified token to the machine that calls: what an issuer's settings let a token choose.

Promises: a machine is a caller, whatever its token says of roles; it belongs to the issuer's organisation, or to one of
those listed for it; names follow the rule of a key's names, so that none reaches another's path; a token's models are
never more than its issuer's, and none left is a refusal, not every model.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import cast

import msgspec

from penstock.edge.jwt import Object, refused
from penstock.kernel.context import Principal
from penstock.kernel.settings import IssuerSettings
from penstock.mechanisms.roles import Role
from penstock.mechanisms.tenancy import MACHINE_IDS

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What organisations, teams, projects, users and tiers are called, whoever names them."""
MODELS_MOST = 200
MODEL_MOST = 256


def machine(claims: Object, issuer: IssuerSettings) -> Principal:
    """Return the caller that verified claims name, its limits not yet looked up; raises Unauthenticated."""
    org = _org(claims, issuer)
    team = _chosen(claims, issuer.team_claim, issuer.team)
    project = _chosen(claims, issuer.project_claim, issuer.project)
    user = _name(claims, issuer.user_claim)
    return Principal(
        key_id=machine_id(issuer.issuer, org, team, project, user),
        org=org,
        team=team,
        project=project,
        user=user,
        role=Role.CALLER.value,
        tier=_chosen(claims, issuer.tier_claim, "standard"),
        models=_models(claims, issuer),
    )


def machine_id(*identity: str) -> str:
    """Return the id of a machine: the same for each of its tokens, another for each place it may have."""
    digest = blake2b(msgspec.json.encode(identity), digest_size=16).hexdigest()
    return f"{MACHINE_IDS}{digest}"


def _org(claims: Object, issuer: IssuerSettings) -> str:
    if not issuer.org_claim:
        return issuer.org
    org = _name(claims, issuer.org_claim)
    if org not in issuer.orgs:
        raise refused("its issuer may not speak for that organisation")
    return org


def _chosen(claims: Object, claim: str, otherwise: str) -> str:
    return _name(claims, claim) if claim and claim in claims else otherwise


def _name(claims: Object, claim: str) -> str:
    value = claims.get(claim)
    if not isinstance(value, str) or NAME.fullmatch(value) is None:
        raise refused(f"its claim {claim} is not a name (1 to 64 of a-z A-Z 0-9 . _ -)")
    return value


def _models(claims: Object, issuer: IssuerSettings) -> tuple[str, ...]:
    """Return the models a token may use; empty is every one, so a token's own list never ends up empty."""
    if not issuer.models_claim:
        return issuer.models
    listed = claims.get(issuer.models_claim)
    if not isinstance(listed, list) or len(cast("list[object]", listed)) > MODELS_MOST:
        raise refused(f"its claim {issuer.models_claim} is not a list of at most {MODELS_MOST} models")
    models: list[str] = []
    for each in cast("list[object]", listed):
        if not isinstance(each, str) or not 0 < len(each) <= MODEL_MOST or not each.isprintable():
            raise refused(f"its claim {issuer.models_claim} holds what is not the name of a model")
        if not issuer.models or each in issuer.models:
            models.append(each)
    if not models:
        raise refused("it may use none of its issuer's models")
    return tuple(models)
