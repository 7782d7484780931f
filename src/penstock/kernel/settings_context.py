"""What becomes of a conversation that is longer than its model's context window, by organisation and team."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock.kernel.settings_types import Text, doc

Overflow = Literal["reject", "truncate_oldest"]


class ContextSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one team, one organisation or all get for a conversation that may not fit."""

    org: Annotated[Text, doc("Organisation it is for; empty: every one without rules of its own.")] = ""
    team: Annotated[Text, doc("Team it is for; empty: every team without rules of its own.")] = ""
    on_overflow: Annotated[
        Overflow,
        doc(
            "`reject` refuses what certainly does not fit; `truncate_oldest` leaves out the oldest turns, and flags "
            "the request's record with `context_truncated`."
        ),
    ] = "reject"
    callers_choose: Annotated[
        bool, doc("Whether the header `x-penstock-overflow` of a request may choose the other one.")
    ] = False
    bytes_per_token: Annotated[
        Annotated[int, Meta(ge=1, le=4)],
        doc(
            "How long a token of text is taken to be: with 1 what is left always fits; 4, the average of English, "
            "leaves more and the vendor may still refuse it."
        ),
    ] = 1
