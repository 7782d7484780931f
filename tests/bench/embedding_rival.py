"""Run in the rivals' own environment: how long sentence-transformers takes for sets of texts, one call a set.

    python embedding_rival.py MODEL < sets.json      {"name": [texts]} in; {"name": seconds} out, the best of `REPEATS`

It imports nothing of ours.
"""

import json
import sys
import time

from sentence_transformers import SentenceTransformer

REPEATS = 3


def main() -> None:
    """Encode every set."""
    model = SentenceTransformer(sys.argv[1], device="cpu")
    seconds = {}
    for name, texts in json.load(sys.stdin).items():
        model.encode(texts[:32])
        took = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            model.encode(texts, batch_size=32, show_progress_bar=False)
            took.append(time.perf_counter() - began)
        seconds[name] = min(took)
    print("SECONDS " + json.dumps(seconds))


if __name__ == "__main__":
    main()
