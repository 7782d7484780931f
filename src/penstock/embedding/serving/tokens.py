"""Texts to tokens for many callers at a time, and what becomes of those that are too long.

Promises: a short call is asked of the encoder at once; a long one goes in slices of `SLICE_CHARS`, one slice of all
long calls at a time, in turn, so that neither a short call nor another long one waits for more than a slice; at most
`WAITING_CHARS_MOST` wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from penstock.embedding.serving.window import Ids
from penstock.kernel.errors import Overloaded
from penstock.ports.encoder import Encoder, Tokenized

Truncate = Literal["", "start", "end"]

SLICE_CHARS: Final = 4_096
"""About two milliseconds of work. A text that is longer is a slice by itself: nobody can tell its tokens apart."""
WAITING_CHARS_MOST: Final = 32 * 1024 * 1024
MARK: Final = (0, 0)


class Tokenizing:
    """Tokenizes for one encoder. It belongs to one event loop."""

    def __init__(self, encoder: Encoder) -> None:
        """Ask `encoder`."""
        self._encoder = encoder
        self._turn = asyncio.Lock()
        self._waiting_chars = 0

    async def of(self, texts: Sequence[str]) -> Sequence[Tokenized]:
        """Return each text's tokens. Raises Overloaded and what the encoder does."""
        chars = sum(map(len, texts))
        if chars <= SLICE_CHARS:
            return await self._encoder.tokenize(texts)
        if self._waiting_chars and self._waiting_chars + chars > WAITING_CHARS_MOST:
            raise Overloaded("Too much waits to be tokenized.", limit=WAITING_CHARS_MOST, retry_after_s=1.0)
        self._waiting_chars += chars
        try:
            found: list[Tokenized] = []
            for some in _slices(texts):
                async with self._turn:
                    found += await self._encoder.tokenize(some)
            return found
        finally:
            self._waiting_chars -= chars


def _slices(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut a call into slices, at least one text each."""
    start = chars = 0
    for at, text in enumerate(texts):
        if at > start and chars + len(text) > SLICE_CHARS:
            yield texts[start:at]
            start, chars = at, 0
        chars += len(text)
    yield texts[start:]


def marks_of(empty: Tokenized) -> tuple[Ids, Ids]:
    """Return what a model puts before and after a text, told by the tokens of an `empty` one."""
    half = (len(empty.ids) + 1) // 2
    return empty.ids[:half], empty.ids[half:]


def marked(ids: Ids, marks: tuple[Ids, Ids]) -> Ids:
    """Return a caller's tokens between the model's marks, which the caller may have sent along."""
    before, after = marks
    if before and ids[: len(before)] == before:
        return ids
    return before + ids + after


def cut(tokens: Tokenized, limit: int, side: Truncate, prefix_chars: int = 0) -> Ids:
    """Return `limit` tokens of a text, its marks and its prefix kept, cut at its "start" or its "end"."""
    ids, spans = tokens.ids, tokens.spans
    head = 0
    while head < len(spans) and (spans[head] == MARK or spans[head][1] <= prefix_chars):
        head += 1
    tail = 0
    while tail < len(spans) - head and spans[-1 - tail] == MARK:
        tail += 1
    room = limit - head - tail
    inside = ids[head : len(ids) - tail]
    kept = inside[len(inside) - room :] if side == "start" else inside[:room]
    return ids[:head] + kept + ids[len(ids) - tail :]
