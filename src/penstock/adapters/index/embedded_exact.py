"""The chunks of one space in memory: who owns each, and its vector, for a search that looks at every one.

Promise: `nearest` is exact. Numbers only rise, so a chunk is found by bisection; those that a graph already has need
not lie here (`since`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from penstock.adapters.index.embedded_columns import Bools
from penstock.adapters.index.embedded_vectors import Floats, unit

Numbers = NDArray[np.int64]
Kind = TypeVar("Kind", bound=np.generic)
Scored = list[tuple[int, float]]
GATHER_SHARE: Final = 0.25
"""Below this share of rows that pass, they are gathered; above, all are multiplied."""
_LEAST: Final = 256


class Chunks:
    """Numbers, owners (places among the Columns), which are alive, and the vectors of those from place `since` on."""

    def __init__(self) -> None:
        self.size = 0
        self.since = 0
        self.dead = 0
        self._numbers: Numbers = np.zeros(_LEAST, np.int64)
        self._owners: NDArray[np.int32] = np.zeros(_LEAST, np.int32)
        self._alive: Bools = np.zeros(_LEAST, np.bool_)
        self._matrix: Floats = np.zeros((0, 0), np.float32)

    @property
    def bytes(self) -> int:
        """Return how much memory this takes."""
        return self._numbers.nbytes + self._owners.nbytes + self._alive.nbytes + self._matrix.nbytes

    @property
    def numbers(self) -> Numbers:
        """Return every number, of the dead too."""
        return self._numbers[: self.size]

    @property
    def alive(self) -> Bools:
        """Tell of each whether it is alive."""
        return self._alive[: self.size]

    def reserve(self, rows: int, dimensions: int, *, vectors: int) -> None:
        """Make room for so many rows, and vectors among them, so that filling in takes no copies."""
        self._grow(rows)
        self._grow_matrix(vectors, dimensions)

    def add(self, numbers: Sequence[int], owners: Sequence[int], vectors: Floats | None) -> None:
        """Add chunks, whose numbers are above all others'. Without vectors a graph has them."""
        if not numbers:
            return
        first, self.size = self.size, self.size + len(numbers)
        self._grow(self.size)
        self._numbers[first : self.size] = numbers
        self._owners[first : self.size] = owners
        self._alive[first : self.size] = True
        if vectors is None:
            self.since = self.size
            return
        self._grow_matrix(self.size - self.since, vectors.shape[1])
        self._matrix[first - self.since : self.size - self.since] = unit(vectors)

    def drop(self, numbers: Sequence[int]) -> None:
        """Let chunks be dead; one that is not here is none of ours."""
        if not self.size or not numbers:
            return
        wanted = np.array(numbers, np.int64)
        places = np.searchsorted(self.numbers, wanted).clip(max=self.size - 1)
        places = places[self.numbers[places] == wanted]
        self.dead += int(np.count_nonzero(self._alive[places]))
        self._alive[places] = False

    def hand_over(self, upto: int) -> None:
        """Let a graph have the vectors of all chunks up to a number."""
        since = int(np.searchsorted(self.numbers, upto, side="right"))
        self._matrix = self._matrix[since - self.since : self.size - self.since].copy()
        self.since = since

    def passing(self, documents: Bools | None) -> Bools:
        """Tell of each chunk whether it is alive and its document passes."""
        return self.alive if documents is None else self.alive & documents[self._owners[: self.size]]

    def nearest(self, vector: Floats, limit: int, passing: Bools) -> Scored:
        """Return the nearest of those passing among the vectors that lie here, best first."""
        here = passing[self.since :]
        count = int(np.count_nonzero(here))
        if not count:
            return []
        matrix = self._matrix[: len(here)]
        if count < GATHER_SHARE * len(here):
            places = np.flatnonzero(here)
            scores = matrix[places] @ vector
        else:
            scores = matrix @ vector
            if count < len(here):
                scores[~here] = -np.inf
            places = np.arange(len(here))
        best = _best(scores, min(limit, count))
        found = self.numbers[self.since :][places[best]]
        return list(zip(found.tolist(), scores[best].tolist(), strict=True))

    def _grow(self, rows: int) -> None:
        if rows > len(self._numbers):
            room = max(rows, 2 * len(self._numbers))
            self._numbers = _longer(self._numbers, room)
            self._owners = _longer(self._owners, room)
            self._alive = _longer(self._alive, room)

    def _grow_matrix(self, rows: int, dimensions: int) -> None:
        if rows > len(self._matrix) or (rows and not self._matrix.shape[1]):
            # A quarter more: a matrix is most of the memory there is.
            matrix = np.zeros((max(rows, len(self._matrix) * 5 // 4, _LEAST), dimensions), np.float32)
            if self._matrix.shape[1]:
                matrix[: len(self._matrix)] = self._matrix
            self._matrix = matrix


def nearest_of(
    pages: Iterable[tuple[Numbers, Floats]], vector: Floats, limit: int, numbers: Numbers, passing: Bools
) -> Scored:
    """Return the nearest of those passing among vectors that come in pages, each with its number among `numbers`."""
    seen, scores = np.zeros(0, np.int64), np.zeros(0, np.float32)
    for page, vectors in pages:
        keep = passing[np.searchsorted(numbers, page)]
        seen = np.concatenate([seen, page[keep]])
        scores = np.concatenate([scores, unit(vectors[keep]) @ vector])
        best = _best(scores, limit)
        seen, scores = seen[best], scores[best]
    return list(zip(seen.tolist(), scores.tolist(), strict=True))


def _best(scores: Floats, limit: int) -> NDArray[np.intp]:
    """Return the places of the highest scores, highest first."""
    best = np.argpartition(-scores, limit - 1)[:limit] if limit < len(scores) else np.arange(len(scores))
    return best[np.argsort(-scores[best], kind="stable")][:limit]


def _longer(column: NDArray[Kind], room: int) -> NDArray[Kind]:
    longer = np.zeros(room, column.dtype)
    longer[: len(column)] = column
    return longer
