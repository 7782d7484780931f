"""What each vendor enforces: one reason per keyword and limit it does not name, none for what it does."""

from __future__ import annotations

import json

import pytest

from penstock.mechanisms.schema_subsets import MAX_REASONS, SUBSETS, enforceable
from penstock.mechanisms.schemas import compiled

STRICT = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "kind": {"type": "string", "enum": ["a", "b"]},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name", "kind", "tags"],
    "additionalProperties": False,
}
TREE = {
    "type": "object",
    "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
    "required": ["next"],
    "additionalProperties": False,
}
SHARED = {
    "type": "object",
    "properties": {"a": {"$ref": "#/$defs/x"}, "b": {"$ref": "#/$defs/x"}},
    "required": ["a", "b"],
    "additionalProperties": False,
    "$defs": {"x": {"type": "string"}},
}


def why(schema, wire) -> tuple[str, ...]:
    raw = json.dumps(schema).encode()
    compiled(raw, "schema")  # only what compiles is asked about
    return enforceable(raw, wire)


def with_member(member, **more):
    return {**STRICT, "properties": {**STRICT["properties"], "name": member}, **more}


def _members(count, *, required):
    names = {f"m{i}": {"type": "string"} for i in range(count)}
    return {
        "type": "object",
        "properties": names,
        "required": list(names) * required,
        "additionalProperties": False,
    }


def _nested(levels):
    schema: dict = {"type": "string"}
    for _ in range(levels):
        schema = {
            "type": "object",
            "properties": {"a": schema},
            "required": ["a"],
            "additionalProperties": False,
        }
    return schema


@pytest.mark.parametrize("wire", ["openai", "anthropic", "gemini"])
def test_a_strict_schema_is_enforced_everywhere(wire):
    assert why(STRICT, wire) == ()
    assert why(SHARED, wire) == ()


@pytest.mark.parametrize(
    ("schema", "wires", "reason"),
    [
        (with_member({"type": "string", "minLength": 1}), {"openai", "anthropic", "gemini"}, "minLength"),
        (with_member({"type": "integer", "minimum": 1}), {"anthropic"}, "minimum"),
        (with_member({"type": "string", "pattern": "^a"}), {"gemini"}, "pattern"),
        (with_member({"type": "string", "format": "uri"}), {"openai"}, "format"),
        (with_member({"not": {}}), {"openai", "anthropic", "gemini"}, "not"),
        (with_member({"oneOf": [{"type": "string"}]}), {"openai", "anthropic"}, "oneOf"),
        (with_member({"allOf": [{"type": "string"}]}), {"openai", "gemini"}, "allOf"),
        (with_member({"type": "array", "items": {}, "minItems": 2}), {"anthropic"}, "minItems"),
        (with_member({"type": "array", "items": {}, "minItems": 1}), set(), ""),
        (with_member({"type": "object"}), {"openai", "anthropic"}, "additionalProperties"),
        ({**STRICT, "required": ["name"]}, {"openai"}, "optional"),
        (TREE, {"anthropic"}, "refers to itself"),
        ({"type": "array", "items": {"type": "string"}}, {"openai"}, "only an object"),
        (
            with_member({"$ref": "#/$defs/x", "maximum": 1}, **{"$defs": {"x": {}}}),
            {"anthropic", "gemini"},
            "",
        ),
    ],
)
def test_each_wire_names_what_it_does_not_enforce(schema, wires, reason):
    for wire in ("openai", "anthropic", "gemini"):
        told = why(schema, wire)
        assert bool(told) == (wire in wires), (wire, told)
        assert not told or any(reason in one for one in told)


def test_a_reason_names_the_place():
    assert why(with_member({"type": "string", "minLength": 1}), "openai") == (
        "at /properties/name: minLength is not enforced",
    )


def test_the_older_form_of_gemini_knows_no_references_and_no_choice_of_types():
    wire = "gemini.responseSchema"
    assert "at the root: additionalProperties is not enforced" in why(STRICT, wire)
    assert any("$ref" in one for one in why(SHARED, wire))
    told = why({"type": ["string", "null"]}, wire)
    assert told == ("at the root: a choice of types is not enforced",)
    assert why({"type": "integer", "enum": [1]}, wire) == (
        "at the root: only strings are enforced in an enum",
    )
    assert why({"type": "string", "maxLength": 3, "nullable": True}, wire) == ()


@pytest.mark.parametrize(
    ("wire", "what", "schema_of", "limit"),
    [
        ("openai", "members", lambda n: _members(n, required=True), 5000),
        ("openai", "enum values", lambda n: with_member({"enum": [f"v{i}" for i in range(n - 2)]}), 1000),
        ("openai", "levels", _nested, 10),
        ("anthropic", "optional members", lambda n: _members(n, required=False), 24),
        ("anthropic", "unions", lambda n: with_member({"type": "array", "items": {"anyOf": [
            {"type": ["string", "null"]}] * (n - 1)}}), 16),
    ],
)  # fmt: skip
def test_a_limit_is_enforced_up_to_it_and_not_past_it(wire, what, schema_of, limit):
    assert enforceable(json.dumps(schema_of(limit)).encode(), wire) == ()
    [told] = enforceable(json.dumps(schema_of(limit + 1)).encode(), wire)
    assert told == f"{limit + 1} {what} are not enforced, at most {limit} are"


def test_reasons_are_few_and_what_is_unknown_is_not_enforced():
    many = with_member({"allOf": [{"minLength": 1}] * 50})
    assert len(why(many, "openai")) == MAX_REASONS
    assert why(STRICT, "unheard of") == ("nothing is known of what unheard of enforces",)
    assert enforceable(b"[1]", "openai") == ("the schema is no JSON object",)
    assert set(SUBSETS) == {"openai", "anthropic", "gemini", "gemini.responseSchema"}
