"""Where a text may be cut: between paragraphs best, then sentences, clauses, words, and letters at the worst.

Promises: pure; the same text gives the same places; sentences end in scripts without blanks too;
nobody's letter is cut in two: marks stay with what they stand on, joined emoji together, a flag's two halves, the
syllable blocks of Hangul, CR with LF.

Grapheme clusters are told after Unicode's Annex 29 as far as `unicodedata` knows them: what it calls marks, the joiner,
variation selectors, skin tones, pairs of regional indicators and conjoining Jamo; not the prepended marks (GB9b) and
not conjuncts of Indic scripts (GB9c).
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

INSIDE, LETTER, WORD, CLAUSE, SENTENCE, BLOCK = range(6)
"""How good a place is to cut: inside a letter never but in need, between blocks best."""

_SENTENCE: Final = re.compile(
    r"""
    (?<=[.!?\u2026\u061f\u06d4\u0964\u0965]) ["'\u201d\u2019\u00bb)\]]* \s+ (?=[^\sa-z])
    | [\u3002\uff01\uff1f\uff61\uff0e] [\u300d\u300f\u201d\u2019\uff09\u3011\s]*
    | \n\s*\n\s*
    """,
    re.VERBOSE,
)
"""A stop (of Latin, Arabic, Urdu, Devanagari), what closes after it, and a blank that no small letter follows; a wide
stop, which needs no blank; a blank line."""
_CLAUSE: Final = re.compile(r"[,;:\u2014\u060c\u061b]\s+|[\u3001\uff0c\uff1b\uff1a]\s*|\n\s*")
_BLANK_LINES: Final = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
_LINE: Final = re.compile(r"\n[ \t]*")
_STOPS: Final = frozenset(".!?:\u2026\u061f\u06d4\u0964\u0965\u3002\uff01\uff1f\uff61\uff0e")
_WIDE: Final = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Scripts that are written without blanks (or, Hangul, whose syllables stand alone): each letter may begin a word."""
_FLAG: Final = re.compile("[\U0001f1e6-\U0001f1ff]{2}")
_JOINERS: Final = frozenset("\u200d\ufe0e\ufe0f")


def levels(text: str, *, by_line: bool, first: int = 0, last: int | None = None) -> dict[int, int]:
    """Return the places after a text's sentences, clauses and flags with how good each is. With `by_line` (code,
    tables, lists) these are lines: one after a blank line counts as a sentence, another as a clause. Of a long text,
    those from `first` to `last`, each a `rest` of it: together they are those of the whole.
    """
    last = len(text) if last is None else last
    good, fair = (_BLANK_LINES, _LINE) if by_line else (_SENTENCE, _CLAUSE)
    found = {match.end(): WORD for match in _FLAG.finditer(text, first, last)}
    found.update((match.end(), CLAUSE) for match in fair.finditer(text, first, last))
    found.update((match.end(), SENTENCE) for match in good.finditer(text, first, last))
    return found


def rest(text: str, at: int, most: int) -> int:
    """Return the next place at or after `at` where a text may be looked at in parts: behind a letter or digit, which is
    inside of nothing that `levels` finds. In `most` characters without any, their end.
    """
    for place in range(max(at, 1), min(at + most, len(text))):
        if text[place - 1].isalnum():
            return place
    return min(at + most, len(text))


def ends(text: str) -> bool:
    """Tell whether a text ends with a sentence."""
    return text.rstrip()[-1:] in _STOPS


def level(text: str, at: int) -> int:
    """Return how good a place is that is neither a sentence's nor a clause's."""
    if at <= 0 or at >= len(text):
        return BLOCK
    before, after = text[at - 1], text[at]
    if before.isascii() and after.isascii():
        return INSIDE if before == "\r" and after == "\n" else WORD if before <= " " else LETTER
    if before.isspace():
        return WORD
    if _joined(text, at):
        return INSIDE
    return WORD if _WIDE.match(before) or _WIDE.match(after) else LETTER


def _joined(text: str, at: int) -> bool:
    """Tell whether the letter before `at` goes on."""
    before, after = text[at - 1], text[at]
    if after in _JOINERS or before == "\u200d" or "\U0001f3fb" <= after <= "\U0001f3ff":
        return True
    if unicodedata.category(after)[0] == "M":
        return True
    if "\U0001f1e6" <= before <= "\U0001f1ff" and "\U0001f1e6" <= after <= "\U0001f1ff":
        return True  # between two flags `levels` knows better
    return _hangul(before, after)


def _hangul(before: str, after: str) -> bool:
    """Tell whether two conjoining Jamo, or a syllable and a Jamo, are one block."""
    if not "\u1100" <= after <= "\u11ff":
        return False
    if after <= "\u115f":
        return "\u1100" <= before <= "\u115f"
    return "\u1100" <= before <= "\u11ff" or "\uac00" <= before <= "\ud7a3"
