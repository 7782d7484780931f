"""Embeddings on Gemini's wire: one or many, nothing lost between it and OpenAI's, nothing embedded that is no text."""

from __future__ import annotations

import json

import pytest
from google.genai.types import EmbedContentResponse
from hypothesis import given
from hypothesis import strategies as st

from penstock.dialects import embeddings
from penstock.dialects.embeddings import MAX_DIMENSIONS, MAX_INPUTS
from penstock.dialects.gemini_embeddings import parse_reply, parse_request, render_reply, render_request
from penstock.kernel.embed import EmbedReply, EmbedRequest
from penstock.kernel.errors import Invalid, Upstream
from tests.unit.dialects.gemini_shapes import CAMELS
from tests.unit.dialects.shapes import WORDS, raws

SIZES = st.none() | st.integers(1, MAX_DIMENSIONS)
PIECES = st.lists(WORDS, min_size=2, max_size=3).map(tuple)


def many(*requests: object) -> bytes:
    return json.dumps({"requests": requests}).encode()


def content(*pieces: str) -> dict[str, object]:
    return {"parts": [{"text": piece} for piece in pieces]}


@st.composite
def requests(draw) -> EmbedRequest:
    whole = draw(st.booleans())
    texts = tuple(draw(st.lists(WORDS, min_size=1, max_size=3)))
    parted = tuple(draw(st.lists(PIECES, min_size=1, max_size=3)))
    each = tuple([draw(CAMELS) for _ in (texts if whole else parted)])
    return EmbedRequest(
        model="m",
        dialect="gemini",
        texts=texts if whole else (),
        parted=() if whole else parted,
        dimensions=draw(SIZES),
        each=each if any(each) else (),
        extras=draw(CAMELS),
    )


@given(requests())
def test_what_is_rendered_is_parsed_back_the_same(request):
    assert parse_request(render_request(request).body, "m", many=True) == request


VECTOR = embeddings.packed([0.5, -1.0])


@given(st.integers(1, 3), st.none() | st.integers(0, 9))
def test_a_reply_comes_back_the_same_and_the_sdk_reads_it(count, tokens):
    reply = EmbedReply(model="m", dialect="gemini", vectors=(VECTOR,) * count, input_tokens=tokens)
    body = render_reply(reply, many=True)
    assert parse_reply(body, "m") == reply
    assert len(EmbedContentResponse.model_validate_json(body).embeddings or ()) == count


def test_what_google_says_of_usage_beyond_the_count_is_kept():
    wire = {
        "embeddings": [{"values": [1.0]}],
        "usageMetadata": {"promptTokenCount": 2, "promptTokenDetails": []},
    }
    reply = parse_reply(json.dumps(wire).encode(), "m")
    assert reply.input_tokens == 2
    assert json.loads(render_reply(reply, many=True)) == wire


def test_one_content_is_answered_with_one_embedding():
    asked = parse_request(
        json.dumps({"content": content("a"), "output_dimensionality": 2}).encode(), "m", many=False
    )
    assert (asked.texts, asked.dimensions) == (("a",), 2)
    told = json.loads(render_reply(EmbedReply(model="m", vectors=(VECTOR,), input_tokens=1), many=False))
    assert told == {"embedding": {"values": [0.5, -1.0]}, "usageMetadata": {"promptTokenCount": 1}}


def test_sizes_that_differ_stay_with_their_inputs():
    asked = parse_request(
        many({"content": content("a"), "outputDimensionality": 3}, {"content": content("b")}), "m", many=True
    )
    assert (asked.dimensions, asked.each) == (None, ({"outputDimensionality": raws(3)}, {}))
    assert json.loads(render_request(asked).body)["requests"][0]["outputDimensionality"] == 3


def test_the_path_names_the_model_and_a_request_may_repeat_it():
    body = many({"model": "models/m", "content": content("a")}, {"model": "m", "content": content("b")})
    assert parse_request(body, "m", many=True).texts == ("a", "b")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{}", "requests"),
        (many(), "requests"),
        (many(*[{"content": content("a")}] * (MAX_INPUTS + 1)), "requests"),
        (many({}), "requests[0].content"),
        (many({"content": {}}), "requests[0].content.parts"),
        (many({"content": {"parts": []}}), "requests[0].content.parts"),
        (many({"content": {"parts": [{}]}}), "requests[0].content.parts[0].text"),
        (many({"content": {"parts": [{"text": 7}]}}), "requests[0].content.parts[0].text"),
        (many({"content": content("a"), "model": "models/n"}), "requests[0].model"),
        (many({"content": content("a"), "outputDimensionality": 0}), "requests[0].outputDimensionality"),
        (
            many({"content": {"parts": [{"inline_data": {"mimeType": "image/png", "data": ""}}]}}),
            "requests[0].content.parts[0].inlineData",
        ),
        (many({"content": {**content("a"), "name": "x"}}), "requests[0].content.name"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_whole_path(body, field):
    with pytest.raises(Invalid) as refusal:
        parse_request(body, "m", many=True)
    assert refusal.value.field == field
    assert refusal.value.remedy


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (EmbedRequest(model="m", tokens=((1,),)), "input"),
        (EmbedRequest(model="m", texts=("a",), extras={"input_type": raws("query")}), "input_type"),
    ],
)
def test_what_gemini_cannot_be_told_is_refused_by_name(asked, field):
    with pytest.raises(Invalid) as refusal:
        render_request(asked)
    assert (refusal.value.field, refusal.value.reason) == (field, "untranslatable")


def test_what_cannot_change_a_vector_is_left_out_and_named():
    assert render_request(EmbedRequest(model="m", texts=("a",), user="kim")).left_out == ("user",)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (EmbedRequest(model="m", dialect="gemini", texts=("a",), each=({"taskType": raws("X")},)), "taskType"),
        (EmbedRequest(model="m", dialect="gemini", texts=("a",), extras={"odd": raws(1)}), "odd"),
        (EmbedRequest(model="m", dialect="gemini", parted=(("a", "b"),)), "content.parts"),
    ],
)  # fmt: skip
def test_what_openai_cannot_be_told_is_refused_by_name(asked, field):
    with pytest.raises(Invalid) as refusal:
        embeddings.render_request(asked)
    assert (refusal.value.field, refusal.value.reason) == (field, "untranslatable")


def test_what_one_vendor_says_besides_is_not_told_in_the_words_of_the_other():
    google = EmbedReply(model="m", dialect="gemini", vectors=(VECTOR,), extras={"usageMetadata": raws({})})
    assert "usageMetadata" not in json.loads(embeddings.render_reply(google))
    openai = EmbedReply(model="m", vectors=(VECTOR,), extras={"created": raws(1)})
    assert set(json.loads(render_reply(openai, many=True))) == {"embeddings"}


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"embeddings":7}', b'{"embeddings":[{"values":[]}]}', b'{"embeddings":[{"values":["a"]}]}']
)  # fmt: skip
def test_what_is_no_embedding_is_malformed(body):
    with pytest.raises(Upstream) as error:
        parse_reply(body, "m")
    assert error.value.reason == "malformed_reply"
