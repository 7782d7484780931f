"""`POST /v1/tokenize`: however many tokens a text has, others have their turn while they are written."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from penstock.embedding.serving.http import TOKENS_PER_TURN, Tokenizer, tokens_asked
from penstock.embedding.serving.service import EmbeddingService
from penstock.kernel.clock import ManualClock
from penstock.kernel.settings_embedding import EmbeddingSettings
from tests.counting_encoder import FIRST, LAST, CountingEncoder, number_of
from tests.support import run


class Told:
    """What was told, and how often others had their turn until then."""

    def __init__(self) -> None:
        self.turns = 0
        self.body: Any = None

    async def counting(self) -> None:
        while self.body is None:
            self.turns += 1
            await asyncio.sleep(0)


async def asked(**body: Any) -> Told:
    """Ask for tokens."""
    service = EmbeddingService([CountingEncoder()], EmbeddingSettings(), ManualClock())
    told = Told()
    counting = asyncio.create_task(told.counting())
    said = await Tokenizer(service).tokens(tokens_asked(msgspec.json.encode(body)), "local/counting")
    told.body = msgspec.json.decode(said)
    await counting
    await service.close()
    return told


def test_a_long_text_is_written_page_by_page_and_comes_whole() -> None:
    words = TOKENS_PER_TURN * 10
    few, many = (run(asked(inputs=text)) for text in ("w", " ".join("w" * words)))
    assert many.turns >= few.turns + 10
    (tokens,) = many.body
    assert [each["id"] for each in tokens] == [FIRST, *[number_of("w")] * words, LAST]
    assert [each["start"] for each in tokens[1:-1]] == list(range(0, 2 * words, 2))


@pytest.mark.parametrize("marks", [True, False])
@pytest.mark.parametrize("words", [0, TOKENS_PER_TURN - 3, TOKENS_PER_TURN - 2, TOKENS_PER_TURN - 1])
def test_no_token_is_lost_where_a_page_ends(words: int, marks: bool) -> None:
    text = " ".join(["w"] * words) or " "
    told = run(asked(inputs=[text, "v"], add_special_tokens=marks))
    assert [len(each) for each in told.body] == [words + 2 * marks, 1 + 2 * marks]
