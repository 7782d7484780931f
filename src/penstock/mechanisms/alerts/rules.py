"""What an alert is: a rule, a reading that breaks it, and the state it is in. Pure.

                    over, for `for_s`                    under, for `calm_s`
    (nothing) ──▶ pending ──────────▶ firing ──────────────────────────▶ resolved
                     └──under──▶ (nothing)  └─ over again: calm no longer ─┘

Promises: a rule fires once per subject (and event, where one is told) however often it is read, and again only after it
was resolved; a value that wavers about its limit neither fires nor resolves anything (`clear` of the limit is where
calm begins); one reading decides, whatever clock or store is behind it.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

State = Literal["pending", "firing", "resolved"]
Severity = Literal["info", "warning", "critical"]


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """When to alert. `limit` is in the unit of what `kind` reads; a reading over it (`inclusive`: or at it) breaks it.

    Kinds: "day_above_mean" (an organisation's day, in times its mean of up to seven days before), "user_over" (a user's
    day in nano-dollars), "feature_spike" (a feature's day, in times its mean), "tokens_per_request" (of a feature's
    day; `low` is a limit from below), "told" (whatever others tell under this id). `floor` is what a day must come to
    before its ratio is looked at: nano-dollars for the means, requests for tokens; answers in its window for a latency.
    """

    id: str
    kind: Literal["day_above_mean", "user_over", "feature_spike", "tokens_per_request", "told"]
    limit: float
    low: float = 0.0
    floor: int = 0
    inclusive: bool = False
    clear: float = 0.9
    for_s: float = 0.0
    calm_s: float = 0.0
    by_node: bool = False
    """Whether each process reads it for itself, and another may find it otherwise."""
    lasts_s: float = 0.0
    """Of what is told once: how long it stands. 0 for what is told as long as it is so."""
    severity: Severity = "warning"
    runbook: str = ""
    """The address or anchor of what to do."""
    text: str = "{subject}: {value:g}, limit {limit:g}"
    """For people; `org`, `subject`, `value`, `limit` and what the reading says of itself (`told`) are filled in."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What was read for a rule; the platform's own subjects have no `org`. `told` is more of it for people."""

    rule: str
    org: str
    subject: str
    value: float
    told: str = ""
    event: str = ""
    """Of what is told once: which time it happened, so that the next is another alert; "" where that is one and the
    same."""

    @property
    def key(self) -> str:
        """Return what tells this alert from every other."""
        return _key(self)


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert as it stands. Times are wall seconds, 0 for not yet."""

    rule: str
    org: str
    subject: str
    state: State
    severity: Severity
    value: float
    limit: float
    text: str
    runbook: str
    began_s: float
    seen_s: float
    fired_s: float = 0.0
    calm_since_s: float = 0.0
    resolved_s: float = 0.0
    event: str = ""

    @property
    def key(self) -> str:
        """Return what tells this alert from every other."""
        return _key(self)


def _key(one: Reading | Alert) -> str:
    key = f"{one.rule}\n{one.org}\n{one.subject}"
    return f"{key}\n{one.event}" if one.event else key


NANOS: Final = 1_000_000_000
DEFAULTS: Final = (
    Rule(
        id="day-above-mean",
        kind="day_above_mean",
        limit=2.0,
        floor=NANOS,
        text="{org} spends {value:.1f} times what it did on a day of the last week (alert above {limit:g})",
        runbook="docs/runbook.md#spend-is-above-its-mean",
    ),
    Rule(
        id="user-over",
        kind="user_over",
        limit=100 * NANOS,
        text="user {subject} of {org} has spent {value:.0f} nano-dollars today (alert above {limit:.0f})",
        runbook="docs/runbook.md#a-user-spends-too-much",
    ),
    Rule(
        id="feature-spike",
        kind="feature_spike",
        limit=3.0,
        floor=NANOS,
        text="feature {subject} of {org} costs {value:.1f} times its mean (alert above {limit:g})",
        runbook="docs/runbook.md#a-feature-costs-more-than-it-did",
    ),
    Rule(
        id="tokens-per-request",
        kind="tokens_per_request",
        limit=50_000,
        floor=20,
        text="feature {subject} of {org} takes {value:.0f} tokens a request (alert above {limit:.0f})",
        runbook="docs/runbook.md#tokens-per-request-are-out-of-range",
    ),
    Rule(
        id="pii-skips",
        kind="told",
        by_node=True,
        limit=0.01,
        calm_s=300.0,
        text="{value:.1%} of requests went on without a PII scan (alert above {limit:.0%})",
        runbook="docs/runbook.md#pii-scans-are-skipped",
    ),
    Rule(
        id="dependency-down",
        kind="told",
        by_node=True,
        limit=0.0,
        for_s=3.0,
        calm_s=10.0,
        severity="critical",
        text="{subject} is down",
        runbook="docs/runbook.md#a-dependency-is-down",
    ),
    *(
        Rule(
            id=f"budget-{percent}",
            kind="told",
            limit=percent,
            inclusive=True,
            clear=1.0,
            severity="critical" if percent == 100 else "warning",
            text="budget {subject} is {value:.0f} % spent (mark at {limit:g} %)",
            runbook="docs/runbook.md#a-budget-is-nearly-full",
        )
        for percent in (50, 80, 100)
    ),
    Rule(
        id="canary-rolled-back",
        kind="told",
        limit=0.0,
        lasts_s=86_400.0,
        severity="critical",
        text="the canary {subject} was rolled back",
        runbook="docs/runbook.md#a-canary-was-rolled-back",
    ),
    Rule(
        id="latency-budget",
        kind="told",
        by_node=True,
        limit=1.0,
        floor=40,
        calm_s=60.0,
        text="feature {subject} of {org} is at {value:.0%} of its latency budget (alert above {limit:.0%}): {told}",
        runbook="docs/runbook.md#a-feature-is-over-its-latency-budget",
    ),
)


def breaks(rule: Rule, value: float) -> bool:
    """Tell whether a value is over the rule's limit, or under its lower one."""
    return value > rule.limit or (rule.inclusive and value == rule.limit) or 0 < value < rule.low


