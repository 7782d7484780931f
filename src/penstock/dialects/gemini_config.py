"""The ``generationConfig`` of a Gemini request, both ways.

How they meet
- A member of `kernel.chat.ChatRequest` has one name here; what is left keeps its JSON in the request's extras under
  ``generationConfig.<name>``.
- ``responseMimeType`` with a schema is OpenAI's ``response_format``; the schema's name and description have no place.
- Thinking: Gemini 3 takes levels, Gemini 2.5 budgets; `dialects.thinking` turns one into the other. A budget of 0 is
  the effort "none". A budget of -1 (the model's own choice) has no canonical word and stays an extra.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, cast

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from penstock.dialects.gemini_foreign import Translation
from penstock.dialects.gemini_tools import parse_schema, render_schema
from penstock.dialects.gemini_words import take_object
from penstock.dialects.members import ANY, FLAG, OBJECT, Members, raw
from penstock.dialects.openai_envelope import MAX_CHOICES, OutputLimit
from penstock.dialects.thinking import BUDGETS, budget_of
from penstock.kernel.chat import ChatRequest, Extras, Thinking

MAX_STOPS: Final = 16
GEMINI_STOPS: Final = 5
"""Most stop sequences that Gemini takes."""
GEMINI_SEED: Final = 2**31
"""Seeds are from minus this to one less than this."""

BUDGET_MAX: Final = 24_576
"""The largest budget that every model of generation 2.5 takes."""
_LEVELS: Final = frozenset({"minimal", "low", "medium", "high", "xhigh"})
_GENERATION: Final = re.compile(r"gemini-([0-9]{1,2})\b")

_FLOAT: Final = msgspec.json.Decoder(Annotated[float, Meta(ge=-1e6, le=1e6)])
_TEMPERATURE: Final = msgspec.json.Decoder(Annotated[float, Meta(ge=0, le=2)])
_TOP_P: Final = msgspec.json.Decoder(Annotated[float, Meta(ge=0, le=1)])
# Not strict: Google's parser takes 40.0 and "40" for 40.
_TOP_K: Final = msgspec.json.Decoder(Annotated[int, Meta(ge=1, le=2**31 - 1)], strict=False)
_CHOICES: Final = msgspec.json.Decoder(Annotated[int, Meta(ge=1, le=MAX_CHOICES)], strict=False)
_LIMIT: Final = msgspec.json.Decoder(OutputLimit, strict=False)
_SEED: Final = msgspec.json.Decoder(Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)], strict=False)
_LOGPROBS: Final = msgspec.json.Decoder(Annotated[int, Meta(ge=0, le=20)], strict=False)
_STOPS: Final = msgspec.json.Decoder(Annotated[list[str], Meta(max_length=MAX_STOPS)])
_BUDGET: Final = msgspec.json.Decoder(Annotated[int, Meta(ge=-1, le=2**31 - 1)], strict=False)

_NUMBERS: Final[tuple[tuple[str, str, msgspec.json.Decoder[Any]], ...]] = (
    # Gemini's name, ours, how it is read
    ("temperature", "temperature", _TEMPERATURE),
    ("topP", "top_p", _TOP_P),
    ("topK", "top_k", _TOP_K),
    ("maxOutputTokens", "max_output_tokens", _LIMIT),
    ("seed", "seed", _SEED),
    ("presencePenalty", "presence_penalty", _FLOAT),
    ("frequencyPenalty", "frequency_penalty", _FLOAT),
    ("responseLogprobs", "logprobs", FLAG),
    ("logprobs", "top_logprobs", _LOGPROBS),
)


class _JsonSchema(msgspec.Struct, gc=False):
    name: str = ""
    description: str = ""
    schema: Raw = Raw()


class _Format(msgspec.Struct, gc=False):
    """A `response_format` of OpenAI's."""

    type: str
    json_schema: _JsonSchema | None = None


_FORMAT: Final = msgspec.json.Decoder(_Format)
_TEXT_FORMAT: Final = raw({"type": "text"})
_JSON_FORMAT: Final = raw({"type": "json_object"})
_THINKING: Final = "generationConfig.thinkingConfig"
_NAME: Final = "response"
"""What a schema is called: Gemini has no name for it."""


def generation_of(model: str) -> int:
    """Return which generation of Gemini a model is of, by its name; unnamed ones count as current (3)."""
    found = _GENERATION.search(model)
    return int(found.group(1)) if found else 3


# --------------------------------------------------------------------------------------------------- parsing


def parse_config(members: Members) -> tuple[dict[str, Any], Extras]:
    """Take ``generationConfig``: members of `ChatRequest`, and extras. Raises `Invalid`."""
    config = take_object(members, "generationConfig")
    if config is None:
        return {}, {}
    fields: dict[str, Any] = {ours: config.take_optional(name, how) for name, ours, how in _NUMBERS}
    fields["n"] = config.take("candidateCount", _CHOICES, 1)
    fields["stop"] = tuple(config.take("stopSequences", _STOPS, []))
    fields["response_format"], kept = _parse_format(config)
    thinking = take_object(config, "thinkingConfig")
    if thinking is not None:
        fields["thinking"], more = _parse_thinking(thinking)
        kept |= more
    return fields, {**config.rest("generationConfig."), **kept}


