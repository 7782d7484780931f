"""Every word of a request can be taken out and put back, and what was not read is named."""

from __future__ import annotations

import json

import msgspec
import pytest

from penstock.kernel.chat import ChatRequest, Image, Media, Message, Other, Reasoning, Text, Tool, ToolCall
from penstock.mechanisms.redaction.texts import LEVELS_MAX, in_json, texts_of, with_texts

RAW = msgspec.Raw(b"1")
REQUEST = ChatRequest(
    model="m",
    messages=(
        Message(role="system", content=(Text("system"),)),
        Message(
            role="user",
            content=(Text("one"), Image("https://x"), Text("two")),
            name="ann",
            extras={"meta": RAW},
        ),
        Message(
            role="assistant",
            content=(Reasoning("thought", "sig"), Media("application/pdf", "data:"), Other("gemini", RAW)),
            tool_calls=(ToolCall("1", "find", '{"who": ["three", 4111111111111111], "n": 12345678}'),),
            refusal="four",
        ),
        Message(role="tool", content=(Text("five"),), tool_call_id="1"),
    ),
    tools=(Tool(name="find", description="six", parameters=RAW),),
    user="seven",
    extras={"metadata": RAW},
)


def test_all_words_are_found_in_order_and_the_rest_is_named() -> None:
    found = texts_of(REQUEST)
    assert found.texts == (
        *("system", "one", "two", "who", "three", "4111111111111111", "n", "four", "five", "six", "seven"),
    )
    assert found.unscanned == (
        *(
            "application/pdf",
            "extras.meta",
            "extras.metadata",
            "gemini part",
            "image",
            "name",
            "reasoning",
            "tool schema",
        ),
    )


def test_the_same_words_give_the_very_same_request() -> None:
    assert with_texts(REQUEST, texts_of(REQUEST).texts) is REQUEST


def test_other_words_stand_where_the_old_ones_stood() -> None:
    changed = with_texts(REQUEST, [text.upper() for text in texts_of(REQUEST).texts])
    assert texts_of(changed).texts == tuple(text.upper() for text in texts_of(REQUEST).texts)
    assert changed.messages[1].content[1] is REQUEST.messages[1].content[1]
    assert changed.messages[2].content == REQUEST.messages[2].content


def test_a_replaced_number_in_arguments_leaves_valid_json() -> None:
    texts = ["<CARD_1>" if text.isdigit() else text for text in texts_of(REQUEST).texts]
    arguments = with_texts(REQUEST, texts).messages[2].tool_calls[0].arguments
    assert json.loads(arguments) == {"who": ["three", "<CARD_1>"], "n": 12345678}


@pytest.mark.parametrize("count", [-1, 1])
def test_a_wrong_number_of_texts_is_refused(count: int) -> None:
    texts = list(texts_of(REQUEST).texts)
    with pytest.raises(ValueError, match="texts than the request has"):
        with_texts(REQUEST, texts[:count] if count < 0 else [*texts, "more"])


def test_escapes_in_arguments_are_read_as_what_they_mean() -> None:
    assert in_json(r'{"a": "x\nbob"}', lambda text: text.replace("bob", "B")) == r'{"a":"x\nB"}'


def test_two_names_that_become_one_keep_both_values() -> None:
    changed = in_json('{"bob": 1, "ann": 2}', lambda _text: "<EMAIL>")
    assert json.loads(changed) == {"<EMAIL>": 1, "<EMAIL>_": 2}


@pytest.mark.parametrize(
    "text", ['{"a": "bob', "bob", "[" * (LEVELS_MAX + 1) + '"bob"' + "]" * (LEVELS_MAX + 1), "[" * 100_000]
)
def test_what_is_not_json_or_too_deep_is_changed_as_words(text: str) -> None:
    assert in_json(text, lambda words: words.replace("bob", "B")) == text.replace("bob", "B")
