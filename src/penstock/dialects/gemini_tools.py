"""Tools of the Gemini wire, both ways: ``tools`` and ``toolConfig``, and `kernel.chat.Tool` with its choice.

How they meet
- A function declaration is a `Tool`; all of them travel in one ``functionDeclarations``. Every other member of a tool
  (``googleSearch``, ``codeExecution`` …) is a tool that Google itself runs: its name, and its value in `extras`.
- Google has two ways to write a schema. Its own (`parameters`, ``responseSchema``: types in capitals, ``nullable``) is
  read as JSON Schema. A request in Gemini's words is written in Google's own way wherever that can say it; everybody
  else's schema goes byte for byte as JSON Schema (``parametersJsonSchema``).
- Mode VALIDATED is the promise that calls fit their schema: `strict` on every tool, and the other way round.
"""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec
from msgspec import UNSET, Raw, UnsetType

from penstock.dialects.gemini_foreign import Translation
from penstock.dialects.gemini_words import camel_case, open_object, take_object
from penstock.dialects.members import ANY, RAWS, Members, raw
from penstock.dialects.strict_json import shorten
from penstock.kernel.chat import Extras, Tool
from penstock.kernel.errors import Invalid

MAX_TOOLS: Final = 1_024
_TYPES: Final = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})
_COUNTS: Final = frozenset(
    {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
)
_SAYABLE: Final = _COUNTS | {
    # what Google's own schema has words for, besides `type`, `properties`, `items`, `anyOf` and `enum`
    "format",
    "title",
    "description",
    "required",
    "pattern",
    "example",
    "default",
    "minimum",
    "maximum",
    "propertyOrdering",
}
_NAMES: Final = msgspec.json.Decoder(list[str])


class _Named(msgspec.Struct, gc=False):
    name: str = ""


class _AllowedTool(msgspec.Struct, gc=False):
    function: _Named | None = None


class _Allowed(msgspec.Struct, gc=False):
    mode: str = "auto"
    tools: list[_AllowedTool] = []


class _Choice(msgspec.Struct, gc=False):
    """A `tool_choice` of OpenAI's that is an object."""

    type: str
    function: _Named | None = None
    allowed_tools: _Allowed | None = None


_CHOICE: Final = msgspec.json.Decoder(str | _Choice)


# -------------------------------------------------------------------------------------------------- schemas


def from_google(schema: object) -> object:
    """Return a schema of Google's own writing as JSON Schema."""
    if not isinstance(schema, dict):
        return schema
    given = {camel_case(str(name)): value for name, value in cast("dict[str, Any]", schema).items()}
    told: dict[str, Any] = {}
    for name, value in given.items():
        if name == "type" and isinstance(value, str):
            kind = value.lower()
            told["type"] = [kind, "null"] if given.get("nullable") is True else kind
        elif name == "properties" and isinstance(value, dict):
            properties = cast("dict[str, Any]", value)
            told["properties"] = {key: from_google(inner) for key, inner in properties.items()}
        elif name == "anyOf" and isinstance(value, list):
            told["anyOf"] = [from_google(inner) for inner in cast("list[Any]", value)]
        elif name == "items":
            told["items"] = from_google(value)
        elif name in _COUNTS and isinstance(value, str) and value.isdecimal():
            told[name] = int(value)
        elif name != "nullable" or "type" not in given:
            told[name] = value
    return told


def to_google(schema: object) -> dict[str, Any] | None:
    """Return a JSON Schema in Google's own writing; None when that cannot say it."""
    if not isinstance(schema, dict):
        return None
    told: dict[str, Any] = {}
    for name, value in cast("dict[str, Any]", schema).items():
        said = {name: value} if name in _SAYABLE else _google_member(name, value)
        if said is None:
            return None
        told |= said
    return told


def _google_member(name: str, value: object) -> dict[str, Any] | None:
    if name == "type":
        return _google_type(value)
    if name == "enum":
        values = cast("list[Any]", value) if isinstance(value, list) else [None]
        return {"enum": values} if all(isinstance(each, str) for each in values) else None
    if name == "nullable":
        return {"nullable": value}
    if name == "items":
        inner = to_google(value)
        return None if inner is None else {"items": inner}
    if name == "properties" and isinstance(value, dict):
        named = {key: to_google(each) for key, each in cast("dict[str, Any]", value).items()}
        return None if None in named.values() else {"properties": named}
    if name == "anyOf" and isinstance(value, list):
        several = [to_google(each) for each in cast("list[Any]", value)]
        return None if None in several else {"anyOf": several}
    return None


def _google_type(value: object) -> dict[str, Any] | None:
    if isinstance(value, str):
        return {"type": value.upper()} if value in _TYPES else None
    kinds = cast("list[Any]", value) if isinstance(value, list) else []
    if len(kinds) == 2 and kinds[1] == "null" and kinds[0] in _TYPES and kinds[0] != "null":
        return {"type": kinds[0].upper(), "nullable": True}
    return None


def parse_schema(members: Members, own: str, json: str) -> Raw | UnsetType:
    """Take a schema from its member of Google's own writing or from that of JSON Schema. Raises `Invalid`."""
    google, plain = members.take_raw(own), members.take_raw(json)
    if google is not None and plain is not None:
        raise members.wrong(json, f"Send {own} or {json}, not both.", shorten(bytes(plain).decode()))
    if google is not None:
        return raw(from_google(ANY.decode(google)))
    return UNSET if plain is None else plain


def render_schema(schema: Raw, own: str, json: str, said: Translation) -> dict[str, Any]:
    """Return a schema under the member whose writing it has."""
    google = to_google(ANY.decode(schema)) if said.native else None
    return {json: schema} if google is None else {own: google}


# ---------------------------------------------------------------------------------------------------- tools


def parse_tools(members: Members) -> tuple[Tool, ...]:
    """Take ``tools``. Raises `Invalid`."""
    tools: list[Tool] = []
    for index, item in enumerate(members.take_items("tools", MAX_TOOLS)):
        tool = open_object(item, f"tools[{index}]")
        declared = tool.take("functionDeclarations", RAWS, [])
        at = tool.at("functionDeclarations")
        tools += [_function(open_object(each, f"{at}[{place}]")) for place, each in enumerate(declared)]
        tools += [
            Tool(name=name, extras={"type": raw(name), name: value}) for name, value in tool.rest().items()
        ]
    if len(tools) > MAX_TOOLS:
        raise members.wrong("tools", "There are too many tools.", len(tools), MAX_TOOLS)
    return tuple(tools)


def _function(members: Members) -> Tool:
    name = members.need_text("name")
    if not name:
        raise members.missing("name")
    return Tool(
        name=name,
        description=members.take_text("description"),
        parameters=parse_schema(members, "parameters", "parametersJsonSchema"),
        extras=members.rest(),
    )


def render_tools(tools: tuple[Tool, ...], said: Translation) -> list[dict[str, Any]]:
    """Return ``tools``. Raises `Invalid` (untranslatable) for a tool that another vendor runs."""
    wire: list[dict[str, Any]] = []
    functions: list[dict[str, Any]] = []
    for index, tool in enumerate(tools):
        at = f"tools[{index}]"
        if tool.cache:
            said.leave("cache_control")
        if "type" in tool.extras:
            if not said.native:
                raise said.refusal(f"{at}.type", tool.name)
            wire.append({name: value for name, value in tool.extras.items() if name != "type"})
            continue
        if not functions:
            wire.append({"functionDeclarations": functions})
        functions.append(_render_function(tool, at, said))
    return wire


def _render_function(tool: Tool, at: str, said: Translation) -> dict[str, Any]:
    wire: dict[str, Any] = {"name": tool.name}
    if tool.description:
        wire["description"] = tool.description
    if tool.parameters is not UNSET:
        wire |= render_schema(tool.parameters, "parameters", "parametersJsonSchema", said)
    return {**wire, **said.own_tool(tool.extras, at)}


# --------------------------------------------------------------------------------------------------- choice


class Choosing(msgspec.Struct, frozen=True):
    """What a ``toolConfig`` says: the choice in OpenAI's shape, whether calls must fit, and what has no place here."""

    choice: Raw | UnsetType = UNSET
    strict: bool = False
    extras: Extras = {}


def parse_tool_config(members: Members) -> Choosing:
    """Take ``toolConfig``. Raises `Invalid`."""
    config = take_object(members, "toolConfig")
    if config is None:
        return Choosing()
    calling = config.take_raw("functionCallingConfig")
    extras = config.rest("toolConfig.")
    if calling is None:
        return Choosing(extras=extras)
    opened = open_object(calling, config.at("functionCallingConfig"))
    mode, names = opened.take_text("mode", "AUTO").upper(), opened.take("allowedFunctionNames", _NAMES, [])
    choice = _CHOICE_OF.get((mode, bool(names)))
    if choice is None or opened.rest():
        return Choosing(extras={**extras, "toolConfig.functionCallingConfig": calling})
    strict = mode == "VALIDATED"
    if not names:
        return Choosing(raw(choice), strict, extras)
    functions = [{"type": "function", "function": {"name": name}} for name in names]
    if len(names) == 1 and mode == "ANY":
        return Choosing(raw(functions[0]), strict, extras)
    allowed = {"mode": choice, "tools": functions}
    return Choosing(raw({"type": "allowed_tools", "allowed_tools": allowed}), strict, extras)


_CHOICE_OF: Final = {
    # (mode, names given) → OpenAI's word
    ("AUTO", False): "auto",
    ("NONE", False): "none",
    ("ANY", False): "required",
    ("ANY", True): "required",
    ("VALIDATED", False): "auto",
    ("VALIDATED", True): "auto",
}


def render_tool_choice(
    choice: Raw | UnsetType, tools: tuple[Tool, ...], said: Translation
) -> dict[str, Any] | None:
    """Return the ``functionCallingConfig``; None when there is nothing to say. Raises `Invalid` (untranslatable)."""
    strict = any(tool.strict is True for tool in tools)
    if choice is UNSET:
        return {"mode": "VALIDATED"} if strict else None
    try:
        chosen = _CHOICE.decode(choice)
    except msgspec.DecodeError:
        raise _unknown(choice, said) from None
    if isinstance(chosen, str):
        mode = {"auto": "VALIDATED" if strict else "AUTO", "none": "NONE", "required": "ANY"}.get(chosen)
        if mode is None:
            raise _unknown(choice, said)
        return {"mode": mode}
    if chosen.type == "function" and chosen.function is not None:
        return {"mode": "ANY", "allowedFunctionNames": [chosen.function.name]}
    allowed = chosen.allowed_tools
    if chosen.type != "allowed_tools" or allowed is None:
        raise _unknown(choice, said)
    names = [tool.function.name for tool in allowed.tools if tool.function is not None]
    if len(names) < len(allowed.tools) or not names:
        raise _unknown(choice, said)
    return {
        "mode": "ANY" if allowed.mode == "required" else "VALIDATED",
        "allowedFunctionNames": names,
    }


def _unknown(choice: Raw, said: Translation) -> Invalid:
    return said.refusal("tool_choice", bytes(choice).decode(), "Choose auto, none, required or a function.")