def is_calm(rule: Rule, value: float) -> bool:
    """Tell whether a value is so far inside the limits that the alert may end."""
    low_calm = not rule.low or value == 0 or value >= rule.low * (2 - rule.clear)
    return low_calm and not breaks(rule, value) and (value < rule.limit * rule.clear or value <= 0)


def advanced(rule: Rule, alert: Alert | None, reading: Reading, now_s: float) -> Alert | None:
    """Return the alert after a reading: the same object when nothing changed, None when there is none."""
    if alert is None:
        return _begun(rule, reading, now_s) if breaks(rule, reading.value) else None
    if alert.state == "pending":
        if not breaks(rule, reading.value):
            return None
        return _fired(rule, alert, reading, now_s) if now_s - alert.began_s >= rule.for_s else alert
    if is_calm(rule, reading.value):
        since_s = alert.calm_since_s or now_s
        if now_s - since_s >= rule.calm_s:
            return msgspec.structs.replace(
                alert, state="resolved", resolved_s=now_s, calm_since_s=since_s, value=reading.value
            )
        return alert if alert.calm_since_s else msgspec.structs.replace(alert, calm_since_s=now_s)
    if rule.lasts_s and breaks(rule, reading.value):
        return msgspec.structs.replace(alert, seen_s=now_s)
    return msgspec.structs.replace(alert, calm_since_s=0.0) if alert.calm_since_s else alert


def _begun(rule: Rule, reading: Reading, now_s: float) -> Alert:
    alert = Alert(
        rule=rule.id,
        org=reading.org,
        subject=reading.subject,
        event=reading.event,
        state="pending",
        severity=rule.severity,
        value=reading.value,
        limit=rule.limit,
        text="",
        runbook=rule.runbook,
        began_s=now_s,
        seen_s=now_s,
    )
    return alert if rule.for_s else _fired(rule, alert, reading, now_s)


def _fired(rule: Rule, alert: Alert, reading: Reading, now_s: float) -> Alert:
    limit = rule.low if 0 < reading.value < rule.low else rule.limit
    subject = reading.subject or "(none)"  # what has no feature is its own subject
    text = rule.text.format(
        org=reading.org, subject=subject, value=reading.value, limit=limit, told=reading.told
    )
    return msgspec.structs.replace(
        alert, state="firing", fired_s=now_s, seen_s=now_s, value=reading.value, limit=limit, text=text
    )
