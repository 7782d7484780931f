"""Token bounds: never below what a request can cost, pictures by the piece, and estimates that say they are."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.kernel.chat import ChatRequest, Image, Message, Other, Reasoning, Text, Tool, ToolCall
from penstock.kernel.errors import Invalid
from penstock.mechanisms.tokens import (
    BYTES_PER_TOKEN_MAX,
    TOKENS_FOR_TOOLS,
    TOKENS_PER_CONVERSATION,
    TOKENS_PER_MESSAGE,
    Counted,
    bound_input_tokens,
    bound_raw_messages,
    bound_raw_tools,
    estimate_output_tokens,
    narrowed,
)

PICTURE = "data:image/png;base64," + "iVBORw0KGgo" * 50_000
IMAGE_TOKENS = 1_445
WINDOW = 128_000


def raw_of(*messages: object, ascii_only: bool = True) -> bytes:
    return json.dumps(messages, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")


def said(content: object, role: str = "user") -> dict[str, object]:
    return {"role": role, "content": content}


def bound(raw: bytes) -> int:
    return bound_raw_messages(raw, IMAGE_TOKENS, WINDOW)


def dearest(texts: list[str]) -> int:
    """What the worst vocabulary, one token per byte, would count, with the dearest chat template."""
    return sum(TOKENS_PER_MESSAGE + len(text.encode("utf-8", "surrogatepass")) for text in texts)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.text(), max_size=5), st.booleans(), st.booleans())
def test_a_bound_is_never_below_one_token_per_byte(texts: list[str], ascii_only: bool, in_parts: bool):
    contents = [[{"type": "text", "text": text}] if in_parts else text for text in texts]
    raw = raw_of(*map(said, contents), ascii_only=ascii_only)
    assert bound(raw) >= dearest(texts)
    request = ChatRequest(
        model="m", messages=tuple(Message(role="user", content=(Text(text),)) for text in texts)
    )
    assert bound_input_tokens(request) >= dearest(texts)


def test_a_bound_of_plain_text_is_its_json_and_the_conversation():
    raw = raw_of(said("hello"), said("hi", "assistant"))
    assert bound(raw) == len(raw) + TOKENS_PER_CONVERSATION


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": PICTURE}},
        {"type": "image_url", "image_url": {"url": PICTURE, "detail": "high"}},
        {"type": "input_image", "image_url": PICTURE},
        {"image_url": {"url": PICTURE}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}},
    ],
)
def test_a_picture_counts_by_the_piece_and_its_bytes_do_not(part: dict[str, object]):
    words = {"type": "text", "text": "What is this?"}
    counted = bound(raw_of(said([words, part, part])))
    assert 2 * IMAGE_TOKENS < counted < 2 * IMAGE_TOKENS + 800


def test_a_linked_picture_counts_though_its_link_is_short():
    raw = raw_of(said([{"type": "image_url", "image_url": {"url": "https://e.test/a.png"}}]))
    assert bound(raw) == len(raw) + TOKENS_PER_CONVERSATION + IMAGE_TOKENS


@pytest.mark.parametrize(
    "disguised",
    [
        rb'[{"role":"user","content":[{"type":"\u0069mage_url","\u0069mage_url":{"url":"https://e.test/a.png"}}]}]',
        rb'[{"role":"user","content":[{"type":"text","text":"a"},{"image\u005Furl":{"url":"https://e.test/a.png"}}]}]',
        rb'[{"role":"user","content":[{"\u0074ype":"image_url" , "image\u005furl":"https://e.test/a.png"}]}]',
    ],
)
def test_json_escapes_do_not_hide_a_picture(disguised: bytes):
    assert bound(disguised) >= IMAGE_TOKENS


def test_text_that_looks_like_a_picture_is_text():
    for content in (
        PICTURE,
        [{"type": "text", "text": PICTURE}],
        json.dumps({"image_url": {"url": PICTURE}}),
    ):
        assert bound(raw_of(said(content))) >= len(PICTURE)
    mixed = [{"type": "text", "text": PICTURE}, {"type": "image_url", "image_url": {"url": PICTURE}}]
    assert bound(raw_of(said(mixed))) >= len(PICTURE) + IMAGE_TOKENS


@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "file": {"file_id": "f"}},
        {"type": "input_file", "file_id": "f"},
        {"type": "document", "source": {"type": "url", "url": "https://e.test/a.pdf"}},
        {"type": "video_url", "video_url": {"url": "https://e.test/a.mp4"}},
        {"video_url": {"url": "https://e.test/a.mp4"}},
        {"type": "something_new"},
        {"type": ["text"]},
    ],
)
def test_what_bytes_do_not_bound_counts_as_a_whole_document(part: dict[str, object]):
    assert bound(raw_of(said([{"type": "text", "text": "read this"}, part]))) >= WINDOW


def test_an_earlier_spoken_answer_counts_as_a_document():
    assert bound(raw_of({"role": "assistant", "audio": {"id": "a"}})) >= WINDOW


def test_spoken_input_is_bounded_by_its_own_bytes():
    part = {"type": "input_audio", "input_audio": {"data": "UklGRg" * 1_000, "format": "wav"}}
    raw = raw_of(said([part]))
    assert bound(raw) == len(raw) + TOKENS_PER_CONVERSATION


def test_a_picture_inside_a_tool_result_is_found():
    picture = {"type": "image", "source": {"type": "url", "url": "https://e.test/a.png"}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [picture]}
    assert bound(raw_of(said([result]))) >= IMAGE_TOKENS


def test_tool_calls_are_text():
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"type": "image_url"}'}}
    raw = raw_of({"role": "assistant", "content": None, "tool_calls": [call]})
    assert bound(raw) == len(raw) + TOKENS_PER_CONVERSATION


def test_plain_text_is_never_parsed_and_broken_json_with_pictures_is_refused():
    assert bound(b'[{"role":"user","content":"cut') > 0
    for broken in (b'[{"content":[{"type":"image_url"', b'[{"_url":"\xff"}]', b'[{"_url":' + b"[" * 100_000):
        with pytest.raises(Invalid) as refusal:
            bound(broken)
        assert refusal.value.field == "messages"


@settings(max_examples=500, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["image_url", "text"]),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["type", "image_url", "url", "x"]), inner)
        ),
        max_leaves=20,
    )
)
def test_any_json_has_a_bound(node: object):
    raw = raw_of(node)
    assert bound(raw) >= TOKENS_PER_CONVERSATION


def test_tools_cost_their_schema_and_the_hidden_prompt_and_none_cost_none():
    assert bound_raw_tools(b"") == 0
    assert bound_raw_tools(b"[1234]") == 6 + TOKENS_FOR_TOOLS


def test_every_member_of_a_canonical_request_counts():
    whole = ChatRequest(
        model="m",
        messages=(
            Message(
                role="user",
                name="n" * 10,
                content=(
                    Text("é" * 100),
                    Image(url=PICTURE),
                    Image(url="https://e.test/a.png"),
                    Reasoning(text="r" * 300, signature="s" * 40),
                    Other(dialect="openai", raw=msgspec.Raw(b'{"type":"file","file":{"file_id":"f"}}')),
                ),
                tool_calls=(ToolCall(id="c" * 5, name="f" * 6, arguments="a" * 700),),
                extras={"x": msgspec.Raw(b'"' + b"y" * 900 + b'"')},
            ),
        ),
        tools=(Tool(name="t", description="d" * 1_000, parameters=msgspec.Raw(b"{" + b" " * 998 + b"}")),),
        response_format=msgspec.Raw(b"{" + b" " * 498 + b"}"),
    )
    words = 10 + 200 + 340 + 11 + 700 + 900 + 1_000 + 1_000 + 500
    floor = words + 2 * IMAGE_TOKENS + WINDOW + TOKENS_FOR_TOOLS
    assert floor <= bound_input_tokens(whole, IMAGE_TOKENS, WINDOW) < floor + 400
    assert bound_input_tokens(ChatRequest(model="m", messages=())) == TOKENS_PER_CONVERSATION


class CountsWords:
    """A tokenizer that knows one model."""

    def __init__(self):
        self.asked = 0

    def count(self, model: str, text: str) -> int | None:
        self.asked += 1
        return len(text.split()) if model == "known" else None


def test_an_exact_count_is_asked_for_only_past_the_limit():
    tokenizer = CountsWords()
    assert narrowed(100, 100, tokenizer, "known", "a b c") == Counted(100, exact=False)
    assert tokenizer.asked == 0
    assert narrowed(101, 100, tokenizer, "known", "a b c") == Counted(3, exact=True)
    assert narrowed(101, 100, tokenizer, "unknown", "a b c") == Counted(101, exact=False)
    assert narrowed(101, 100, None, "known", "a b c") == Counted(101, exact=False)
    assert narrowed(2, 1, tokenizer, "known", "a b c") == Counted(2, exact=True)


@pytest.mark.parametrize(
    ("text_bytes", "deltas", "allowed", "tokens", "basis"),
    [
        (400, 100, 1_000, 100, "deltas"),
        (BYTES_PER_TOKEN_MAX * 10, 10, 1_000, 10, "deltas"),
        (BYTES_PER_TOKEN_MAX * 10 + 1, 10, 1_000, 161, "bytes"),
        (4_000, 1, 1_000, 1_000, "bytes"),
        (4_000, 0, 10_000, 4_000, "bytes"),
        (3, 5, 1_000, 3, "deltas"),
        (400, 100, 50, 50, "deltas"),
        (0, 0, 1_000, 0, "bytes"),
        (-1, -1, 1_000, 0, "bytes"),
    ],
)
def test_a_cut_answer_is_estimated_by_deltas_or_else_by_bytes(
    text_bytes: int, deltas: int, allowed: int, tokens: int, basis: str
):
    estimate = estimate_output_tokens(text_bytes, deltas, allowed)
    assert (estimate.tokens, estimate.basis, estimate.estimated) == (tokens, basis, True)


@settings(max_examples=500, deadline=None)
@given(st.integers(-5, 10**6), st.integers(-5, 10**6), st.integers(0, 10**6))
def test_an_estimate_lies_within_its_bounds_and_what_was_allowed(text_bytes: int, deltas: int, allowed: int):
    estimate = estimate_output_tokens(text_bytes, deltas, allowed)
    assert 0 <= estimate.lower <= estimate.tokens <= estimate.upper <= allowed
