"""Where a document's text may be cut, and how many tokens stand before each place: what `chunking` decides upon.

Promises: every token is counted once; a cut never stands within a token but a very long one's; the tokenizer is asked
for bounded stretches, and the event loop has its turn between them.
"""

from __future__ import annotations

import asyncio
import zlib
from array import array
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

from penstock.embedding.ingest import boundaries
from penstock.ports.encoder import Tokenized
from penstock.ports.parsers import Block

BETWEEN: Final = "\n\n"
"""What stands between two blocks in the document's text."""
STRETCH_CHARS: Final = 16_000
"""So much is tokenized at a time, about."""
BATCH_MOST: Final = 64
LONG_CHARS: Final = 64
"""A token that is longer counts, and may be cut, as several."""
AROUND_CHARS: Final = 16
BY_LINE: Final = frozenset({"code", "table", "list"})

Tokenize = Callable[[Sequence[str]], Awaitable[Sequence[Tokenized]]]


@dataclass(slots=True)
class Cuts:
    """Where the text may be cut, in order: the character, how good it is, and the tokens before it."""

    text: str
    at: array[int] = field(default_factory=lambda: array("q"))
    good: bytearray = field(default_factory=bytearray)
    before: array[int] = field(default_factory=lambda: array("q"))

    tokens: int = 0

    def add(self, at: int, good: int) -> None:
        """Add a cut after all tokens so far."""
        self.at.append(at)
        self.good.append(good)
        self.before.append(self.tokens)

    def cost(self, first: int, last: int) -> int:
        """Return the tokens between two cuts."""
        return self.before[last] - self.before[first]

    def chance(self, cut: int) -> int:
        """Return a number that only the letters around a cut decide."""
        at = self.at[cut]
        return zlib.crc32(self.text[max(0, at - AROUND_CHARS) : at + AROUND_CHARS].encode())


class Stretch(NamedTuple):
    """Some of a block's text: the block's number, and where in it this starts."""

    number: int
    start: int
    text: str


async def cuts_of(text: str, blocks: Sequence[Block], tokenize: Tokenize) -> tuple[Cuts, array[int], int]:
    """Return the cuts, the cut at which each block starts (and one for the end), and the model's marks a text."""
    cuts = Cuts(text)
    starts = array("q")
    offset = marks = seen = 0
    good: dict[int, int] = {}
    for batch in batches(_stretches(blocks)):
        tokenized = await tokenize([stretch.text for stretch in batch])
        for (number, start, inner), each in zip(batch, tokenized, strict=True):
            block = blocks[number]
            if not start:
                good, seen = {}, 0
                offset += len(blocks[number - 1].text) + len(BETWEEN) if number else 0
                starts.append(len(cuts.at))
                cuts.add(offset, _beginning(blocks, number))
            if (upto := start + len(inner)) >= seen:
                first, seen = seen, boundaries.rest(block.text, upto + 1, STRETCH_CHARS)
                by_line = block.kind in BY_LINE
                good = {at: each for at, each in good.items() if at >= start} | boundaries.levels(
                    block.text, by_line=by_line, first=first, last=seen
                )
            marks = max(marks, sum(1 for first, last in each.spans if first == last))
            _add(cuts, (offset, start), len(inner), each, good)
        await asyncio.sleep(0)
    starts.append(len(cuts.at))
    cuts.add(len(text), boundaries.BLOCK)
    return cuts, starts, marks


def _stretches(blocks: Sequence[Block]) -> Iterator[Stretch]:
    """Yield every block's text, a long one in stretches that end at a blank where there is any."""
    for number, block in enumerate(blocks):
        start = 0
        while start < len(block.text):
            end = start + STRETCH_CHARS
            if end < len(block.text):
                blank = block.text.rfind(" ", start + STRETCH_CHARS // 2, end)
                end = blank if blank > 0 else end
            yield Stretch(number, start, block.text[start:end])
            start = end


def batches(stretches: Iterable[Stretch]) -> Iterator[list[Stretch]]:
    """Gather stretches for one call of the tokenizer."""
    batch: list[Stretch] = []
    chars = 0
    for stretch in stretches:
        chars += len(stretch.text)
        if batch and (len(batch) == BATCH_MOST or chars > STRETCH_CHARS):
            yield batch
            batch, chars = [], len(stretch.text)
        batch.append(stretch)
    if batch:
        yield batch


def _beginning(blocks: Sequence[Block], number: int) -> int:
    """Return how good the cut before a block is: a page may begin in the middle of a sentence."""
    goes_on = blocks[number].kind == "page" and number and not boundaries.ends(blocks[number - 1].text)
    return boundaries.WORD if goes_on else boundaries.BLOCK


def _add(cuts: Cuts, place: tuple[int, int], length: int, each: Tokenized, good: dict[int, int]) -> None:
    """Add the cuts of one stretch of so many letters at `place`: where its block is in the text, and it in its block.

    A token goes on until the next one begins: what the tokenizer leaves out (marks, control characters) is its own.
    """
    block, start = place
    text, first_at = cuts.text, block + start
    firsts = [first for first, last in each.spans if first < last]
    if not firsts or firsts[0] > LONG_CHARS:
        firsts.insert(0, 0)
    for first, after in pairwise((*firsts, length)):
        at, end = first_at + first, first_at + after
        while at < end and text[at].isspace():
            at += 1
        for cut in (at, *range(at + LONG_CHARS, end, LONG_CHARS)):
            if cut > cuts.at[-1]:
                cuts.add(cut, good.get(cut - block) or boundaries.level(text, cut))
            cuts.tokens += 1
