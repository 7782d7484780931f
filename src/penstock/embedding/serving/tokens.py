"""Texts to tokens for many callers at a time, and what becomes of those that are too long.

Promises
1. A short call is asked of the encoder at once; a long one goes in slices of `SLICE_CHARS`, one slice of all long calls
   at a time, in turn, so that neither a short call nor another long one waits for more than a slice; at most
   `WAITING_CHARS_MOST` wait.
2. What is too long is told before its tokens are made where its letters alone show it (`readable`), else before the
   next slice is (`Reading`): no call holds more tokens than are read, and one slice's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal, TypeVar

from penstock.embedding.serving.window import Ids
from penstock.kernel.errors import Invalid, Overloaded
from penstock.ports.encoder import Encoder, Tokenized

T = TypeVar("T")
Truncate = Literal["", "start", "end"]

SLICE_CHARS: Final = 4_096
"""About two milliseconds of work. A text that is longer is a slice by itself: nobody can tell its tokens apart."""
WAITING_CHARS_MOST: Final = 32 * 1024 * 1024
TEXT_CHARS_MOST: Final = 131_072
"""Of a text whose tokens are asked for."""
CHARS_PER_TOKEN: Final = 128
"""No text has more on average but one that is mostly blanks, or no text: words have five, a line of a table 30, and a
chunk of a collection at most 64 (`ingest/cuts`) beside its blanks.
"""
MARK: Final = (0, 0)
_REMEDY: Final = 'Send shorter texts, or "truncate": "end" (or "start") to have them cut there.'


class Tokenizing:
    """Tokenizes for one encoder. It belongs to one event loop."""

    def __init__(self, encoder: Encoder) -> None:
        """Ask `encoder`."""
        self._encoder = encoder
        self._turn = asyncio.Lock()
        self._waiting_chars = 0

    async def of(self, texts: Sequence[str]) -> list[Tokenized]:
        """Return each text's tokens. Raises Overloaded and what the encoder does."""
        return await self.read(texts, lambda _, found: found)

    async def read(
        self, texts: Sequence[str], keep: Callable[[int, Sequence[Tokenized]], Sequence[T]]
    ) -> list[T]:
        """Return what `keep` makes of the texts' tokens: it is given them as they come, with the place of the first.

        Raises Overloaded, what the encoder does and what `keep` does.
        """
        chars = sum(map(len, texts))
        if chars <= SLICE_CHARS:
            return list(keep(0, await self._encoder.tokenize(texts)))
        if self._waiting_chars and self._waiting_chars + chars > WAITING_CHARS_MOST:
            raise Overloaded("Too much waits to be tokenized.", limit=WAITING_CHARS_MOST, retry_after_s=1.0)
        self._waiting_chars += chars
        try:
            kept: list[T] = []
            for some in _slices(texts):
                async with self._turn:
                    kept += keep(len(kept), await self._encoder.tokenize(some))
            return kept
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


# ------------------------------------------------------------------------------------------------ what is too long


def readable(texts: Sequence[str], most: int, side: Truncate) -> tuple[Sequence[str], frozenset[int]]:
    """Return the texts, those of more than `most` characters cut to that at their "start" or "end", and their places.

    Raises Invalid for the first of them where they may not be cut.
    """
    if max(map(len, texts), default=0) <= most:
        return texts, frozenset()
    over = [at for at, text in enumerate(texts) if len(text) > most]
    if not side:
        raise _too_long(over[0], len(texts[over[0]]), most, "characters")
    short = list(texts)
    for at in over:
        short[at] = short[at][-most:] if side == "start" else short[at][:most]
    return short, frozenset(over)


class Reading:
    """How much of one call's texts a model reads: `limit` tokens each. `ats` are the texts' places in the call."""

    def __init__(self, ats: Sequence[int], limit: int, side: Truncate, prefix_chars: int = 0) -> None:
        """Cut what has more at its "start" or "end", keeping marks and prefix; refuse it with "" for a side."""
        self._ats = ats
        self._limit = limit
        self._side: Truncate = side
        self._prefix_chars = prefix_chars
        self.cut: set[int] = set()
        """The places of those that were cut."""

    def keep(self, first: int, found: Sequence[Tokenized]) -> list[Ids]:
        """Return the tokens that are read. Raises Invalid."""
        kept = [each.ids for each in found]
        if max(map(len, kept), default=0) > self._limit:
            for at, ids in enumerate(kept):
                if self.is_over(first + at, len(ids)):
                    kept[at] = cut(found[at], self._limit, self._side, self._prefix_chars)
        return kept

    def is_over(self, nth: int, tokens: int) -> bool:
        """Tell whether the text that is the nth here must be cut, and note it. Raises Invalid where it may not be."""
        if tokens <= self._limit:
            return False
        place = self._ats[nth]
        if not self._side:
            raise _too_long(place, tokens, self._limit, "tokens")
        self.cut.add(place)
        return True


def _too_long(place: int, size: int, limit: int, unit: str) -> Invalid:
    return Invalid(
        f"input[{place}] is too long: {size} {unit}, and the model reads {limit}.",
        code="context_length_exceeded",
        field=f"input[{place}]",
        value=size,
        limit=limit,
        remedy=_REMEDY,
    )


def marks_of(empty: Tokenized) -> tuple[Ids, Ids]:
    """Return what a model puts before and after a text, told by the tokens of an `empty` one."""
    half = (len(empty.ids) + 1) // 2
    return empty.ids[:half], empty.ids[half:]


def is_marked(ids: Ids, marks: tuple[Ids, Ids]) -> bool:
    """Tell whether a caller has sent the model's marks along."""
    before = marks[0]
    return bool(before) and ids[: len(before)] == before


def marked(ids: Ids, marks: tuple[Ids, Ids], limit: int, side: Truncate) -> Ids:
    """Return a caller's tokens between the model's marks, which the caller may have sent along; `limit` in all."""
    before, after = marks
    heads, tails = len(before), len(after)
    if is_marked(ids, marks):
        return ids if len(ids) <= limit else _shortened(ids, heads, tails, limit, side)
    room = limit - heads - tails
    return before + (ids if len(ids) <= room else _shortened(ids, 0, 0, room, side)) + after


def cut(tokens: Tokenized, limit: int, side: Truncate, prefix_chars: int = 0) -> Ids:
    """Return `limit` tokens of a text, its marks and its prefix kept, cut at its "start" or its "end"."""
    ids, spans = tokens.ids, tokens.spans
    head = 0
    while head < len(spans) and (spans[head] == MARK or spans[head][1] <= prefix_chars):
        head += 1
    tail = 0
    while tail < len(spans) - head and spans[-1 - tail] == MARK:
        tail += 1
    return _shortened(ids, head, tail, limit, side)


def _shortened(ids: Ids, head: int, tail: int, limit: int, side: Truncate) -> Ids:
    """Return `limit` tokens, the first `head` and the last `tail` among them."""
    room, end = limit - head - tail, len(ids) - tail
    kept = ids[end - room : end] if side == "start" else ids[head : head + room]
    return ids[:head] + kept + ids[end:]
