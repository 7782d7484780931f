"""Alerts, joined: what they read, and who is told.

    totals of the traces, dependencies, budgets, skipped scans ──▶ rules ──▶ rows ──▶ webhooks

Promises: a mistake in a rule or a target is told before anything is served; what waits to be told when the process
ends is told after the next start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack

import msgspec

from penstock.gateway.pipeline import Inspection
from penstock.gateway.privacy import PrivacyCare
from penstock.kernel.clock import Clock
from penstock.kernel.errors import Invalid
from penstock.kernel.settings import AlertSettings, Settings
from penstock.mechanisms import webhooks
from penstock.mechanisms.alerts import book
from penstock.mechanisms.alerts.book import Alerts, Source
from penstock.mechanisms.alerts.rules import DEFAULTS, Reading, Rule
from penstock.mechanisms.headroom import Headroom
from penstock.mechanisms.webhooks import Target, Webhooks
from penstock.net.client import HttpClient
from penstock.ports.secrets import Secrets
from penstock.ports.traces import Traces
from penstock.wiring import adapters
from penstock.wiring.health import Health
from penstock.wiring.platform import Stores

COLLECTIONS = (*book.COLLECTIONS, *webhooks.COLLECTIONS)
BUDGETS = ("budget-50", "budget-80", "budget-100")
CONNECTIONS = 2
WAITING = 40
"""Posts that wait for a connection; at most 20 are tried at a time."""


async def open_alerts(
    settings: Settings,
    stores: Stores,
    kept: Secrets,
    clock: Clock,
    opening: AsyncExitStack,
    *,
    sources: Sequence[Source],
    traces: Traces | None,
) -> tuple[Alerts, Webhooks]:
    """Alert from now on. Raises Invalid for a target that may not be posted to."""
    targets = [
        Target(name=each.name, url=each.url, secret=each.secret, form=each.form, orgs=each.orgs)
        for each in settings.webhooks
    ]
    told = Webhooks(targets, stores.records, kept, _hooks(targets, opening), clock)
    alerts = Alerts(
        stores.records, told, clock, traces=traces, rules=rules_of(settings.alerts), sources=sources
    )
    if targets:
        told.start()
        opening.push_async_callback(told.close)
    alerts.start()
    opening.push_async_callback(alerts.close)
    return alerts, told


def _hooks(targets: Sequence[Target], opening: AsyncExitStack) -> webhooks.Hooks:
    """Return what posts; every address is looked at now."""
    https = adapters.adapter("hooks.https", "HttpsHooks")
    address = adapters.adapter("hooks.https", "address")
    for number, target in enumerate(targets):
        try:
            address(target.url)
        except Invalid as error:
            raise Invalid(error.message, field=f"webhooks[{number}].url", remedy=error.remedy) from None
    client = HttpClient(connections_per_origin=CONNECTIONS, idle_max=CONNECTIONS, max_waiting=WAITING)
    hooks = https(client)
    opening.push_async_callback(hooks.close)
    return hooks


def rules_of(chosen: Iterable[AlertSettings]) -> list[Rule]:
    """Return the built-in rules as the settings want them."""
    by_id = {rule.id: rule for rule in DEFAULTS}
    for each in chosen:
        if each.off:
            del by_id[each.rule]
            continue
        rule = by_id[each.rule]
        by_id[each.rule] = msgspec.structs.replace(
            rule,
            limit=rule.limit if each.limit < 0 else each.limit,
            floor=rule.floor if each.floor < 0 else each.floor,
        )
    return list(by_id.values())


def sources_of(health: Health, headroom: Headroom, inspections: Sequence[Inspection]) -> tuple[Source, ...]:
    """Return what tells of now."""
    scans = [each for each in inspections if isinstance(each, PrivacyCare)]
    return (
        Source(("dependency-down",), lambda: _down(health)),
        # A budget of which nothing is heard, after a restart say, is as it was: what stands of it stands.
        Source((), lambda: _spent(headroom)),
        *(Source(("pii-skips",), _skips(care)) for care in scans),
    )


def _down(health: Health) -> Iterator[Reading]:
    for name, works in health.answers().items():
        yield Reading(rule="dependency-down", org="", subject=name, value=0.0 if works else 1.0)


def _spent(headroom: Headroom) -> Iterator[Reading]:
    """Yield each budget for each mark. Its name is without the day or month, so that a new one ends what stood."""
    for fill in headroom.fills:
        path, _, window = fill.account.rpartition("@")
        org = path.partition("/")[0].partition(":")[2]
        subject = f"{path} of the {_WINDOWS.get(len(window), 'whole')}"
        for rule in BUDGETS:
            yield Reading(rule=rule, org=org, subject=subject, value=fill.percent)


_WINDOWS = {len("2026-11-21"): "day", len("2026-11"): "month"}


def _skips(care: PrivacyCare) -> Callable[[], list[Reading]]:
    def told() -> list[Reading]:
        share = care.tally.measured_rate()
        return [Reading(rule="pii-skips", org="", subject="scans", value=share)]

    return told
