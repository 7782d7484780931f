"""Requests of the Responses wire, both ways: bytes and `kernel.chat.ChatRequest`.

Promises
- `parse_request(render_request(x).body) == x` for every request this wire can say.
- `instructions` are a leading system message. Members inside `reasoning` and `text` that have no place in `ChatRequest`
  are extras by their path (``text.verbosity``); other unknown members by their name.
- This server keeps no responses: what builds on a kept one (`previous_response_id`, `conversation`, `store`,
  `background`, item references) is refused; an absent `store` counts as false, and every reply says so.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from penstock.dialects.codec import Rendered
from penstock.dialects.members import ANY, FLAG, OBJECT, RAWS, Members, check_numbers, raw
from penstock.dialects.openai_envelope import MAX_MESSAGES, MAX_MODEL_CHARS, OutputLimit
from penstock.dialects.openai_requests import MAX_TOOLS, MAX_TOP_LOGPROBS
from penstock.dialects.responses_foreign import adopt
from penstock.dialects.responses_items import KEEPS_NOTHING, Turns, render_conversation
from penstock.dialects.responses_parts import REMEDIES as PART_REMEDIES
from penstock.dialects.strict_json import decode_object
from penstock.kernel.chat import ChatRequest, Extras, Message, Text, Thinking, Tool
from penstock.kernel.errors import Invalid

REMEDIES: Final = {
    **PART_REMEDIES,
    "model": f"Name a model this server offers (1 to {MAX_MODEL_CHARS} characters); GET /v1/models lists them.",
    "input": f"Send a string, or a list of 1 to {MAX_MESSAGES} items.",
    "instructions": "Send a string.",
    "tools": f"Send at most {MAX_TOOLS} tools, each with a type, functions with a name.",
    "temperature": "Send a number from 0 to 2.",
    "top_p": "Send a number from 0 to 1.",
    "max_output_tokens": "Send a whole number of at least 1, or leave it out.",
    "stream": "Send true or false.",
}
LOGPROBS: Final = "message.output_text.logprobs"
"""The entry of `include` that asks for log probabilities."""

_MODEL: Final = msgspec.json.Decoder(Annotated[str, Meta(min_length=1, max_length=MAX_MODEL_CHARS)])
_LIMIT: Final = msgspec.json.Decoder(OutputLimit)
_TEMPERATURE: Final = msgspec.json.Decoder(Annotated[float, Meta(ge=0, le=2)])
_TOP_P: Final = msgspec.json.Decoder(Annotated[float, Meta(ge=0, le=1)])
_TOP_LOGPROBS: Final = msgspec.json.Decoder(Annotated[int, Meta(ge=0, le=MAX_TOP_LOGPROBS)])
_INCLUDE: Final = msgspec.json.Decoder(list[str])


def parse_request(body: bytes) -> ChatRequest:
    """Read a whole request. Raises `Invalid`."""
    members = Members(decode_object(body), "", REMEDIES)
    check_numbers(body)
    model = members.take("model", _MODEL, "")
    if not model:
        raise members.missing("model")
    _refuse_what_was_kept(members)
    stream = members.take("stream", FLAG, default=False)
    thinking, reasoning = _reasoning(members)
    response_format, text = _text(members)
    logprobs, include = _include(members)
    return ChatRequest(
        model=model,
        messages=_messages(members),
        dialect="responses",
        stream=stream,
        include_usage=stream,
        max_output_tokens=members.take_optional("max_output_tokens", _LIMIT),
        temperature=members.take_optional("temperature", _TEMPERATURE),
        top_p=members.take_optional("top_p", _TOP_P),
        logprobs=logprobs,
        top_logprobs=members.take_optional("top_logprobs", _TOP_LOGPROBS),
        tools=_tools(members),
        tool_choice=_choice(members),
        parallel_tool_calls=members.take_optional("parallel_tool_calls", FLAG),
        response_format=response_format,
        thinking=thinking,
        user=members.take_text("user"),
        extras={**_given(members.rest()), **include, **reasoning, **text},
    )


def _given(extras: Extras) -> Extras:
    return {name: value for name, value in extras.items() if bytes(value) != b"null"}


def _refuse_what_was_kept(members: Members) -> None:
    for name in ("previous_response_id", "conversation"):
        value = members.take_raw(name)
        if value is not None:
            raise _not_kept(name, bytes(value).decode())
    for name in ("store", "background"):
        if members.take(name, FLAG, default=False):
            raise _not_kept(name, "true")


def _not_kept(name: str, value: str) -> Invalid:
    return Invalid(
        f"{name} needs responses that are kept.",
        code="unsupported_field",
        field=name,
        value=value,
        remedy=KEEPS_NOTHING,
    )


def _messages(members: Members) -> tuple[Message, ...]:
    instructions = members.take_text("instructions")
    first = [Message(role="system", content=(Text(instructions),))] if instructions else []
    given = members.take_raw("input")
    if given is None:
        raise members.missing("input")
    holder = Members({"input": given}, "", REMEDIES)
    if bytes(given)[:1] == b'"':
        return (*first, Message(role="user", content=(Text(holder.need_text("input")),)))
    items = holder.need_items("input", MAX_MESSAGES)
    turns = Turns()
    for index, item in enumerate(items):
        turns.add(item, f"input[{index}]")
    turns.close()
    return (*first, *turns.messages)


def _reasoning(members: Members) -> tuple[Thinking | None, Extras]:
    given = members.take_object("reasoning")
    if given is None:
        return None, {}
    effort, summary = given.take_text("effort"), given.take_raw("summary")
    extras = _given(given.rest("reasoning."))
    if summary is not None:
        extras["reasoning.summary"] = summary
    thinking = Thinking(effort=effort, shown=True if summary is not None else None)
    return (thinking if effort or summary is not None else None), extras


def _text(members: Members) -> tuple[Raw | UnsetType, Extras]:
    given = members.take_object("text")
    if given is None:
        return UNSET, {}
    flat = given.take_object("format")
    extras = _given(given.rest("text."))
    if flat is None:
        return UNSET, extras
    kind = flat.need_text("type")
    body = flat.rest()
    return raw({"type": kind, kind: body} if body else {"type": kind}), extras


def _include(members: Members) -> tuple[bool | None, Extras]:
    given = members.take("include", _INCLUDE, [])
    others = [name for name in given if name != LOGPROBS]
    return (True if LOGPROBS in given else None), ({"include": raw(others)} if others else {})


def _tools(members: Members) -> tuple[Tool, ...]:
    items = members.take_items("tools", MAX_TOOLS)
    return tuple([_tool(each) for each in members.opened("tools", items)])


def _tool(members: Members) -> Tool:
    kind = members.need_text("type")
    if kind != "function":
        return Tool(name=kind, extras={"type": raw(kind), **members.rest()})
    name = members.need_text("name")
    if not name:
        raise members.missing("name")
    return Tool(
        name=name,
        description=members.take_text("description"),
        parameters=members.take_raw("parameters") or UNSET,
        strict=members.take_nullable("strict", FLAG),
        extras=_given(members.rest()),
    )


def _choice(members: Members) -> Raw | UnsetType:
    """Return the choice of tools in the shape of chat completions: what it names stands in an object of its own."""
    given = members.take_raw("tool_choice")
    if given is None:
        return UNSET
    if bytes(given)[:1] == b'"':
        return Raw(bytes(given))
    choice = Members.of(given, "tool_choice", REMEDIES)
    kind = choice.need_text("type")
    if kind == "allowed_tools":
        tools = [
            _nested(Members.of(tool, "tool_choice.tools", REMEDIES))
            for tool in choice.take_list("tools") or []
        ]
        return raw({"type": kind, kind: {**choice.rest(), "tools": tools}})
    choice.put_back("type", raw(kind))
    return raw(_nested(choice))


def _nested(choice: Members) -> dict[str, Any]:
    kind, body = choice.need_text("type"), choice.rest()
    return {"type": kind, kind: body} if body else {"type": kind}


# ------------------------------------------------------------------------------------------------- rendering


def render_request(request: ChatRequest, _limit_name: str = "") -> Rendered:
    """Return the request's bytes; it asks that nothing is kept. Raises `Invalid` (``untranslatable``).

    The name of the output limit is another wire's choice: here it has one.
    """
    request, left_out = adopt(request)
    instructions, messages = _instructions(request.messages)
    extras = dict(request.extras)
    reasoning = _inside("reasoning.", extras)
    if request.thinking is not None:
        reasoning |= {"effort": request.thinking.effort} if request.thinking.effort else {}
        if request.thinking.shown and "summary" not in reasoning:
            reasoning["summary"] = "auto"
    text = _inside("text.", extras)
    if request.response_format is not UNSET:
        text["format"] = _flat(request.response_format)
    include = msgspec.json.decode(extras.pop("include", b"[]"), type=list[str])
    if request.logprobs:
        include.append(LOGPROBS)
    optional: tuple[tuple[str, object], ...] = (
        ("instructions", instructions or None),
        ("stream", True if request.stream else None),
        ("max_output_tokens", request.max_output_tokens),
        ("temperature", request.temperature),
        ("top_p", request.top_p),
        ("top_logprobs", request.top_logprobs),
        ("tools", [_render_tool(tool) for tool in request.tools] or None),
        ("tool_choice", None if request.tool_choice is UNSET else _flat_choice(request.tool_choice)),
        ("parallel_tool_calls", request.parallel_tool_calls),
        ("reasoning", reasoning or None),
        ("text", text or None),
        ("include", include or None),
        ("user", request.user or None),
    )
    wire: dict[str, Any] = {"model": request.model, "input": render_conversation(messages), "store": False}
    wire.update({name: value for name, value in optional if value is not None})
    return Rendered(msgspec.json.encode({**wire, **extras}), left_out)


def _instructions(messages: tuple[Message, ...]) -> tuple[str, tuple[Message, ...]]:
    """Split off a leading system message of plain words, unless it is all there is."""
    match messages:
        case (Message(role="system", content=(Text(words, ""),), extras={**extras}), _, *_) if (
            not extras and words
        ):
            return words, messages[1:]
        case _:
            return "", messages


def _inside(prefix: str, extras: Extras) -> dict[str, Any]:
    """Take the extras that belong inside one object."""
    names = [name for name in extras if name.startswith(prefix)]
    return {name.removeprefix(prefix): extras.pop(name) for name in names}


def _flat(nested: Raw) -> Raw | dict[str, Any]:
    """Return an object that holds its body under its type with that body's members beside the type."""
    if bytes(nested)[:1] != b"{":
        return nested
    members = OBJECT.decode(nested)
    kind = ANY.decode(members.get("type", b'""'))
    body = members.get(kind) if isinstance(kind, str) else None
    if body is None or bytes(body)[:1] != b"{":
        return nested
    return {"type": kind, **OBJECT.decode(body)}


def _flat_choice(choice: Raw) -> Raw | dict[str, Any]:
    flat = _flat(choice)
    if isinstance(flat, dict) and flat["type"] == "allowed_tools" and "tools" in flat:
        return {**flat, "tools": [_flat(tool) for tool in RAWS.decode(flat["tools"])]}
    return flat


def _render_tool(tool: Tool) -> dict[str, Any]:
    if "type" in tool.extras:
        return dict(tool.extras)
    wire: dict[str, Any] = {"type": "function", "name": tool.name}
    if tool.description:
        wire["description"] = tool.description
    if tool.parameters is not UNSET:
        wire["parameters"] = tool.parameters
    if tool.strict is not UNSET:
        wire["strict"] = tool.strict
    return {**wire, **tool.extras}
