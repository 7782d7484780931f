"""What becomes of a conversation that is longer than its model's context window, by organisation and team."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock.kernel.settings_types import Text, doc

Overflow = Literal["reject", "truncate_oldest", "summarise"]


class ContextSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one team, one organisation or all get for a conversation that does not fit."""

    org: Annotated[Text, doc("Organisation it is for; empty: every one without rules of its own.")] = ""
    team: Annotated[Text, doc("Team it is for; empty: every team without rules of its own.")] = ""
    on_overflow: Annotated[
        Overflow,
        doc(
            "`reject` refuses what certainly does not fit; `truncate_oldest` leaves out the oldest turns; `summarise` "
            "puts a summary by `summary_model` in their place, billed to the same request. The request's record is "
            "flagged `context_truncated` or `context_summarised`."
        ),
    ] = "reject"
    callers_choose: Annotated[
        bool, doc("Whether the header `x-penstock-overflow` of a request may choose another one.")
    ] = False
    summary_model: Annotated[
        Text, doc("Public name of the model that summarises; `summarise` needs one.")
    ] = ""
    summary_tokens: Annotated[
        Annotated[int, Meta(ge=64, le=16_384)], doc("Tokens of one summary at most.")
    ] = 1_024
    keep_turns: Annotated[
        Annotated[int, Meta(ge=2, le=50)],
        doc("Newest turns that `summarise` keeps word for word; fewer, but two, where so many do not fit."),
    ] = 3
    unsummarised: Annotated[
        Literal["reject", "truncate_oldest"],
        doc("What becomes of a conversation whose summary failed, or is not paid for by any budget."),
    ] = "truncate_oldest"
