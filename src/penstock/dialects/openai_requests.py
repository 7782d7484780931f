"""Chat requests of the OpenAI wire, both ways: bytes and `kernel.chat.ChatRequest`.

Promises
- `parse_request(render_request(x)) == x` for every request this wire can say.
- What has no place in `ChatRequest` (logit_bias, the legacy `functions`, vLLM's and OpenRouter's members, …) is in
  `extras`, byte for byte; an explicit null means "not given".
- A request in another dialect is rewritten first (`openai_foreign`); what was left out on the way is named.
- A refusal is an `Invalid` that names field, value, limit and remedy. Numbers outside a double's range are refused.
- `max_tokens` and `max_completion_tokens` are one limit; of both, the smaller counts.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Raw

from penstock.dialects.codec import Rendered
from penstock.dialects.members import FLAG, Members, check_numbers
from penstock.dialects.openai_envelope import MAX_CHOICES, MAX_MESSAGES, MAX_MODEL_CHARS, OutputLimit
from penstock.dialects.openai_envelope import REMEDIES as ENVELOPE_REMEDIES
from penstock.dialects.openai_foreign import adopt
from penstock.dialects.openai_messages import REMEDIES as MESSAGE_REMEDIES
from penstock.dialects.openai_messages import parse_message, render_cache, render_message, take_cache
from penstock.dialects.strict_json import decode_object
from penstock.kernel.chat import ChatRequest, Extras, Message, Thinking, Tool

MAX_STOPS: Final = 16
MAX_TOOLS: Final = 1_024
MAX_TOP_LOGPROBS: Final = 128

REMEDIES: Final = {
    **MESSAGE_REMEDIES,
    **ENVELOPE_REMEDIES,
    "content": MESSAGE_REMEDIES["content"],
    "role": MESSAGE_REMEDIES["role"],
    "stop": f"Send a string or at most {MAX_STOPS} strings.",
    "tools": f"Send at most {MAX_TOOLS} tools, each with a type and a function that has a name.",
    "name": "Give the function a name.",
    "seed": "Send a whole number.",
    "top_p": "Send a number from 0 to 1.",
    "top_k": "Send a whole number of at least 1, or leave it out.",
    "presence_penalty": "Send a number from -2 to 2.",
    "frequency_penalty": "Send a number from -2 to 2.",
    "logprobs": "Send true or false.",
    "top_logprobs": f"Send a whole number from 0 to {MAX_TOP_LOGPROBS}.",
    "parallel_tool_calls": "Send true or false.",
    "reasoning_effort": "Send none, minimal, low, medium, high or xhigh.",
}

_MODEL: Final = msgspec.json.Decoder(Annotated[str, Meta(min_length=1, max_length=MAX_MODEL_CHARS)])
_LIMIT: Final = msgspec.json.Decoder(OutputLimit)
_TEMPERATURE: Final = msgspec.json.Decoder(Annotated[float, Meta(ge=0, le=2)])
_TOP_P: Final = msgspec.json.Decoder(Annotated[float, Meta(ge=0, le=1)])
_CHOICES: Final = msgspec.json.Decoder(Annotated[int, Meta(ge=1, le=MAX_CHOICES)])
_STOPS: Final = msgspec.json.Decoder(str | Annotated[list[str], Meta(max_length=MAX_STOPS)])
_SEED: Final = msgspec.json.Decoder(Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)])
_PENALTY: Final = msgspec.json.Decoder(Annotated[float, Meta(ge=-2, le=2)])
_TOP_K: Final = msgspec.json.Decoder(Annotated[int, Meta(ge=-1, le=2**31 - 1)])
_TOP_LOGPROBS: Final = msgspec.json.Decoder(Annotated[int, Meta(ge=0, le=MAX_TOP_LOGPROBS)])


def parse_request(body: bytes) -> ChatRequest:
    """Read a whole chat request. Raises `Invalid`."""
    members = Members(decode_object(body), "", REMEDIES)
    check_numbers(body)
    return read_members(members)


def read_members(members: Members) -> ChatRequest:
    """Read the members of a chat request. Raises `Invalid`."""
    model = members.take("model", _MODEL, "")
    if not model:
        raise members.missing("model")
    stream = members.take("stream", FLAG, default=False)
    include_usage, options = _stream_options(members, stream=stream)
    limits = [members.take_optional(name, _LIMIT) for name in ("max_completion_tokens", "max_tokens")]
    stops = members.take("stop", _STOPS, [])
    top_k = members.take("top_k", _TOP_K, 0)  # vLLM: 0 and -1 are "all tokens", the same as not given
    effort = members.take_text("reasoning_effort")
    return ChatRequest(
        model=model,
        messages=_messages(members),
        stream=stream,
        include_usage=include_usage,
        max_output_tokens=min((limit for limit in limits if limit is not None), default=None),
        temperature=members.take_optional("temperature", _TEMPERATURE),
        top_p=members.take_optional("top_p", _TOP_P),
        top_k=top_k if top_k > 0 else None,
        presence_penalty=members.take_optional("presence_penalty", _PENALTY),
        frequency_penalty=members.take_optional("frequency_penalty", _PENALTY),
        logprobs=members.take_optional("logprobs", FLAG),
        top_logprobs=members.take_optional("top_logprobs", _TOP_LOGPROBS),
        n=members.take("n", _CHOICES, 1),
        stop=(stops,) if isinstance(stops, str) else tuple(stops),
        seed=members.take_optional("seed", _SEED),
        tools=_tools(members),
        tool_choice=members.take_raw("tool_choice") or UNSET,
        parallel_tool_calls=members.take_optional("parallel_tool_calls", FLAG),
        response_format=members.take_raw("response_format") or UNSET,
        thinking=Thinking(effort=effort) if effort else None,
        user=members.take_text("user"),
        extras={**members.rest(), **options},
    )


def _stream_options(members: Members, *, stream: bool) -> tuple[bool, Extras]:
    options = members.take_object("stream_options")
    if options is None:
        return False, {}
    if not stream:
        raise members.wrong("stream_options", "stream_options is for streams only.", "stream is not true")
    asked = options.take("include_usage", FLAG, default=False)
    others = options.rest()
    return asked, {"stream_options": Raw(msgspec.json.encode(others))} if others else {}


def _messages(members: Members) -> tuple[Message, ...]:
    items = members.need_items("messages", MAX_MESSAGES)
    return tuple([parse_message(each) for each in members.opened("messages", items)])


def _tools(members: Members) -> tuple[Tool, ...]:
    items = members.take_items("tools", MAX_TOOLS)
    return tuple([_tool(each) for each in members.opened("tools", items)])


def _tool(members: Members) -> Tool:
    kind = members.need_text("type")
    if kind != "function":
        return Tool(name=kind, extras={"type": Raw(msgspec.json.encode(kind)), **members.rest()})
    function = members.take_object("function")
    if function is None:
        raise members.missing("function")
    name = function.need_text("name")
    if not name:
        raise function.missing("name")
    return Tool(
        name=name,
        description=function.take_text("description"),
        parameters=function.take_raw("parameters") or UNSET,
        strict=function.take_nullable("strict", FLAG),
        cache=take_cache(members),
        extras={**members.rest(), **function.rest("function.")},
    )


# ------------------------------------------------------------------------------------------------- rendering


def render_request(request: ChatRequest, limit_name: str = "max_completion_tokens") -> Rendered:
    """Return the request's bytes; `limit_name` is the member that carries the output limit. Raises `Invalid`."""
    request, left_out = adopt(request)
    return Rendered(msgspec.json.encode(request_members(request, limit_name)), left_out)


