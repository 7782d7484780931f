"""Near-duplicates: found from the threshold on, not invented below it, in bounded memory."""

from __future__ import annotations

import asyncio
import random

import pytest

from penstock.embedding.ingest.near_duplicates import NearDuplicates, signature, similarity
from penstock.embedding.ingest.near_report import NearReport
from penstock.ports.index import Chunk, Document
from tests.support import run

VOCABULARY = [
    f"{a}{b}"
    for a in ("ga", "wa", "tu", "me", "bu", "le", "st", "ri", "va", "pr")
    for b in "abcdefghijklmnopqrst"
]


def text(seed: int, words: int = 180) -> list[str]:
    return random.Random(seed).choices(VOCABULARY, k=words)


def changed(words: list[str], share: float, seed: int) -> list[str]:
    """Change so large a share of the words, here and there."""
    rng = random.Random(seed)
    places = rng.sample(range(len(words)), round(share * len(words)))
    return [f"new{at}" if at in places else word for at, word in enumerate(words)]


def jaccard(one: list[str], other: list[str]) -> float:
    a, b = ({tuple(words[n : n + 3]) for n in range(len(words) - 2)} for words in (one, other))
    return len(a & b) / len(a | b)


def test_the_estimate_is_near_the_truth():
    errors = []
    for seed in range(60):
        one = text(seed)
        other = changed(one, (seed % 6) * 0.03, seed)
        told = similarity(signature(" ".join(one)), signature(" ".join(other)))
        errors.append(told - jaccard(one, other))
    assert max(map(abs, errors)) < 0.25, "three standard errors of 60 orders are .19 at .5"
    assert abs(sum(errors) / len(errors)) < 0.03, "and it leans to neither side"


def test_near_ones_are_found_and_others_are_not():
    known = NearDuplicates(threshold=0.8)
    for seed in range(100):
        assert known.add(f"doc{seed}", " ".join(text(seed))) is None
    found = [known.add(f"copy{seed}", " ".join(changed(text(seed), 0.02, seed))) for seed in range(100)]
    near = [each for each in found if each is not None]
    assert len(near) >= 90, "about Jaccard .88"
    assert all(each.like == each.name.replace("copy", "doc") and each.similarity >= 0.8 for each in near)


def test_case_and_stops_do_not_matter_and_the_very_same_is_one():
    known = NearDuplicates()
    known.add("a", "The gate meters the water. It is counted twice!")
    near = known.add("b", "the GATE meters\n\nthe water; it is counted twice")
    assert (near.like, near.similarity) == ("a", 1.0)


@pytest.mark.parametrize(
    "words",
    [
        "水門は川の水を量ってから水車へ送ります。料金は正しく記録されます。",
        "水闸先测量河水然后送往水轮机所有费用都会正确记录",
    ],
)
def test_scripts_without_blanks_are_compared_by_their_letters(words):
    known = NearDuplicates(threshold=0.7)
    known.add("a", words * 2)
    assert known.add("b", words * 2 + "新") is not None
    assert known.add("c", "".join(reversed(words * 2))) is None


def test_short_and_empty_texts():
    known = NearDuplicates()
    assert known.add("a", "") is known.add("b", " .!") is None
    assert known.add("c", "one") is None
    assert known.add("d", "One.").like == "c"
    assert known.add("d", "one") is None, "a name is remembered once"


def test_the_oldest_are_forgotten_and_counted():
    known = NearDuplicates(most=3)
    for seed in range(3):
        known.add(str(seed), " ".join(text(seed)))
    assert known.forgotten == 0
    known.add("3", " ".join(text(3)))
    assert known.forgotten == 1
    assert known.add("again1", " ".join(text(1))).like == "1"
    assert known.add("again0", " ".join(text(0))) is None, "the first is forgotten"
    assert len(known._known) == 3
    assert all(len(band) <= 3 for band in known._bands)


def test_each_chunk_of_a_document_lets_others_have_their_turn():
    chunks = [Chunk(position=n, digest=str(n), text=" ".join(text(n)), vector=b"") for n in range(30)]
    document = Document(id="a", version="1", chunks=tuple(chunks))

    async def steps() -> int:
        turns = 0

        async def counting() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counter = asyncio.create_task(counting())
        await NearReport().of("col", document)
        counter.cancel()
        return turns

    assert run(steps()) >= len(chunks) - 1
