"""What every reader of documents shares: what it may take, what it gives back, and how it says that it cannot.

Readers are pure: bytes in, `Reading` out. They run in the helper process, where the kernel ends one that takes more
than `Bounds` allow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from penstock.ports.parsers import Block

SURROGATES: Final = re.compile("[\ud800-\udfff]")
CONTROLS: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f\ufffe\uffff]")
"""All but tab, newline, vertical tab, form feed and carriage return, which are blanks."""
_LINE_ENDS: Final = re.compile("\r\n?|[\x0b\x85\u2028\u2029]")
TITLE_CHARS: Final = 500


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What one document may take. `cpu_s` is of processor time, `wall_s` of anybody's; PDFs may have `pdf_cpu_s`."""

    chars: int = 4_000_000
    blocks: int = 200_000
    pages: int = 2_000
    memory_bytes: int = 768 << 20
    cpu_s: int = 20
    pdf_cpu_s: int = 90
    wall_s: float = 240.0


class Reading(msgspec.Struct, kw_only=True):
    """What a reader found; `prose` tells whether its language can be told."""

    blocks: list[Block] = []
    title: str = ""
    omitted: list[str] = []
    prose: bool = True


class Unreadable(Exception):
    """A document cannot be read: the port's code for why, what to tell, and what to do about it."""

    def __init__(self, code: str, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy


def clean(text: str) -> str:
    """Return a text with one kind of line end, and no NUL, control or lone surrogate left in it."""
    text = _LINE_ENDS.sub("\n", text).replace("\f", "\n\n").removeprefix("\ufeff")
    return SURROGATES.sub("\ufffd", CONTROLS.sub(" ", text))


def one_line(text: str) -> str:
    """Return a text without the line ends and the runs of blanks in it."""
    return " ".join(text.split())


def bounded(reading: Reading, bounds: Bounds) -> Reading:
    """Return at most the characters and blocks that `bounds` allow, clean; what is left out is told."""
    kept: list[Block] = []
    chars = 0
    omitted = list(reading.omitted)
    for block in _solid(reading.blocks):
        if len(kept) == bounds.blocks or chars == bounds.chars:
            omitted.append(f"everything after the first {_most(kept, chars, bounds)}")
            break
        room = bounds.chars - chars
        text = block.text if len(block.text) <= room else block.text[:room]
        kept.append(block if text is block.text else msgspec.structs.replace(block, text=text))
        chars += len(text)
        if text is not block.text:
            omitted.append(f"everything after the first {bounds.chars:,} characters")
            break
    title = one_line(clean(reading.title))[:TITLE_CHARS]
    return Reading(blocks=kept, title=title, omitted=omitted, prose=reading.prose)


def _solid(blocks: Iterable[Block]) -> Iterable[Block]:
    """Yield the blocks that say something, clean."""
    for block in blocks:
        text = clean(block.text).strip("\n").rstrip()
        if text.strip():
            yield block if text == block.text else msgspec.structs.replace(block, text=text)


def _most(kept: list[Block], chars: int, bounds: Bounds) -> str:
    return f"{chars:,} characters" if chars == bounds.chars else f"{len(kept):,} parts"
