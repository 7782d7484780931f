"""The lower bound of a prompt's tokens: never above what a tokenizer counts."""

from __future__ import annotations

import msgspec
import pytest

from penstock.dialects.openai_envelope import open_chat
from penstock.mechanisms.least_tokens import least_tokens


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("hello world", 2),
        ("don't stop", 2),
        ("\n\n\t", 0),
        ("12345 67", 0),
        ("a-b_c", 3),
        ("naïve", 2),
        ("日本", 0),
    ],
)
def test_only_whole_ascii_words_count(text: str, words: int) -> None:
    assert least_tokens([text]) == words


def test_names_and_kinds_and_pictures_do_not_count() -> None:
    parts = [
        {"type": "text", "text": "one two"},
        {"type": "image_url", "image_url": {"url": "data:words in a url"}},
    ]
    body = {"model": "m", "messages": [{"role": "user", "name": "not counted", "content": parts}]}
    assert least_tokens(open_chat(msgspec.json.encode(body)).texts()) == 2
