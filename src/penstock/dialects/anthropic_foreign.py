"""Requests of other dialects, rewritten so that the Anthropic wire can say them: the decisions, in one table.

Said otherwise
    developer messages          system messages; a refusal of an earlier answer is its text
    an effort, or a budget      ``thinking`` adaptive and ``output_config.effort``, by `dialects.thinking`; for models
                                that know only budgets, a budget within the output limit
    a tool without parameters   an empty object's schema
    ids this wire refuses       the same with "_" for each character that it does not take
Left out, and told
    tags, user and cache keys, answers not kept, the name and looseness of a schema, how finely a picture is looked at;
    earlier thoughts that no model has signed; thinking that has no room, or that would begin behind a tool's result
Refused
    everything else: several choices, logprobs, seeds, penalties, a temperature above 1, JSON without a schema, names of
    participants, parts and vendor-run tools of another dialect, sounds and films, files by another vendor's id,
    Google's filters that are to block
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType
from msgspec.structs import replace

from penstock.dialects.anthropic_blocks import NAME, render_call, render_part
from penstock.dialects.codec import untranslatable
from penstock.dialects.foreign import Rules, one_of
from penstock.dialects.members import raw
from penstock.dialects.strict_json import shorten
from penstock.dialects.thinking import budget_of, effort_of
from penstock.kernel.chat import (
    ChatRequest,
    Extras,
    Image,
    Media,
    Message,
    Other,
    Part,
    Reasoning,
    Text,
    Thinking,
    Tool,
    ToolCall,
)
from penstock.kernel.errors import Invalid

_BLOCKING: Final = re.compile(rb'"threshold"\s*:\s*"(?!BLOCK_NONE"|OFF")')
_VENDORS_OPENAI: Final = Rules(
    left_out=frozenset(
        {
            "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options",
            "store", "stream_options", "prediction", "include", "max_tool_calls", "echo", "reasoning.summary",
        }
    ),
    harmless={
        "service_tier": one_of('"auto"', '"default"'),
        "modalities": one_of('["text"]'),
        "verbosity": one_of('"medium"'),
        "text.verbosity": one_of('"medium"'),
        "truncation": one_of('"disabled"'),
        "reasoning.context": one_of('"auto"'),
        "logit_bias": one_of("{}"),
        "best_of": one_of("1"),
    },
)  # fmt: skip
_REQUEST: Final = {
    "openai": _VENDORS_OPENAI,
    "responses": _VENDORS_OPENAI,
    "completions": _VENDORS_OPENAI,
    "gemini": Rules(
        left_out=frozenset({"labels"}),
        harmless={
            "safetySettings": lambda settings: _BLOCKING.search(settings) is None,
            "store": one_of("false"),
            "generationConfig.thinkingConfig.thinkingBudget": one_of("-1"),  # the model's own choice
        },
    ),
}
_MESSAGE: Final = {
    "openai": Rules(left_out=frozenset({"annotations", "reasoning_details"})),
    "responses": Rules(ours=frozenset({"items"}), left_out=frozenset({"annotations"})),
}
_RESULT: Final = Rules(
    ours=frozenset({"items"}), same=frozenset({"is_error"}), left_out=frozenset({"annotations"})
)
_CALL: Final = Rules(left_out=frozenset({"extra_content", "index", "item_id", "status"}))
_TOOL: Final = Rules(
    # What a function returns is a hint that Google's Python SDK sends with every function.
    left_out=frozenset({"response", "responseJsonSchema"}),
    harmless={
        "defer_loading": one_of("false"),
        "async": one_of("false"),
        "allowed_callers": one_of('["direct"]'),
        "behavior": one_of('"BLOCKING"'),
    },
)
_NONE: Final = Rules()
_WORDS: Final = {
    # (dialect, field of `ChatRequest`) → what its callers call it, where that is another name
    ("openai", "thinking"): "reasoning_effort",
    ("responses", "messages"): "input",
    ("responses", "thinking"): "reasoning",
    ("responses", "response_format"): "text.format",
    ("completions", "messages"): "prompt",
    ("gemini", "messages"): "contents",
    ("gemini", "n"): "generationConfig.candidateCount",
    ("gemini", "seed"): "generationConfig.seed",
    ("gemini", "temperature"): "generationConfig.temperature",
    ("gemini", "presence_penalty"): "generationConfig.presencePenalty",
    ("gemini", "frequency_penalty"): "generationConfig.frequencyPenalty",
    ("gemini", "logprobs"): "generationConfig.responseLogprobs",
    ("gemini", "top_logprobs"): "generationConfig.logprobs",
    ("gemini", "thinking"): "generationConfig.thinkingConfig",
    ("gemini", "response_format"): "generationConfig.responseSchema",
    ("gemini", "tool_choice"): "toolConfig.functionCallingConfig",
}
_EFFORTS: Final = {"minimal": "low"}
_BUDGET_MIN: Final = 1_024
_BUDGETS_ONLY: Final = re.compile(
    r"claude-(?:3-|(?:opus|sonnet|haiku)-4(?:[-.][015])?(?:$|[-@]20\d{6}|-latest))", re.ASCII
)
"""Models that know no adaptive thinking: those before Opus 4.6 (Anthropic's page on adaptive thinking)."""
_NOT_IN_ID: Final = re.compile(r"[^A-Za-z0-9_-]", re.ASCII)
_NO_PARAMETERS: Final = Raw(b'{"type":"object","properties":{}}')
_OBJECT: Final = msgspec.json.Decoder(dict[str, Raw])


class _Schema(msgspec.Struct):
    schema: Raw | UnsetType = UNSET
    strict: bool | None = None
    description: str | None = None
    name: str = ""


class _Format(msgspec.Struct):
    type: str
    json_schema: _Schema | None = None


class _Function(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class _Named(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    function: _Function


_FORMAT: Final = msgspec.json.Decoder(_Format)
_CHOICE: Final = msgspec.json.Decoder(str | _Named)


class _Crossing:
    """One request on its way here: what it calls its fields, and what of it was left out."""

    __slots__ = ("_left", "request")

    def __init__(self, request: ChatRequest) -> None:
        """Start with nothing left out."""
        self.request = request
        self._left: dict[str, None] = {}

    @property
    def left_out(self) -> tuple[str, ...]:
        """Return what was left out, each name once."""
        return tuple(self._left)

    def leave(self, field: str) -> None:
        """Note that `field`, a path in canonical words, is left out."""
        self._left[self._told(field)] = None

    def refusal(self, field: str, value: object, remedy: str = "") -> Invalid:
        """Build the refusal of `field`, a path in canonical words."""
        shown = bytes(value).decode("utf-8", "replace") if isinstance(value, Raw) else value
        return untranslatable(self._told(field), shorten(shown), NAME, remedy)

    def extras(self, extras: Extras, rules: Rules, path: str = "") -> Extras:
        """Return those of `extras` that mean the same here; note those left out. Raises `Invalid` for the rest."""
        kept: Extras = {}
        for name, value in extras.items():
            if bytes(value) == b"null" or name in rules.ours:
                continue
            test = rules.harmless.get(name)
            if name in rules.same:
                kept[name] = value
            elif name in rules.left_out or (test is not None and test(bytes(value))):
                self.leave(f"{path}{name}")
            else:
                raise self.refusal(f"{path}{name}", value)
        return kept

    def _told(self, field: str) -> str:
        """Return a path with its first word as the caller writes it."""
        first, dot, rest = field.partition(".")
        return _WORDS.get((self.request.dialect, first), first) + dot + rest


def adopt(request: ChatRequest) -> tuple[ChatRequest, tuple[str, ...]]:
    """Return `request` in this dialect's words, and what was left out. Raises `Invalid` (``untranslatable``)."""
    if request.dialect == NAME:
        return request, ()
    crossing = _Crossing(request)
    _refuse_unsayable(crossing)
    messages = tuple([_message(crossing, message) for message in request.messages])
    adopted = replace(
        request,
        dialect=NAME,
        messages=messages,
        presence_penalty=None,
        frequency_penalty=None,
        logprobs=None,
        top_logprobs=None,
        tools=tuple([_tool(crossing, index, tool) for index, tool in enumerate(request.tools)]),
        tool_choice=_tool_choice(crossing),
        response_format=_response_format(crossing),
        thinking=_thinking(crossing, messages),
        extras=crossing.extras(request.extras, _REQUEST.get(request.dialect, _NONE)),
    )
    return adopted, crossing.left_out


def _refuse_unsayable(crossing: _Crossing) -> None:
    request = crossing.request
    wrong: tuple[tuple[str, bool, str], ...] = (
        ("n", request.n != 1, "Ask for one choice, or send the request several times."),
        ("seed", request.seed is not None, ""),
        ("presence_penalty", bool(request.presence_penalty), ""),
        ("frequency_penalty", bool(request.frequency_penalty), ""),
        ("logprobs", bool(request.logprobs), ""),
        ("top_logprobs", bool(request.top_logprobs), ""),
        ("temperature", (request.temperature or 0) > 1, "Send a temperature from 0 to 1."),
    )
    for field, is_wrong, remedy in wrong:
        if is_wrong:
            raise crossing.refusal(field, getattr(request, field), remedy)


# -------------------------------------------------------------------------------------------------- messages


def _message(crossing: _Crossing, message: Message) -> Message:
    if message.name and message.role != "tool":
        raise crossing.refusal("messages.name", message.name, "Write who speaks into the text.")
    rules = _RESULT if message.role == "tool" else _MESSAGE.get(crossing.request.dialect, _NONE)
    parts = [part for part in [_part(crossing, part) for part in message.content] if part is not None]
    if message.refusal:
        parts.append(Text(message.refusal))
    return Message(
        role=message.role,
        content=tuple(parts),
        tool_calls=tuple([_call(crossing, call) for call in message.tool_calls]),
        tool_call_id=_sayable(message.tool_call_id),
        extras=crossing.extras(message.extras, rules, "messages.") if message.extras else {},
    )


def _part(crossing: _Crossing, part: Part) -> Part | None:
    match part:
        case Text(text):
            return part if text else None  # this wire refuses an empty text, which says nothing anyway
        case Image(_, detail) if detail != "auto":
            crossing.leave("messages.detail")
            return replace(part, detail="auto")
        case Media(mime, url) if url.startswith("file:"):
            raise crossing.refusal("messages", mime or url, "Send the file as a data: URL.")
        case Reasoning(text, signature, redacted) if not redacted and not (text and signature):
            crossing.leave("messages.reasoning")
            return None
        case Other(_, kept):
            raise crossing.refusal("messages", kept)
        case Reasoning():
            return part
        case Image() | Media():
            try:
                render_part(part)
            except Invalid as error:
                raise crossing.refusal("messages", error.value, error.remedy) from None
            return part


def _call(crossing: _Crossing, call: ToolCall) -> ToolCall:
    if "type" in call.extras:
        raise crossing.refusal("messages.tool_calls.type", call.extras["type"], "Send calls of functions.")
    extras = crossing.extras(call.extras, _CALL, "messages.tool_calls.") if call.extras else {}
    adopted = ToolCall(_sayable(call.id), call.name, call.arguments, extras)
    try:
        render_call(adopted)
    except Invalid as error:
        raise crossing.refusal("messages.tool_calls.function.arguments", error.value, error.remedy) from None
    return adopted


def _sayable(call_id: str) -> str:
    return _NOT_IN_ID.sub("_", call_id)


# ----------------------------------------------------------------------------------- tools, format, thinking


def _tool(crossing: _Crossing, index: int, tool: Tool) -> Tool:
    path = f"tools[{index}]"
    if "type" in tool.extras:
        remedy = "Leave the tool out, or use a model of the vendor that runs it."
        raise crossing.refusal(f"{path}.type", tool.extras["type"], remedy)
    return replace(
        tool,
        parameters=_NO_PARAMETERS if tool.parameters is UNSET else _object_schema(tool.parameters),
        strict=UNSET if tool.strict is None else tool.strict,
        extras=crossing.extras(tool.extras, _TOOL, f"{path}."),
    )


def _object_schema(schema: Raw) -> Raw:
    """Return `schema` with the type this wire demands, where it names none."""
    members = _OBJECT.decode(schema) if bytes(schema)[:1] == b"{" else {}
    return schema if "type" in members else raw({"type": "object", **members})


def _tool_choice(crossing: _Crossing) -> Raw | UnsetType:
    given = crossing.request.tool_choice
    if given is UNSET:
        return UNSET
    try:
        choice = _CHOICE.decode(given)
    except msgspec.DecodeError:
        raise crossing.refusal("tool_choice", given) from None
    known = choice in ("auto", "none", "required") if isinstance(choice, str) else choice.type == "function"
    if not known:
        raise crossing.refusal("tool_choice", given)
    # Written anew: the caller's spacing is no part of the canonical form.
    return raw(
        choice
        if isinstance(choice, str)
        else {"type": "function", "function": {"name": choice.function.name}}
    )


def _response_format(crossing: _Crossing) -> Raw | UnsetType:
    given = crossing.request.response_format
    if given is UNSET:
        return UNSET
    try:
        form = _FORMAT.decode(given)
    except msgspec.DecodeError:
        raise crossing.refusal("response_format", given) from None
    if form.type == "text":
        return UNSET
    schema = form.json_schema
    if form.type != "json_schema" or schema is None or schema.schema is UNSET:
        remedy = "Send a json_schema: this vendor writes JSON to a schema only."
        raise crossing.refusal("response_format", given, remedy)
    for name, said in (
        ("name", schema.name and crossing.request.dialect in ("openai", "responses")),
        ("description", schema.description),
        ("strict", schema.strict is False),
    ):
        if said:
            crossing.leave(f"response_format.{name}")
    wire: dict[str, Any] = {"name": schema.name, "schema": schema.schema, "strict": True}
    return raw({"type": "json_schema", "json_schema": wire})


def _thinking(crossing: _Crossing, messages: tuple[Message, ...]) -> Thinking | None:
    request, asked = crossing.request, crossing.request.thinking
    if asked is None:
        return None
    effort = effort_of(asked)
    if effort == "none":
        return Thinking(effort="none")
    if _BUDGETS_ONLY.search(request.model) is None:
        return Thinking(effort=_EFFORTS.get(effort, effort), shown=asked.shown)
    room = (request.max_output_tokens or 2**31) - 1
    budget = min(max(budget_of(asked) or 0, _BUDGET_MIN), room)
    if budget < _BUDGET_MIN or _answers_unthought(messages):
        crossing.leave("thinking")
        return None
    return Thinking(budget_tokens=budget, shown=asked.shown)


def _answers_unthought(messages: tuple[Message, ...]) -> bool:
    """Tell whether the last turn of the model called tools without a thought: it may not begin to think then."""
    if not messages or messages[-1].role != "tool":
        return False
    last = next((message for message in reversed(messages) if message.role == "assistant"), None)
    return last is not None and not any(isinstance(part, Reasoning) for part in last.content)
