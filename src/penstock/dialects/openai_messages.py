"""Messages of the OpenAI wire, both ways: `kernel.chat.Message` and the JSON objects in `messages` and `choices`.

How they meet: a plain string is one `Text`; `reasoning_content` (DeepSeek, vLLM and others) is a leading `Reasoning`;
a text or picture part with members we do not know, and every other part, is an `Other` that keeps its JSON; a tool call
that is not a function's keeps its `type` in `extras`. Unknown members of a message, a call or a call's function are
kept in `extras` (those of the function under ``function.<name>``).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from penstock.dialects.members import Members, raw
from penstock.kernel.chat import Extras, Image, Message, Other, Part, Reasoning, Text, ToolCall
from penstock.kernel.errors import Invalid

ROLES: Final = ("system", "developer", "user", "assistant", "tool")
MAX_PARTS: Final = 10_000
MAX_TOOL_CALLS: Final = 1_024

REMEDIES: Final = {
    "": "See the OpenAI reference of chat completions for this member.",
    "role": f"Use one of {', '.join(ROLES)}; for the legacy role 'function' use 'tool'.",
    "content": f"Send a string, or a list of 1 to {MAX_PARTS} parts, each an object with a type.",
    "type": "Name the kind of part: text, image_url, input_audio, file.",
    "url": "Send an https:, http: or data: URL.",
    "detail": "Use auto, low or high.",
    "tool_call_id": "Repeat the id of the tool call this message answers.",
    "tool_calls": f"Send at most {MAX_TOOL_CALLS} calls, each with an id and a function of name and arguments.",
    "arguments": "Send the arguments as JSON text, in a string.",
}
_URLS: Final = ("https://", "http://", "data:")


# --------------------------------------------------------------------------------------------------- parsing


def parse_message(members: Members) -> Message:
    """Read one message. Raises `Invalid` with its path."""
    role = members.need_text("role")
    if role not in ROLES:
        raise members.wrong("role", "This role is not known.", role, ", ".join(ROLES))
    reasoning = members.take_text("reasoning_content")
    signature = members.take_text("reasoning_signature")
    parts = _content(members)
    if reasoning or signature:
        parts = (Reasoning(reasoning, signature), *parts)
    calls = members.take_list("tool_calls") or []
    if len(calls) > MAX_TOOL_CALLS:
        raise members.wrong("tool_calls", "There are too many tool calls.", len(calls), MAX_TOOL_CALLS)
    answers = members.take_text("tool_call_id")
    if role == "tool" and not answers:
        raise members.missing("tool_call_id")
    if role != "assistant" and not parts:
        raise members.missing("content")
    return Message(
        role=role,
        content=parts,
        tool_calls=tuple(
            [
                _tool_call(Members.of(call, f"{members.at('tool_calls')}[{index}]", REMEDIES))
                for index, call in enumerate(calls)
            ]
        ),
        tool_call_id=answers,
        name=members.take_text("name"),
        refusal=members.take_text("refusal"),
        extras=members.rest(),
    )


def _content(members: Members) -> tuple[Part, ...]:
    text = members.take_raw("content")
    if text is None:
        return ()
    first = bytes(text)[:1]
    path = members.at("content")
    if first == b'"':
        holder = Members({"content": text}, members.path, REMEDIES)
        return (Text(holder.need_text("content")),)
    items = Members({"content": text}, members.path, REMEDIES).take_list("content")
    if not items or len(items) > MAX_PARTS:
        raise members.wrong("content", "The list of parts is empty or too long.", len(items or ()), MAX_PARTS)
    return tuple([_part(item, f"{path}[{index}]") for index, item in enumerate(items)])


def _part(text: Raw, path: str) -> Part:
    members = Members.of(text, path, REMEDIES)
    kind = members.need_text("type")
    if kind == "text":
        words = members.need_text("text")
        return Other("openai", _kept(text)) if members.rest() else Text(words)
    if kind == "image_url":
        picture = members.take_object("image_url")
        if picture is None:
            raise members.missing("image_url")
        url, detail = picture.need_text("url"), picture.take_text("detail", "auto")
        if not url.startswith(_URLS):
            raise picture.wrong("url", "This is no URL of a picture.", url)
        if detail not in ("auto", "low", "high"):
            raise picture.wrong("detail", "This detail is not known.", detail, "auto, low, high")
        plain = not members.rest() and not picture.rest()
        return Image(url, detail) if plain else Other("openai", _kept(text))
    return Other("openai", _kept(text))


def _kept(text: Raw) -> Raw:
    """Return a copy, so that a part does not keep the whole request alive."""
    return Raw(bytes(text))


def _tool_call(members: Members) -> ToolCall:
    kind = members.take_text("type", "function")
    body = members.take_object("function" if kind == "function" else kind)
    if body is None:
        raise members.missing("function")
    name = body.need_text("name")
    arguments = body.take_text("arguments" if kind == "function" else "input")
    extras: Extras = {} if kind == "function" else {"type": raw(kind)}
    call_id = members.take_text("id")
    return ToolCall(call_id, name, arguments, {**extras, **members.rest(), **body.rest("function.")})


# ------------------------------------------------------------------------------------------------- rendering


def render_message(message: Message) -> dict[str, Any]:
    """Return one message as the wire's object. Raises `Invalid` for a part of another dialect."""
    wire: dict[str, Any] = {"role": message.role}
    parts = message.content
    if parts and isinstance(parts[0], Reasoning):
        wire["reasoning_content"] = parts[0].text
        if parts[0].signature:
            wire["reasoning_signature"] = parts[0].signature
        parts = parts[1:]
    if len(parts) == 1 and isinstance(parts[0], Text):
        wire["content"] = parts[0].text
    elif parts:
        wire["content"] = [_render_part(part) for part in parts]
    else:
        wire["content"] = None
    if message.tool_calls:
        wire["tool_calls"] = [_render_call(call) for call in message.tool_calls]
    words = {"tool_call_id": message.tool_call_id, "name": message.name, "refusal": message.refusal}
    return {**wire, **{name: value for name, value in words.items() if value}, **message.extras}


def _render_part(part: Part) -> object:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Image(url, "auto"):
            return {"type": "image_url", "image_url": {"url": url}}
        case Image(url, detail):
            return {"type": "image_url", "image_url": {"url": url, "detail": detail}}
        case Other("openai", kept):
            return kept
        case Other(dialect, _):
            raise Invalid(
                f"A part in the {dialect} dialect cannot be sent to an OpenAI-compatible provider.",
                code="untranslatable_part",
                field="messages",
                value=dialect,
                remedy="Send it as text or as a picture, or choose a model of that vendor.",
            )
        case Reasoning(_, _):
            raise Invalid(
                "Reasoning must come before the rest of a message.",
                code="untranslatable_part",
                field="messages",
            )


def _render_call(call: ToolCall) -> dict[str, Any]:
    extras = dict(call.extras)
    kind = msgspec.json.decode(extras.pop("type", b'"function"'), type=str)
    body: dict[str, Any] = {
        "name": call.name,
        ("arguments" if kind == "function" else "input"): call.arguments,
    }
    for name in [name for name in extras if name.startswith("function.")]:
        body[name.removeprefix("function.")] = extras.pop(name)
    return {"id": call.id, "type": kind, kind: body, **extras}
