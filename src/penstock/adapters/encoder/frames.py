"""What the encoder and its helper processes say to one another: how to start, and batches of tokens.

A batch is what is wanted (`POOLED` or `TOKENS`), the number of texts, each one's number of tokens and then all tokens,
32 bits each, little-endian; its answer is the vectors and nothing else, float32, little-endian: one a text, or one a
token. No numpy here: the gateway's own process never loads it.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import chain
from struct import Struct
from typing import Final

import msgspec

HEAD: Final = Struct("<II")
POOLED: Final = 0
TOKENS: Final = 1
FLOAT_BYTES: Final = 4


class Start(msgspec.Struct, frozen=True):
    """The start message: which weights, and how to compute with them."""

    folder: str
    weights_sha256: str
    pooling: str
    precision: str
    threads: int
    warm: tuple[tuple[int, int], ...] = ()
    """Shapes (texts, tokens) to compute once before the first question."""


def batch_bytes(wanted: int, batch: Sequence[Sequence[int]]) -> bytes:
    """Return a batch as its bytes."""
    numbers = array("i", map(len, batch))
    numbers.extend(chain.from_iterable(batch))
    return HEAD.pack(wanted, len(batch)) + numbers.tobytes()


def vectors_of(answer: bytes, rows: Sequence[int], dimensions: int) -> list[bytes]:
    """Cut an answer: `rows` vectors for each text. Raises ValueError unless it holds just that many."""
    size = dimensions * FLOAT_BYTES
    if len(answer) != sum(rows) * size:
        raise ValueError("the answer has another size than the batch")
    cut: list[bytes] = []
    place = 0
    for count in rows:
        cut.append(answer[place : place + count * size])
        place += count * size
    return cut
