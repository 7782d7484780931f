"""Alerts: what stands, what stood, when each fires, and who is told, with what became of every message.

Promises: an organisation sees its own; what an alert is about is one click away; nothing is sent but by somebody who
may, and then it says to how many.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from starlette.responses import Response

from penstock.console import formats
from penstock.console.filters import Sought
from penstock.console.security import PREFIX
from penstock.console.visits import Page, Visit
from penstock.sdk.oversight import AlertRule, AlertView, Delivery

RULES: Final = {
    "day-above-mean": "An organisation's day costs many times the mean of its last seven.",
    "user-over": "A user spends more than this in a day.",
    "feature-spike": "A feature's day costs many times its mean.",
    "tokens-per-request": "A feature's requests take more tokens each than they should.",
    "pii-skips": "Requests go on without their scan for personal data.",
    "dependency-down": "A store, or what else the platform needs, does not answer.",
    "budget-50": "Half of a budget is spent.",
    "budget-80": "Four fifths of a budget are spent.",
    "budget-100": "A budget is spent.",
    "canary-rolled-back": "A canary was worse than production and was taken out.",
    "latency-budget": "A feature's answers take longer than its budget at the 95th percentile.",
}
"""Each rule in words."""
SEVERITIES: Final = {"critical": "bad", "warning": "warn", "info": "accent"}
STATES: Final = {"waiting": "warn", "taken": "ok", "dead": "bad"}
SHOWN: Final = 50
EXAMPLE: Final = """[[webhooks]]
name = "on-call"
url = "https://hooks.example.com/penstock"
secret = "on-call"      # the name of the secret it is signed with
form = "json"           # or "slack\""""
_OF_TEAM: Final = re.compile(r"(.*) \((.+)\)", re.DOTALL)
_BUDGET: Final = re.compile(r"(org:\S+) of the \w+")


@dataclass(frozen=True, slots=True)
class Line:
    """An alert as its row shows it. `link` leads to what it is about, "" where that has no page."""

    alert: AlertView
    kind: str
    since_s: float
    link: str


async def index(visit: Visit) -> Response:
    """Show all of it."""
    org = visit.query("org").strip()[:64] if visit.me.role == "owner" else ""
    found = await visit.client.alerts.list(org)
    told = await visit.client.alerts.deliveries(org)
    rules = await visit.client.alerts.rules()
    return visit.render(
        "pages/alerts.html",
        org=org,
        standing=[line(visit, each) for each in _worst_first(found.standing)],
        past=[line(visit, each) for each in found.past[:SHOWN]],
        firing=sum(each.state == "firing" for each in found.standing),
        targets=told.targets,
        deliveries=told.deliveries[:SHOWN],
        counts=_counts(told.deliveries),
        states=STATES,
        rules=[(each, RULES.get(each.rule, each.kind), limit_words(each)) for each in rules],
        severities=SEVERITIES,
        is_owner=visit.me.role == "owner",
        may_test=visit.may("try how alerts are told"),
        example=EXAMPLE,
    )


async def try_out(visit: Visit) -> Response:
    """Send everybody who is told a message that says it is a test."""
    org = (await visit.form()).get("org", "") if visit.me.role == "owner" else ""
    sent = await visit.client.alerts.test(org)
    told = (
        "nobody: no webhook is told of this organisation" if not sent.targets else f"{sent.targets} of them"
    )
    return visit.go(
        f"/alerts?{urlencode({'org': org})}" if org else "/alerts", notice=f"A test is on its way to {told}."
    )


def line(visit: Visit, alert: AlertView) -> Line:
    """Return an alert as it is shown."""
    since_s = alert.resolved_s or alert.fired_s or alert.began_s
    return Line(alert, SEVERITIES.get(alert.severity, ""), since_s, _about(visit, alert))


def limit_words(rule: AlertRule) -> str:
    """Return when a rule fires, in its own unit."""
    told = {
        "day_above_mean": f"over {rule.limit:g} times",
        "feature_spike": f"over {rule.limit:g} times",
        "user_over": f"over {formats.money(int(rule.limit))}",
        "tokens_per_request": f"over {formats.count(rule.limit)} tokens",
    }.get(rule.kind, "")
    if rule.rule == "pii-skips":
        told = f"over {formats.percent(rule.limit * 100)}"
    elif rule.rule == "latency-budget":
        told = f"over {rule.limit:g} times"
    elif rule.rule.startswith("budget-"):
        told = f"at {rule.limit:g} %"
    return told + (f" for {formats.span(rule.for_s)}" if rule.for_s else "") or "at once"


def _worst_first(alerts: tuple[AlertView, ...]) -> list[AlertView]:
    order = ("critical", "warning", "info")
    return sorted(
        alerts,
        key=lambda each: (
            each.state != "firing",
            order.index(each.severity) if each.severity in order else len(order),
            -each.began_s,
        ),
    )


def _counts(deliveries: tuple[Delivery, ...]) -> dict[str, int]:
    return {state: sum(each.state == state for each in deliveries) for state in STATES}


def _about(visit: Visit, alert: AlertView) -> str:
    """Return the page of what an alert is about."""
    at = {"org": alert.org} if alert.org and alert.org != visit.me.org else {}
    if alert.rule.startswith("budget-") and (found := _BUDGET.fullmatch(alert.subject)):
        return f"{PREFIX}/keys{f'?{urlencode(at)}' if at else ''}#{found[1]}"
    fields = {"user-over": "user", "feature-spike": "feature", "tokens-per-request": "feature"}
    if alert.rule == "latency-budget":
        found = _OF_TEAM.fullmatch(alert.subject)
        named = {"feature": found[1], "team": found[2]} if found else {"feature": alert.subject}
        return Sought({**named, **at}, "1h").requests()
    if alert.rule in fields:
        return Sought({fields[alert.rule]: alert.subject, **at}, "24h").requests()
    if alert.rule == "day-above-mean":
        return f"{PREFIX}/costs?{urlencode({'by': 'day', 'then': 'model', 'last': '7d', **at})}"
    pages = {
        "canary-rolled-back": ("/routes", "read routes"),
        "dependency-down": ("/settings", "read settings"),
    }
    path, needs = pages.get(alert.rule, ("", ""))
    return PREFIX + path if path and visit.may(needs) else ""


PAGES: Final = (
    Page(path="/alerts", serve=index, needs="read alerts"),
    Page(path="/alerts/test", serve=try_out, needs="try how alerts are told", method="POST"),
)
