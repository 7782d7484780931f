"""The judge of canaries, over the routing configuration in force.

Promise: what it decides is applied as a version of that configuration, and stands as an alert of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.gateway.rollout_trials import RollbackEvent
from penstock.gateway.rollouts import Canaries
from penstock.kernel.clock import Clock
from penstock.kernel.settings import Settings
from penstock.mechanisms.alerts.rules import Reading
from penstock.mechanisms.canary_switch import CanarySwitch
from penstock.mechanisms.config_versions import ConfigVersions, T
from penstock.mechanisms.resilience import Resilience
from penstock.wiring.platform import Stores

ALERT = "canary-rolled-back"


def open_canaries(
    settings: Settings,
    stores: Stores,
    clock: Clock,
    versions: ConfigVersions[T],
    resilience: Resilience,
    tell: Callable[[Reading], None],
) -> Canaries:
    """Return the judge: a listener of the audit pipe; whoever opens it runs `canaries.run`. `tell` hears of alerts."""

    def told(event: RollbackEvent) -> None:
        subject = f"{event.route} ({event.metric})"
        tell(Reading(rule=ALERT, org="", subject=subject, value=1.0, event=event.trial))

    return Canaries(
        settings.rollouts,
        stores.records,
        stores.state,
        clock,
        CanarySwitch(versions),
        routes=lambda: versions.document.routes,
        breaker=resilience.breaker,
        told=told,
    )
