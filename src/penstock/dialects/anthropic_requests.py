"""Chat requests of the Anthropic wire, both ways: bytes and `kernel.chat.ChatRequest`.

How they meet, besides messages and blocks
    tool_choice             auto, none, any ("required") and tool; `disable_parallel_tool_use` is `parallel_tool_calls`
    thinking                `Thinking`: ``enabled`` is a budget, ``disabled`` the effort "none", ``adaptive`` neither
    output_config.effort    its effort; one without ``thinking`` leaves the extra ``thinking`` null
    output_config.format    `response_format`; `output_format`, its name of 2025, is read as well
    metadata.user_id        `user`
What these cannot hold, and every unknown member, is in `extras`, byte for byte.

Promises: `parse_request(render_request(x)) == x` for every request this wire can say. A refusal is an `Invalid` that
names field, value, limit and remedy. A stream always carries usage, so `include_usage` is `stream`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from penstock.dialects.anthropic_blocks import NAME, REMEDIES, render_cache, take_cache
from penstock.dialects.anthropic_foreign import adopt
from penstock.dialects.anthropic_messages import parse_system, parse_turn, render_messages
from penstock.dialects.codec import Rendered
from penstock.dialects.members import FLAG, OBJECT, Members, check_numbers, raw
from penstock.dialects.openai_envelope import MAX_MESSAGES, MAX_MODEL_CHARS, OutputLimit
from penstock.dialects.strict_json import decode_object
from penstock.kernel.chat import ChatRequest, Extras, Message, Thinking, Tool

T = TypeVar("T")

MAX_TOOLS: Final = 1_024
MAX_STOPS: Final = 256
FORMAT_NAME: Final = "answer"
"""What an answer's schema is called where this wire gives it no name."""

_MODEL: Final = msgspec.json.Decoder(Annotated[str, Meta(min_length=1, max_length=MAX_MODEL_CHARS)])
_LIMIT: Final = msgspec.json.Decoder(OutputLimit)
_UNIT: Final = msgspec.json.Decoder(Annotated[float, Meta(ge=0, le=1)])
_TOP_K: Final = msgspec.json.Decoder(Annotated[int, Meta(ge=0, le=2**31 - 1)])
_STOPS: Final = msgspec.json.Decoder(Annotated[list[str], Meta(max_length=MAX_STOPS)])
_NULL: Final = Raw(b"null")


