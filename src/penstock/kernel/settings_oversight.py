"""Oversight: the lake that audit records are asked about in, when to alert, and whom to tell."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock.kernel.settings_types import Positive, Seconds, Text, doc

RuleName = Literal[
    "day-above-mean",
    "user-over",
    "feature-spike",
    "tokens-per-request",
    "pii-skips",
    "dependency-down",
    "budget-50",
    "budget-80",
    "budget-100",
    "canary-rolled-back",
    "latency-budget",
]


class LakeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Audit records in column files, asked about in SQL. Needs the extra `lake`, and the embedded ledger."""

    store: Annotated[bool, doc("Take the audit stream into files by organisation and day.")] = False
    batch_records: Annotated[
        Annotated[int, Meta(ge=1, le=50_000)], doc("Records in one batch of files at most.")
    ] = 20_000
    flush_s: Annotated[Seconds, doc("Seconds after which a record is in the files, with however few.")] = 60.0
    retention: Annotated[
        Literal["standard", "cold-year"],
        doc("`standard` keeps records 90 days, `cold-year` 365; what is flagged is kept for good."),
    ] = "standard"


class ContentSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of prompts and answers beside their figures. Each team may have less of it known."""

    most: Annotated[
        Literal["none", "hash", "full"],
        doc(
            "The most that is known here. `hash`: keyed hashes in audit records. `full`: prompts and answers too, "
            "sealed, of teams that opted in and of requests that a guard flagged; needs the embedded ledger."
        ),
    ] = "hash"
    days: Annotated[
        Positive, doc("Whole days that contents are kept after their own; what is flagged is kept for good.")
    ] = 7
    buffer_bytes: Annotated[
        Positive, doc("Bytes of contents waiting to be written at most; more are dropped and counted.")
    ] = 32 * 1024 * 1024


class AlertSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When one of the built-in alerts fires, other than it does by itself."""

    rule: Annotated[RuleName, doc("Which alert.")]
    off: Annotated[bool, doc("It never fires.")] = False
    limit: Annotated[
        Annotated[float, Meta(ge=-1)],
        doc(
            "It fires above this, in the unit of its rule (times, nano-dollars, tokens, share); -1: built in."
        ),
    ] = -1.0
    floor: Annotated[
        Annotated[int, Meta(ge=-1)],
        doc(
            "What a day, or five minutes of `latency-budget`, must come to before it is judged, in nano-dollars or "
            "requests; -1: built in."
        ),
    ] = -1


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody who is told of alerts, by HTTPS."""

    name: Annotated[
        Text, Meta(min_length=1), doc("Name of the target; messages on their way know it by that.")
    ]
    url: Annotated[Text, doc("Where to post: `https://…`, or `http://` to this machine itself.")]
    secret: Annotated[Text, doc("Name of the secret that messages are signed with; empty signs none.")] = ""
    form: Annotated[
        Literal["json", "slack"], doc("`json` posts the alert whole, `slack` its text in Slack's form.")
    ] = "json"
    orgs: Annotated[tuple[Text, ...], doc("Organisations told of; empty: all, and the platform.")] = ()
