"""What a feature may be answered by, and what stands in for its models while none of them answers."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from penstock.kernel.settings_types import Positive, Seconds, Text, doc


class AnswerRuleSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One answer an operator wrote for whoever asks something like it."""

    pattern: Annotated[
        Text,
        Meta(min_length=1),
        doc("What the user's last message must have in it, in RE2's syntax, e.g. `(?i)opening hours`."),
    ]
    text: Annotated[Text, Meta(min_length=1), doc("The answer.")]


class FeatureSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rules of one feature. Those that name it count before those of every feature, then those of its team before those
    of its organisation.
    """

    name: Annotated[
        Text, doc("The feature, as `x-penstock-feature` says it; empty: every one without rules of its own.")
    ] = ""
    org: Annotated[Text, doc("Organisation it is for; empty: every one without rules of its own.")] = ""
    team: Annotated[Text, doc("Team it is for; empty: every team without rules of its own.")] = ""
    only: Annotated[
        tuple[Text, ...],
        doc("Models that may answer, as their provider names them or as `provider/model`; empty: any."),
    ] = ()
    forbid: Annotated[
        tuple[Text, ...],
        doc("Models that may not, written likewise; neither routes nor fallbacks choose them."),
    ] = ()
    fallback: Annotated[
        tuple[Text, ...],
        doc(
            "What is tried in turn when the request's own back ends have all failed: other public model names, `stale` "
            "(a kept answer past its time), `rule`, `canned`, `later` (answered by webhook)."
        ),
    ] = ()
    rules: Annotated[
        tuple[AnswerRuleSettings, ...], doc("Answers by `rule`; of those that fit the first is given.")
    ] = ()
    canned: Annotated[Text, doc("The answer `canned`.")] = ""
    p95_ms: Annotated[
        Annotated[int, Meta(ge=0, le=3_600_000)],
        doc(
            "Budget for the 95th percentile of the whole latency of its answers, in milliseconds; 0: none. The alert "
            "`latency-budget` tells when it is overrun, and by which step."
        ),
    ] = 0
    later: Annotated[
        Text, doc("Name of the webhook that tells answers of `later`; it must name the organisation.")
    ] = ""


class LaterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Requests that wait for a provider, and their answers until they are forgotten."""

    max_requests: Annotated[
        Positive, doc("Requests of one organisation at most, answered ones among them.")
    ] = 1_000
    max_bytes: Annotated[Positive, doc("Bytes of those at most.")] = 64 * 1024 * 1024
    kept_s: Annotated[
        Seconds, doc("Seconds a request waits at most, and its answer can be read once it has one.")
    ] = 86_400.0
    concurrency: Annotated[Positive, doc("Requests one process has under way at one time at most.")] = 4
