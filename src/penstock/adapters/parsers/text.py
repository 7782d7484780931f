"""Plain text: which encoding its bytes are in, and its paragraphs. Tables as text (CSV) by their lines.

The encoding is what the byte order mark says, else the charset that came with it, else UTF-8 if it is nearly that, else
UTF-16 by its NULs, else what the bytes look like: Japanese (EUC-JP, Shift_JIS), Chinese (GB 18030), and Windows-1252,
which every byte sequence could be. Bytes that are no text at all are `unreadable`.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

from penstock.adapters.parsers.reading import CONTROLS, SURROGATES, Reading, Unreadable, clean
from penstock.ports.parsers import Block

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_BLANK_LINE: Final = re.compile(r"\n[ \t]*\n\s*")
_KANA: Final = re.compile("[\u3040-\u30ff]")
_HALF_KANA: Final = re.compile("[\uff61-\uff9f]")
_COMMON_HAN: Final = re.compile(b"[\xb0-\xd7][\xa1-\xfe]")
LOOK_BYTES: Final = 64 << 10
"""So much tells the encoding."""
BAD_SHARE: Final = 0.02
CONTROL_SHARE: Final = 0.1


def decoded(content: bytes, charset: str = "") -> tuple[str, list[str]]:
    """Return the text of `content`, and what of it could not be told. Raises Unreadable for what is no text."""
    for mark, marked in _MARKS:
        if content.startswith(mark):
            return _checked(content[len(mark) :].decode(marked, "replace"))
    encoding = _codec(charset) or _guessed(content)
    return _checked(_utf8(content) if encoding == "utf-8" else content.decode(encoding, "replace"))


def read_text(content: bytes, charset: str) -> Reading:
    """Read plain text: a paragraph ends at a blank line."""
    text, omitted = decoded(content, charset)
    return Reading(blocks=paragraphs(clean(text)), omitted=omitted)


def read_table(content: bytes, charset: str) -> Reading:
    """Read rows, a line each."""
    text, omitted = decoded(content, charset)
    return Reading(blocks=[Block(text=clean(text), kind="table")], omitted=omitted, prose=False)


def paragraphs(text: str) -> list[Block]:
    """Return the paragraphs of a clean text."""
    return [Block(text=each.strip("\n")) for each in _BLANK_LINE.split(text) if each.strip()]


def _codec(charset: str) -> str:
    """Return the codec of a charset's name as the web uses it; "" for none or one that is not for text."""
    name = charset.strip().lower()
    name = {"latin1": "cp1252", "iso-8859-1": "cp1252", "us-ascii": "cp1252", "shift_jis": "cp932"}.get(
        name, name
    )
    try:
        return codecs.lookup(name).name if name and "a".encode(name) else ""
    except (LookupError, ValueError):
        return ""


def _utf8(content: bytes) -> str:
    """Decode UTF-8; surrogates that stand for one character (CESU-8) are joined, lone ones have no meaning."""
    try:
        text = content.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return content.decode("utf-8", "replace")
    if not SURROGATES.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _guessed(content: bytes) -> str:
    sample = content[:LOOK_BYTES]
    if _nearly_utf8(sample):
        return "utf-8"
    if (
        len(sample) >= 4
        and (even := sample[::2].count(0)) + (odd := sample[1::2].count(0)) > len(sample) // 4
    ):
        return "utf-16-le" if odd > even else "utf-16-be"
    for encoding in ("euc_jp", "cp932"):
        if _looks_japanese(sample, encoding):
            return encoding
    high = sum(byte > 0x7F for byte in sample)
    if 2 * len(_COMMON_HAN.findall(sample)) > 0.7 * high:
        return "gb18030"
    return "cp1252"


def _nearly_utf8(sample: bytes) -> bool:
    """Tell whether most of what is not ASCII is sound UTF-8; NULs may be in it, but not as half of everything."""
    text = _utf8(sample)
    bad = text.count("\ufffd")
    good = sum(1 for letter in text if letter > "\x7f") - bad
    return 4 * sample.count(0) <= len(sample) and (bad <= 1 or bad <= good)


def _looks_japanese(sample: bytes, encoding: str) -> bool:
    try:
        text = sample[:-4].decode(encoding) if len(sample) == LOOK_BYTES else sample.decode(encoding)
    except UnicodeDecodeError:
        return False
    wide = sum(1 for letter in text if letter > "\x7f")
    half = len(_HALF_KANA.findall(text))
    return 5 * (len(_KANA.findall(text)) - half) > wide > 2 * half


def _checked(text: str) -> tuple[str, list[str]]:
    """Refuse what only looks like text; tell how many characters had no meaning."""
    if len(CONTROLS.findall(text)) > CONTROL_SHARE * len(text) + 16:
        raise Unreadable("unreadable", "The bytes are no text.", "Say its media type, or send its text.")
    bad = text.count("\ufffd")
    if bad > BAD_SHARE * len(text) + 16:
        raise Unreadable("unreadable", "The text is not in the encoding it says.", "Send it as UTF-8.")
    return text, [f"{bad:,} characters that are not in its encoding"] if bad else []
