"""Which model: routes, their arms, and who may be served where.

What is here may also be changed while the platform runs, as a versioned document (`RoutingDocument`).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock.kernel.settings_features import FeatureSettings
from penstock.kernel.settings_types import Count, Positive, Text, doc

Percent = Annotated[float, Meta(ge=0, le=100)]
Share = Annotated[float, Meta(ge=0, le=1)]
AMinute = Annotated[int, Meta(ge=0, le=10**12)]
AtOneTime = Annotated[int, Meta(ge=0, le=100_000)]
"""As many as the state store counts: above that it refuses every request instead of limiting any."""


class TargetSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One back end of a route."""

    provider: Annotated[Text, doc("Name of a provider.")]
    model: Annotated[Text, doc("The provider's own model name.")]
    weight: Annotated[Count, doc("Share of traffic relative to the other targets; 0 is fallback only.")] = 100


class CanarySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A newcomer that gets a part of a route's traffic, to be compared with what the rest gets."""

    targets: Annotated[tuple[TargetSettings, ...], doc("Back ends of the newcomer; none: no canary.")] = ()
    percent: Annotated[Percent, doc("Share of the route's traffic it gets, 0 to 100.")] = 0.0


class ComplexitySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Easy requests to a smaller model. The route's own `targets` are the large ones."""

    by: Annotated[
        Literal["none", "tag", "heuristic", "classifier", "cascade"],
        doc(
            "Who says what is easy: the header `x-penstock-task`, length and keywords, a small classifier, or the "
            "small model itself (`cascade`: it is asked first, the large one when it is not sure)."
        ),
    ] = "none"
    small: Annotated[tuple[TargetSettings, ...], doc("Back ends of easy requests.")] = ()
    small_tasks: Annotated[tuple[Text, ...], doc("`tag`: tasks that are easy; others are not.")] = ()
    words: Annotated[
        tuple[Text, ...], doc("`heuristic`: a request with one of these words is not easy.")
    ] = ()
    easy_tokens: Annotated[Positive, doc("`heuristic`: a request with more input tokens is not easy.")] = 500
    threshold: Annotated[
        Share,
        doc(
            "`classifier`: chance of being hard from which a request goes to the large model. `cascade`: mean "
            "probability of the answer's tokens below which the large model is asked."
        ),
    ] = 0.5


class CeilingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a tier of callers may be served at most."""

    tier: Annotated[Text, doc("Tier of the caller's key, e.g. `standard`.")]
    output: Annotated[Text, doc("Dollars per million output tokens at most.")]


class ModelRateSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of one model each organisation may use, beside the limits of its teams, users and keys."""

    requests_per_minute: Annotated[AMinute, doc("Requests a minute; 0 is no limit.")] = 0
    tokens_per_minute: Annotated[AMinute, doc("Tokens a minute, in and out; 0 is no limit.")] = 0
    concurrency: Annotated[AtOneTime, doc("Requests at one time; 0 is no limit.")] = 0
    window: Annotated[
        bool,
        doc(
            "No more than so many in any minute, counted exactly; a bucket (false) lets up to twice as many through in "
            "a minute that begins with it full. Tokens then count as asked for: what was not used does not come back."
        ),
    ] = False


class RouteSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A public model name and what stands behind it."""

    model: Annotated[Text, doc("The name callers use.")]
    targets: Annotated[
        tuple[TargetSettings, ...], Meta(min_length=1), doc("Back ends, tried in order of the draw.")
    ]
    sticky: Annotated[
        Literal["none", "user", "key"],
        doc("Keep each user, or each key, on its back end for as long as the weights allow."),
    ] = "none"
    strategy: Annotated[
        Literal["weighted", "cheapest", "fastest"],
        doc(
            "Which of the targets with a weight is first: by weight, by today's price of the request, or the less "
            "loaded and quicker to its first token of two drawn."
        ),
    ] = "weighted"
    fallbacks: Annotated[
        tuple[Text, ...], doc("Other public names whose targets are tried when these all fail, in order.")
    ] = ()
    spill_in_flight: Annotated[
        Count,
        doc(
            "Self-hosted (free) targets come first while they answer fewer requests than this at one time, for "
            "requests that are not urgent (`x-penstock-priority: urgent`); 0 is off."
        ),
    ] = 0
    hedge: Annotated[
        bool,
        doc(
            "Ask a second back end (the same one, where there is no other) when a first token takes longer than 95 of "
            "100 did, and use whichever answers first. Both are paid for; never more than the retry budget allows."
        ),
    ] = False
    resume: Annotated[
        bool,
        doc(
            "Have another back end (the same one, where there is no other) go on with a streamed answer of plain text "
            "that broke off. Both parts are paid for; such streams are read event by event."
        ),
    ] = False
    rate: ModelRateSettings = ModelRateSettings()
    regions: Annotated[tuple[Text, ...], doc("Only providers of these regions; empty: any.")] = ()
    ceilings: Annotated[tuple[CeilingSettings, ...], doc("Price ceilings by tier.")] = ()
    canary: CanarySettings = CanarySettings()
    complexity: ComplexitySettings = ComplexitySettings()


class ResidencySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where an organisation's requests may be answered, whatever the route."""

    org: Annotated[Text, doc("The organisation.")]
    regions: Annotated[tuple[Text, ...], Meta(min_length=1), doc("Regions of providers it may be served by.")]


class RoutingDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The part of the configuration that changes while the platform runs, as one versioned document."""

    routes: Annotated[tuple[RouteSettings, ...], doc("Public model names.")] = ()
    residency: Annotated[tuple[ResidencySettings, ...], doc("Where organisations may be served.")] = ()
    features: Annotated[
        tuple[FeatureSettings, ...],
        doc("What features may be answered by, and what stands in for their models."),
    ] = ()
