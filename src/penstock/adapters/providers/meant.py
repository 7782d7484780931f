"""Picking the sentences that best match a question by their words and by what they mean, for `local/extractive`.

Promises: every sentence is looked at by meaning as long as there are at most `SENTENCES_MOST`; of more, those that
share most words with the question are; the two orders count alike (reciprocal ranks); what shares no word with the
question and is not near it in meaning is never picked.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from operator import mul
from typing import Final, Protocol

from penstock.adapters.providers.extract import word_scores

SENTENCES_MOST: Final = 64
"""Sentences of which vectors are made: 64 of 20 tokens take some 40 ms of one core."""
NEAR_LEAST: Final = 0.35
"""Least cosine of an answer that shares no word with its question: those of the model in this machine lie above, other
sentences of the same text mostly below.
"""
_DAMP: Final = 60


class Meaning(Protocol):
    """Turns sentences into vectors of length 1."""

    async def of_all(self, sentences: Sequence[str], *, tenant: str) -> Sequence[bytes]:
        """Return little-endian float32, computed in their tenant's name. Raises Unavailable and its kin."""
        ...


async def best_meant(
    meaning: Meaning, sentences: Sequence[str], question: str, count: int, *, tenant: str
) -> list[str]:
    """Return at most `count` sentences: the best ones, in their own order. Raises what `meaning` raises."""
    words = {position: score for position, _, score in word_scores(sentences, question)}
    places = sorted(range(len(sentences)), key=lambda at: (-words.get(at, 0.0), at))[:SENTENCES_MOST]
    found = await meaning.of_all([question, *(sentences[at] for at in places)], tenant=tenant)
    asked, *rows = [array("f", row) for row in found]
    cosines = {at: sum(map(mul, asked, row)) for at, row in zip(places, rows, strict=True)}
    by_words = [at for at in places if at in words]
    by_meaning = sorted(places, key=lambda at: (-cosines[at], at))
    ranks = dict.fromkeys(places, 0.0)
    for order in (by_words, by_meaning):
        for rank, at in enumerate(order):
            ranks[at] += 1 / (_DAMP + rank)
    fit = [at for at in places if at in words or cosines[at] >= NEAR_LEAST]
    best = sorted(fit, key=lambda at: (-ranks[at], at))[:count]
    return list(dict.fromkeys(sentences[at] for at in sorted(best)))
