"""Which model: public names and the back ends behind them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from penstock.kernel.settings_types import Count, Text, doc


class TargetSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One back end of a route."""

    provider: Annotated[Text, doc("Name of a provider.")]
    model: Annotated[Text, doc("The provider's own model name.")]
    weight: Annotated[Count, doc("Share of traffic relative to the other targets; 0 is fallback only.")] = 100


class RouteSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A public model name and what stands behind it."""

    model: Annotated[Text, doc("The name callers use.")]
    targets: Annotated[
        tuple[TargetSettings, ...], Meta(min_length=1), doc("Back ends, tried in order of the draw.")
    ]
