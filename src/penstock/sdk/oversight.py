"""Oversight as the management API takes and gives it: questions to the audit, alerts, forecasts, invoices.

Promise: unknown members of a reply are ignored. Money is in whole nano-dollars, times are seconds since 1970 (UTC), 0
for never.
"""

from __future__ import annotations

from typing import Any

import msgspec


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One SELECT about the table `audit`, over whole UTC days; the last seven without a period."""

    sql: str
    since_s: float = 0.0
    until_s: float = 0.0
    org: str = ""


class AuditAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What SQL gives; `truncated` says that there was more."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    truncated: bool


class AuditLake(msgspec.Struct, frozen=True, kw_only=True):
    """What can be asked about: whether records are kept, on how many days (UTC), from which to which; "" for none."""

    org: str
    kept: bool
    days: int = 0
    first_day: str = ""
    last_day: str = ""
    flush_s: float = 0.0


class AlertView(msgspec.Struct, frozen=True, kw_only=True):
    """An alert; the platform's own have no `org`."""

    rule: str
    org: str
    subject: str
    state: str
    severity: str
    value: float
    limit: float
    text: str
    runbook: str
    began_s: float
    seen_s: float
    fired_s: float
    calm_since_s: float
    resolved_s: float


class Alerts(msgspec.Struct, frozen=True, kw_only=True):
    """What stands, and the latest of what was resolved. `dead` counts messages given up, and `has_more_dead` says that
    there are more than were counted; owners see them.
    """

    standing: tuple[AlertView, ...]
    past: tuple[AlertView, ...]
    dead: int | None = None
    has_more_dead: bool = False


class AlertRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule: it fires above `limit`, in the unit of its `kind`. `changed`: not as it is built in."""

    rule: str
    kind: str
    severity: str
    limit: float
    floor: int = 0
    for_s: float = 0.0
    runbook: str = ""
    off: bool = False
    changed: bool = False


class WebhookTarget(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who is told; of all organisations when `orgs` is empty. `host` is for owners."""

    name: str
    form: str
    signed: bool
    orgs: tuple[str, ...] = ()
    host: str = ""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A message: waiting, taken or dead (given up). `due_s` is when it is tried next, or was last."""

    target: str
    type: str
    org: str
    text: str
    at_s: float
    state: str
    attempts: int = 0
    due_s: float = 0.0
    failure: str = ""


class Deliveries(msgspec.Struct, frozen=True, kw_only=True):
    """Who is told, and the latest messages, newest first; what was taken, of the asked node since it started."""

    targets: tuple[WebhookTarget, ...] = ()
    deliveries: tuple[Delivery, ...] = ()


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """How many targets a message is on its way to."""

    targets: int


class CostForecast(msgspec.Struct, frozen=True, kw_only=True):
    """What the day and the month (UTC) come to at the pace of the last 24 hours."""

    org: str
    today_nanos: int
    today_end_nanos: int
    month_nanos: int
    month_end_nanos: int


class Invoice(msgspec.Struct, frozen=True, kw_only=True):
    """A vendor's invoice; `form` is openai, anthropic (as their APIs give it) or csv."""

    vendor: str
    form: str
    text: str


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A line of ours, of theirs, or both together; `difference_nanos` is what they bill more."""

    status: str
    day: str
    model: str
    reference: str
    ours_nanos: int
    theirs_nanos: int
    difference_nanos: int


class Reconciled(msgspec.Struct, frozen=True, kw_only=True):
    """Every line compared; `agrees` when each of them does."""

    vendor: str
    since: str
    until: str
    agrees: bool
    ours_nanos: int
    theirs_nanos: int
    difference_nanos: int
    counts: dict[str, int]
    lines: tuple[Compared, ...]
