"""Our encoder alone, without queue and HTTP, and what the machine could do at most.

Promise: the limit is measured in the same run, by the same library that computes the model: the best of a chain of
large matrix products on all cores. The model needs `flops(tokens)` for each token, so its share of the limit follows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import openvino
import uvloop
from openvino import opset13 as ops

from penstock.adapters.encoder.models import MINILM
from penstock.adapters.encoder.openvino import OpenVinoEncoder
from penstock.adapters.encoder.worker import PRECISIONS
from tests.bench import embedding_texts

REPEATS = 3
DEEP = 4
"""Batches under way at one time."""
SIZE, CHAIN = 1_536, 4
PEAK_S = 2.0


def flops(tokens: float) -> float:
    """Return the floating-point operations of one token in a text of so many: products of the layers, and attention."""
    return 21.23e6 + 9_216 * tokens


def peak(precision: str) -> float:
    """Return the operations a second that products of 1536 × 1536 reach on all cores."""
    rows = ops.parameter([SIZE, SIZE], np.float32)
    state: Any = rows
    weights = np.random.default_rng(1).standard_normal((CHAIN, SIZE, SIZE), np.float32) / SIZE**0.5
    for weight in weights:
        state = ops.matmul(state, ops.constant(weight), False, True)
    model = openvino.Model([ops.result(state)], [rows], "peak")
    hints = {"INFERENCE_PRECISION_HINT": PRECISIONS[precision], "NUM_STREAMS": 1}
    request = openvino.Core().compile_model(model, "CPU", hints).create_infer_request()
    given = [np.random.default_rng(2).standard_normal((SIZE, SIZE), np.float32)]
    request.infer(given)
    best_s, until = float("inf"), time.perf_counter() + PEAK_S
    while (began := time.perf_counter()) < until:
        request.infer(given)
        best_s = min(best_s, time.perf_counter() - began)
    return CHAIN * 2 * SIZE**3 / best_s


def seconds(sets: Mapping[str, Sequence[str]], precision: str) -> dict[str, float]:
    """Return how long each set takes from text to vector, the best of `REPEATS`, on the crew that serves queries."""
    return uvloop.run(_seconds(sets, precision))


async def _seconds(sets: Mapping[str, Sequence[str]], precision: str) -> dict[str, float]:
    encoder = OpenVinoEncoder(precision=precision)
    best: dict[str, float] = {}
    try:
        for name, texts in sets.items():
            await vectors(encoder, texts)
            took: list[float] = []
            for _ in range(REPEATS):
                began = time.perf_counter()
                await vectors(encoder, texts)
                took.append(time.perf_counter() - began)
            best[name] = min(took)
    finally:
        await encoder.close()
    return best


async def vectors(encoder: OpenVinoEncoder, texts: Sequence[str]) -> list[bytes]:
    """Return one vector a text, in order: tokenized, sorted by length, cut into batches, `DEEP` of them under way."""
    made = await encoder.tokenize(texts)
    order = sorted(range(len(texts)), key=lambda at: len(made[at].ids))
    found = [b""] * len(texts)
    room = asyncio.Semaphore(DEEP)

    async def one(places: Sequence[int]) -> None:
        async with room:
            for at, vector in zip(
                places, await encoder.encode([made[p].ids for p in places], "query"), strict=True
            ):
                found[at] = vector

    lengths = [len(made[at].ids) for at in order]
    await asyncio.gather(*(one(order[a:b]) for a, b in pairwise(cuts(lengths, encoder.spec.batch_tokens))))
    return found


def cuts(lengths: Sequence[int], batch_tokens: int) -> list[int]:
    """Return where batches of texts in order of length begin, and the end."""
    places = [0]
    for at, length in enumerate(lengths):
        if (at + 1 - places[-1]) * length > batch_tokens:
            places.append(at)
    return [*places, len(lengths)]


def ndcg(precision: str) -> float:
    """Return nDCG@10 of the 300 claims of SciFact's validation part over all 5,183 abstracts, by exact search."""
    return uvloop.run(_ndcg(precision))


async def _ndcg(precision: str) -> float:
    encoder = OpenVinoEncoder(precision=precision)
    try:
        documents = embedding_texts.abstracts()
        claims = list(embedding_texts.claims().values())
        texts = [f"{title} {text}" for _, title, text in documents]
        made = await encoder.tokenize(texts)
        passages = await vectors(
            encoder, [embedding_texts.cut(t, m) for t, m in zip(texts, made, strict=True)]
        )
        questions = await vectors(encoder, [claim for claim, _ in claims])
    finally:
        await encoder.close()
    scores = _matrix(questions) @ _matrix(passages).T
    names = [name for name, _, _ in documents]
    return float(np.mean([_gain(row, names, cited) for row, (_, cited) in zip(scores, claims, strict=True)]))


def _gain(scores: np.ndarray, names: Sequence[str], cited: frozenset[str]) -> float:
    first = np.argsort(-scores, kind="stable")[:10]
    discount = 1 / np.log2(np.arange(2, 12))
    gained = np.array([names[at] in cited for at in first]) @ discount
    return gained / discount[: len(cited)].sum()


def _matrix(rows: Sequence[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(rows), np.float32).reshape(len(rows), MINILM.dimensions)
