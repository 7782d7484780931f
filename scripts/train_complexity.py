"""Trains the classifier of easy and hard prompts: `python -m scripts.train_complexity`.

    tests/data/complexity.txt ──► features ──► logistic regression ──► mechanisms/data/complexity.json

Every fourth text is held out, so that the accuracy beside the weights is of texts that were not trained on. The texts
were written for this by hand: they show that the shape of a prompt tells, not how your traffic looks; train on yours.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from penstock.gateway.complexity import Weights, features

ROOT = Path(__file__).resolve().parent.parent
TEXTS = ROOT / "tests" / "data" / "complexity.txt"
OUT = ROOT / "src" / "penstock" / "mechanisms" / "data" / "complexity.json"
ROUNDS = 4_000
RATE = 0.5
SHRINK = 0.002
HELD_OUT_EVERY = 4

Labelled = list[tuple[str, int]]


def labelled() -> Labelled:
    """Return every text with 1 for hard and 0 for easy."""
    rows = [line.split("\t", 1) for line in TEXTS.read_text(encoding="utf-8").splitlines() if line]
    return [(text.replace("\\n", "\n"), int(label == "hard")) for label, text in rows]


def parted(rows: Labelled) -> tuple[Labelled, Labelled]:
    """Return what is trained on and what is held out."""
    held = rows[::HELD_OUT_EVERY]
    return [row for index, row in enumerate(rows) if index % HELD_OUT_EVERY], held


def trained(rows: Labelled) -> tuple[float, tuple[float, ...]]:
    """Return bias and weights: gradient descent on the logistic loss, with a little shrinkage."""
    inputs = [(features(text), label) for text, label in rows]
    bias, weights = 0.0, [0.0] * len(inputs[0][0])
    for _ in range(ROUNDS):
        slope_bias, slopes = 0.0, [SHRINK * weight for weight in weights]
        for values, label in inputs:
            score = bias + sum(w * v for w, v in zip(weights, values, strict=True))
            miss = (1 / (1 + math.exp(-score)) - label) / len(inputs)
            slope_bias += miss
            for index, value in enumerate(values):
                slopes[index] += miss * value
        bias -= RATE * slope_bias
        weights = [weight - RATE * slope for weight, slope in zip(weights, slopes, strict=True)]
    return round(bias, 4), tuple(round(weight, 4) for weight in weights)


def accuracy(model: Weights, rows: Labelled) -> float:
    """Return the share of texts that are told right at a threshold of one half."""
    return sum((model.hardness(text) >= 0.5) == bool(label) for text, label in rows) / len(rows)


def main() -> None:
    """Train, measure, write."""
    learnt, held = parted(labelled())
    bias, weights = trained(learnt)
    share = accuracy(Weights(bias, weights, 0.0, 0), held)
    told = {"bias": bias, "weights": list(weights), "accuracy": round(share, 3), "held_out": len(held)}
    OUT.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(told))


if __name__ == "__main__":
    main()
