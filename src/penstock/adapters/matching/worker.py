"""The matcher's helper process: numpy over one message at a time (`adapters/matching/numpy.py` is its other end)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.adapters.helper_process import Answer, serve
from penstock.adapters.matching.numpy import Matching

Floats = NDArray[np.float32]
ROWS_MOST: Final = 16_384
"""Rows spread out to float32 at a time: 24 MB at 384 numbers."""
MARKS: Final = slice(1, -1)
_decode: Final = msgspec.msgpack.Decoder(Matching).decode
_encode: Final = msgspec.msgpack.Encoder().encode


def begin(_: bytes) -> tuple[bytes, Answer]:
    """Say that it is ready: nothing needs to be known for it."""
    return b"", answer


def answer(question: bytes) -> bytes:
    """Answer one message. Raises ValueError for bytes that are no such matrices."""
    asked = _decode(question)
    if asked.dimensions < 8 or asked.dimensions % 8:
        raise ValueError("A vector of so many numbers cannot be packed: it must be a multiple of 8.")
    if asked.question:
        return _encode(matched(rows(asked.question, asked.dimensions), asked.matrices, asked.dimensions))
    return _encode([compressed(each, asked.dimensions) for each in asked.matrices])


def rows(matrix: bytes, dimensions: int) -> Floats:
    """Return a matrix without its marks."""
    if len(matrix) % (4 * dimensions):
        raise ValueError("These bytes are no matrix of such vectors.")
    return np.frombuffer(matrix, "<f4").reshape(-1, dimensions)[MARKS]


def compressed(matrix: bytes, dimensions: int) -> bytes:
    """Return the signs of a matrix, eight to a byte."""
    return np.packbits(rows(matrix, dimensions) > 0, axis=1).tobytes()


def matched(question: Floats, passages: Sequence[bytes], dimensions: int) -> list[float]:
    """Return the mean MaxSim of the question with each passage; 0 where either has no tokens."""
    width = dimensions // 8
    if any(len(each) % width for each in passages):
        raise ValueError("These bytes are no packed vectors.")
    scores = [0.0] * len(passages)
    group: list[int] = []
    size = 0
    for at, each in enumerate(passages):
        if not each or not len(question):
            continue
        if group and size + len(each) // width > ROWS_MOST:
            _match(question, passages, group, scores)
            group, size = [], 0
        group.append(at)
        size += len(each) // width
    if group:
        _match(question, passages, group, scores)
    return scores


def _match(question: Floats, passages: Sequence[bytes], group: Sequence[int], scores: list[float]) -> None:
    dimensions = question.shape[1]
    packed = np.frombuffer(b"".join([passages[at] for at in group]), np.uint8).reshape(-1, dimensions // 8)
    bits: Any = np.unpackbits(packed, axis=1).astype(np.float32)
    # A sign is 2·bit - 1, so its dot product is 2·(bit · q) - Σq; the row of signs is √dimensions long.
    signs = 2 * (bits @ question.T) - question.sum(axis=1)
    lengths = [len(passages[at]) * 8 // dimensions for at in group]
    best: Any = np.maximum.reduceat(signs, np.cumsum([0, *lengths[:-1]]), axis=0)
    scale = 1 / (math.sqrt(dimensions) * math.sqrt(2 / math.pi))
    for at, score in zip(group, (best.mean(axis=1) * scale).tolist(), strict=True):
        scores[at] = min(float(score), 1.0)


if __name__ == "__main__":
    serve(begin)
