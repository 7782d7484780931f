"""What the simulated provider says: plausible, deterministic, and counted by a rule anybody can repeat.

The rule of counting: an answer's tokens are the pieces it is sent in (`asked` says how a prompt's are counted), and
`THOUGHT_TOKENS` before them where it was asked to think.

Promises: the same request gets the same answer; with tools it is a call whose arguments fit simple schemas, with a
JSON schema an instance of it (`type`, `enum`, `const`, `properties`, `required`, `items`, bounds, `anyOf`, `$ref`);
the answer never has more tokens than `max_tokens` allows, and then its finish is "length".
"""

from __future__ import annotations

import re
from itertools import cycle, islice
from typing import Any, Final, cast

import msgspec

from penstock.simulator.asked import Asked

_WORDS: Final = re.findall(
    r"\S+",
    "The water enters through the gate , turns the wheel , and leaves by the tail race . Each turn is counted "
    "once , written down before the gate opens , and paid for when it closes .",
)
_FURTHER: Final = [f" {word}" for word in _WORDS]
_PIECE: Final = re.compile(r"\s*\S+|\s+$")
_MAX_DEPTH: Final = 16
THOUGHT_TOKENS: Final = 6


class ToolReply(msgspec.Struct, frozen=True, gc=False):
    """One call of a tool: its id, the function's name, the arguments as JSON text."""

    id: str
    name: str
    arguments: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One choice: text in pieces (a token each), or tool calls; `finish` in OpenAI's words. `thoughts` came before,
    a token each, shown or not.
    """

    thoughts: tuple[str, ...] = ()
    pieces: tuple[str, ...] = ()
    tools: tuple[ToolReply, ...] = ()
    finish: str = "stop"

    @property
    def tokens(self) -> int:
        """Return the tokens generated."""
        words = len(self.thoughts) + len(self.pieces)
        return (
            words + sum([len(pieces_of(tool.arguments)) + 1 for tool in self.tools]) if self.tools else words
        )


def answers(asked: Asked, tokens: int) -> tuple[Answer, ...]:
    """Return one answer per choice asked for, of `tokens` tokens where the request does not fix the content."""
    return (_bounded(_answer(asked, tokens), asked.output_limit),) * asked.n


def pieces_of(text: str) -> tuple[str, ...]:
    """Cut `text` into tokens: words with the blanks before them."""
    return tuple(_PIECE.findall(text))


def prose(seed: int, tokens: int) -> tuple[str, ...]:
    """Return `tokens` words that depend on nothing but `seed`."""
    if not tokens:
        return ()
    start = seed % len(_WORDS)
    return _WORDS[start], *islice(cycle(_FURTHER[start + 1 :] + _FURTHER[: start + 1]), tokens - 1)


def _answer(asked: Asked, tokens: int) -> Answer:
    thoughts = prose(asked.seed + 1, THOUGHT_TOKENS) if asked.thinks else ()
    if asked.calls:
        called = [
            ToolReply(
                f"call_{asked.seed:08x}{index}",
                wish.name,
                msgspec.json.encode(instance(wish.parameters or {"type": "object"})).decode(),
            )
            for index, wish in enumerate(asked.calls)
        ]
        return Answer(thoughts=thoughts, tools=tuple(called), finish="tool_calls")
    if asked.schema is not None:
        text = msgspec.json.encode(instance(asked.schema)).decode()
        return Answer(thoughts=thoughts, pieces=pieces_of(text))
    return Answer(thoughts=thoughts, pieces=prose(asked.seed, tokens))


def _bounded(answer: Answer, limit: int | None) -> Answer:
    if limit is None or answer.tokens <= limit:
        return answer
    thoughts = answer.thoughts[:limit]
    rest = limit - len(thoughts)
    if not answer.tools or not rest:
        return Answer(thoughts=thoughts, pieces=answer.pieces[:rest], finish="length")
    first = answer.tools[0]
    cut = "".join(pieces_of(first.arguments)[: rest - 1])
    return Answer(thoughts=thoughts, tools=(ToolReply(first.id, first.name, cut),), finish="length")


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
