"""The encoder's helper process with one bug seeded, by name: what the contract suite must catch."""

from __future__ import annotations

import sys

import numpy as np

from penstock.adapters.encoder import graph, worker
from penstock.adapters.encoder.worker import TOKENS, Model
from penstock.adapters.helper_process import serve

HONEST = Model.vectors


def padding_counts() -> None:
    """The mean is over the padding too, and attention sees it."""
    graph.HIDDEN = 0.0


def sorted_by_length() -> None:
    """Vectors come by the length of their texts."""

    def vectors(model, wanted, texts):
        order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
        return HONEST(model, wanted, [texts[at] for at in order])

    Model.vectors = vectors


def not_normalised() -> None:
    """A vector's length says how long its text is."""
    worker._of_length_one = lambda rows: np.ascontiguousarray(rows * 1.01)


rows_not_normalised = not_normalised


def half_a_vector() -> None:
    """Half of the numbers are missing."""

    def vectors(model, wanted, texts):
        return np.ascontiguousarray(HONEST(model, wanted, texts)[:, ::2])

    Model.vectors = vectors


def padding_has_rows() -> None:
    """Every text has as many rows as the longest."""

    def vectors(model, wanted, texts):
        if wanted == TOKENS:
            longest = max(map(len, texts))
            texts = [np.resize(text, longest) for text in texts]
        return HONEST(model, wanted, texts)

    Model.vectors = vectors


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    serve(worker.begin)
