"""Which terms a text has: stems where the language has a stemmer, pairs of letters where it has no spaces.

Promise: the words of a question are cut as those of a text are, and are words only: nothing in them is syntax. A word
is looked for in the form that each language of the space would give it, so it is found whatever language is said.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import Final, NamedTuple

from tantivy import Filter, TextAnalyzer, TextAnalyzerBuilder, Tokenizer

TERM_BYTES_MOST: Final = 120
"""A longer word is not found: nobody types it, and it would fill the dictionary."""
TERMS_MOST: Final = 256
"""Different terms of one question; the first ones count."""
LANGUAGES: Final = {
    "ar": "arabic",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hu": "hungarian",
    "it": "italian",
    "nb": "norwegian",
    "nl": "dutch",
    "nn": "norwegian",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
}
"""Stemmers by the language's code."""
DEFAULT: Final = "en"
"""Where no language is said."""

# Thai, Lao, Burmese, Khmer; kana, bopomofo; Han and its extensions; Hangul, whose words carry their particles.
_UNSPACED: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3100-\u312f\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]+"
)


class Cut(NamedTuple):
    """A text in two: what has spaces, and the runs of what has none."""

    spaced: str
    runs: list[str]


class Terms(NamedTuple):
    """What a question looks for: forms of each word, any of which is that word; and pairs of letters."""

    words: list[tuple[str, ...]]
    grams: list[str]


def cut(text: str) -> Cut:
    """Part a text into what has spaces between its words and what has none."""
    if text.isascii():
        return Cut(text, [])
    text = unicodedata.normalize("NFKC", text)
    runs = [run.group() for run in _UNSPACED.finditer(text)]
    return Cut(_UNSPACED.sub(" ", text) if runs else text, runs)


@cache
def _stemming(language: str) -> TextAnalyzer:
    builder = TextAnalyzerBuilder(Tokenizer.simple()).filter(Filter.remove_long(TERM_BYTES_MOST))
    return builder.filter(Filter.lowercase()).filter(Filter.stemmer(language)).build()


@cache
def _plain() -> TextAnalyzer:
    builder = TextAnalyzerBuilder(Tokenizer.simple()).filter(Filter.remove_long(TERM_BYTES_MOST))
    return builder.filter(Filter.lowercase()).build()


@cache
def _telling(language: str) -> TextAnalyzer:
    """Return what leaves out words that every text of a language has, or none where no list of them is here."""
    builder = TextAnalyzerBuilder(Tokenizer.simple()).filter(Filter.lowercase())
    try:
        return builder.filter(Filter.stopword(language)).build()
    except ValueError:
        return _plain()


def analyser(language: str) -> TextAnalyzer:
    """Return what cuts words of a language: by its stems, or as they are where it has no stemmer here."""
    stemmer = LANGUAGES.get(_code(language))
    return _stemming(stemmer) if stemmer else _plain()


def telling(words: str, language: str) -> list[str]:
    """Return the words of a question that tell texts of its language apart, or all where none of them does."""
    named = LANGUAGES.get(_code(language))
    every = list(dict.fromkeys(_plain().analyze(words)))
    return ([word for word in every if _telling(named).analyze(word)] if named else []) or every


def _code(language: str) -> str:
    return re.split("[-_]", language.lower(), maxsplit=1)[0] or DEFAULT


def grams_of(run: str) -> list[str]:
    """Return the pairs of neighbours of a run, or its one letter."""
    return [run[at : at + 2] for at in range(len(run) - 1)] if len(run) > 1 else [run]


def asked(words: str, languages: Iterable[str], language: str = "") -> Terms:
    """Return what to look for, given the languages of the space's documents and the question's own."""
    spaced, runs = cut(words)
    said = sorted({*languages, language})
    analysers = list({id(each): each for each in map(analyser, said)}.values())
    forms: dict[tuple[str, ...], None] = {}
    for word in telling(spaced, language):
        if len(forms) >= TERMS_MOST:
            break
        stems = [stem for each in analysers for stem in each.analyze(word)]
        forms[tuple(dict.fromkeys(stems or [word]))] = None
    grams = dict.fromkeys(gram for run in runs for gram in grams_of(run))
    return Terms(list(forms), list(grams)[:TERMS_MOST])
