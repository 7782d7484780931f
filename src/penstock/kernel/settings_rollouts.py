"""How canaries are judged, and what is done about them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from penstock.kernel.settings_types import Positive, Seconds, doc


class RolloutSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How canaries are judged against the production arm of their route, and what is done about them."""

    rollback: Annotated[bool, doc("Take a canary that is worse out of its route.")] = True
    alpha: Annotated[
        Annotated[float, Meta(gt=0, lt=1)],
        doc("Chance at most that a canary as good as production is ever taken out, all metrics together."),
    ] = 0.01
    latency_tolerance: Annotated[
        Annotated[float, Meta(ge=0, le=10)],
        doc("How much longer than production a canary may take, as a part: 0.1 is ten per cent."),
    ] = 0.1
    advance: Annotated[bool, doc("Give a canary that is not worse the next of `steps`, to the last.")] = False
    steps: Annotated[
        tuple[Annotated[float, Meta(gt=0, le=100)], ...],
        doc("Shares of its route's traffic a canary gets one after the other, in per cent."),
    ] = (1.0, 5.0, 25.0, 50.0, 100.0)
    hold_s: Annotated[Seconds, doc("Seconds that a canary stays on a step at least.")] = 600.0
    least_calls: Annotated[Positive, doc("Calls that each arm must have had on a step.")] = 100
