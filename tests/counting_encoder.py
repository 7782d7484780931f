"""A deterministic double of `ports/encoder.Encoder`: a word is a token, a vector depends on its tokens alone, and every
batch is noted. It computes when it is let (`gate`), and fails as it is told (`poison`, `fail_next`).
"""

from __future__ import annotations

import asyncio
import math
from array import array
from collections.abc import Sequence
from hashlib import sha256

from penstock.kernel.errors import Invalid, Unavailable
from penstock.ports.encoder import EncoderSpec, Lane, Tokenized

FIRST, LAST = 1, 2
DIMENSIONS = 8


def spec(**fields) -> EncoderSpec:
    """Return what the double is."""
    return EncoderSpec(
        **{
            "name": "counting",
            "version": "1",
            "dimensions": DIMENSIONS,
            "max_tokens": 64,
            "batch_tokens": 4_096,
            "precision": "fp32",
            "lowercases": True,
            "vocabulary": 1 << 24,
            **fields,
        }
    )


def number_of(word: str) -> int:
    """Return a word's token."""
    return 3 + int.from_bytes(sha256(word.lower().encode()).digest()[:3], "big") % ((1 << 24) - 3)


def unit_vector(ids: Sequence[int]) -> bytes:
    """Return the vector of a text's tokens."""
    digest = sha256(array("Q", ids).tobytes()).digest()
    numbers = [byte - 127.5 for byte in digest[:DIMENSIONS]]
    length = math.sqrt(sum(number * number for number in numbers))
    return array("f", [number / length for number in numbers]).tobytes()


class CountingEncoder:
    """The double. `batches` are (lane, rows of tokens) in the order in which they were begun."""

    def __init__(self, **fields) -> None:
        self.spec = spec(**fields)
        self.batches: list[tuple[Lane, list[tuple[int, ...]]]] = []
        self.tokenized: list[list[str]] = []
        self.tokenizing = self.tokenizing_most = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.poison: set[int] = set()
        self.refused: set[int] = set()
        self.fail_next: list[Exception] = []
        self.closed = self.warmed = 0

    async def tokenize(self, texts: Sequence[str]) -> Sequence[Tokenized]:
        self.tokenized.append(list(texts))
        self.tokenizing += 1
        self.tokenizing_most = max(self.tokenizing_most, self.tokenizing)
        await asyncio.sleep(0)
        self.tokenizing -= 1
        return [self._tokens(text) for text in texts]

    @staticmethod
    def _tokens(text: str) -> Tokenized:
        ids, spans, at = [FIRST], [(0, 0)], 0
        for word in text.split():
            at = text.index(word, at)
            ids.append(number_of(word))
            spans.append((at, at + len(word)))
            at += len(word)
        return Tokenized((*ids, LAST), (*spans, (0, 0)))

    async def encode(self, batch: Sequence[Sequence[int]], lane: Lane) -> Sequence[bytes]:
        await self._computes(batch, lane)
        return [unit_vector(ids) for ids in batch]

    async def encode_tokens(self, batch: Sequence[Sequence[int]], lane: Lane) -> Sequence[bytes]:
        await self._computes(batch, lane)
        return [b"".join(unit_vector([each]) for each in ids) for ids in batch]

    async def _computes(self, batch: Sequence[Sequence[int]], lane: Lane) -> None:
        self.batches.append((lane, [tuple(ids) for ids in batch]))
        await asyncio.sleep(0)
        await self.gate.wait()
        if self.fail_next:
            raise self.fail_next.pop(0)
        words = {word for ids in batch for word in ids}
        if words & self.poison:
            raise Unavailable("The encoder has ended.")
        if words & self.refused:
            raise Invalid("The encoder does not take this.")

    async def warm(self) -> None:
        self.warmed += 1

    async def close(self) -> None:
        self.closed += 1
