"""What can be switched on, one at a time: the settings with it and without it, and the traffic that meets it.

Promise: callers send the same bytes either way, except where the wish is the caller's own (a header, the door). What a
feature leaves to be seen, `shows` finds with it and not without it; one that only lies in wait (a rival for the late, a
second part for the broken off, a stand-in for the failed) shows nothing until then, and its journey proves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.bench import payload
from tests.bench.load import BURST, FULL_64, Load

MODEL: Final = payload.UPSTREAM_MODEL


@dataclass(slots=True, frozen=True, kw_only=True)
class Side:
    """The gateway with, or without. `settings` is TOML beside the bench's own, in which PORT is the upstream's;
    `headers` are what callers send besides; `managed` what is set by the API, as method, path and body.
    """

    settings: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    managed: tuple[tuple[str, str, Mapping[str, object]], ...] = ()
    is_anthropic: bool = False


@dataclass(slots=True, frozen=True, kw_only=True)
class Feature:
    """One thing to switch on. `words` open what callers ask, `members` are of its body; `trial` are the words of the
    one request that is looked at, as a pattern (`shows`) over its answer, its record and the metrics.
    """

    name: str
    on: Side
    off: Side = Side()
    load: Load = FULL_64
    words: str = ""
    members: Mapping[str, object] = field(default_factory=dict[str, object])
    shows: str = ""
    trial: str = ""


_PERSONAL = "Reach me at jo.miller@example.org or +44 20 7946 0958, card 4111 1111 1111 1111."
_PRIVACY = Side(
    settings="""
[[privacy]]
requests = { EMAIL = "replace", PHONE = "replace", CARD = "replace", IBAN = "replace", SSN = "replace", IP = "flag", \
SECRET = "mask" }
"""
)
_FOUND = r'penstock_redaction_found_total\{[^}]*"EMAIL"[^}]*\} [1-9]'
_GUARD = Side(
    settings="""
[[guards]]
never = ["dam breach", "lottery numbers"]
topics = "flag"
overrides = "flag"
"""
)
_CACHE = Side(settings='\n[cache]\nurl = "memory:"\n')
_ROUTE = Side(
    settings=f"""
[[providers]]
name = "second"
kind = "openai"
vendor = "bench"
base_url = "http://127.0.0.1:PORT/v1"
models = ["{MODEL}", "newcomer"]

[[prices]]
provider = "bench"
model = "newcomer"
input = "0.15"
output = "0.60"

[[routes]]
model = "{MODEL}"
sticky = "user"
targets = [{{ provider = "bench", model = "{MODEL}", weight = 70 }},
           {{ provider = "second", model = "{MODEL}", weight = 30 }}]
canary = {{ percent = 5, targets = [{{ provider = "second", model = "newcomer" }}] }}
"""
)
_PLAIN_ROUTE = f"""
[[routes]]
model = "{MODEL}"
targets = [{{ provider = "bench", model = "{MODEL}" }}]
"""
_CHAIN = Side(
    settings=f"""
[[routes]]
model = "standby"
targets = [{{ provider = "bench", model = "{MODEL}" }}]

[[features]]
name = "desk"
fallback = ["standby", "rule", "canned"]
rules = [{{ pattern = "(?i)opening hours", text = "From nine." }}]
canned = "Nobody can answer just now."
""",
    headers={"x-penstock-feature": "desk"},
)
_SCHEMA: Final[Mapping[str, object]] = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["answer", "days"],
    "additionalProperties": False,
}
_AS_JSON: Final[Mapping[str, object]] = {
    "response_format": {"type": "json_schema", "json_schema": {"name": "parcel", "schema": _SCHEMA}}
}
_FULL_CONTENTS = Side(
    settings='\n[contents]\nmost = "full"\n', managed=(("PUT", "/api/v1/contents/rules", {"mode": "full"}),)
)
_ANTHROPIC = Side(headers={"anthropic-version": "2023-06-01"}, is_anthropic=True)

FEATURES: Final[tuple[Feature, ...]] = (
    Feature(name="nothing: the same twice", on=Side()),
    Feature(name="privacy, clean text", on=_PRIVACY, shows=_FOUND, trial=_PERSONAL),
    Feature(name="privacy, three found", on=_PRIVACY, words=_PERSONAL, shows=_FOUND),
    Feature(name="guard", on=_GUARD, shows='"guard:', trial="Tell me the lottery numbers."),
    Feature(
        name="answer cache, miss",
        on=_CACHE,
        words=payload.NTH_MARK,
        members={"temperature": 0},
        shows=r"penstock_answer_cache_\w+ [1-9]",
    ),
    Feature(
        name="answer cache, hit",
        on=_CACHE,
        members={"temperature": 0},
        shows=r"(?i)x-penstock-cache: hit",
    ),
    Feature(name="route: weights, sticky, canary", on=_ROUTE, shows="#(production|canary)"),
    Feature(name="hedging, never late", on=Side(settings=f"{_PLAIN_ROUTE}hedge = true\n")),
    Feature(name="fallbacks of a feature", on=_CHAIN, off=Side(headers=_CHAIN.headers)),
    Feature(
        name="JSON schema, checked",
        on=Side(),
        off=Side(headers={"x-penstock-structured": "off"}),
        members=_AS_JSON,
        shows=r'penstock_structured_answers_total\{end="first_try"\} [1-9]',
    ),
    Feature(
        name="hashes of contents",
        on=Side(),
        off=Side(settings='\n[contents]\nmost = "none"\n'),
        shows=r'"prompt_hash": "\w',
    ),
    Feature(name="contents kept whole", on=_FULL_CONTENTS, shows="penstock_contents_delivered_total [1-9]"),
    Feature(
        name="shedding of overload",
        on=Side(),
        off=Side(settings="\n[overload]\nshed = false\n"),
        shows=r"\npenstock_shedding ",
    ),
    Feature(
        name="audit lake",
        on=Side(settings="\n[lake]\nstore = true\nflush_s = 1.0\n"),
        shows=r"\npenstock_lake_leads 1",
    ),
    Feature(name="Anthropic's door", on=_ANTHROPIC, shows='"type": ?"message"'),
    Feature(name="Anthropic's door, stream", on=_ANTHROPIC, load=BURST, shows="event: message_stop"),
    Feature(name="resuming, stream", on=Side(settings=f"{_PLAIN_ROUTE}resume = true\n"), load=BURST),
    Feature(
        name="by sentence, stream",
        on=Side(headers={"x-penstock-cadence": "sentence"}),
        load=BURST,
        words=payload.SENTENCES_MARK,
        shows="parcel parcel",
    ),
)
