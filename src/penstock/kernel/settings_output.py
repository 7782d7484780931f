"""What answers may be: how long, where they stop, what of them is shown, and in which pieces they come."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock.kernel.settings_types import Count, Text, doc

Cadence = Literal["token", "100ms", "sentence", "whole"]
CADENCES: tuple[Cadence, ...] = ("token", "100ms", "sentence", "whole")
"""From the quickest to the slowest."""


class OutputSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule for answers. All that match hold together: the smallest limit, every stop, the slowest cadence."""

    org: Annotated[Text, doc("Organisation it is for; empty: every one.")] = ""
    team: Annotated[Text, doc("Team it is for; empty: every team.")] = ""
    feature: Annotated[Text, doc("Feature it is for, as `x-penstock-feature` says it; empty: every one.")] = (
        ""
    )
    model: Annotated[Text, doc("Public model name it is for; empty: every one.")] = ""
    max_output_tokens: Annotated[Count, doc("Answer tokens at most, whatever is asked for; 0: no limit.")] = 0
    stop: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...],
        Meta(max_length=16),
        doc(
            "Texts at which an answer ends, beside those its caller names; they are not sent. Answers are cut here, "
            "for every vendor alike: what one goes on to generate is paid for."
        ),
    ] = ()
    reasoning: Annotated[
        Literal["pass", "strip"],
        doc(
            "`strip` keeps what a model thought from its caller. A request whose vendor wants its thoughts back "
            "(Anthropic's, with tools) is refused."
        ),
    ] = "pass"
    cadence: Annotated[
        Cadence,
        doc(
            "How streams are passed on: `token` as they come, `100ms` in pieces of a tenth of a second, by `sentence`, "
            "or `whole` at the end, with signs of life meanwhile. `x-penstock-cadence` may ask for a slower one."
        ),
    ] = "token"