def _parse_format(config: Members) -> tuple[Raw | UnsetType, Extras]:
    """Return the ``response_format``, or what of it only Gemini understands."""
    mime = config.take_raw("responseMimeType")
    words = "" if mime is None else cast("object", ANY.decode(mime))
    schema = parse_schema(config, "responseSchema", "responseJsonSchema")
    if words == "application/json" and schema is not UNSET:
        told = b'{"type":"json_schema","json_schema":{"name":"%b","schema":%b,"strict":true}}'
        return Raw(told % (_NAME.encode(), bytes(schema))), {}
    if schema is UNSET and words in ("application/json", "text/plain"):
        return (_JSON_FORMAT if words == "application/json" else _TEXT_FORMAT), {}
    kept: Extras = {} if mime is None else {"generationConfig.responseMimeType": mime}
    if schema is not UNSET:
        kept["generationConfig.responseJsonSchema"] = schema
    return UNSET, kept


def _parse_thinking(thinking: Members) -> tuple[Thinking, Extras]:
    shown = thinking.take_optional("includeThoughts", FLAG)
    effort = thinking.take_text("thinkingLevel").lower()
    budget = thinking.take_optional("thinkingBudget", _BUDGET)
    if effort and effort not in _LEVELS:
        raise thinking.wrong("thinkingLevel", "This level is not known.", effort, ", ".join(sorted(_LEVELS)))
    kept = thinking.rest(f"{_THINKING}.")
    if budget == -1:
        kept[f"{_THINKING}.thinkingBudget"] = Raw(b"-1")
        budget = None
    if budget == 0 and not effort:
        return Thinking(effort="none", shown=shown), kept
    return Thinking(effort=effort, budget_tokens=budget, shown=shown), kept


# ------------------------------------------------------------------------------------------------- rendering


def render_config(request: ChatRequest, said: Translation) -> dict[str, Any]:
    """Return the ``generationConfig``. Raises `Invalid` (untranslatable) for what Gemini has no words for."""
    if not said.native:
        _refuse_bounds(request, said)
    wire: dict[str, Any] = {}
    for name, ours, _ in _NUMBERS:
        value = getattr(request, ours)
        if value is not None:
            wire[name] = value
    if request.n != 1:
        wire["candidateCount"] = request.n
    if request.stop:
        wire["stopSequences"] = list(request.stop)
    if request.response_format is not UNSET:
        wire |= _render_format(request.response_format, said)
    if request.thinking is not None:
        wire["thinkingConfig"] = _render_thinking(request.thinking, request.model, said)
    return wire


def _refuse_bounds(request: ChatRequest, said: Translation) -> None:
    if len(request.stop) > GEMINI_STOPS:
        raise said.refusal("stop", len(request.stop), f"Send at most {GEMINI_STOPS} stop sequences.")
    if request.seed is not None and not -GEMINI_SEED <= request.seed < GEMINI_SEED:
        raise said.refusal("seed", request.seed, f"Send a seed from {-GEMINI_SEED} to {GEMINI_SEED - 1}.")


def _render_format(given: Raw, said: Translation) -> dict[str, Any]:
    try:
        told = _FORMAT.decode(given)
    except msgspec.DecodeError:
        raise said.refusal("response_format", bytes(given).decode()) from None
    if told.type == "text":
        return {"responseMimeType": "text/plain"}
    wire: dict[str, Any] = {"responseMimeType": "application/json"}
    if told.type == "json_object":
        return wire
    if told.type != "json_schema" or told.json_schema is None:
        raise said.refusal("response_format.type", told.type, "Use text, json_object or json_schema.")
    named = told.json_schema
    if not said.native:
        said.leave("response_format.json_schema.name")
    if not bytes(named.schema):
        return wire
    schema = named.schema if not named.description else _described(named)
    return {**wire, **render_schema(schema, "responseSchema", "responseJsonSchema", said)}


def _described(named: _JsonSchema) -> Raw:
    """Return the schema with the description that stands beside it, unless it has its own."""
    try:
        schema = OBJECT.decode(named.schema)
    except msgspec.DecodeError:
        return named.schema
    return raw({"description": named.description, **schema})


_SHOWING: Final = frozenset({"anthropic"})
"""Dialects in which whoever has a model think is shown the thoughts, unless it asks not to be."""


def _render_thinking(thinking: Thinking, model: str, said: Translation) -> dict[str, Any]:
    """Return a ``thinkingConfig``. Gemini refuses level and budget together: a budget, being exact, goes first."""
    wire: dict[str, Any] = {}
    effort, budget = thinking.effort, budget_of(thinking)
    if effort and effort not in BUDGETS:
        raise said.refusal("thinking", effort, f"Use one of {', '.join(BUDGETS)}.")
    if thinking.budget_tokens is not None or effort == "none":
        wire["thinkingBudget"] = budget
    if effort not in ("", "none") and (said.native or thinking.budget_tokens is None):
        if said.native or generation_of(model) >= 3:
            wire["thinkingLevel"] = "XHIGH" if effort == "max" else effort.upper()
        else:
            wire["thinkingBudget"] = min(budget or 0, BUDGET_MAX)
    shown = thinking.shown
    if shown is None and said.caller in _SHOWING and effort != "none":
        shown = True
    if shown is not None:
        wire["includeThoughts"] = shown
    return wire
