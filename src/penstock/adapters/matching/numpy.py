"""Token vectors compared by numpy, in a helper process: the gateway loads no numpy and its event loop stays free.

    compress   float32 rows, marks around  ──▶  one bit a number (its sign), no marks
    match      a question's float32 rows, passages' bits  ──▶  mean over the question's tokens of the best cosine

Promises (those of `search/late_interaction.Matcher`): the cosine with a token of signs only is scaled by what signs
lose on average, √(2/π), so that scores mean what whole vectors' would; at most `ROWS_MOST` rows are spread out at a
time, whatever is asked; the process starts at the first use.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from penstock.adapters.helper_parent import Helper, worker

PAGE_BYTES: Final = 16 << 20
"""So much is sent at a time: a question in between waits no longer than that takes."""


class Matching(msgspec.Struct, frozen=True, array_like=True):
    """What is sent. `question` b"": compress; else match."""

    dimensions: int
    question: bytes
    matrices: tuple[bytes, ...]


_encode: Final = msgspec.msgpack.Encoder().encode
_packed: Final = msgspec.msgpack.Decoder(tuple[bytes, ...]).decode
_scores: Final = msgspec.msgpack.Decoder(tuple[float, ...]).decode


class NumpyMatcher:
    """Compares matrices. One per event loop."""

    def __init__(self) -> None:
        """Prepare; the process starts at the first use."""
        self._helper = Helper(
            worker("penstock.adapters.matching.worker"),
            name="matcher",
            environment={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )

    async def compress(self, matrices: Sequence[bytes], dimensions: int) -> tuple[bytes, ...]:
        """Return each matrix as bits, without its marks. Raises Invalid, Unavailable, Overloaded."""
        packed: list[bytes] = []
        for page in _pages(matrices):
            packed += _packed(await self._helper.exchange(_encode(Matching(dimensions, b"", page))))
        return tuple(packed)

    async def match(self, question: bytes, passages: Sequence[bytes], dimensions: int) -> tuple[float, ...]:
        """Return the mean MaxSim with each passage. Raises Invalid, Unavailable, Overloaded."""
        if not question:
            return (0.0,) * len(passages)
        scores: list[float] = []
        for page in _pages(passages):
            scores += _scores(await self._helper.exchange(_encode(Matching(dimensions, question, page))))
        return tuple(scores)

    async def close(self) -> None:
        """End the process. Idempotent."""
        await self._helper.close()


def _pages(matrices: Sequence[bytes]) -> Iterator[tuple[bytes, ...]]:
    page: list[bytes] = []
    size = 0
    for each in matrices:
        if page and size + len(each) > PAGE_BYTES:
            yield tuple(page)
            page, size = [], 0
        page.append(each)
        size += len(each)
    if page:
        yield tuple(page)
