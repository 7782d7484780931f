"""How often the semantic cache is right: labelled pairs by the real model, with the guard and without; and questions of
others, whose intents tell which neighbours may not share an answer.

Promise: a pair is judged as the product judges it (`semantic_guard.differ`, the cosine of the model's own vectors);
nothing is left out, and how many there were is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from penstock.gateway.semantic_guard import differ
from tests import alike
from tests.alike import PAIRS, Pair

THRESHOLDS = (0.90, 0.95, 0.97)
SHOWN = 6

Embed = Callable[[Sequence[str]], Awaitable[Sequence[bytes]]]


@dataclass(frozen=True, slots=True)
class Judged:
    """A labelled pair, how near its vectors are, and what the guard says."""

    pair: Pair
    cosine: float
    apart: str

    def served(self, threshold: float, *, guarded: bool) -> bool:
        """Whether the answer to one would be served for the other."""
        return self.cosine >= threshold and not (guarded and self.apart)


@dataclass(slots=True)
class Neighbours:
    """Real questions: `near` pairs at the threshold of different intents, and those of them the guard let through."""

    name: str
    questions: int
    near_same: int = 0
    near_other: int = 0
    served_same: int = 0
    served_other: int = 0
    examples: list[str] = field(default_factory=list)


async def judged(embed: Embed) -> list[Judged]:
    """Judge every labelled pair."""
    firsts = np.array(await _rows(embed, [pair.first for pair in PAIRS]))
    seconds = np.array(await _rows(embed, [pair.second for pair in PAIRS]))
    cosines = (firsts * seconds).sum(axis=1)
    return [
        Judged(pair, float(cosine), differ(pair.first, pair.second))
        for pair, cosine in zip(PAIRS, cosines, strict=True)
    ]


def rate(seen: Sequence[Judged], threshold: float, *, guarded: bool) -> float:
    """Return the share that would be served."""
    return sum(each.served(threshold, guarded=guarded) for each in seen) / max(len(seen), 1)


def kinds_served(seen: Sequence[Judged], threshold: float, *, guarded: bool) -> Counter[str]:
    """Return how many pairs of each kind of difference would be served."""
    return Counter(
        each.pair.kind for each in seen if not each.pair.is_same and each.served(threshold, guarded=guarded)
    )


async def neighbours(embed: Embed, threshold: float, most: int) -> list[Neighbours]:
    """Look at every pair of real questions that are near; empty where the sets are not on this machine."""
    folder = alike.data_folder()
    if folder is None:
        return []
    sets = {"BANKING77 test": alike.banking(folder), "CLINC150 test": alike.clinc(folder)}
    return [
        await _near(embed, name, rows[:: max(len(rows) // most, 1)], threshold) for name, rows in sets.items()
    ]


async def _near(embed: Embed, name: str, rows: Sequence[tuple[str, str]], threshold: float) -> Neighbours:
    found = Neighbours(name, len(rows))
    vectors = np.array(await _rows(embed, [text for text, _ in rows]))
    cosines = np.triu(vectors @ vectors.T, 1)
    for one, other in zip(*np.nonzero(cosines >= threshold), strict=True):
        (text, intent), (other_text, other_intent) = rows[one], rows[other]
        served = not differ(text, other_text)
        if intent == other_intent:
            found.near_same += 1
            found.served_same += served
        else:
            found.near_other += 1
            found.served_other += served
            if served:
                found.examples.append(f"{text} / {other_text} ({intent} / {other_intent})")
    return found


async def _rows(embed: Embed, texts: Sequence[str]) -> list[np.ndarray]:
    rows: list[np.ndarray] = []
    for at in range(0, len(texts), 256):
        rows += [np.frombuffer(data, "<f4") for data in await embed(texts[at : at + 256])]
    return rows
