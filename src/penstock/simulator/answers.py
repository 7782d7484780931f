"""What the simulated provider says: plausible, deterministic, and counted by a rule anybody can repeat.

The rule of counting: a prompt's tokens are the runs of non-blank bytes in the raw JSON of its `messages`, `tools`,
`functions` and `response_format` (so never more than bytes); an answer's tokens are the pieces it is sent in.

Promises: the same request gets the same answer; with tools it is a call whose arguments fit simple schemas, with a
JSON schema an instance of it (`type`, `enum`, `const`, `properties`, `required`, `items`, bounds, `anyOf`, `$ref`);
the answer never has more tokens than `max_tokens` allows, and then its finish is "length".
"""

from __future__ import annotations

import re
import zlib
from itertools import cycle, islice
from typing import Any, Final, cast

import msgspec

from penstock.dialects.openai_envelope import ChatEnvelope

_WORDS: Final = re.findall(
    r"\S+",
    "The water enters through the gate , turns the wheel , and leaves by the tail race . Each turn is counted "
    "once , written down before the gate opens , and paid for when it closes .",
)
_COUNTED: Final = ("messages", "tools", "functions", "response_format")
_PIECE: Final = re.compile(r"\s*\S+|\s+$")
_MAX_DEPTH: Final = 16


class ToolReply(msgspec.Struct, frozen=True, gc=False):
    """One call of a tool: its id, the function's name, the arguments as JSON text."""

    id: str
    name: str
    arguments: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One choice: text in pieces (a token each), or tool calls; `finish` as on the wire."""

    pieces: tuple[str, ...] = ()
    tools: tuple[ToolReply, ...] = ()
    finish: str = "stop"

    @property
    def tokens(self) -> int:
        """Return the tokens generated."""
        return len(self.pieces) + sum(len(pieces_of(tool.arguments)) + 1 for tool in self.tools)


class _Function(msgspec.Struct, gc=False):
    name: str
    parameters: dict[str, Any] | None = None


class _Tool(msgspec.Struct, gc=False):
    function: _Function


class _Named(msgspec.Struct, gc=False):
    function: _Function


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


def count_prompt_tokens(envelope: ChatEnvelope) -> int:
    """Count a prompt's tokens by the rule above."""
    return sum([len(envelope.raw(name).split()) for name in _COUNTED if name in envelope.members])


def answers(envelope: ChatEnvelope, tokens: int) -> tuple[Answer, ...]:
    """Return one answer per choice asked for, of `tokens` tokens where the request does not fix the content.

    Raises `msgspec.ValidationError` when tools or format are not of the wire's shape.
    """
    answer = _bounded(_answer(envelope, tokens), envelope.output_limit)
    return (answer,) * envelope.n


def pieces_of(text: str) -> tuple[str, ...]:
    """Cut `text` into tokens: words with the blanks before them."""
    return tuple(_PIECE.findall(text))


def prose(seed: int, tokens: int) -> tuple[str, ...]:
    """Return `tokens` words that depend on nothing but `seed`."""
    start = seed % len(_WORDS)
    words = list(islice(cycle(_WORDS[start:] + _WORDS[:start]), tokens))
    return (words[0], *[f" {word}" for word in words[1:]]) if words else ()


def _answer(envelope: ChatEnvelope, tokens: int) -> Answer:
    members = envelope.members
    if "tools" in members and "response_format" not in members:
        called = _calls(envelope)
        if called:
            return Answer(tools=called, finish="tool_calls")
    if "response_format" in members:
        wanted = _FORMAT.decode(members["response_format"])
        if wanted is not None and wanted.type in ("json_schema", "json_object"):
            schema = wanted.json_schema.schema if wanted.json_schema is not None else None
            text = msgspec.json.encode(instance(schema or {"type": "object"})).decode()
            return Answer(pieces=pieces_of(text))
    return Answer(pieces=prose(zlib.crc32(members["messages"]), tokens))


def _calls(envelope: ChatEnvelope) -> tuple[ToolReply, ...]:
    """Return the calls a model would make: none once a tool has answered, or when `tool_choice` is "none"."""
    tools = [tool.function for tool in _TOOLS.decode(envelope.members["tools"])]
    choice = _CHOICE.decode(envelope.raw("tool_choice") or b'"auto"')
    if not tools or choice == "none":
        return ()
    if isinstance(choice, _Named):
        name = choice.function.name
        tools = [tool for tool in tools if tool.name == name]
    elif _TURNS.decode(envelope.members["messages"])[-1].role == "tool":
        return ()
    many = envelope.raw("parallel_tool_calls") == b"true"
    return tuple(
        [
            ToolReply(
                f"call_{zlib.crc32(envelope.members['messages']):08x}{index}",
                tool.name,
                msgspec.json.encode(instance(tool.parameters or {"type": "object"})).decode(),
            )
            for index, tool in enumerate(tools if many else tools[:1])
        ]
    )


def _bounded(answer: Answer, limit: int | None) -> Answer:
    if limit is None or answer.tokens <= limit:
        return answer
    if not answer.tools:
        return Answer(pieces=answer.pieces[:limit], finish="length")
    first = answer.tools[0]
    cut = "".join(pieces_of(first.arguments)[: max(0, limit - 1)])
    return Answer(tools=(ToolReply(first.id, first.name, cut),), finish="length")


# ---------------------------------------------------------------------------------------- instances of a schema

_TEXTS: Final = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def instance(schema: dict[str, Any], root: dict[str, Any] | None = None, depth: int = 0) -> object:
    """Return a value that fits `schema`, a simple one; past 16 levels (or for a shape not known here) null."""
    root = schema if root is None else root
    if depth > _MAX_DEPTH:
        return None
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if "$ref" in schema:
        return instance(_resolve(root, str(schema["$ref"])), root, depth + 1)
    for union in ("anyOf", "oneOf"):
        if schema.get(union):
            return instance(schema[union][0], root, depth + 1)
    if schema.get("allOf"):
        merged: dict[str, Any] = {}
        for part in schema["allOf"]:
            merged |= part
        return instance(merged, root, depth + 1)
    return _typed(schema, root, depth)


def _typed(schema: dict[str, Any], root: dict[str, Any], depth: int) -> object:
    kind: object = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next((name for name in cast("list[object]", kind) if name != "null"), "null")
    match kind:
        case "object":
            properties = cast("dict[str, dict[str, Any]]", schema.get("properties") or {})
            return {name: instance(part, root, depth + 1) for name, part in properties.items()}
        case "array":
            count = int(schema.get("minItems", 1))
            return [instance(schema.get("items") or {"type": "string"}, root, depth + 1)] * min(count, 64)
        case "integer":
            return int(_number(schema))
        case "number":
            return _number(schema)
        case "boolean":
            return True
        case "string":
            return _text(schema)
        case _:
            return None


def _number(schema: dict[str, Any]) -> float:
    if "minimum" in schema:
        return schema["minimum"]
    if "exclusiveMinimum" in schema:
        return schema["exclusiveMinimum"] + 1
    return min(1, schema.get("maximum", 1), schema.get("exclusiveMaximum", 2) - 1)


def _text(schema: dict[str, Any]) -> str:
    text = _TEXTS.get(schema.get("format", ""), "water")
    least, most = int(schema.get("minLength", 0)), int(schema.get("maxLength", 4096))
    return text.ljust(min(least, 4096), "~")[:most]


def _resolve(root: dict[str, Any], ref: str) -> dict[str, Any]:
    found: Any = root
    for step in ref.removeprefix("#").strip("/").split("/"):
        if step:
            found = cast("dict[str, Any]", found).get(step, {}) if isinstance(found, dict) else {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
