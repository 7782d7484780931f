"""Lists of models and counts of tokens on the Gemini wire, as its SDKs read and write them."""

from __future__ import annotations

import json

import pytest

from penstock.dialects.gemini import (
    CODEC,
    parse_count_request,
    parse_request,
    render_count,
    render_model,
    render_models,
)
from penstock.kernel.errors import Invalid

CONTENTS = [{"role": "user", "parts": [{"text": "hi"}]}]


def test_a_model_is_listed_as_it_is_told_alone():
    listed = json.loads(render_models([("a", "x"), ("b", "y")]))["models"]
    assert listed[0] == json.loads(render_model("a", "x"))
    assert [(each["name"], each["displayName"]) for each in listed] == [("models/a", "a"), ("models/b", "b")]
    assert "generateContent" in listed[0]["supportedGenerationMethods"]


@pytest.mark.parametrize("name", ["", "generateContentRequest", "generate_content_request"])
def test_a_count_is_asked_for_with_contents_or_a_whole_request(name):
    request = {"contents": CONTENTS, "systemInstruction": {"parts": [{"text": "s"}]}}
    body = {name: {"model": "models/m", **request}} if name else request
    assert parse_count_request(json.dumps(body).encode(), "m") == parse_request(
        json.dumps(request).encode(), "m"
    )


def test_a_count_is_told():
    assert json.loads(render_count(31)) == {"totalTokens": 31}


def test_a_count_request_that_is_none_is_refused():
    with pytest.raises(Invalid) as caught:
        parse_count_request(b'{"generateContentRequest":5}')
    assert caught.value.field == "generateContentRequest"


def test_the_codec_is_told_neither_model_nor_stream_and_has_no_end_mark():
    request = CODEC.parse_request(json.dumps({"contents": CONTENTS}).encode())
    assert (request.model, request.stream, request.dialect) == ("", False, CODEC.name)
    assert CODEC.end == b""
