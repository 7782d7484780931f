"""Schemas of strangers: what fits, why not, what is refused, and that no schema takes long."""

from __future__ import annotations

import json

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.kernel.errors import Invalid
from penstock.mechanisms.schema_shapes import MAX_WORK, work
from penstock.mechanisms.schemas import (
    MAX_BYTES,
    MAX_MISMATCHES,
    MAX_SHOWN,
    Mismatch,
    Schema,
    Schemas,
    compiled,
)

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "age": {"type": "integer", "minimum": 0, "description": "in years"},
        "pets": {"type": "array", "items": {"$ref": "#/$defs/pet"}},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
    "$defs": {
        "pet": {"type": "object", "properties": {"kind": {"enum": ["cat", "dog"]}}, "required": ["kind"]}
    },
}
EXPRESSION = {
    "$ref": "#/$defs/e",
    "$defs": {
        "e": {
            "anyOf": [
                {"type": "number"},
                {
                    "type": "object",
                    "properties": {
                        "op": {"const": "add"},
                        "a": {"$ref": "#/$defs/e"},
                        "b": {"$ref": "#/$defs/e"},
                    },
                    "required": ["op", "a", "b"],
                },
                {
                    "type": "object",
                    "properties": {"op": {"const": "neg"}, "a": {"$ref": "#/$defs/e"}},
                    "required": ["op", "a"],
                },
            ]
        }
    },
}


def schema(value) -> Schema:
    return compiled(json.dumps(value).encode(), "schema")


def why(definition, value) -> list[tuple[str, str, str]]:
    return [(told.path, told.message, told.expected) for told in schema(definition).mismatches(value)]


def refused(definition) -> Invalid:
    with pytest.raises(Invalid) as refusal:
        compiled(definition if isinstance(definition, bytes) else json.dumps(definition).encode(), "f")
    return refusal.value


def test_what_fits_has_no_mismatch():
    good = {"name": "Ann", "age": 31, "pets": [{"kind": "cat"}]}
    assert schema(PERSON).accepts(good)
    assert schema(PERSON).mismatches(good) == ()


def test_mismatches_name_the_innermost_place_what_is_there_and_what_would_do():
    bad = {"name": "", "age": "31", "pets": [{"kind": "cat"}, {"kind": "cow"}, {}], "x/y": 1}
    assert not schema(PERSON).accepts(bad)
    assert why(PERSON, bad) == [
        ("/name", '"" does not fit', '{"type":"string","minLength":1}'),
        ("/age", '"31" does not fit', '{"type":"integer","minimum":0}'),
        ("/pets/1/kind", '"cow" does not fit', '{"enum":["cat","dog"]}'),
        ("/pets/2", 'the member "kind" is missing', '{"enum":["cat","dog"]}'),
        ("", 'the member "x/y" is not allowed', 'members out of ["name","age","pets"]'),
    ]
    assert why(PERSON, [1]) == [("", "[1] does not fit", _shown(PERSON))]


def _shown(node) -> str:
    text = json.dumps({name: value for name, value in node.items() if name != "$defs"}, separators=(",", ":"))
    return text[: MAX_SHOWN - 1] + "…"


