"""Embeddings: every form of the input, both encodings of a vector, and nothing believed that is not a vector."""

from __future__ import annotations

import base64
import json
import struct

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import OpenAI

from penstock.dialects.embeddings import (
    MAX_DIMENSIONS,
    MAX_INPUTS,
    floats_of,
    parse_reply,
    parse_request,
    render_around,
    render_reply,
    render_request,
    render_vectors,
    told_tokens,
)
from penstock.kernel.embed import EmbedReply, EmbedRequest
from penstock.kernel.errors import Invalid, Upstream
from tests.unit.dialects.shapes import NAMES, WORDS, extras, raws

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def body(**members) -> bytes:
    return json.dumps({"model": "m", "input": "hello", **members}).encode()


@st.composite
def requests(draw) -> EmbedRequest:
    texts = tuple(draw(st.lists(WORDS.filter(bool), min_size=1, max_size=3)))
    tokens = tuple(
        draw(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3).map(tuple), min_size=1, max_size=3))
    )
    words = draw(st.booleans())
    return EmbedRequest(
        model=draw(NAMES),
        texts=texts if words else (),
        tokens=() if words else tokens,
        dimensions=draw(st.none() | st.integers(1, MAX_DIMENSIONS)),
        encoding=draw(st.sampled_from(["float", "base64"])),
        user=draw(WORDS),
        extras=draw(extras()),
    )


@given(requests())
def test_what_is_rendered_is_parsed_back_the_same(request):
    assert parse_request(render_request(request).body) == request


@pytest.mark.parametrize(
    ("given", "texts", "tokens"),
    [
        ("a", ("a",), ()),
        (["a", "b"], ("a", "b"), ()),
        ([1, 2], (), ((1, 2),)),
        ([[1], [2, 3]], (), ((1,), (2, 3))),
    ],
)
def test_every_form_of_the_input(given, texts, tokens):
    request = parse_request(body(input=given))
    assert (request.texts, request.tokens, request.encoding) == (texts, tokens, "float")


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"model": ""}, "model"),
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": ["a", 1]}, "input[1]"),
        ({"input": [1, "a"]}, "input[1]"),
        ({"input": [[1], []]}, "input[1]"),
        ({"input": [-1]}, "input[0]"),
        ({"input": {"text": "a"}}, "input"),
        ({"input": ["a"] * (MAX_INPUTS + 1)}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": MAX_DIMENSIONS + 1}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
    ],
)
def test_a_refusal_names_the_whole_path(members, field):
    with pytest.raises(Invalid) as refusal:
        parse_request(body(**members))
    assert refusal.value.field == field
    assert refusal.value.remedy


@given(
    st.integers(1, 4).flatmap(
        lambda size: st.lists(st.lists(FLOATS, min_size=size, max_size=size), max_size=3)
    ),
    st.sampled_from(["float", "base64"]),
    st.none() | st.integers(0, 2**31 - 1),
    extras(),
)
def test_a_reply_comes_back_the_same_in_either_encoding(vectors, encoding, tokens, more):
    packed = tuple(struct.pack(f"<{len(vector)}f", *vector) for vector in vectors)
    reply = EmbedReply(model="m", vectors=packed, input_tokens=tokens, extras=more)
    assert parse_reply(render_reply(reply, encoding)) == reply


def test_the_official_sdk_reads_both_encodings():
    reply = EmbedReply(model="m", vectors=(struct.pack("<2f", 0.5, -2.0),), input_tokens=3)

    def answer(request):
        wanted = json.loads(request.content)["encoding_format"]
        return httpx2.Response(
            200, content=render_reply(reply, wanted), headers={"content-type": "application/json"}
        )

    client = OpenAI(
        api_key="x", base_url="http://x/v1", http_client=httpx2.Client(transport=httpx2.MockTransport(answer))
    )
    asked = client.embeddings.create(model="m", input="x")  # the SDK asks for base64 by itself
    told = client.embeddings.create(model="m", input="x", encoding_format="float")
    assert asked.data[0].embedding == told.data[0].embedding == [0.5, -2.0]
    assert told.usage.total_tokens == 3


def test_vectors_are_put_in_the_order_of_their_inputs():
    data = [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}]
    assert [
        list(floats_of(vector)) for vector in parse_reply(json.dumps({"data": data}).encode()).vectors
    ] == [[1], [2]]


NAN = base64.b64encode(struct.pack("<f", float("nan"))).decode()


@pytest.mark.parametrize(
    "data",
    [
        None,
        7,
        [{"index": 0}],
        [{"index": 0, "embedding": []}],
        [{"index": 0, "embedding": ""}],
        [{"index": 0, "embedding": "AAA="}],
        [{"index": 0, "embedding": "no base64!"}],
        [{"index": 0, "embedding": NAN}],
        [{"index": 0, "embedding": [1e39]}],
        [{"index": 1, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}],
    ],
)
def test_what_holds_no_vectors_is_malformed(data):
    with pytest.raises(Upstream) as error:
        parse_reply(json.dumps({"data": data}).encode())
    assert error.value.reason == "malformed_reply"


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (None, None),
        ({"prompt_tokens": 3, "total_tokens": 5}, 3),
        ({"total_tokens": 5}, 5),
        ({}, None),
        (7, None),
        ({"prompt_tokens": "x"}, None),
    ],
)
def test_usage_is_read_where_a_server_of_this_kind_tells_it(usage, tokens):
    extras = {} if usage is None else {"usage": raws(usage)}
    assert told_tokens(extras) == tokens


def rendered(dtype: str, vectors: tuple[bytes, ...], scales=(), encoding="float", **more):
    return json.loads(
        render_reply(EmbedReply(model="m", vectors=vectors, dtype=dtype, scales=scales, **more), encoding)
    )


@pytest.mark.parametrize(
    ("dtype", "vector", "told"),
    [
        ("float16", struct.pack("<2e", 0.5, -1.5), [0.5, -1.5]),
        ("int8", struct.pack("3b", 127, -127, 0), [127, -127, 0]),
        ("binary", struct.pack("2b", -128, 127), [-128, 127]),
        ("ubinary", bytes([0, 255]), [0, 255]),
    ],
)
def test_vectors_of_every_type_are_told_as_their_numbers_or_their_bytes(dtype, vector, told):
    (datum,) = rendered(dtype, (vector,))["data"]
    assert datum == {"object": "embedding", "index": 0, "embedding": told}
    (datum,) = rendered(dtype, (vector,), encoding="base64")["data"]
    assert base64.b64decode(datum["embedding"]) == vector


def test_scales_stand_beside_their_vectors_and_what_was_cut_is_told():
    told = rendered("int8", (b"\x01", b"\x02"), (0.5, 0.25), truncated=(1,))
    assert [each["scale"] for each in told["data"]] == [0.5, 0.25]
    assert told["truncated"] == [1]
    assert "truncated" not in rendered("float", (struct.pack("<f", 1.0),))


@given(st.lists(st.lists(FLOATS, min_size=3, max_size=3), max_size=9), st.integers(1, 4), st.booleans())
def test_a_reply_rendered_in_pieces_is_the_reply(vectors, size, whole):
    reply = EmbedReply(
        model="m", vectors=tuple(struct.pack("<3f", *each) for each in vectors), input_tokens=3
    )
    encoding = "base64" if whole else "float"
    pieces = [render_vectors(reply, encoding, at, at + size) for at in range(0, len(vectors), size)]
    assert render_around(reply, pieces) == render_reply(reply, encoding)
