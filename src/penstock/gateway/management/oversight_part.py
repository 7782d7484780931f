"""What the management API reaches of oversight."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.mechanisms.alerts.book import Alerts
from penstock.mechanisms.lake.questions import LakeQuestions
from penstock.mechanisms.webhooks import Webhooks


@dataclass(frozen=True, slots=True, kw_only=True)
class OversightPart:
    """Alerts, who is told of them, and the lake; `lake` is None where none is kept."""

    alerts: Alerts
    webhooks: Webhooks
    lake: LakeQuestions | None
