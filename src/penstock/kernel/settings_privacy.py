"""What may not leave, and what guards look for: personal data and topics, by organisation and team."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock.kernel.settings_types import Text, doc

Treatment = Literal["allow", "flag", "mask", "replace", "refuse"]


class PrivacySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What becomes of personal data and secrets in the traffic of one team, of one organisation, or of all."""

    org: Annotated[Text, doc("Organisation it is for; empty: every one without rules of its own.")] = ""
    team: Annotated[Text, doc("Team it is for; empty: every team without rules of its own.")] = ""
    requests: Annotated[
        dict[str, Treatment],
        doc(
            "What to do with each kind found in a request: `allow`, `flag`, `mask` (for good), `replace` (put back in "
            "the answer) or `refuse`. Kinds that are not named are not looked for."
        ),
    ] = {}
    answers: Annotated[dict[str, Treatment], doc("Likewise in answers; `replace` is for requests only.")] = {}
    languages: Annotated[tuple[Text, ...], doc("Languages of the texts, for named entities.")] = ("en",)
    budget_ms: Annotated[
        Annotated[float, Meta(gt=0, le=5_000)], doc("Milliseconds a request may wait for its scan.")
    ] = 30.0
    past_budget: Annotated[
        Literal["flag", "refuse"],
        doc("What then: the request goes on flagged and is scanned afterwards, or it is refused."),
    ] = "flag"


class RecogniserSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A second engine for personal data in a helper process: national identifiers; names where a model is installed."""

    engine: Annotated[
        Literal["none", "presidio"], doc("`presidio` needs the extra `pii`; nothing is downloaded.")
    ] = "none"
    languages: Annotated[tuple[Text, ...], doc("Languages it is started for.")] = ("en",)
    models: Annotated[
        dict[str, Text],
        doc("Installed spaCy model by language; without one no name is found, and it says so."),
    ] = {}


class GuardSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one team, one organisation or all must keep away from, or keep to, in what they ask."""

    org: Annotated[Text, doc("Organisation it is for; empty: every one without guards of its own.")] = ""
    team: Annotated[Text, doc("Team it is for; empty: every one without guards of its own.")] = ""
    never: Annotated[tuple[Text, ...], doc("Words or phrases that users and tools must not say.")] = ()
    only: Annotated[
        tuple[Text, ...], doc("Words or phrases of which the last question must hold one; empty: any topic.")
    ] = ()
    topics: Annotated[
        Literal["flag", "refuse"], doc("What a topic that is not allowed does to the request.")
    ] = "refuse"
    overrides: Annotated[
        Literal["off", "flag", "refuse"],
        doc("What text that tries to give the model new orders does to the request."),
    ] = "off"
    timeout_ms: Annotated[
        Annotated[float, Meta(gt=0, le=1_000)], doc("Milliseconds each guard may take.")
    ] = 50.0
    on_failure: Annotated[
        Literal["open", "closed"],
        doc("A guard that fails or is late: `open` flags and goes on, `closed` refuses."),
    ] = "open"
