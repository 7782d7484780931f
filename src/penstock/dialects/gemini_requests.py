"""Requests of the Gemini wire (``generateContent``), both ways: bytes and `kernel.chat.ChatRequest`.

Promises
- `parse_request(render_request(x)) == x` for every request this wire can say. Read again, a request means the same;
  names become camelCase, enumerations capitals, a member that says its default goes, and parts of one content that are
  messages of their own (what functions returned) may travel in contents of their own.
- Model and streaming stand in the path, not in the body: `parse_request` is told them, `render_request` writes neither.
- A refusal is an `Invalid` that names field, value, limit and remedy.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw, structs

from penstock.dialects.codec import Rendered
from penstock.dialects.gemini_config import generation_of, parse_config, render_config
from penstock.dialects.gemini_foreign import Translation
from penstock.dialects.gemini_messages import parse_messages, render_messages
from penstock.dialects.gemini_tools import parse_tool_config, parse_tools, render_tool_choice, render_tools
from penstock.dialects.gemini_words import NAME, REMEDIES, camel_case, camel_cased
from penstock.dialects.members import OBJECT, Members, check_numbers
from penstock.dialects.strict_json import decode_object
from penstock.kernel.chat import ChatRequest, Extras, Tool

_CONFIG: Final = "generationConfig"


def parse_request(body: bytes, model: str = "", *, stream: bool = False) -> ChatRequest:
    """Read a whole request; `model` and `stream` are what its path says. Raises `Invalid`."""
    members = Members(camel_cased(decode_object(body), ""), "", REMEDIES)
    check_numbers(body)
    fields, extras = parse_config(members)
    choosing = parse_tool_config(members)
    tools = parse_tools(members)
    return ChatRequest(
        model=model,
        dialect=NAME,
        stream=stream,
        include_usage=stream,
        messages=parse_messages(members),
        tools=_strict(tools) if choosing.strict else tools,
        tool_choice=choosing.choice,
        extras={**members.rest(), **choosing.extras, **extras},
        **fields,
    )


def _strict(tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
    return tuple([tool if "type" in tool.extras else structs.replace(tool, strict=True) for tool in tools])


def render_request(request: ChatRequest, _limit_name: str = "") -> Rendered:
    """Return the request's bytes; the output limit has but one name here. Raises `Invalid`."""
    said = Translation(request.dialect)
    if request.parallel_tool_calls is False:
        raise said.refusal("parallel_tool_calls", value=False)
    if request.user:
        said.leave("user")
    signs_calls = not said.native and generation_of(request.model) >= 3
    wire: dict[str, Any] = render_messages(request.messages, said, signs_calls=signs_calls)
    tools = render_tools(request.tools, said)
    if tools:
        wire["tools"] = tools
    calling = render_tool_choice(request.tool_choice, request.tools, said)
    if calling is not None:
        wire["toolConfig"] = {"functionCallingConfig": calling}
    config = render_config(request, said)
    if config:
        wire[_CONFIG] = config
    _spread(said.own_request(request.extras), wire)
    return Rendered(msgspec.json.encode(wire), said.left_out)


def _spread(extras: Extras, wire: dict[str, Any]) -> None:
    """Put each extra where it came from: ``generationConfig.<name>`` and ``toolConfig.<name>`` inside."""
    for name, value in extras.items():
        *outer, last = name.split(".") if name.startswith((f"{_CONFIG}.", "toolConfig.")) else [name]
        target = wire
        for step in outer:
            target = target.setdefault(step, {})
        target[last] = value


def redirect(body: bytes, _model: str, output_tokens: int) -> bytes:
    """Return the same request with another output limit, every other member as it was written. Raises `Invalid`.

    The model stands in the path.
    """
    members = decode_object(body)
    name = next((each for each in members if camel_case(each) == _CONFIG), _CONFIG)
    given = members.get(name, Raw(b"null"))
    config = {} if given == Raw(b"null") else OBJECT.decode(given)
    limit = next((each for each in config if camel_case(each) == "maxOutputTokens"), "maxOutputTokens")
    config[limit] = Raw(b"%d" % output_tokens)
    members[name] = Raw(msgspec.json.encode(config))
    return msgspec.json.encode(members)