class _Choice(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["auto", "any", "tool", "none"]
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class _ThinkingConfig(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["enabled", "adaptive", "disabled"]
    budget_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    display: Literal["summarized", "omitted"] | None = None


class _Format(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["json_schema"]
    schema: Raw


class _JsonSchema(msgspec.Struct):
    schema: Raw


class _ResponseFormat(msgspec.Struct):
    type: str
    json_schema: _JsonSchema | None = None


class _Function(msgspec.Struct):
    name: str


class _Named(msgspec.Struct):
    function: _Function


_CHOICE: Final = msgspec.json.Decoder(_Choice)
_THINKING: Final = msgspec.json.Decoder(_ThinkingConfig)
_EFFORT: Final = msgspec.json.Decoder(Literal["low", "medium", "high", "xhigh", "max"])
_FORMAT: Final = msgspec.json.Decoder(_Format)
_RESPONSE_FORMAT: Final = msgspec.json.Decoder(_ResponseFormat)
_NAMED: Final = msgspec.json.Decoder(_Named)
_WORDS: Final = {"auto": raw("auto"), "none": raw("none"), "any": raw("required")}
_KINDS: Final = {bytes(word): kind for kind, word in _WORDS.items()}


def parse_request(body: bytes) -> ChatRequest:
    """Read a whole request. Raises `Invalid`."""
    return _request(body, needs_limit=True)


def parse_count_request(body: bytes) -> ChatRequest:
    """Read a request whose tokens are to be counted: it may lack an output limit. Raises `Invalid`."""
    return _request(body, needs_limit=False)


def _request(body: bytes, *, needs_limit: bool) -> ChatRequest:
    members = Members(decode_object(body), "", REMEDIES)
    check_numbers(body)
    model = members.take("model", _MODEL, "")
    limit = members.take_optional("max_tokens", _LIMIT)
    for name, given in (("model", model), ("max_tokens", limit or not needs_limit)):
        if not given:
            raise members.missing(name)
    stream = members.take("stream", FLAG, default=False)
    choice, parallel = _tool_choice(members)
    thinking, response_format = _output(members)
    return ChatRequest(
        dialect=NAME,
        model=model,
        messages=_messages(members),
        stream=stream,
        include_usage=stream,
        max_output_tokens=limit,
        temperature=members.take_optional("temperature", _UNIT),
        top_p=members.take_optional("top_p", _UNIT),
        top_k=members.take_optional("top_k", _TOP_K),
        stop=tuple(members.take("stop_sequences", _STOPS, [])),
        tools=_tools(members),
        tool_choice=choice,
        parallel_tool_calls=parallel,
        response_format=response_format,
        thinking=thinking,
        user=_user(members),
        extras=members.rest(),
    )


def _messages(members: Members) -> tuple[Message, ...]:
    messages = parse_system(members)
    for each in members.opened("messages", members.need_items("messages", MAX_MESSAGES)):
        messages += parse_turn(each)
    return tuple(messages)


def _tools(members: Members) -> tuple[Tool, ...]:
    items = members.take_items("tools", MAX_TOOLS)
    return tuple([_tool(each) for each in members.opened("tools", items)])


def _tool(members: Members) -> Tool:
    given = members.take_raw("cache_control")
    cache = take_cache(Members({} if given is None else {"cache_control": given}, members.path, REMEDIES))
    if cache is None and given is not None:
        members.put_back("cache_control", given)
    kind = members.take_text("type", "custom")
    if kind != "custom":
        return Tool(name=kind, cache=cache or "", extras={"type": raw(kind), **members.rest()})
    name = members.need_text("name")
    schema = members.take_raw("input_schema")
    if schema is None:
        raise members.missing("input_schema")
    return Tool(
        name=name,
        description=members.take_text("description"),
        parameters=schema,
        strict=members.take_nullable("strict", FLAG),
        cache=cache or "",
        extras=members.rest(),
    )


def _tool_choice(members: Members) -> tuple[Raw | UnsetType, bool | None]:
    given = members.take_raw("tool_choice")
    if given is None:
        return UNSET, None
    try:
        choice = _CHOICE.decode(given)
    except (msgspec.DecodeError, UnicodeDecodeError):
        members.put_back("tool_choice", given)
        return UNSET, None
    parallel = None if choice.disable_parallel_tool_use is None else not choice.disable_parallel_tool_use
    if choice.type == "tool":
        return raw({"type": "function", "function": {"name": choice.name}}), parallel
    return _WORDS[choice.type], parallel


def _output(members: Members) -> tuple[Thinking | None, Raw | UnsetType]:
    """Take ``thinking``, ``output_config`` and ``output_format``, but for what they say beyond the canonical fields."""
    config = members.take_object("output_config") or Members({}, "output_config", REMEDIES)
    form = _response_format(config, "format")
    if form is UNSET:
        form = _response_format(members, "output_format")
    effort = config.take_raw("effort")
    known = None if effort is None else _understood(effort, _EFFORT)
    thinking, plain = _thinking(members, known or "")
    if effort is not None and not (known and plain):
        config.put_back("effort", effort)
    others = config.rest()
    if others:
        members.put_back("output_config", raw(others))
    return thinking, form


def _thinking(members: Members, effort: str) -> tuple[Thinking | None, bool]:
    """Return how much may be thought, and whether that says the effort too."""
    given = members.take_raw("thinking")
    if given is None:
        if not effort:
            return None, True
        members.put_back("thinking", _NULL)
        return Thinking(effort=effort), True
    config = _understood(given, _THINKING)
    if config is None or (config.type == "enabled") != (config.budget_tokens is not None):
        members.put_back("thinking", given)
        return None, False
    shown = None if config.display is None else config.display == "summarized"
    if config.type == "disabled":
        return Thinking(effort="none", shown=shown), False
    return Thinking(effort=effort, budget_tokens=config.budget_tokens, shown=shown), True


def _response_format(members: Members, name: str) -> Raw | UnsetType:
    given = members.take_raw(name)
    if given is None:
        return UNSET
    form = _understood(given, _FORMAT)
    if form is None:
        members.put_back(name, given)
        return UNSET
    schema = {"name": FORMAT_NAME, "schema": form.schema, "strict": True}
    return raw({"type": "json_schema", "json_schema": schema})


def _understood(given: Raw, decoder: msgspec.json.Decoder[T]) -> T | None:
    """Return what `given` says, None when it says more than `decoder` knows."""
    try:
        return decoder.decode(given)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _user(members: Members) -> str:
    metadata = members.take_object("metadata")
    if metadata is None:
        return ""
    user = metadata.take_text("user_id")
    others = metadata.rest()
    if others:
        members.put_back("metadata", raw(others))
    return user


# ------------------------------------------------------------------------------------------------- rendering


def render_request(request: ChatRequest, limit_name: str = "max_tokens") -> Rendered:
    """Return the request's bytes and what had no place in it; `limit_name` carries the limit. Raises `Invalid`."""
    request, left_out = adopt(request)
    system, turns = render_messages(request.messages)
    extras = dict(request.extras)
    config = _output_config(request, extras)
    metadata = _joined({"user_id": request.user} if request.user else {}, extras.pop("metadata", None))
    optional: tuple[tuple[str, object], ...] = (
        (limit_name or "max_tokens", request.max_output_tokens),
        ("system", system),
        ("stream", True if request.stream else None),
        ("temperature", request.temperature),
        ("top_p", request.top_p),
        ("top_k", request.top_k),
        ("stop_sequences", list(request.stop) or None),
        ("tools", [_render_tool(tool) for tool in request.tools] or None),
        ("tool_choice", _render_choice(request)),
        ("thinking", _render_thinking(request, extras)),
        ("output_config", config or None),
        ("metadata", metadata or None),
    )
    wire: dict[str, Any] = {"model": request.model, "messages": turns}
    wire.update({name: value for name, value in optional if value is not None})
    return Rendered(msgspec.json.encode({**wire, **extras}), left_out)


def _render_tool(tool: Tool) -> dict[str, Any]:
    if "type" in tool.extras:
        return {**tool.extras, **render_cache(tool.cache)}
    wire: dict[str, Any] = {"name": tool.name}
    if tool.description:
        wire["description"] = tool.description
    if tool.parameters is not UNSET:
        wire["input_schema"] = tool.parameters
    if tool.strict is not UNSET:
        wire["strict"] = tool.strict
    return {**wire, **render_cache(tool.cache), **tool.extras}


def _render_choice(request: ChatRequest) -> dict[str, Any] | None:
    choice, parallel = request.tool_choice, request.parallel_tool_calls
    if choice is UNSET:
        wire: dict[str, Any] = {"type": "auto"}
        if parallel is not False or not request.tools:
            return None
    elif bytes(choice) in _KINDS:
        wire = {"type": _KINDS[bytes(choice)]}
    else:
        wire = {"type": "tool", "name": _NAMED.decode(choice).function.name}
    if parallel is not None and wire["type"] != "none":
        wire["disable_parallel_tool_use"] = not parallel
    return wire


def _render_thinking(request: ChatRequest, extras: Extras) -> dict[str, Any] | None:
    thinking = request.thinking
    if thinking is None:
        return None
    if extras.get("thinking") == _NULL:
        del extras["thinking"]
        return None
    if thinking.budget_tokens is not None:
        wire: dict[str, Any] = {"type": "enabled", "budget_tokens": thinking.budget_tokens}
    else:
        wire = {"type": "disabled" if thinking.effort == "none" else "adaptive"}
    if thinking.shown is not None:
        wire["display"] = "summarized" if thinking.shown else "omitted"
    return wire


def _output_config(request: ChatRequest, extras: Extras) -> dict[str, Any]:
    wire: dict[str, Any] = {}
    if request.thinking is not None and request.thinking.effort not in ("", "none"):
        wire["effort"] = request.thinking.effort
    if request.response_format is not UNSET:
        form = _RESPONSE_FORMAT.decode(request.response_format)
        if form.json_schema is not None:
            wire["format"] = {"type": "json_schema", "schema": form.json_schema.schema}
    return _joined(wire, extras.pop("output_config", None))


def _joined(wire: dict[str, Any], others: Raw | None) -> dict[str, Any]:
    return wire if others is None else {**wire, **OBJECT.decode(others)}


def redirect(body: bytes, model: str, output_tokens: int) -> bytes:
    """Return the same request for another model and with another output limit, every other byte kept."""
    members = decode_object(body)
    members["model"] = raw(model)
    members["max_tokens"] = Raw(b"%d" % output_tokens)
    return msgspec.json.encode(members)
