"""Moderations, bytes to canonical and back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import ModerationCreateResponse

from penstock.dialects.moderations import MAX_INPUTS, parse_reply, parse_request, render_reply, render_request
from penstock.kernel.chat import Image, Text
from penstock.kernel.embed import ModerationReply, ModerationRequest, Verdict
from penstock.kernel.errors import Invalid, Upstream
from tests.unit.dialects.shapes import NAMES, WORDS, extras

ALONE = st.builds(Text, WORDS).map(lambda text: (text,))
TOGETHER = st.lists(st.builds(Text, WORDS) | st.just(Image("https://x/y.png")), min_size=2, max_size=3).map(
    tuple
)
REQUESTS = st.builds(
    ModerationRequest,
    model=WORDS,
    inputs=st.lists(ALONE, min_size=1, max_size=3).map(tuple) | TOGETHER.map(lambda parts: (parts,)),
    extras=extras(),
)
VERDICTS = st.builds(
    Verdict,
    flagged=st.booleans(),
    categories=st.dictionaries(NAMES, st.booleans(), max_size=2),
    scores=st.dictionaries(NAMES, st.floats(0, 1), max_size=2),
    applied=st.dictionaries(NAMES, st.just(("text", "image")), max_size=2),
    extras=extras(),
)
REPLIES = st.builds(
    ModerationReply, id=WORDS, model=WORDS, results=st.lists(VERDICTS, max_size=3).map(tuple), extras=extras()
)


@given(REQUESTS)
def test_a_request_comes_back_the_same(request):
    assert parse_request(render_request(request)) == request


@given(REPLIES)
def test_a_reply_comes_back_the_same(reply):
    assert parse_reply(render_reply(reply)) == reply


def test_parts_are_one_input_and_strings_are_several():
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]
    assert parse_request(json.dumps({"input": parts}).encode()).inputs == (
        (Text("a"), Image("https://x/y.png")),
    )
    assert parse_request(b'{"input":["a","b"]}').inputs == ((Text("a"),), (Text("b"),))


def test_several_inputs_with_pictures_are_refused():
    pictured = (Text("a"), Image("https://x/y.png"))
    with pytest.raises(Invalid) as refusal:
        render_request(ModerationRequest(inputs=(pictured, pictured)))
    assert refusal.value.field == "input"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (None, "input"),
        (7, "input"),
        ([], "input"),
        (["a", 7], "input[1]"),
        (["a"] * (MAX_INPUTS + 1), "input"),
        ([{"type": "text", "text": "a"}] * (MAX_INPUTS + 1), "input"),
        ([{"type": "text"}], "input[0].text"),
        ([{"type": "audio"}], "input[0].type"),
        ([{"type": "image_url", "image_url": {"url": "ftp://x"}}], "input[0].image_url.url"),
    ],
)
def test_a_refusal_names_the_whole_path(given, field):
    with pytest.raises(Invalid) as refusal:
        parse_request(json.dumps({"input": given}).encode())
    assert refusal.value.field == field
    assert refusal.value.remedy


def test_a_category_the_vendor_does_not_know_is_left_out_and_the_sdk_reads_the_rest():
    wire = {"id": "modr-1", "model": "m", "results": [{
        "flagged": True, "categories": {"violence": True, "illicit": None}, "category_scores": {"violence": 0.9},
        "category_applied_input_types": {"violence": ["text"]}}]}  # fmt: skip
    reply = parse_reply(json.dumps(wire).encode())
    assert reply.results[0].categories == {"violence": True}
    read = ModerationCreateResponse.construct(**json.loads(render_reply(reply)))
    assert read.results[0].category_scores.violence == 0.9


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"results":[{}]}', b'{"results":7}', b'{"results":[{"flagged":1}]}']
)
def test_what_is_no_moderation_is_malformed(body):
    with pytest.raises(Upstream) as error:
        parse_reply(body)
    assert error.value.reason == "malformed_reply"


@pytest.mark.parametrize(("violent", "flagged"), [(True, True), (False, False)])
def test_a_vendor_that_judges_categories_alone_flags_what_one_of_them_applies_to(violent, flagged):
    wire = {
        "id": "1",
        "model": "mistral-moderation",
        "results": [{"categories": {"pii": False, "violence": violent}}],
    }
    assert parse_reply(json.dumps(wire).encode()).results[0].flagged is flagged
