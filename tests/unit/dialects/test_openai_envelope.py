"""The opened chat request: what is read, what is refused, and that the rest leaves byte for byte."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.dialects.openai_envelope import MAX_CHOICES, MAX_OUTPUT_TOKENS, open_chat
from penstock.kernel.errors import Invalid

USER = {"role": "user", "content": "hello"}


def body(**members) -> bytes:
    return json.dumps({"model": "gpt-x", "messages": [USER], **members}, separators=(",", ":")).encode()


def refused(text: bytes) -> Invalid:
    with pytest.raises(Invalid) as refusal:
        open_chat(text)
    return refusal.value


def test_reads_every_scalar_that_costs_money():
    envelope = open_chat(
        body(
            stream=True, stream_options={"include_usage": True}, max_tokens=7, max_completion_tokens=9, n=2,
            temperature=0.5, user="ann", metadata={"job": "x"}, service_tier="flex",
        )
    )  # fmt: skip
    assert (envelope.model, envelope.stream, envelope.include_usage) == ("gpt-x", True, True)
    assert (envelope.max_tokens, envelope.max_completion_tokens, envelope.output_limit) == (7, 9, 7)
    assert (envelope.n, envelope.temperature, envelope.user) == (2, 0.5, "ann")
    assert (envelope.metadata, envelope.service_tier, envelope.message_count) == ({"job": "x"}, "flex", 1)


def test_what_is_absent_or_null_has_a_default():
    for members in (
        {},
        dict.fromkeys(("stream", "max_tokens", "n", "temperature", "user", "metadata", "service_tier")),
    ):
        envelope = open_chat(body(**members))
        assert (envelope.stream, envelope.n, envelope.output_limit, envelope.user) == (False, 1, None, "")
        assert envelope.temperature is None
        assert envelope.metadata is None


def test_pictures_are_counted_and_their_bytes_are_no_prompt():
    url = "data:image/png;base64," + "A" * 1000
    parts = [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "image_url", "image_url": "https://example.com/x.png"},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_id": "f"}},
    ]
    text = body(messages=[USER, {"role": "user", "content": parts}])
    envelope = open_chat(text)
    assert envelope.images == 2
    assert envelope.image_bytes == len(url) + len("https://example.com/x.png")
    assert envelope.prompt_bytes == len(text) - envelope.image_bytes
    assert envelope.other_parts == ("input_audio", "file")


def test_a_picture_hidden_behind_escapes_is_counted():
    text = body().replace(
        b'"content":"hello"',
        b'"content":[{"typ\\u0065":"image\\u005furl","image\\u005furl":{"url":"https://x/"}}]',
    )
    assert open_chat(text).images == 1


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (b'{"messages":[{"role":"user"}]}', "model"),
        (body(model=""), "model"),
        (body(model="m" * 257), "model"),
        (body(model=7), "model"),
        (b'{"model":"x"}', "messages"),
        (body(messages=[]), "messages"),
        (body(messages={}), "messages"),
        (body(messages=["hello"]), "messages[0]"),
        (body(messages=[USER, {"role": "bot", "content": "x"}]), "messages[1].role"),
        (body(messages=[USER, {"content": "x"}]), "messages[1].role"),
        (body(messages=[{"role": "user", "content": 7}]), "messages[0].content"),
        (body(messages=[USER, {"role": "user", "content": [{"type": "text"}, {"text": "x"}]}]),
         "messages[1].content[1].type"),
        (body(stream=1), "stream"),
        (body(stream_options={"include_usage": True}), "stream_options"),
        (body(stream=True, stream_options={"include_usage": "yes"}), "stream_options.include_usage"),
        (body(max_tokens=0), "max_tokens"),
        (body(max_tokens=-5), "max_tokens"),
        (body(max_tokens=1.5), "max_tokens"),
        (body(max_tokens=MAX_OUTPUT_TOKENS + 1), "max_tokens"),
        (body(max_completion_tokens=0), "max_completion_tokens"),
        (body(n=0), "n"),
        (body(n=MAX_CHOICES + 1), "n"),
        (body(temperature=-0.1), "temperature"),
        (body(temperature=2.1), "temperature"),
        (body(metadata={"a": 1}), "metadata[...]"),
    ],
)  # fmt: skip
def test_a_refusal_names_field_value_and_remedy(text, field):
    error = refused(text)
    assert error.field == field
    assert error.remedy
    assert error.reason in ("invalid_field", "missing_field")
    if error.reason == "invalid_field" and field not in ("stream_options", "metadata[...]"):
        assert error.value is not None


@pytest.mark.parametrize("members", [{"n": MAX_CHOICES}, {"max_tokens": 1}, {"max_tokens": MAX_OUTPUT_TOKENS},
                                     {"temperature": 0}, {"temperature": 2}, {"model": "m" * 256}])  # fmt: skip
def test_at_the_bound_passes(members):
    assert open_chat(body(**members))


def test_a_limit_is_named_with_its_figure():
    assert refused(body(n=0)).limit == ">= 1"
    assert refused(body(n=MAX_CHOICES + 1)).limit == f"<= {MAX_CHOICES}"


def test_a_long_value_is_shortened():
    assert len(refused(body(model="m" * 5000)).value) <= 80


def test_a_second_max_tokens_cannot_be_smuggled_past_the_limit():
    assert refused(body(max_tokens=5)[:-1] + b',"max_tokens":100000}').reason == "duplicate_member"


def test_render_replaces_the_model_and_nothing_else():
    text = b'{"model":"a","messages":[ {"role":"user","content":"\\u00e9 \xc3\xa9"} ],'
    text += b'"x":1.50e+2,"seed":9007199254740993}'
    assert open_chat(text).render("b") == text.replace(b'"a"', b'"b"')


@pytest.mark.parametrize(
    ("given_limits", "limit_name", "sent"),
    [
        ({}, "", {"max_completion_tokens": 5}),
        ({}, "max_tokens", {"max_tokens": 5}),
        ({"max_tokens": 9}, "", {"max_tokens": 5}),
        ({"max_completion_tokens": 9}, "", {"max_completion_tokens": 5}),
        ({"max_tokens": 9, "max_completion_tokens": 8}, "", {"max_tokens": 5, "max_completion_tokens": 5}),
        ({"max_completion_tokens": 9}, "max_tokens", {"max_tokens": 5}),
        ({"max_tokens": None}, "max_tokens", {"max_tokens": 5}),
    ],
)
def test_the_limit_goes_where_the_vendor_obeys_it(given_limits, limit_name, sent):
    rendered = json.loads(open_chat(body(**given_limits)).render("m", 5, limit_name=limit_name))
    assert {name: rendered[name] for name in rendered if name.startswith("max_")} == sent


def test_without_a_limit_the_callers_own_stays():
    assert json.loads(open_chat(body(max_tokens=9)).render("m"))["max_tokens"] == 9


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({}, {"include_usage": True}),
        ({"stream_options": None}, {"include_usage": True}),
        ({"stream_options": {"include_usage": False}}, {"include_usage": True}),
        (
            {"stream_options": {"include_obfuscation": False}},
            {"include_obfuscation": False, "include_usage": True},
        ),
    ],
)
def test_usage_is_asked_for_and_other_stream_options_stay(options, sent):
    rendered = open_chat(body(stream=True, **options)).render("m", include_usage=True)
    assert json.loads(rendered)["stream_options"] == sent


def test_usage_is_not_asked_for_where_there_is_no_stream():
    assert "stream_options" not in json.loads(open_chat(body()).render("m", include_usage=True))


@given(
    extras=st.dictionaries(
        st.text(min_size=1, max_size=8).filter(
            lambda name: name not in ("model", "messages") and name.isascii()
        ),
        st.integers(0, 9) | st.text(max_size=5) | st.lists(st.booleans(), max_size=3),
        max_size=4,
    ),
    model=st.text(min_size=1, max_size=20),
)
def test_whatever_else_is_sent_arrives_unchanged(extras, model):
    known = {
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "n",
        "temperature",
        "user",
        "metadata",
    }
    extras = {name: value for name, value in extras.items() if name not in known | {"service_tier"}}
    rendered = open_chat(body(**extras)).render(model)
    assert json.loads(rendered) == {"model": model, "messages": [USER], **extras}
