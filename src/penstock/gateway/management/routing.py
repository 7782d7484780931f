"""Routing: the configuration in force and its history; one checked, applied or taken back; a choice explained.

Promises: nothing is applied that has a mistake, and every mistake is told; what is explained is what a request would
get now, and nobody is called for it.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import Query
from pydantic import BaseModel, Field

from penstock.edge.caller import Caller
from penstock.gateway.choosing import RouteAsk
from penstock.gateway.management.bodies import Body, Count, Flag, Label, Model
from penstock.gateway.management.parts import Api, Management
from penstock.gateway.management.policy import By, Routes
from penstock.gateway.management.reach import Limit
from penstock.gateway.management.routing_part import RoutingPart
from penstock.gateway.targets import Target
from penstock.kernel.context import Principal
from penstock.kernel.errors import NotFound
from penstock.mechanisms.config_versions import Version
from penstock.mechanisms.roles import Action

ROUTES = Routes("routing")
Document = Annotated[
    dict[str, Any], Field(description="Tables `routes`, `residency` and `features`, as in the settings file.")
]
Number = Annotated[int, Field(ge=0, le=1_000_000_000, strict=True)]
Words = Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$")]


class VersionView(BaseModel):
    """One version of the routing configuration. `again` is the version it repeats, -1 for none."""

    number: int
    author: str
    why: str
    at_s: float
    again: int


class RoutingView(BaseModel):
    """A version with its document. `refused` are stored versions that this node cannot use, with the reason."""

    version: VersionView
    document: dict[str, Any]
    refused: dict[str, str]


class CheckBody(Body):
    """A document to check."""

    document: Document


class CheckView(BaseModel):
    """A document without a mistake."""

    sound: bool
    routes: int


class ApplyBody(Body):
    """A document to route by. `based_on` is the version its author looked at; another since is a conflict."""

    document: Document
    why: Words = ""
    based_on: Number | None = None


class RollbackBody(Body):
    """Which version to go back to; none is the one before."""

    to: Number | None = None
    why: Words = ""


class ExplainBody(Body):
    """A request that is not made. Who asks is the caller unless said otherwise."""

    model: Model
    org: Label = ""
    user: Label = ""
    tier: Label = "standard"
    task: Label = ""
    region: Label = ""
    urgent: Flag = False
    input_tokens: Count = 0
    output_tokens: Count = 0
    text: Annotated[str, Field(max_length=20_000)] = ""
    draw: Count = 0
    feature: Label = ""


class ChosenView(BaseModel):
    """A back end in the order of trying. `route` is its name with the arm, as the audit tells it."""

    route: str
    provider: str
    model: str
    arm: str
    region: str
    price_version: str
    free: bool


class ExplainedView(BaseModel):
    """Who would answer, in order, and why; `larger` are who a cascade would ask after a weak answer, `fallback` what
    the feature tries when all of them have failed.
    """

    model: str
    version: int
    why: list[str]
    tier: str
    targets: list[ChosenView]
    larger: list[ChosenView]
    fallback: list[str]


class TierView(BaseModel):
    """What one route's tiers did since this process started. `saved_nanos` is against the large model's price."""

    model: str
    small: int
    large: int
    escalated: int
    small_failed: int
    large_failed: int
    saved_nanos: int


@ROUTES.add("GET", "/routing", needs=Action.READ_ROUTES, refuses=(404,))
async def read_routing(
    api: Api,
    *,
    version: Annotated[int, Query(ge=-1, description="-1: the one in force.")] = -1,
) -> RoutingView:
    """Show a version of the routing configuration with its document."""
    versions = _part(api).versions
    found = versions.current if version < 0 else await versions.version(version)
    document = versions.document if version < 0 else found.document or versions.file
    return RoutingView(
        version=_view(found),
        document=msgspec.json.decode(msgspec.json.encode(document)),
        refused={str(number): why for number, why in versions.refused.items()},
    )


@ROUTES.add("GET", "/routing/versions", needs=Action.READ_ROUTES, refuses=(404,))
async def list_versions(api: Api, *, limit: Limit = 50) -> list[VersionView]:
    """List the versions, newest first; 0 is the settings file's."""
    return [_view(each) for each in await _part(api).versions.history(limit)]


@ROUTES.add("GET", "/routing/tiers", needs=Action.READ_ROUTES, refuses=(404,))
async def list_tiers(api: Api) -> list[TierView]:
    """Tell, by route, how many requests the small model answered and what that saved."""
    sums = _part(api).tiers.sums
    return [TierView(model=model, **msgspec.structs.asdict(found)) for model, found in sums.items()]


@ROUTES.add("POST", "/routing/check", needs=Action.READ_ROUTES, refuses=(404,))
async def check_routing(api: Api, body: CheckBody) -> CheckView:
    """Tell whether a document could be applied; every mistake at once."""
    found = _part(api).versions.check(body.document)
    return CheckView(sound=True, routes=len(found.routes))


@ROUTES.add("PUT", "/routing", needs=Action.WRITE_ROUTES, refuses=(404,))
async def apply_routing(by: By, api: Api, body: ApplyBody) -> VersionView:
    """Route by a new document, on every node within a second."""
    return _view(
        await _part(api).versions.apply(
            body.document, author=_author(by), why=body.why, based_on=body.based_on
        )
    )


@ROUTES.add("POST", "/routing/rollback", needs=Action.WRITE_ROUTES, refuses=(404,))
async def rollback_routing(by: By, api: Api, body: RollbackBody) -> VersionView:
    """Go back to an earlier version, on every node within a second."""
    return _view(await _part(api).versions.rollback(body.to, author=_author(by), why=body.why))


@ROUTES.add("POST", "/routing/explain", needs=Action.READ_ROUTES, refuses=(404,))
async def explain_route(by: By, api: Api, body: ExplainBody) -> ExplainedView:
    """Tell who would answer a request now, and why. Nobody is called."""
    part = _part(api)
    caller = by.principal
    asker = Principal(
        key_id=caller.key_id,
        org=body.org or caller.org,
        team=caller.team,
        project=caller.project,
        user=body.user or caller.user,
        tier=body.tier,
    )
    table = part.table()
    feature = None if table.features is None else table.features.of(asker, body.feature)
    choice = table.find(body.model, asker).choose(
        RouteAsk(
            draw=body.draw,
            principal=asker,
            task=body.task,
            region=body.region,
            urgent=body.urgent,
            input_tokens=body.input_tokens,
            output_tokens=body.output_tokens,
            text=lambda: body.text,
        )
    )
    choice = table.narrow(choice, body.model, asker, body.feature)
    return ExplainedView(
        model=body.model,
        version=part.versions.current.number,
        why=list(choice.why) or ["by weight"],
        tier=choice.tier,
        targets=[_chosen(each) for each in choice.targets],
        larger=[_chosen(each) for each in choice.larger],
        fallback=[] if feature is None else list(feature.steps),
    )


def _part(api: Management) -> RoutingPart:
    if api.routing is None:
        raise NotFound("This deployment keeps no versions of its routing configuration.")
    return api.routing


def _author(by: Caller) -> str:
    return by.name or by.principal.key_id


def _view(version: Version) -> VersionView:
    return VersionView(
        number=version.number,
        author=version.author,
        why=version.why,
        at_s=version.at_s,
        again=-1 if version.again is None else version.again,
    )


def _chosen(target: Target) -> ChosenView:
    return ChosenView(
        route=target.route,
        provider=target.provider.name,
        model=target.model,
        arm=target.arm,
        region=target.region,
        price_version=target.price.version,
        free=target.price.free,
    )
