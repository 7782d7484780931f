"""What a request asks of the simulated provider, whatever wire it came on.

The rule of counting: a prompt's tokens are the runs of non-blank bytes in the raw JSON of the members that carry it
(`OPENAI_COUNTED` and its like), so never more than bytes, and `IMAGE_TOKENS` more for each picture.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from penstock.dialects.openai_envelope import ChatEnvelope
from penstock.kernel.chat import ChatRequest, Image, Media, Thinking

IMAGE_TOKENS: Final = 16
OPENAI_COUNTED: Final = ("messages", "tools", "functions", "response_format")
_QUIET: Final = ("none", "minimal")
"""Efforts at which it does not think."""


class Wish(msgspec.Struct, gc=False):
    """A function it may call; `parameters` is its JSON Schema."""

    name: str
    parameters: dict[str, Any] | None = None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One request, understood. `seed` is what the answer's words depend on."""

    model: str
    stream: bool
    seed: int
    input_tokens: int
    tells_usage: bool = True
    """Whether usage is told in a stream."""
    n: int = 1
    output_limit: int | None = None
    calls: tuple[Wish, ...] = ()
    """The functions that are called, in order; () answers in words."""
    schema: dict[str, Any] | None = None
    """What the words must be an instance of."""
    thinks: bool = False
    shows_thoughts: bool = False


class _Tool(msgspec.Struct, gc=False):
    function: Wish


class _Named(msgspec.Struct, gc=False):
    function: Wish


class _Schema(msgspec.Struct, gc=False):
    schema: dict[str, Any] | None = None


class _Format(msgspec.Struct, gc=False):
    type: str
    json_schema: _Schema | None = None


class _Turn(msgspec.Struct, gc=False):
    role: str


_TOOLS: Final = msgspec.json.Decoder(list[_Tool])
_CHOICE: Final = msgspec.json.Decoder(_Named | str)
_FORMAT: Final = msgspec.json.Decoder(_Format | None)
_TURNS: Final = msgspec.json.Decoder(list[_Turn])
_PARAMETERS: Final = msgspec.json.Decoder(dict[str, Any])
_EFFORT: Final = msgspec.json.Decoder(str | None)


def count_tokens(members: Mapping[str, Raw], names: Iterable[str], images: int) -> int:
    """Count a prompt by the rule above."""
    return (
        sum([len(bytes(members[name]).split()) for name in names if name in members]) + IMAGE_TOKENS * images
    )


def asked_in_openai(envelope: ChatEnvelope) -> Asked:
    """Understand an OpenAI request. Raises `msgspec.ValidationError` for tools or a format of another shape."""
    members = envelope.members
    schema: dict[str, Any] | None = None
    calls: tuple[Wish, ...] = ()
    if "response_format" in members:
        schema = _schema(members["response_format"])
    if schema is None and "tools" in members:
        calls = _chosen(
            [tool.function for tool in _TOOLS.decode(members["tools"])],
            members.get("tool_choice"),
            many=envelope.raw("parallel_tool_calls") == b"true",
            answered=_TURNS.decode(members["messages"])[-1].role == "tool",
        )
    return Asked(
        model=envelope.model,
        stream=envelope.stream,
        seed=zlib.crc32(members["messages"]),
        input_tokens=count_tokens(members, OPENAI_COUNTED, envelope.images),
        tells_usage=envelope.include_usage,
        n=envelope.n,
        output_limit=envelope.output_limit,
        calls=calls,
        schema=schema,
        thinks="reasoning_effort" in members
        and (_EFFORT.decode(members["reasoning_effort"]) or "none") not in _QUIET,
    )


def asked_in(request: ChatRequest, members: Mapping[str, Raw], turns: str, counted: Iterable[str]) -> Asked:
    """Understand a canonical request; `turns` names the member of its wire that holds the conversation."""
    parts = [part for message in request.messages for part in message.content]
    schema = _schema(request.response_format) if request.response_format is not msgspec.UNSET else None
    wishes = [
        Wish(tool.name, None if tool.parameters is msgspec.UNSET else _PARAMETERS.decode(tool.parameters))
        for tool in request.tools
        if "type" not in tool.extras  # the vendor's own tools run out of sight
    ]
    choice = None if request.tool_choice is msgspec.UNSET else request.tool_choice
    thinking = request.thinking
    return Asked(
        model=request.model,
        stream=request.stream,
        seed=zlib.crc32(members[turns]),
        input_tokens=count_tokens(members, counted, sum(isinstance(part, Image | Media) for part in parts)),
        n=request.n,
        output_limit=request.max_output_tokens,
        calls=()
        if schema is not None
        else _chosen(
            wishes,
            choice,
            many=bool(request.parallel_tool_calls),
            answered=bool(request.messages) and request.messages[-1].role == "tool",
        ),
        schema=schema,
        thinks=thinking is not None and _thinks(thinking),
        shows_thoughts=thinking is not None and _shows(thinking, request.dialect),
    )


def _thinks(thinking: Thinking) -> bool:
    return thinking.effort not in _QUIET and thinking.budget_tokens != 0


def _shows(thinking: Thinking, dialect: str) -> bool:
    """Tell whether thoughts are shown: Anthropic does unless told not to, Gemini only when told to."""
    return dialect == "anthropic" if thinking.shown is None else thinking.shown


def _schema(wanted: Raw) -> dict[str, Any] | None:
    """Return the schema that a response format asks for, None when it asks for words."""
    form = _FORMAT.decode(wanted)
    if form is None or form.type not in ("json_schema", "json_object"):
        return None
    return (form.json_schema.schema if form.json_schema is not None else None) or {"type": "object"}


def _chosen(wishes: list[Wish], choice: Raw | None, *, many: bool, answered: bool) -> tuple[Wish, ...]:
    """Return what a model would call: nothing once a tool has answered, or when none is wanted."""
    chosen = _CHOICE.decode(choice) if choice is not None else "auto"
    if not wishes or chosen == "none":
        return ()
    if isinstance(chosen, _Named):
        wishes = [wish for wish in wishes if wish.name == chosen.function.name]
    elif answered:
        return ()
    return tuple(wishes if many else wishes[:1])
