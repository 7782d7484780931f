"""The questions one team asked before and their vectors, and the nearest of them. Plain arithmetic, no I/O.

A vector is of length 1, so a cosine is a sum of products; that sum over the first numbers alone, and the lengths of
what is left of both, bound it from above (Cauchy and Schwarz), and rule nearly every question out for a twelfth of the
work. Promises: at most `most` questions are held, the least recently met go first; a question is compared with those of
its own scope alone; what is forgotten is gone at once.
"""

from __future__ import annotations

import asyncio
import math
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from operator import mul
from typing import Final

import msgspec

from penstock.mechanisms.answer_cache import EVERYTHING, Place

HEAD: Final = 32
NEAREST: Final = 3
"""Questions worth a second look, the nearest first."""
PER_TURN: Final = 256
"""Questions compared before other tasks get their turn: some half a millisecond's, three where all are alike."""
_SLACK: Final = 1e-5
"""What rounding to float32 may take off a bound."""


class Vector(msgspec.Struct, frozen=True):
    """A vector of length 1 in two parts, and the length of the second."""

    head: tuple[float, ...]
    tail: tuple[float, ...]
    rest: float

    @classmethod
    def of(cls, data: bytes) -> Vector:
        """Read little-endian float32."""
        numbers = array("f", data).tolist()
        head = tuple(numbers[:HEAD])
        return cls(head, tuple(numbers[HEAD:]), math.sqrt(max(1.0 - sum(map(mul, head, head)), 0.0)))


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A question whose answer is kept at `place`, how long that took when it was fresh, and what may forget it."""

    text: str
    vector: Vector
    place: Place
    tags: frozenset[str]
    took_s: float


class Shelf:
    """One team's questions, by scope: what must be the very same for an answer to be anybody else's."""

    def __init__(self, most: int) -> None:
        """Hold at most `most` questions."""
        self._most = most
        self._all: OrderedDict[str, str] = OrderedDict()
        self._scopes: dict[str, dict[str, Asked]] = {}

    def __len__(self) -> int:
        """Return how many questions are held."""
        return len(self._all)

    def put(self, scope: str, asked: Asked) -> None:
        """Hold a question; the same one asked again takes its own place."""
        self.drop(asked.place.key)
        while len(self._all) >= self._most:
            self.drop(next(iter(self._all)))
        self._all[asked.place.key] = scope
        self._scopes.setdefault(scope, {})[asked.place.key] = asked

    def of(self, scope: str) -> list[Asked]:
        """Return the questions of a scope."""
        return list(self._scopes.get(scope, {}).values())

    def met(self, key: str) -> None:
        """Note that a question was served from."""
        if key in self._all:
            self._all.move_to_end(key)

    def drop(self, key: str) -> None:
        """Forget a question."""
        scope = self._all.pop(key, None)
        if scope is not None:
            asked = self._scopes[scope]
            del asked[key]
            if not asked:
                del self._scopes[scope]

    def forget(self, tag: str) -> None:
        """Forget every question with a tag."""
        gone = [
            key
            for asked in self._scopes.values()
            for key, each in asked.items()
            if tag == EVERYTHING or tag in each.tags
        ]
        for key in gone:
            self.drop(key)


def near(questions: Sequence[Asked], vector: Vector, threshold: float) -> list[tuple[float, Asked]]:
    """Return the questions with at least this cosine, and each one's."""
    found: list[tuple[float, Asked]] = []
    head, tail, rest = vector.head, vector.tail, vector.rest
    least = threshold - _SLACK
    for asked in questions:
        other = asked.vector
        part = sum(map(mul, head, other.head))
        if part + rest * other.rest >= least:
            cosine = part + sum(map(mul, tail, other.tail))
            if cosine >= threshold:
                found.append((min(cosine, 1.0), asked))
    return found


async def nearest(questions: Sequence[Asked], vector: Vector, threshold: float) -> list[tuple[float, Asked]]:
    """Return the nearest with at least this cosine, the nearest first; others have their turn in between."""
    found: list[tuple[float, Asked]] = []
    for first in range(0, len(questions), PER_TURN):
        if first:
            await asyncio.sleep(0)
        found += near(questions[first : first + PER_TURN], vector, threshold)
    found.sort(key=_cosine, reverse=True)
    return found[:NEAREST]


def _cosine(found: tuple[float, Asked]) -> float:
    return found[0]
