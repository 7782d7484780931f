"""The words of a chat request, taken out in order and put back in the same order.

Promises: `with_texts(request, texts_of(request).texts)` is the request itself; every word that a person or a program
wrote into the request is either among the texts or named in `unscanned`. Arguments of tool calls are JSON: each string
and each long number in them is a text of its own, so that replacing one leaves valid JSON. Reasoning is not touched: a
vendor signs it, and it came from the vendor in the first place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar, cast

import msgspec

from penstock.kernel.chat import (
    ChatRequest,
    Image,
    Media,
    Message,
    Other,
    Part,
    Reasoning,
    Text,
    Tool,
    ToolCall,
)

Change = Callable[[str], str]
NUMBER_DIGITS_MIN: Final = 9
"""Shorter numbers in JSON cannot be personal data by themselves and stay numbers."""
LEVELS_MAX: Final = 64
"""Levels of JSON walked through; what is deeper is changed as plain text."""

_Item = TypeVar("_Item")


class Texts(msgspec.Struct, frozen=True):
    """All texts of a request in order, and the kinds of content beside them that nobody read."""

    texts: tuple[str, ...]
    unscanned: tuple[str, ...] = ()


def texts_of(request: ChatRequest) -> Texts:
    """Return the words of `request`: prompts, messages, tool results, tool-call arguments, descriptions, `user`."""
    seen: list[str] = []

    def note(text: str) -> str:
        seen.append(text)
        return text

    _changed(request, note)
    return Texts(tuple(seen), tuple(sorted(set(_unscanned(request)))))


def with_texts(request: ChatRequest, texts: Iterable[str]) -> ChatRequest:
    """Return `request` with its texts, in the order of `texts_of`, replaced by `texts`. Raises ValueError if their
    number is another. What did not change is the same object as before.
    """
    following = iter(texts)
    try:
        changed = _changed(request, lambda _text: next(following))
    except StopIteration:
        raise ValueError("fewer texts than the request has") from None
    if next(following, None) is not None:
        raise ValueError("more texts than the request has")
    return changed


def in_json(text: str, change: Change) -> str:
    """Return JSON `text` with every string, key and long number passed through `change`; the very text if none changed.

    What is not valid JSON (a model wrote it) or nested deeper than `LEVELS_MAX` is changed as plain text.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return change(text)
    if not _shallow(value, LEVELS_MAX):
        return change(text)
    changed = _walked(value, change)
    return text if changed == value else json.dumps(changed, ensure_ascii=False, separators=(",", ":"))


def _changed(request: ChatRequest, change: Change) -> ChatRequest:
    messages = _each(request.messages, lambda message: _message(message, change))
    tools = _each(request.tools, lambda tool: _tool(tool, change))
    user = change(request.user) if request.user else ""
    if messages is request.messages and tools is request.tools and user == request.user:
        return request
    return msgspec.structs.replace(request, messages=messages, tools=tools, user=user)


def _message(message: Message, change: Change) -> Message:
    content = _each(message.content, lambda part: _part(part, change))
    calls = _each(message.tool_calls, lambda call: _call(call, change))
    refusal = change(message.refusal) if message.refusal else ""
    if content is message.content and calls is message.tool_calls and refusal == message.refusal:
        return message
    return msgspec.structs.replace(message, content=content, tool_calls=calls, refusal=refusal)


def _part(part: Part, change: Change) -> Part:
    if not isinstance(part, Text):
        return part
    text = change(part.text)
    return part if text == part.text else msgspec.structs.replace(part, text=text)


def _call(call: ToolCall, change: Change) -> ToolCall:
    arguments = in_json(call.arguments, change) if call.arguments else ""
    return call if arguments == call.arguments else msgspec.structs.replace(call, arguments=arguments)


def _tool(tool: Tool, change: Change) -> Tool:
    description = change(tool.description) if tool.description else ""
    return tool if description == tool.description else msgspec.structs.replace(tool, description=description)


def _each(items: tuple[_Item, ...], change: Callable[[_Item], _Item]) -> tuple[_Item, ...]:
    """Return `items` changed; the very tuple if none was."""
    changed = tuple(map(change, items))
    return items if all(a is b for a, b in zip(items, changed, strict=True)) else changed


def _shallow(value: object, levels: int) -> bool:
    """Whether a decoded JSON value has at most so many levels."""
    if isinstance(value, dict):
        return levels > 0 and all(
            _shallow(each, levels - 1) for each in cast("dict[str, object]", value).values()
        )
    if isinstance(value, list):
        return levels > 0 and all(_shallow(each, levels - 1) for each in cast("list[object]", value))
    return True


def _walked(value: object, change: Change) -> object:
    """Return a decoded JSON value with its strings, keys and long numbers changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return _fields(cast("dict[str, object]", value), change)
    if isinstance(value, list):
        return [_walked(each, change) for each in cast("list[object]", value)]
    if isinstance(value, int) and abs(value) >= 10 ** (NUMBER_DIGITS_MIN - 1):
        written = str(value)
        changed = change(written)
        return value if changed == written else changed
    return value


def _fields(fields: dict[str, object], change: Change) -> dict[str, object]:
    """Return an object changed; two names that became one are told apart, so that no field is lost."""
    changed: dict[str, object] = {}
    for name, value in fields.items():
        new = change(name)
        while new in changed:
            new += "_"
        changed[new] = _walked(value, change)
    return changed


def _unscanned(request: ChatRequest) -> Iterator[str]:
    """Give the kinds of content of `request` that are not among its texts."""
    for message in request.messages:
        yield from (kind for part in message.content if (kind := _kind(part)))
        if message.name:
            yield "name"
        for name in (*message.extras, *(name for call in message.tool_calls for name in call.extras)):
            yield f"extras.{name}"
    if any(tool.parameters is not msgspec.UNSET for tool in request.tools):
        yield "tool schema"
    if request.response_format is not msgspec.UNSET:
        yield "response_format"
    for name in (*request.extras, *(name for tool in request.tools for name in tool.extras)):
        yield f"extras.{name}"


def _kind(part: Part) -> str:
    match part:
        case Text():
            return ""
        case Image():
            return "image"
        case Media():
            return part.mime or "media"
        case Reasoning():
            return "reasoning"
        case Other():
            return f"{part.dialect} part"
