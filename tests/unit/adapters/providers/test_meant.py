"""`local/extractive` with a meaning: words and meaning rank together, the first line says which, faults do no harm."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from penstock.adapters.providers import local
from penstock.adapters.providers.local import NOTHING, PREFACE, PREFACE_MEANT, LocalExtractive
from penstock.adapters.providers.meant import SENTENCES_MOST, best_meant
from penstock.dialects.openai import parse_reply
from penstock.kernel.errors import Unavailable
from tests.support import run
from tests.unit.adapters.providers.test_local import ask, text_of

TEXT = "The sluice opens at seven. Lubricate the turbine weekly. Cats sleep a lot. The gate is made of steel."
TOPICS = {"oil": 0, "Lubricate": 0, "sluice": 1, "open": 1, "Cats": 2, "steel": 3, "gate": 3}


class Topics:
    """Sentences of one topic mean the same, those of none nothing."""

    def __init__(self, fault: Exception | None = None, *, is_slow: bool = False) -> None:
        self.fault, self.is_slow = fault, is_slow
        self.asked: list[str] = []
        self.tenants: list[str] = []

    async def of_all(self, sentences: Sequence[str], *, tenant: str) -> Sequence[bytes]:
        self.asked = list(sentences)
        self.tenants.append(tenant)
        if self.is_slow:
            await asyncio.sleep(60)
        if self.fault is not None:
            raise self.fault
        rows = []
        for sentence in sentences:
            topic = next((at for word, at in TOPICS.items() if word in sentence), len(TOPICS))
            rows.append(array("f", [float(at == topic) for at in range(len(TOPICS) + 1)]).tobytes())
        return rows


def answer(question: str, meaning: Topics | None, text: str = TEXT) -> str:
    async def work() -> str:
        provider = LocalExtractive()
        provider.meaning = meaning
        reply = await provider.chat(replace(ask(question, text=text), tenant="acme/search"))
        return text_of(parse_reply(await reply.read(1 << 20)))

    return run(work())


def test_what_shares_no_word_is_found_by_its_meaning_and_the_first_line_says_so() -> None:
    meaning = Topics()
    first, *quotes = answer("When is oil due?", meaning).splitlines()
    assert first == PREFACE_MEANT and quotes == ["\u201cLubricate the turbine weekly.\u201d"]
    assert meaning.tenants == ["acme/search"], "in the asker's own name"
    assert answer("When is oil due?", None) == NOTHING


def test_words_count_as_much_as_meaning() -> None:
    _, *quotes = answer("Does the sluice need oil?", Topics()).splitlines()
    assert quotes == ["\u201cThe sluice opens at seven.\u201d", "\u201cLubricate the turbine weekly.\u201d"]
    assert answer("Who sings?", Topics()) == NOTHING, "what is near in neither is not quoted"


@pytest.mark.parametrize(
    "meaning", [Topics(Unavailable("gone")), Topics(is_slow=True)], ids=["fails", "slow"]
)
def test_a_meaning_that_does_not_answer_leaves_the_words(
    meaning: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "MEANING_S", 0.01)
    first, *quotes = answer("When does the sluice open?", meaning).splitlines()
    assert first == PREFACE and quotes == ["\u201cThe sluice opens at seven.\u201d"]


def test_what_is_looked_at_is_bounded_and_what_shares_words_comes_first() -> None:
    sentences = [f"Filler number {at}." for at in range(500)] + ["The oil is in the shed."]
    meaning = Topics()
    assert run(best_meant(meaning, sentences, "Where is the oil?", 3, tenant="t")) == [
        "The oil is in the shed."
    ]
    assert len(meaning.asked) == SENTENCES_MOST + 1 and meaning.asked[1] == sentences[-1]


def test_nothing_to_quote_asks_nobody() -> None:
    meaning = Topics()
    assert answer("Hello?", meaning, text="") == NOTHING and not meaning.asked
