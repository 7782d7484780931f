"""A document's blocks → the pieces that are embedded and found: windows of so many tokens, cut where a thought ends.

    blocks ─▶ one text ─▶ tokens ─▶ cuts, each with how good it is ─▶ sections that fit whole, or windows ─▶ pieces

Promises
1. `text[start:end]` of a piece is its text; every letter of the document but blanks between pieces is in some piece;
   pieces come in reading order.
2. A piece has at most `tokens` tokens, and with the model's own marks at most `most`, as the tokenizer itself counts.
3. A section (a heading with all below it) that fits is one piece; one that does not is its own text and its
   subsections, each by itself. So nothing outside of the smallest section that does not fit whole changes with an edit.
4. A text that does not fit is cut at the best place in the second half of its window (a block's end, else a sentence's,
   a clause's, a word's); among equals the words around decide, not the count, so that the cuts after an edit are soon
   where they were. Each window begins within the last `overlap_percent` of the one before, again at the best place.
5. The same blocks give the same pieces. At most `PIECES_MOST`; a longer document is Invalid, never cut off.

It gives the event loop back after every window, and after every few thousand tokens where they are counted.
"""

from __future__ import annotations

import asyncio
import hashlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from penstock.embedding.ingest import boundaries
from penstock.embedding.ingest.cuts import BETWEEN, Cuts, Stretch, Tokenize, batches, cuts_of
from penstock.kernel.errors import Invalid
from penstock.ports.parsers import Block

PIECES_MOST: Final = 10_000
PIECES_PER_TURN: Final = 100
LEVELS_MOST: Final = 6
TITLE_CHARS: Final = 200
UNKNOWN: Final = -1