def request_members(request: ChatRequest, limit_name: str) -> dict[str, Any]:
    """Return the members of a request in this dialect's words. Raises `Invalid` for a part of another dialect."""
    wire: dict[str, Any] = {
        "model": request.model,
        "messages": [render_message(message) for message in request.messages],
    }
    extras = dict(request.extras)
    if request.stream:
        wire["stream"] = True
        options = extras.pop("stream_options", None)
        if request.include_usage or options is not None:
            wire["stream_options"] = _render_options(options, include_usage=request.include_usage)
    optional: tuple[tuple[str, object], ...] = (
        (limit_name, request.max_output_tokens),
        ("temperature", request.temperature),
        ("top_p", request.top_p),
        ("top_k", request.top_k),
        ("presence_penalty", request.presence_penalty),
        ("frequency_penalty", request.frequency_penalty),
        ("logprobs", request.logprobs),
        ("top_logprobs", request.top_logprobs),
        ("n", request.n if request.n != 1 else None),
        ("stop", list(request.stop) or None),
        ("seed", request.seed),
        ("tools", [_render_tool(tool) for tool in request.tools] or None),
        ("tool_choice", None if request.tool_choice is UNSET else request.tool_choice),
        ("parallel_tool_calls", request.parallel_tool_calls),
        ("response_format", None if request.response_format is UNSET else request.response_format),
        ("reasoning_effort", request.thinking.effort or None if request.thinking else None),
        ("user", request.user or None),
    )
    wire.update({name: value for name, value in optional if value is not None})
    return {**wire, **extras}


def _render_options(options: Raw | None, *, include_usage: bool) -> dict[str, Any]:
    wire: dict[str, Any] = {} if options is None else msgspec.json.decode(options, type=dict[str, Raw])
    if include_usage:
        wire["include_usage"] = True
    return wire


def _render_tool(tool: Tool) -> dict[str, Any]:
    extras = {**tool.extras, **render_cache(tool.cache)}
    if "type" in extras:
        return extras
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters is not UNSET:
        function["parameters"] = tool.parameters
    if tool.strict is not UNSET:
        function["strict"] = tool.strict
    for name in [name for name in extras if name.startswith("function.")]:
        function[name.removeprefix("function.")] = extras.pop(name)
    return {"type": "function", "function": function, **extras}
