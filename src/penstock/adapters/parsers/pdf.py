"""PDF by pypdf: the text of each page, its number with it.

Lines of a page are joined again where a hyphen parted a word. A page that cannot be read is told in `omitted`; when
none can, or none holds text (a scan), the document is refused with what to do.
"""

from __future__ import annotations

import logging
import re
from io import BytesIO
from typing import Final

from pypdf import PdfReader
from pypdf.errors import PyPdfError

from penstock.adapters.parsers.reading import Bounds, Reading, Unreadable, clean
from penstock.ports.parsers import Block

_HYPHEN: Final = re.compile(r"(?<=[a-z\u00df-\u00ff])[-\u2010\u00ad]\n(?=[a-z\u00df-\u00ff])")
_FOREIGN: Final = (
    PyPdfError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What pypdf raises on damaged files: its own errors, and what its assumptions end in."""
DAMAGED: Final = "Open it in a viewer and print it to a new PDF."


def read_pdf(content: bytes, bounds: Bounds) -> Reading:
    """Read a PDF. Raises Unreadable."""
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = PdfReader(BytesIO(content), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("encrypted", "The PDF needs a password.", "Send it without one.")
        count = len(reader.pages)
        title = _title(reader)
    except _FOREIGN as error:
        raise Unreadable("unreadable", f"The PDF cannot be read: {_said(error)}", DAMAGED) from None
    blocks, omitted = _pages(reader, min(count, bounds.pages))
    if not blocks:
        raise _without_text(min(count, bounds.pages), omitted)
    if count > bounds.pages:
        omitted.append(f"pages {bounds.pages + 1:,} to {count:,}")
    return Reading(blocks=blocks, title=title, omitted=omitted)


def _pages(reader: PdfReader, count: int) -> tuple[list[Block], list[str]]:
    """Return the pages that hold text, and those that cannot be read."""
    blocks: list[Block] = []
    omitted: list[str] = []
    for number in range(1, count + 1):
        try:
            text = clean(reader.pages[number - 1].extract_text())
        except _FOREIGN as error:
            omitted.append(f"page {number:,}: {_said(error)}")
            continue
        if text.strip():
            blocks.append(Block(text=_HYPHEN.sub("", text), kind="page", page=number))
    return blocks, omitted


def _without_text(count: int, omitted: list[str]) -> Unreadable:
    if omitted:
        return Unreadable("unreadable", f"No page can be read; {omitted[0]}", DAMAGED)
    return Unreadable(
        "no_text",
        f"None of its first {count:,} pages holds text.",
        "Recognise the text of a scan (OCR) first.",
    )


def _title(reader: PdfReader) -> str:
    try:
        return (reader.metadata.title if reader.metadata is not None else None) or ""
    except _FOREIGN:  # a title is no reason to refuse the rest
        return ""


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"
