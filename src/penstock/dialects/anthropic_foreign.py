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
from penstock.dialects.border import NO_RULES, Border, Rules, blocks_nothing, one_of
from penstock.dialects.members import raw
from penstock.dialects.thinking import budget_of, effort_of
from penstock.kernel.chat import (
    ChatRequest,
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
            "safetySettings": blocks_nothing,
            "store": one_of("false"),
            "generationConfig.thinkingConfig.thinkingBudget": one_of("-1"),  # the model's own choice
        },
    ),
}
_MESSAGE: Final = {
    "openai": Rules(left_out=frozenset({"annotations", "reasoning_details"})),
    "responses": Rules(ours=frozenset({"items"}), left_out=frozenset({"annotations", "phase"})),
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


def adopt(request: ChatRequest) -> tuple[ChatRequest, tuple[str, ...]]:
    """Return `request` in this dialect's words, and what was left out. Raises `Invalid` (``untranslatable``)."""
    if request.dialect == NAME:
        return request, ()
    crossing = Border(request.dialect, NAME)
    _refuse_unsayable(crossing, request)
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
        tool_choice=_tool_choice(crossing, request),
        response_format=_response_format(crossing, request),
        thinking=_thinking(crossing, request, messages),
        extras=crossing.extras(request.extras, _REQUEST.get(request.dialect, NO_RULES)),
    )
    return adopted, crossing.left_out


def _refuse_unsayable(crossing: Border, request: ChatRequest) -> None:
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


def _message(crossing: Border, message: Message) -> Message:
    if message.name and message.role != "tool":
        raise crossing.refusal("messages.name", message.name, "Write who speaks into the text.")
    rules = _RESULT if message.role == "tool" else _MESSAGE.get(crossing.caller, NO_RULES)
    parts = [part for part in [_part(crossing, part) for part in message.content] if part is not None]
    if message.refusal:
        parts.append(Text(message.refusal))
    return Message(
        role=message.role,
        content=tuple(parts),
        tool_calls=tuple([_call(crossing, call) for call in message.tool_calls]),
        tool_call_id=_sayable(message.tool_call_id),
        extras=crossing.extras(message.extras, rules, "messages") if message.extras else {},
    )


def _part(crossing: Border, part: Part) -> Part | None:
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


def _call(crossing: Border, call: ToolCall) -> ToolCall:
    if "type" in call.extras:
        raise crossing.refusal("messages.tool_calls.type", call.extras["type"], "Send calls of functions.")
    extras = crossing.extras(call.extras, _CALL, "messages.tool_calls") if call.extras else {}
    adopted = ToolCall(_sayable(call.id), call.name, call.arguments, extras)
    try:
        render_call(adopted)
    except Invalid as error:
        raise crossing.refusal("messages.tool_calls.function.arguments", error.value, error.remedy) from None
    return adopted


def _sayable(call_id: str) -> str:
    return _NOT_IN_ID.sub("_", call_id)


# ----------------------------------------------------------------------------------- tools, format, thinking


def _tool(crossing: Border, index: int, tool: Tool) -> Tool:
    path = f"tools[{index}]"
    if "type" in tool.extras:
        remedy = "Leave the tool out, or use a model of the vendor that runs it."
        raise crossing.refusal(f"{path}.type", tool.extras["type"], remedy)
    return replace(
        tool,
        parameters=_NO_PARAMETERS if tool.parameters is UNSET else _object_schema(tool.parameters),
        strict=UNSET if tool.strict is None else tool.strict,
        extras=crossing.extras(tool.extras, _TOOL, path),
    )


def _object_schema(schema: Raw) -> Raw:
    """Return `schema` with the type this wire demands, where it names none."""
    members = _OBJECT.decode(schema) if bytes(schema)[:1] == b"{" else {}
    return schema if "type" in members else raw({"type": "object", **members})


def _tool_choice(crossing: Border, request: ChatRequest) -> Raw | UnsetType:
    given = request.tool_choice
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


def _response_format(crossing: Border, request: ChatRequest) -> Raw | UnsetType:
    given = request.response_format
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
        ("name", schema.name and crossing.caller in ("openai", "responses")),
        ("description", schema.description),
        ("strict", schema.strict is False),
    ):
        if said:
            crossing.leave(f"response_format.{name}")
    wire: dict[str, Any] = {"name": schema.name, "schema": schema.schema, "strict": True}
    return raw({"type": "json_schema", "json_schema": wire})


def _thinking(crossing: Border, request: ChatRequest, messages: tuple[Message, ...]) -> Thinking | None:
    asked = request.thinking
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
