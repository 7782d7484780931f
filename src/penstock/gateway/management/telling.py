"""Who is told of alerts, and of what: the rules, the webhooks, and what became of each message.

Promises: an organisation sees the targets that are told of it and the messages about it, and no name of another; an
address is never shown but for its host, which owners see (also in what failed), since the rest of it may be a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel

from penstock.gateway.management.oversight_part import OversightPart
from penstock.gateway.management.parts import Api, Management
from penstock.gateway.management.policy import By, Routes
from penstock.gateway.management.reach import Org, must_reach
from penstock.kernel.errors import NotFound
from penstock.mechanisms.alerts.rules import DEFAULTS, Rule
from penstock.mechanisms.roles import Action
from penstock.mechanisms.webhooks import Target, Waiting

ROUTES: Final = Routes("alerts")
LISTED_MOST: Final = 1_000
"""Messages shown that wait, and as many that were given up."""
UNREACHED: Final = "it could not be reached"


class AlertRule(BaseModel):
    """When an alert fires: above `limit` (in the unit of its kind) for `for_s` seconds. `changed`: not as built in."""

    rule: str
    kind: str
    severity: Literal["info", "warning", "critical"]
    limit: float
    floor: int
    for_s: float
    runbook: str
    off: bool
    changed: bool


class WebhookTarget(BaseModel):
    """Somebody who is told. `orgs` are those told of, none: all; `host` is for owners."""

    name: str
    form: Literal["json", "slack"]
    signed: bool
    orgs: list[str]
    host: str = ""


class Delivery(BaseModel):
    """A message on its way, taken, or given up. `due_s` is when it is tried next, or was last; times are wall time."""

    target: str
    type: str
    org: str
    text: str
    at_s: float
    state: Literal["waiting", "taken", "dead"]
    attempts: int
    due_s: float
    failure: str


class Deliveries(BaseModel):
    """Who is told, and the latest messages, newest first. What was taken, the node that was asked knows of itself only,
    since it started.
    """

    targets: list[WebhookTarget]
    deliveries: list[Delivery]


@ROUTES.add("GET", "/alerts/rules", needs=Action.READ_ALERTS, refuses=[404])
async def list_rules(api: Api) -> list[AlertRule]:
    """Show every rule as it is in force."""
    in_force = {rule.id: rule for rule in _oversight(api).alerts.rules}
    return [_rule(each, in_force.get(each.id)) for each in DEFAULTS]


@ROUTES.add("GET", "/alerts/deliveries", needs=Action.READ_ALERTS, refuses=[404])
async def list_deliveries(by: By, api: Api, org: Org = "") -> Deliveries:
    """Show who is told of an organisation, and of what they were; an owner who names none sees everybody."""
    told = _oversight(api).webhooks
    is_owner = by.principal.role == "owner"
    wanted = "" if is_owner and not org else must_reach(by.principal, org)
    found = [
        *(_delivery(each, "waiting") for each in await told.waiting(org=wanted, limit=LISTED_MOST)),
        *(_delivery(each, "dead") for each in await told.waiting(dead=True, org=wanted, limit=LISTED_MOST)),
        *(_delivery(each, "taken") for each in told.taken if not wanted or each.message.org == wanted),
    ]
    hosts = {} if is_owner else {each.name: _host(each) for each in told.targets}
    return Deliveries(
        targets=[
            _target(each, wanted, is_owner=is_owner)
            for each in told.targets
            if not wanted or not each.orgs or wanted in each.orgs
        ],
        deliveries=sorted([_without(hosts, each) for each in found], key=lambda each: -each.at_s),
    )


def _rule(built_in: Rule, rule: Rule | None) -> AlertRule:
    shown = rule or built_in
    return AlertRule(
        rule=shown.id,
        kind=shown.kind,
        severity=shown.severity,
        limit=shown.limit,
        floor=shown.floor,
        for_s=shown.for_s,
        runbook=shown.runbook,
        off=rule is None,
        changed=rule != built_in,
    )


def _target(target: Target, org: str, *, is_owner: bool) -> WebhookTarget:
    return WebhookTarget(
        name=target.name,
        form=target.form,
        signed=bool(target.secret),
        orgs=[each for each in target.orgs if is_owner or each == org],
        host=_host(target) if is_owner else "",
    )


def _host(target: Target) -> str:
    return urlsplit(target.url).hostname or ""


def _without(hosts: Mapping[str, str], each: Delivery) -> Delivery:
    """Return a message whose failure does not name its target's host."""
    host = hosts.get(each.target)
    return each.model_copy(update={"failure": UNREACHED}) if host and host in each.failure.lower() else each


def _delivery(each: Waiting, state: Literal["waiting", "taken", "dead"]) -> Delivery:
    return Delivery(
        target=each.target,
        type=each.message.type,
        org=each.message.org,
        text=each.message.text,
        at_s=each.message.at_s,
        state=state,
        attempts=each.attempts,
        due_s=each.due_s,
        failure=each.failure,
    )


def _oversight(api: Management) -> OversightPart:
    if api.oversight is None:
        raise NotFound("There is no oversight here.", code="oversight_off", field="alerts")
    return api.oversight
