"""The cache of answers: where it is, how much it holds, what is kept and for how long, and for whom it is enough that a
question means the same.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock.kernel.settings_types import Count, Positive, Seconds, Text, doc

TtlClass = Literal["static", "semi", "live"]


class CacheSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Answers kept for whoever asks the same again."""

    url: Annotated[
        Text,
        doc(
            "`memory:` (each process its own, never on disk), `redis://…` (a Redis of its own that may evict: "
            "maxmemory-policy allkeys-lru), or empty: no answer is kept."
        ),
    ] = ""
    bytes: Annotated[Positive, doc("Bytes of answers held in `memory:`; a Redis has its own maxmemory.")] = (
        64 * 1024 * 1024
    )
    entry_bytes: Annotated[Positive, doc("Largest answer kept, in bytes.")] = 1024 * 1024
    share: Annotated[
        Literal["team", "org"],
        doc(
            "Who may be served another's answer: members of one team, or of one organisation. People of one team see "
            "the same prompts and documents; across teams that is for the organisation to say."
        ),
    ] = "team"
    opted_out: Annotated[
        tuple[Text, ...], doc("Who keeps and is served nothing: `ORG`, or `ORG/TEAM` for one team.")
    ] = ()
    default_class: Annotated[
        TtlClass, doc("Class of an answer whose request names none (`x-penstock-cache-ttl-class`).")
    ] = "semi"
    static_s: Annotated[Seconds, doc("Seconds an answer of class `static` is fresh.")] = 86_400.0
    semi_s: Annotated[
        Annotated[float, Meta(gt=0, le=14_400)], doc("Seconds an answer of class `semi` is fresh.")
    ] = 3_600.0
    stale_s: Annotated[
        Annotated[float, Meta(ge=0)],
        doc("Seconds past its time that an answer may stand in when no provider answers; 0: never."),
    ] = 0.0
    wait_s: Annotated[
        Seconds, doc("Seconds a request waits for the same one already under way before it asks for itself.")
    ] = 10.0
    tool_calls: Annotated[bool, doc("Whether an answer that calls tools is kept.")] = False
    mark_prompts: Annotated[
        bool,
        doc(
            "Mark prompts that come again within minutes for vendors whose prompt cache keeps only what is marked. "
            "Marking costs a quarter of the marked part once and saves nine tenths of it each time after."
        ),
    ] = True
    version: Annotated[Text, doc("Part of every key: another one, and nothing kept before is served.")] = ""


class SemanticSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Kept answers served to questions that mean the same. It works over the cache of answers and the embedding model
    in this machine, and needs both.
    """

    teams: Annotated[
        tuple[Text, ...],
        doc("Who is served them: `ORG`, or `ORG/TEAM` for one team; nobody until somebody is named."),
    ] = ()
    models: Annotated[
        tuple[Text, ...], doc("Public models whose answers may be; empty: every model's that is kept at all.")
    ] = ()
    threshold: Annotated[
        Annotated[float, Meta(ge=0.90, le=1.0)],
        doc(
            "Least cosine of two questions that ask the same; never below 0.90. Whatever it is, both must also have "
            "the same words in the same order, letter for letter but for a few dozen turns of English."
        ),
    ] = 0.95
    vectors: Annotated[
        Annotated[int, Meta(ge=1, le=2_000)], doc("Questions held for each team; the least recently met go.")
    ] = 1_000
    wait_s: Annotated[
        Seconds, doc("Seconds a request waits for its look-up before it is asked anew without.")
    ] = 0.05
    second_nanos: Annotated[
        Count,
        doc(
            "What a second of this machine costs, in nano-dollars, for the books of what is saved: 28,000 are a "
            "machine of 10 cents an hour."
        ),
    ] = 28_000
    judged_after: Annotated[
        Positive,
        doc("Look-ups of a team after which it is judged whether they saved more than they cost."),
    ] = 200
    pause_s: Annotated[
        Seconds, doc("Seconds a team's look-ups are suspended after they cost more than they saved.")
    ] = 900.0
