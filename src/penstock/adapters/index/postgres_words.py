"""Which words a text has, as PostgreSQL is given them, and in which language it is told to read them. Pure.

A text is cut here and not by PostgreSQL's own parser, which takes every letter that is not ASCII for part of a word in
a database of locale C and none in others: so the same text has the same words on every server. What is left to
PostgreSQL is what its configurations are for: stop words and stems. Scripts that put no spaces between words
(Chinese, Japanese, Thai …) and Korean are cut into single letters and pairs of neighbours, which need no dictionary
and find any word wherever it stands.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

import msgspec

WORD_CHARS: Final = 100
"""A longer word is known by its beginning."""
ASKED_MOST: Final = 512
"""Different words of one question, from its beginning."""
STEMMED_BYTES: Final = 512 << 10
"""Text that stems are made of, in one chunk: PostgreSQL takes a megabyte. The longest chunk reaches this only by
characters that stand for a dozen others each; words past it are found as they are.
"""
PLAIN: Final = "simple"
"""The configuration that knows no language: every word as it is."""

CONFIGURATIONS: Final = {
    "ar": "arabic", "ca": "catalan", "da": "danish", "de": "german", "el": "greek", "en": "english",
    "es": "spanish", "eu": "basque", "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi",
    "hu": "hungarian", "hy": "armenian", "id": "indonesian", "it": "italian", "lt": "lithuanian",
    "ne": "nepali", "nl": "dutch", "no": "norwegian", "nb": "norwegian", "pt": "portuguese", "ro": "romanian",
    "ru": "russian", "sr": "serbian", "sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish",
    "": "english",
}  # fmt: skip
"""Language → the text search configuration that every PostgreSQL of 14 or later brings."""

_UNSPACED: Final = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Burmese, Khmer
    "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af"  # Korean
    "\u3040-\u30ff\u31f0-\u31ff"  # Japanese kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)
_MARKS: Final = "\u0300-\u036f\u0591-\u05bd\u064b-\u065f\u0900-\u0963\u0966-\u0dff"
"""Accents and vowels that stand on other letters: part of the word, though no letters to Python."""
_RUN: Final = re.compile(rf"[{_UNSPACED}]+|(?:(?![{_UNSPACED}])(?:[^\W_]|[{_MARKS}]))+")
_PAIRED: Final = re.compile(f"[{_UNSPACED}]")


class Written(msgspec.Struct, frozen=True):
    """A chunk's words, apart by spaces: all of them, and those that have stems."""

    words: str
    stemmed: str


class Asked(msgspec.Struct, frozen=True):
    """A question's different words, in order, and whether each has a stem."""

    words: list[str]
    has_stem: list[bool]


def configuration(language: str) -> str:
    """Return the configuration for a language's tag (``en``, ``en-GB``; English for none), else the plain one."""
    return CONFIGURATIONS.get(re.split("[-_]", language, maxsplit=1)[0].lower(), PLAIN)


def written(text: str) -> Written:
    """Return the words of a chunk."""
    words: list[str] = []
    stemmed: list[str] = []
    room = STEMMED_BYTES
    for run, paired in _runs(text):
        if paired:
            words.extend(run)
            words.extend(_pairs(run))
            continue
        words.append(run)
        room -= len(run.encode()) + 1
        if room >= 0:
            stemmed.append(run)
    return Written(" ".join(words), " ".join(stemmed))


def asked(text: str) -> Asked:
    """Return the words of a question: of what is cut into pairs only the pairs, or the one letter there is."""
    words: dict[str, bool] = {}
    for run, paired in _runs(text):
        for word in (_pairs(run) or [run]) if paired else [run]:
            words.setdefault(word, not paired)
        if len(words) >= ASKED_MOST:
            break
    return Asked(list(words)[:ASKED_MOST], list(words.values())[:ASKED_MOST])


def _runs(text: str) -> Iterator[tuple[str, bool]]:
    """Give each run of letters and digits, and whether it is to be cut into pairs."""
    for found in _RUN.finditer(unicodedata.normalize("NFKC", text).lower()):
        run = found.group()
        paired = _PAIRED.match(run) is not None
        yield run if paired else run[:WORD_CHARS], paired


def _pairs(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run) - 1)]
