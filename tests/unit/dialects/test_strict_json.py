"""JSON from strangers: what is refused, why, and that nothing well-formed is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.dialects.strict_json import MAX_DEPTH, MAX_MEMBERS, decode_object, depth_exceeds
from penstock.kernel.errors import Invalid

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


def nested(levels: int) -> bytes:
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("separators", [None, (",", ":"), (" , ", "  : ")])
@given(value=st.dictionaries(st.text(max_size=8), VALUES, max_size=6))
def test_every_object_in_any_spacing_passes_whole(value, indent, separators):
    members = decode_object(json.dumps(value, indent=indent, separators=separators).encode())
    assert {name: json.loads(bytes(raw)) for name, raw in members.items()} == value


@given(
    value=st.dictionaries(st.text(max_size=4), VALUES, min_size=1, max_size=5),
    spaced=st.booleans(),
    other=VALUES,
    data=st.data(),
)
def test_a_member_given_twice_is_refused_wherever_it_stands(value, spaced, other, data):
    comma, colon = (", ", ": ") if spaced else (",", ":")
    twice = data.draw(st.sampled_from(list(value)))
    pairs = [(name, inner) for name, inner in value.items()]
    pairs.insert(data.draw(st.integers(0, len(pairs))), (twice, other))
    dumped = [
        f"{json.dumps(name)}{colon}{json.dumps(inner, separators=(comma, colon))}" for name, inner in pairs
    ]
    with pytest.raises(Invalid) as refusal:
        decode_object(("{" + comma.join(dumped) + "}").encode())
    assert refusal.value.reason == "duplicate_member"


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"\\u0061":2}',
        b'{"a":1,"a":1}',
        b'{"a":12,"b":0,"c":0,"d":0,"a":1}',
        b' { "a" : 1 , "a" : 2 } ',
    ],
)
def test_duplicates_in_disguise_are_refused(body):
    with pytest.raises(Invalid, match="twice"):
        decode_object(body)


def test_depth_at_the_limit_passes_and_one_more_is_refused():
    assert decode_object(nested(MAX_DEPTH))
    with pytest.raises(Invalid) as refusal:
        decode_object(nested(MAX_DEPTH + 1))
    assert refusal.value.reason == "json_too_deep"
    assert refusal.value.limit == MAX_DEPTH


def test_a_hundred_thousand_levels_are_refused_without_harm():
    with pytest.raises(Invalid) as refusal:
        decode_object(nested(100_000))
    assert refusal.value.reason == "json_too_deep"


def test_brackets_inside_strings_do_not_nest():
    text = '[{"' * 500 + '\\"' + "\\\\"
    assert decode_object(json.dumps({"a": text, "b": [[text]]}).encode())


@given(value=VALUES)
def test_depth_is_counted_exactly(value):
    def depth(inner) -> int:
        if isinstance(inner, dict):
            return 1 + max(map(depth, inner.values()), default=0)
        return 1 + max(map(depth, inner), default=0) if isinstance(inner, list) else 0

    body = json.dumps(value).encode()
    deep = depth(value)
    assert not depth_exceeds(body, deep)
    assert deep == 0 or depth_exceeds(body, deep - 1)


def test_many_siblings_are_not_deep():
    assert decode_object(json.dumps({"a": [{"b": [1]}] * 200}).encode())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "invalid_json"),
        (b"[]", "invalid_json"),
        (b'"text"', "invalid_json"),
        (b"null", "invalid_json"),
        (b'{"a":NaN}', "invalid_json"),
        (b'{"a":Infinity}', "invalid_json"),
        (b'{"a":01}', "invalid_json"),
        (b'{"a":[1,]}', "invalid_json"),
        (b'{"a":"\\ud800"}', "invalid_json"),
        (b'{"a":"\\udc00x"}', "invalid_json"),
        (b'{"a":"\xed\xa0\x80"}', "invalid_json"),
        (b'{"a":"\xff"}', "invalid_json"),
        (b'{"a":1}x', "invalid_json"),
        (b"\xef\xbb\xbf{}", "invalid_json"),
        (b"{'a':1}", "invalid_json"),
        (b'{"a":1', "invalid_json"),
    ],
)
def test_what_is_no_json_object_is_refused_with_a_remedy(body, reason):
    with pytest.raises(Invalid) as refusal:
        decode_object(body)
    assert refusal.value.reason == reason
    assert refusal.value.remedy


def test_members_at_the_bound_pass_and_one_more_is_refused():
    assert len(decode_object(json.dumps({f"m{n}": n for n in range(MAX_MEMBERS)}).encode())) == MAX_MEMBERS
    with pytest.raises(Invalid) as refusal:
        decode_object(json.dumps({f"m{n}": n for n in range(MAX_MEMBERS + 1)}).encode())
    assert (refusal.value.value, refusal.value.limit) == (MAX_MEMBERS + 1, MAX_MEMBERS)


@given(st.binary(max_size=64))
def test_no_bytes_at_all_raise_anything_but_invalid(body):
    try:
        decode_object(body)
    except Invalid:
        return
    assert isinstance(json.loads(body), dict)
