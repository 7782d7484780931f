"""Several rankings made one, by rank alone: reciprocal rank fusion (Cormack, Clarke, Büttcher, SIGIR 2009).

    score(x) = Σ over the rankings that hold x of 1 / (CONSTANT + its rank there, from 1)

Promises: what stands higher in every ranking stands higher here; what a ranking does not hold gets nothing from it;
equals keep the order in which they were first seen, so the same rankings make the same order.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

Key = TypeVar("Key", bound=Hashable)

CONSTANT: Final = 10
"""How little the first few ranks differ. The paper has 60, for lists of a thousand; lists of fifty want it smaller: on
both sets that constants are chosen on (`docs/retrieval.md`) 10 found more than 60."""


def reciprocal_ranks(rankings: Iterable[Sequence[Key]], constant: int = CONSTANT) -> dict[Key, float]:
    """Return every key's fused score, best first. A key that a ranking repeats counts where it stands first."""
    fused: dict[Key, float] = {}
    for ranking in rankings:
        for rank, key in enumerate(dict.fromkeys(ranking), start=1):
            fused[key] = fused.get(key, 0.0) + 1.0 / (constant + rank)
    return dict(sorted(fused.items(), key=_falling))


def shares(scores: Mapping[Key, float]) -> dict[Key, float]:
    """Return scores as shares of the greatest, so that those of one question compare with those of another."""
    greatest = max(scores.values(), default=0.0)
    return {key: score / greatest if greatest > 0 else 0.0 for key, score in scores.items()}


def _falling(each: tuple[object, float]) -> float:
    return -each[1]
