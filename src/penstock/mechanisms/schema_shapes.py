"""JSON Schema as a tree: what lies below a schema, where a reference leads, how much work a check can be.

Promise: nothing here fetches anything, and every walk is bounded by the schema's own size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, cast
from urllib.parse import unquote

Node = dict[str, Any]
"""A schema that is an object; the schemas true and false have nothing below them."""

MAX_WORK: Final = 20_000
"""Most schemas that a check may have to look at in one place of a value, references followed."""
MAX_DEPTH: Final = 200
"""Deepest nesting of schemas, references followed."""

_MAPS: Final = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
_STORES: Final = ("$defs", "definitions")
_LISTS: Final = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
_SINGLE: Final = (
    "items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames", "additionalItems",
    "unevaluatedItems", "unevaluatedProperties",
)  # fmt: skip


def as_node(value: object) -> Node:
    """Return a schema as an object; true, false and what is no schema have no keywords."""
    return cast("Node", value) if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """Return a keyword's list; what is none is empty."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def escaped(name: str) -> str:
    """Return a name as a step of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def below(node: Node) -> Iterator[tuple[str, Node]]:
    """Yield every schema directly below `node`, and its JSON pointer from there."""
    for keyword, value in node.items():
        if keyword in _MAPS:
            for name, inner in as_node(value).items():
                yield f"/{keyword}/{escaped(name)}", as_node(inner)
        if keyword in _LISTS:
            for index, inner in enumerate(as_list(value)):
                yield f"/{keyword}/{index}", as_node(inner)
        if keyword in _SINGLE and isinstance(value, dict):
            yield f"/{keyword}", as_node(cast("object", value))


def every(root: Node) -> Iterator[tuple[str, Node]]:
    """Yield every schema of the document, the root first, and its JSON pointer."""
    pending = [("", root)]
    while pending:
        pointer, node = pending.pop()
        yield pointer, node
        pending += [(pointer + step, inner) for step, inner in below(node)]


def target(root: Node, reference: str) -> tuple[str, Node] | None:
    """Return where a reference within the document leads: the pointer and the schema; None when nowhere."""
    if reference.startswith("#") and reference[1:2] not in ("", "/"):
        named = (found for found in every(root) if found[1].get("$anchor") == reference[1:])
        return next(named, None)
    value: Any = root
    pointer = unquote(reference[1:])
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list):
            value = as_list(cast("object", value))
            value = value[int(name)] if name.isdecimal() and int(name) < len(value) else None
        else:
            value = as_node(value).get(name)
    return None if value is None else (pointer, as_node(value))


def work(root: Node) -> int:
    """Return how many schemas a check may have to look at, every reference written out in full.

    A reference back to what is being written out counts as one: what recurs is looked at once per part of a value.
    Past `MAX_WORK` or `MAX_DEPTH` the exact figure is of no interest.
    """
    known: dict[str, int] = {}

    def size(node: Node, depth: int) -> int:
        if depth > MAX_DEPTH:
            return MAX_WORK + 1
        total = 1 + sum(
            size(inner, depth + 1) for step, inner in below(node) if not step.startswith(_STEPS_ASIDE)
        )
        reference = node.get("$ref")
        if not isinstance(reference, str):
            return total
        if reference not in known:
            known[reference] = 1
            led = target(root, reference)
            known[reference] = 1 if led is None else size(led[1], depth + 1)
        return total + known[reference]

    return size(root, 0)


_STEPS_ASIDE: Final = tuple(f"/{store}/" for store in _STORES)
