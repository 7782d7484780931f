"""Overload: what becomes of calls for models when there is not room for all of them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from penstock.kernel.settings_types import Count, Positive, Seconds, doc


class OverloadSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who waits and who is refused when there is not room for all calls for models."""

    shed: Annotated[
        bool,
        doc(
            "While this process cannot keep up, refuse calls for models at the door, the least urgent first."
        ),
    ] = True
    serving: Annotated[
        Positive,
        doc(
            "Calls for models under way at one time; more wait, the most urgent first. With those who wait below "
            "`server.in_flight`, past which nobody is asked how urgent it is."
        ),
    ] = 2_000
    waiting: Annotated[
        Count,
        doc(
            "Calls that wait at one time, for a place and for each vendor's quota; the least urgent are dropped first."
        ),
    ] = 1_000
    wait_s: Annotated[Seconds, doc("Seconds that a call waits at most before it is refused.")] = 5.0
    ageing_s: Annotated[
        Seconds, doc("Seconds of waiting after which a call counts as one class more urgent.")
    ] = 1.0
    near_quota_percent: Annotated[
        Annotated[int, Meta(ge=0, le=50)],
        doc(
            "A vendor's quota of which less than this is left is kept for the urgent: low waits from here on, normal "
            "and high from two and one thirds of it, critical at nothing left. 0 lets the vendor refuse."
        ),
    ] = 10