def test_of_several_branches_the_one_the_value_was_written_for_is_explained():
    value = {"op": "add", "a": 1, "b": {"op": "neg", "a": "x"}}
    assert [told.path for told in schema(EXPRESSION).mismatches(value)] == ["/b/a"]
    [told] = why({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "x")
    assert told == ("", '"x" does not fit', '{"anyOf":[{"type":"integer"},{"type":"null"}]}')


def test_mismatches_are_few_and_short():
    told = schema({"type": "array", "items": {"enum": ["y" * 500]}}).mismatches(["x" * 500] * 100)
    assert len(told) == MAX_MISMATCHES
    assert all(len(one.message) <= MAX_SHOWN + 20 and len(one.expected) <= MAX_SHOWN for one in told)


SCHEMAS = st.recursive(
    st.sampled_from([
        {"type": "string"}, {"type": "integer"}, {"type": ["null", "boolean"]}, {"enum": ["a", 1]}, {"const": None},
        {"minimum": 2}, {"maxLength": 1}, {}, {"$ref": "#/$defs/d"}, {"not": {"type": "string"}},
    ]),
    lambda inner: st.builds(lambda a, b: {"properties": {"a": a}, "additionalProperties": b}, inner, inner)
    | st.builds(lambda a: {"type": "object", "properties": {"a": a}, "required": ["a"]}, inner)
    | st.builds(lambda a, b: {"prefixItems": [a], "items": b}, inner, inner)
    | st.builds(lambda key, a: {key: a}, st.sampled_from(["anyOf", "oneOf", "allOf"]), st.lists(inner, min_size=1)),
    max_leaves=6,
)  # fmt: skip
VALUES = st.recursive(
    st.sampled_from(["", "a", "abc", 1, 2, None, True, 1.5]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=5,
)


@given(SCHEMAS, SCHEMAS, VALUES)
def test_there_is_a_mismatch_exactly_where_the_value_does_not_fit(body, shared, value):
    """The judge of what fits is the library, given the whole schema; the explanation is ours."""
    definition = {**body, "$defs": {"d": shared}}
    told = schema(definition).mismatches(value)
    assert bool(told) == (not jsonschema_rs.is_valid(definition, value))
    for one in told:
        assert isinstance(one, Mismatch)
        inner = value
        for step in one.path.split("/")[1:]:
            inner = inner[int(step) if isinstance(inner, list) else step]


@pytest.mark.parametrize(
    ("definition", "field"),
    [
        ({"$ref": "https://example.com/s.json"}, "f/$ref"),
        ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "f/properties/a/$ref"),
        ({"$ref": "other.json#/x"}, "f/$ref"),
        ({"$dynamicRef": "#x"}, "f/$dynamicRef"),
        ({"$ref": "#/nowhere"}, "f"),
        ({"$schema": "https://example.com/meta"}, "f"),
        ({"type": "text"}, "f"),
        ({"pattern": "("}, "f"),
        (b"[]", "f"),
        (b"true", "f"),
    ],
)
def test_what_cannot_be_checked_here_is_refused_with_its_place(definition, field):
    refusal = refused(definition)
    assert (refusal.reason, refusal.field) == ("invalid_schema", field)


def test_a_schema_that_is_no_json_or_nests_too_deep_is_refused():
    assert refused(b"{").reason == "invalid_json"
    assert refused(b'{"not":' * 70 + b"{}" + b"}" * 70).reason == "json_too_deep"


def test_a_schema_of_the_largest_size_passes_and_one_byte_more_does_not():
    at = b'{"description":"%b"}' % (b"x" * (MAX_BYTES - 18))
    assert len(at) == MAX_BYTES
    assert compiled(at, "f").accepts(1)
    assert refused(at.replace(b"x", b"xx", 1)).limit == MAX_BYTES


def test_references_that_multiply_are_refused_and_those_that_recur_are_not():
    def doubling(times):
        defs = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(times)}
        return {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{times}": {"type": "object"}}}

    assert schema(doubling(8)).accepts({})
    assert refused(doubling(40)).limit == MAX_WORK
    defs = {
        f"d{i}": {"$anchor": f"x{i}", "allOf": [{"$ref": f"#x{i + 1}"}, {"$ref": f"#x{i + 1}"}]}
        for i in range(40)
    }
    by_name = {"$ref": "#x0", "$defs": {**defs, "d40": {"$anchor": "x40"}}}
    assert refused(by_name).limit == MAX_WORK
    assert work(EXPRESSION) < 20
    chain = {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(1000)}
    assert refused({"$ref": "#/$defs/d0", "$defs": {**chain, "d1000": {}}}).limit == MAX_WORK


def test_a_schema_that_refers_to_itself_in_place_ends():
    for definition in ({"$ref": "#"}, {"allOf": [{"$ref": "#"}, {"$ref": "#"}], "type": "string"}):
        assert len(schema(definition).mismatches(1)) <= MAX_MISMATCHES
    assert why({"allOf": [{"$ref": "#"}], "type": "string"}, 1)


def test_a_value_that_nests_deep_under_branches_is_checked_and_explained_in_few_steps():
    value: object = "x"
    for _ in range(60):
        value = {"op": "add", "a": value, "b": 1}
    [told] = schema(EXPRESSION).mismatches(value)
    assert told.path.startswith("/a/a/a")


def test_a_pattern_that_would_backtrack_for_ever_does_not():
    assert not schema({"pattern": "^(a+)+$"}).accepts("a" * 200 + "b")
    assert not schema({"pattern": "^(a|a)*(?=b)c$"}).accepts("a" * 200)
    assert schema({"pattern": "^(?=.*b)[ab]+$"}).accepts("aab")
    # It fits, but only a long search tells: past its bound a search counts as not fitting.
    assert not schema({"pattern": "^(?:(a|aa)+(?=c)|a*b)$"}).accepts("a" * 22 + "b")
    assert schema({"pattern": "^(?:(a|aa)+(?=c)|a*b)$"}).accepts("aab")


def test_a_schema_is_compiled_once_and_the_least_used_goes_first():
    kept = Schemas(max_schemas=2)
    one, two, three = (json.dumps({"const": n}).encode() for n in range(3))
    first = kept.get(one, "f")
    second = kept.get(two, "f")
    assert kept.get(one, "f") is first
    kept.get(three, "f")
    assert len(kept) == 2
    assert kept.get(one, "f") is first
    assert kept.get(two, "f") is not second


def test_what_is_kept_is_bounded_in_bytes_too():
    kept = Schemas(max_bytes=100)
    for n in range(10):
        kept.get(json.dumps({"const": n, "description": "x" * 30}).encode(), "f")
    assert len(kept) == 1


@pytest.mark.parametrize(
    ("definition", "opens"),
    [({"type": "object"}, "{"), ({"type": "array"}, "["), ({"type": ["array", "object"]}, "{["), ({}, "{["),
     ({"type": "string"}, ""), ({"type": ["integer", "null"]}, "")],
)  # fmt: skip
def test_the_type_says_which_brackets_may_begin_a_value(definition, opens):
    assert schema(definition).opens == opens
