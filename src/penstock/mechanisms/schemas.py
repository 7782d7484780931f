"""Checking values against JSON Schemas that strangers send.

    schema = Schemas().get(raw)
    if not schema.accepts(value):
        schema.mismatches(value)   # [Mismatch("/age", '"31" does not fit', '{"type":"integer"}')]

Promises: a schema is compiled once and kept by its digest, in bounded memory; one that is no schema, is too large, that
refers to anything outside itself, or whose check could take long, is an `Invalid` that says so; a check takes time
linear in the value: schemas that multiply are refused by their written-out size, patterns run on an engine without
backtracking, or with a bound on it. Mismatches name the innermost place that is wrong, and are few and short, fit to
be shown to a model.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, cast

import jsonschema_rs
import msgspec

from penstock.dialects.strict_json import check_text, decode_as, shorten
from penstock.kernel.errors import Invalid
from penstock.mechanisms.schema_shapes import MAX_WORK, Node, as_list, as_node, escaped, every, target, work

MAX_BYTES: Final = 128 * 1024
"""Largest schema, in bytes; OpenAI allows 120,000 characters of names and values."""
MAX_SCHEMAS: Final = 256
"""Most compiled schemas kept."""
MAX_KEPT_BYTES: Final = 4 * 1024 * 1024
"""Most bytes of schema text whose compiled form is kept."""
MAX_MISMATCHES: Final = 8
"""Most mismatches told."""
MAX_STEPS: Final = 128
"""Deepest place told, in schemas from the outermost."""
MAX_SHOWN: Final = 160
"""Longest excerpt of a value or a schema, in characters."""

_ANY: Final = msgspec.json.Decoder()
_URI: Final = "urn:penstock:schema"
_LINEAR: Final = jsonschema_rs.RegexOptions(size_limit=1 << 20)
_BOUNDED: Final = jsonschema_rs.FancyRegexOptions(backtrack_limit=1000)
_TYPES: Final[dict[type, set[str]]] = {
    dict: {"object"}, list: {"array"}, str: {"string"}, bool: {"boolean"}, type(None): {"null"},
    int: {"integer", "number"}, float: {"integer", "number"},
}  # fmt: skip
_SILENT: Final = frozenset(
    {"title", "description", "$defs", "definitions", "$schema", "$id", "examples", "default"}
)
"""Keywords that a mismatch does not show: they say nothing on what would fit."""


class Mismatch(msgspec.Struct, frozen=True, gc=False):
    """What does not fit: the JSON pointer of the place, what is wrong there, and what would do."""

    path: str
    message: str
    expected: str


class Schema:
    """One compiled schema."""

    def __init__(self, root: Node, work: int) -> None:
        """Compile. Raises `ValueError` for what is no schema."""
        self.work = work
        """Most schemas looked at for one part of a value: with the length of the value, the price of a check."""
        self._root = root
        self._parts: dict[str, jsonschema_rs.Validator] = {"": _compile(root)}
        self._registry: jsonschema_rs.Registry | None = None

    @property
    def opens(self) -> str:
        """The brackets with which a value of this schema may begin; "" for one that is neither object nor array."""
        types = self._root.get("type")
        if types is None:
            return "{["
        named = as_list(types) or [types]
        return ("{" if "object" in named else "") + ("[" if "array" in named else "")

    def accepts(self, value: object) -> bool:
        """Tell whether a decoded value fits."""
        return self._parts[""].is_valid(value)

    def mismatches(self, value: object) -> tuple[Mismatch, ...]:
        """Say why a value does not fit: at most `MAX_MISMATCHES`, none when it does."""
        return tuple(islice(self._why("", self._root, value, "", 0), MAX_MISMATCHES))

    def _fits(self, pointer: str, value: object) -> bool:
        part = self._parts.get(pointer)
        if part is None:
            if self._registry is None:
                self._registry = jsonschema_rs.Registry([(_URI, self._root)])
            part = self._parts[pointer] = _compile({"$ref": f"{_URI}#{pointer}"}, self._registry)
        return part.is_valid(value)

    def _why(self, pointer: str, node: Node, value: object, path: str, depth: int) -> Iterator[Mismatch]:
        """Go down to the innermost schemas that do not fit. Each that does not yields something, so that taking a few
        mismatches ends the walk even where a schema refers to itself.
        """
        if self._fits(pointer, value):
            return
        told = False
        for within, inner, part, step in self._inner(pointer, node, value) if depth < MAX_STEPS else ():
            for mismatch in self._why(within, inner, part, path + step, depth + 1):
                told = True
                yield mismatch
        for mismatch in _members(node, value, path):
            told = True
            yield mismatch
        if not told:
            shown = {name: inner for name, inner in node.items() if name not in _SILENT}
            yield Mismatch(path, f"{_short(value)} does not fit", _short(shown))

    def _inner(self, pointer: str, node: Node, value: object) -> Iterator[tuple[str, Node, object, str]]:
        """Yield what applies within: pointer, schema, the part of the value it applies to and the step to it."""
        led = target(self._root, str(node["$ref"])) if "$ref" in node else None
        if led is not None and led[0] != pointer:
            yield *led, value, ""
        for index, inner in enumerate(as_list(node.get("allOf"))):
            yield f"{pointer}/allOf/{index}", as_node(inner), value, ""
        for keyword in ("anyOf", "oneOf"):
            meant = [
                at
                for at, inner in enumerate(as_list(node.get(keyword)))
                if self._meant(as_node(inner), value)
            ]
            if len(meant) == 1:
                yield f"{pointer}/{keyword}/{meant[0]}", as_node(node[keyword][meant[0]]), value, ""
        if isinstance(value, dict):
            yield from _named(pointer, node, cast("dict[str, object]", value))
        elif isinstance(value, list):
            yield from _listed(pointer, node, cast("list[object]", value))

    def _meant(self, branch: Node, value: object) -> bool:
        """Tell whether a branch is the one that `value` was written for: its type, and the constants of its members."""
        led = target(self._root, str(branch["$ref"])) if "$ref" in branch else None
        branch = branch if led is None else led[1]
        types = as_list(branch.get("type")) or [branch.get("type")]
        if types != [None] and not _TYPES[type(value)] & {str(name) for name in types}:
            return False
        members = cast("dict[str, object]", value) if isinstance(value, dict) else {}
        for name, inner in as_node(branch.get("properties")).items():
            allowed = [inner["const"]] if "const" in as_node(inner) else as_list(as_node(inner).get("enum"))
            if allowed and name in members and members[name] not in allowed:
                return False
        return True


def _named(pointer: str, node: Node, value: dict[str, object]) -> Iterator[tuple[str, Node, object, str]]:
    properties = as_node(node.get("properties"))
    others = node.get("additionalProperties")
    for name, member in value.items():
        step = f"/{escaped(name)}"
        if name in properties:
            yield f"{pointer}/properties{step}", as_node(properties[name]), member, step
        elif isinstance(others, dict) and "patternProperties" not in node:
            yield f"{pointer}/additionalProperties", as_node(cast("object", others)), member, step


def _listed(pointer: str, node: Node, value: list[object]) -> Iterator[tuple[str, Node, object, str]]:
    first = as_list(node.get("prefixItems"))
    for index, item in enumerate(value):
        if index < len(first):
            yield f"{pointer}/prefixItems/{index}", as_node(first[index]), item, f"/{index}"
        elif isinstance(node.get("items"), dict):
            yield f"{pointer}/items", as_node(node["items"]), item, f"/{index}"


def _members(node: Node, value: object, path: str) -> Iterator[Mismatch]:
    """Say which members are missing and which are too many."""
    if not isinstance(value, dict):
        return
    properties = as_node(node.get("properties"))
    for name in as_list(node.get("required")):
        if name not in value:
            yield Mismatch(path, f"the member {_short(name)} is missing", _short(properties.get(name, {})))
    if node.get("additionalProperties") is False and "patternProperties" not in node:
        for name in cast("dict[str, object]", value):
            if name not in properties:
                known = _short(list(properties))
                yield Mismatch(path, f"the member {_short(name)} is not allowed", f"members out of {known}")


def _short(value: object) -> str:
    return shorten(msgspec.json.encode(value).decode(), MAX_SHOWN)


def _compile(root: Node, registry: jsonschema_rs.Registry | None = None) -> jsonschema_rs.Validator:
    try:
        return jsonschema_rs.validator_for(root, offline=True, registry=registry, pattern_options=_LINEAR)
    except ValueError:  # a pattern that looks around needs the other engine
        return jsonschema_rs.validator_for(root, offline=True, registry=registry, pattern_options=_BOUNDED)


class Schemas:
    """Compiled schemas by the digest of their text; the least lately used go first."""

    def __init__(self, max_schemas: int = MAX_SCHEMAS, max_bytes: int = MAX_KEPT_BYTES) -> None:
        """Start empty."""
        self._max_schemas = max_schemas
        self._room_bytes = max_bytes
        self._kept: OrderedDict[bytes, tuple[Schema, int]] = OrderedDict()

    def get(self, raw: bytes | msgspec.Raw, field: str) -> Schema:
        """Return the compiled schema; `field` is where the caller wrote it. Raises `Invalid`."""
        text = bytes(raw)
        digest = hashlib.sha256(text).digest()
        kept = self._kept.get(digest)
        if kept is not None:
            self._kept.move_to_end(digest)
            return kept[0]
        schema = compiled(text, field)
        self._kept[digest] = schema, len(text)
        self._room_bytes -= len(text)
        while len(self._kept) > self._max_schemas or self._room_bytes < 0:
            self._room_bytes += self._kept.popitem(last=False)[1][1]
        return schema

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._kept)


def compiled(text: bytes, field: str) -> Schema:
    """Check and compile a schema. Raises `Invalid`."""
    if len(text) > MAX_BYTES:
        raise _refused(field, "The schema is too large.", len(text), MAX_BYTES)
    check_text(text)
    root: Any = decode_as(text, _ANY)
    if not isinstance(root, dict):
        raise _refused(field, "The schema is not an object.", shorten(text.decode()))
    node = as_node(cast("object", root))
    for pointer, inner in every(node):
        inner.pop(
            "$id", None
        )  # references then lead where their pointers say, whatever the document calls itself
        for keyword in ("$ref", "$dynamicRef", "$recursiveRef"):
            reference = inner.get(keyword, "#")
            if keyword in inner and (keyword != "$ref" or not str(reference).startswith("#")):
                told = "The schema refers to something outside itself, or by a dynamic reference."
                raise _refused(f"{field}{pointer}/{keyword}", told, reference)
    cost = work(node)
    if cost > MAX_WORK:
        raise _refused(
            field, "The schema's references multiply: a check could take too long.", None, MAX_WORK
        )
    try:
        return Schema(node, cost)
    except ValueError as error:
        raise _refused(
            field, f"The schema is not valid: {shorten(str(error).splitlines()[0])}", None
        ) from None


def _refused(field: str, message: str, value: object, limit: object = None) -> Invalid:
    return Invalid(
        message,
        code="invalid_schema",
        field=field,
        value=value,
        limit=limit,
        remedy="Send a JSON Schema that stands alone; put shared parts under $defs.",
    )