class Piece(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A piece of a document. `digest` is the SHA-256 of its text in hex; `start` and `end` are characters of the
    document's text (`text_of`), `tokens` counts the model's marks too, `page` counts from 1 (0: it has none), `heading`
    is the path of titles above it, outermost first.
    """

    position: int
    digest: str
    text: str
    start: int
    end: int
    tokens: int
    page: int = 0
    heading: str = ""


@dataclass(slots=True, frozen=True)
class _Group:
    """Blocks [first, last) that are cut together, and the path of titles above them."""

    first: int
    last: int
    path: tuple[str, ...]


@dataclass(slots=True, frozen=True)
class _Span:
    start: int
    end: int
    group: _Group


def text_of(blocks: Sequence[Block]) -> str:
    """Return the document's text: what positions of pieces count in."""
    return BETWEEN.join(block.text for block in _solid(blocks))


def _solid(blocks: Sequence[Block]) -> list[Block]:
    """Return the blocks that hold more than blanks."""
    return [block for block in blocks if block.text.strip()]


async def chunked(
    blocks: Sequence[Block], tokenize: Tokenize, *, tokens: int, most: int, overlap_percent: int = 10
) -> tuple[Piece, ...]:
    """Cut a document into pieces of at most `tokens` tokens, and `most` (the model's limit) with the model's marks.

    Raises Invalid for a document of more than `PIECES_MOST` pieces, and for windows that cannot be.
    """
    _check(tokens, most, overlap_percent)
    blocks = _solid(blocks)
    text = text_of(blocks)
    cuts, starts, marks = await cuts_of(text, blocks, tokenize)
    room = min(tokens, most - marks)
    if room < 1:
        raise Invalid("A chunk has no room beside the model's own marks.", field="chunk_tokens", limit=most)
    overlap = room * overlap_percent // 100
    spans: list[_Span] = []
    for group in _groups(blocks, lambda first, last: cuts.cost(starts[first], starts[last]), room):
        for first, last in _windows(cuts, starts[group.first], starts[group.last], room, overlap):
            span = _Span(*_stripped(text, cuts.at[first], cuts.at[last]), group)
            if span.start < span.end:
                spans.append(span)
            await asyncio.sleep(0)
    counted = await _fitting(text, spans, tokenize, room, most)
    return await _pieces(text, blocks, counted)


def _check(tokens: int, most: int, overlap_percent: int) -> None:
    for name, value, low, high in (
        ("chunk_tokens", tokens, 1, most),
        ("overlap_percent", overlap_percent, 0, 50),
    ):
        if not low <= value <= high:
            raise Invalid("A chunk cannot be so.", field=name, value=value, limit=f"{low} to {high}")


# ------------------------------------------------------------------------------------------------------------ groups


def _groups(blocks: Sequence[Block], cost: Callable[[int, int], int], room: int) -> list[_Group]:
    """Divide the blocks into what is cut together: sections that fit whole, and the own text of those that do not.

    A title with nothing of its own goes with what follows it.
    """
    levels = [min(block.level, LEVELS_MOST) for block in blocks]
    groups: list[_Group] = []
    bare: list[int] = []

    def add(first: int, last: int, path: tuple[str, ...]) -> None:
        if last - first == 1 and levels[first] and last < len(blocks):
            bare.append(first)
        elif first < last:
            groups.append(_Group(bare[0] if bare else first, last, path))
            bare.clear()

    def divide(first: int, last: int, path: tuple[str, ...]) -> None:
        """Add the groups of a section; `path` ends with its own title."""
        inner = next((n for n in range(first + bool(path), last) if levels[n]), last)
        if inner == last or cost(first, last) <= room:
            add(first, last, path)
            return
        add(first, inner, path)
        while inner < last:
            after = next((n for n in range(inner + 1, last) if 0 < levels[n] <= levels[inner]), last)
            divide(inner, after, (*path, blocks[inner].text.strip()[:TITLE_CHARS]))
            inner = after

    divide(0, len(blocks), ())
    return groups


def _windows(cuts: Cuts, first: int, last: int, room: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Yield the windows between two cuts, as cuts: each begins within the end of the one before."""
    if cuts.cost(first, last) <= room:
        yield first, last
        return
    fresh = max(1, room - overlap)
    start = begin = first
    while (rest := cuts.cost(start, last)) > fresh:
        # What is left for the last window is no crumb.
        end = _best(cuts, start, fresh // 2, min(fresh, rest - fresh // 4))
        yield begin, end
        start, begin = end, _back(cuts, start, end, overlap)
    yield begin, last


def _best(cuts: Cuts, start: int, least: int, most: int) -> int:
    """Return the best cut that lies `least` to `most` tokens after `start`; the next one when there is none."""
    so_far = cuts.before[start]
    low = max(bisect_left(cuts.before, so_far + least), start + 1)
    high = bisect_right(cuts.before, so_far + most)
    if low >= high:
        return start + 1
    good = max(cuts.good[low:high])
    return max((n for n in range(low, high) if cuts.good[n] == good), key=lambda n: (cuts.chance(n), n))


def _back(cuts: Cuts, start: int, end: int, overlap: int) -> int:
    """Return the best cut in the second half of the `overlap` tokens before `end`, the farthest among equals."""
    if not overlap:
        return end
    farthest = max(start, bisect_left(cuts.before, cuts.before[end] - overlap))
    nearest = max(farthest, bisect_left(cuts.before, cuts.before[end] - (overlap + 1) // 2))
    best = max(range(farthest, min(nearest, end) + 1), key=lambda n: (cuts.good[n], -n))
    return best if cuts.good[best] else end  # no overlap is better than half a letter


# ------------------------------------------------------------------------------------------------------------ pieces


async def _fitting(
    text: str, spans: Sequence[_Span], tokenize: Tokenize, room: int, most: int
) -> list[tuple[_Span, int]]:
    """Return the spans with their tokens, as the tokenizer counts each by itself; what is too long is halved."""
    fits = [(span, UNKNOWN) for span in spans]
    while unknown := [span for span, tokens in fits if tokens == UNKNOWN]:
        if len(fits) > PIECES_MOST:
            raise Invalid(
                "The document has too many chunks.",
                code="too_large",
                field="document",
                limit=PIECES_MOST,
                remedy="Split it, or ask for larger chunks.",
            )
        counts = iter(await _counts(text, unknown, tokenize))
        known, fits = fits, list[tuple[_Span, int]]()
        for span, tokens in known:
            own, whole = (0, tokens) if tokens != UNKNOWN else next(counts)
            if (own <= room and whole <= most) or span.end - span.start < 2:
                fits.append((span, whole))
            else:
                fits += [(half, UNKNOWN) for half in _halves(text, span)]
    return fits


async def _counts(text: str, spans: Sequence[_Span], tokenize: Tokenize) -> list[tuple[int, int]]:
    """Return each span's tokens, its own and with the model's marks."""
    counts: list[tuple[int, int]] = []
    stretches = (Stretch(n, span.start, text[span.start : span.end]) for n, span in enumerate(spans))
    for batch in batches(stretches):
        for each in await tokenize([stretch.text for stretch in batch]):
            own = sum(1 for first, last in each.spans if first < last)
            counts.append((own, len(each.ids)))
    return counts


def _halves(text: str, span: _Span) -> list[_Span]:
    """Return the halves of a span, cut at the best place near its middle."""
    middle, away = (span.start + span.end) // 2, (span.end - span.start) // 8
    good = boundaries.levels(text[span.start : span.end], by_line=False)

    def how_good(at: int) -> tuple[int, int]:
        return good.get(at - span.start) or boundaries.level(text, at), -abs(at - middle)

    cut = max(range(max(span.start + 1, middle - away), min(span.end, middle + away + 1)), key=how_good)
    halves = (_stripped(text, span.start, cut), _stripped(text, cut, span.end))
    return [_Span(start, end, span.group) for start, end in halves if start < end]


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the bounds without blanks at either side."""
    inner = text[start:end]
    return start + len(inner) - len(inner.lstrip()), end - len(inner) + len(inner.rstrip())


async def _pieces(
    text: str, blocks: Sequence[Block], counted: Sequence[tuple[_Span, int]]
) -> tuple[Piece, ...]:
    offsets = array("q")
    offset = 0
    for block in blocks:
        offsets.append(offset)
        offset += len(block.text) + len(BETWEEN)
    pieces: list[Piece] = []
    for span, tokens in counted:
        inner = text[span.start : span.end]
        pieces.append(
            Piece(
                position=len(pieces),
                digest=hashlib.sha256(inner.encode()).hexdigest(),
                text=inner,
                start=span.start,
                end=span.end,
                tokens=tokens,
                page=blocks[bisect_left(offsets, span.start + 1) - 1].page,
                heading=" > ".join(span.group.path),
            )
        )
        if len(pieces) % PIECES_PER_TURN == 0:
            await asyncio.sleep(0)
    return tuple(pieces)
