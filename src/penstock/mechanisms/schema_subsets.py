"""What of JSON Schema a provider itself enforces while its model writes, from dated data (`data/schema_subsets.json`).

Promise: no reason means that every keyword of the schema is one the wire's vendor says it enforces, within the limits
it names; else each reason names a place and what is not enforced there. Either way answers are checked here as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.resources import files
from itertools import islice
from typing import Final

import msgspec

from penstock.dialects.strict_json import check_text, decode_as
from penstock.kernel.errors import Invalid
from penstock.mechanisms.schema_shapes import Node, as_list, as_node, every, target

MAX_REASONS: Final = 16
"""Most reasons told."""


class Subset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One wire's subset of JSON Schema. A limit of 0 is none."""

    keywords: frozenset[str]
    formats: frozenset[str] = frozenset()
    """Formats that are enforced; empty: any."""
    root_object: bool = False
    """The root must be an object, and no choice between schemas."""
    closed_objects: bool = False
    """Every object must say ``"additionalProperties": false``."""
    all_required: bool = False
    """Every member must be required."""
    recursive: bool = True
    """A schema may refer to what it is part of."""
    lone_references: bool = False
    """Nothing but annotations may stand beside a reference."""
    one_type: bool = False
    """A type is one name, never a list of them."""
    enum_of_strings: bool = False
    max_members: int = 0
    max_levels: int = 0
    max_enum_values: int = 0
    max_name_chars: int = 0
    max_min_items: int = 0
    max_optional: int = 0
    max_unions: int = 0


class _Data(msgspec.Struct, frozen=True):
    date: str
    sources: tuple[str, ...]
    subsets: dict[str, Subset]


SUBSETS: Final = msgspec.json.decode(
    (files("penstock.mechanisms") / "data" / "schema_subsets.json").read_bytes(), type=_Data
).subsets
"""By the name of the wire."""
_NODE: Final = msgspec.json.Decoder(dict[str, object])


def enforceable(schema: bytes | msgspec.Raw, wire: str) -> tuple[str, ...]:
    """Return why the vendor of `wire` would not enforce `schema`, which compiles: at most `MAX_REASONS`, none when it
    would. A wire that is not in `SUBSETS` enforces nothing that we know of.
    """
    subset = SUBSETS.get(wire)
    if subset is None:
        return (f"nothing is known of what {wire} enforces",)
    try:
        check_text(bytes(schema))
        root = decode_as(schema, _NODE)
    except (Invalid, msgspec.ValidationError):
        return ("the schema is no JSON object",)
    return tuple(islice(_reasons(subset, root), MAX_REASONS))


def _reasons(subset: Subset, root: Node) -> Iterator[str]:
    if subset.root_object and (root.get("type") != "object" or "anyOf" in root):
        yield "at the root: only an object is enforced"
    for pointer, node in every(root):
        for reason in _local(subset, node):
            yield f"at {pointer or 'the root'}: {reason}"
    if not subset.recursive and _recurs(root):
        yield "at the root: a schema that refers to itself is not enforced"
    yield from _totals(subset, root)


def _local(subset: Subset, node: Node) -> Iterator[str]:
    for keyword in node:
        if keyword not in subset.keywords:
            yield f"{keyword} is not enforced"
    for broken, reason in _RULES:
        if broken(subset, node):
            yield reason


def _open_object(subset: Subset, node: Node) -> bool:
    is_object = "properties" in node or "object" in (as_list(node.get("type")) or [node.get("type")])
    return subset.closed_objects and is_object and node.get("additionalProperties") is not False


def _optional(node: Node) -> set[str]:
    return set(as_node(node.get("properties"))) - {str(name) for name in as_list(node.get("required"))}


_RULES: Final[tuple[tuple[Callable[[Subset, Node], bool], str], ...]] = (
    (_open_object, 'an object without "additionalProperties": false is not enforced'),
    (
        lambda subset, node: subset.all_required and bool(_optional(node)),
        "an optional member is not enforced",
    ),
    (
        lambda subset, node: bool(subset.formats) and node.get("format", "date") not in subset.formats,
        "this format is not enforced",
    ),
    (
        lambda subset, node: (
            subset.lone_references and any(not name.startswith("$") for name in node if "$ref" in node)
        ),
        "what stands beside a $ref is not enforced",
    ),
    (
        lambda subset, node: subset.one_type and isinstance(node.get("type"), list),
        "a choice of types is not enforced",
    ),
    (
        lambda subset, node: (
            subset.enum_of_strings and not all(isinstance(v, str) for v in as_list(node.get("enum")))
        ),
        "only strings are enforced in an enum",
    ),
    (
        lambda subset, node: bool(subset.max_min_items) and node.get("minItems", 0) > subset.max_min_items,
        "this many minItems are not enforced",
    ),
)


def _recurs(root: Node) -> bool:
    """Tell whether following references leads back to where they stand."""
    leads: dict[str, set[str]] = {}
    for pointer, node in every(root):
        led = target(root, str(node["$ref"])) if "$ref" in node else None
        if led is not None:
            leads.setdefault(pointer, set()).add(led[0])
    return any(_reaches(leads, start, start) for start in leads)


def _reaches(leads: dict[str, set[str]], start: str, goal: str) -> bool:
    """Tell whether the schema at `goal` lies in or under one that is reached from `start`."""
    seen: set[str] = set()
    pending = list(leads[start])
    while pending:
        at = pending.pop()
        if goal == at or goal.startswith(f"{at}/") or not at:
            return True
        if at not in seen:
            seen.add(at)
            inside = (place for place in leads if place == at or place.startswith(f"{at}/"))
            pending += [led for place in inside for led in leads[place]]
    return False


def _totals(subset: Subset, root: Node) -> Iterator[str]:
    nodes = list(every(root))
    members: list[object] = [name for _, node in nodes for name in as_node(node.get("properties"))]
    values = [value for _, node in nodes for value in as_list(node.get("enum"))]
    figures = (
        ("members", len(members), subset.max_members),
        ("levels", max(pointer.count("/properties/") for pointer, _ in nodes), subset.max_levels),
        ("enum values", len(values), subset.max_enum_values),
        ("characters of names and values", sum(map(len, map(str, members + values))), subset.max_name_chars),
        ("optional members", sum(len(_optional(node)) for _, node in nodes), subset.max_optional),
        ("unions", sum("anyOf" in node or bool(as_list(node.get("type"))) for _, node in nodes), subset.max_unions),
    )  # fmt: skip
    for what, count, limit in figures:
        if limit and count > limit:
            yield f"{count} {what} are not enforced, at most {limit} are"
