"""Do two questions ask the same? The second opinion on what an encoder takes for alike. Pure.

An encoder puts a question and its opposite side by side ("How do I enable …", "How do I disable …": a cosine of .9),
and one without capitals cannot tell Windows from windows. So what it finds is read word by word, letter by letter:
politeness, the capital that begins a sentence, the mark that ends it and a few dozen turns of English aside, both must
have the same words in the same order; only one short phrase may stand first in the one and last in the other.
Negations, opposites, numbers, dates, units, names, articles, quantifiers, comparisons and exchanged roles ("A to B",
"B to A") are nothing special then: each is a word, or an order, that the other has not. The price is that paraphrases
in other words are asked anew.

Promise: `differ` returns "" only for two texts that this reading makes one; else what first keeps them apart.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

from penstock.gateway.semantic_words import (
    BEFORE_I,
    CLOSINGS,
    CONTRACTIONS,
    DETERMINERS,
    ENGLISH,
    FRONTED,
    GREETINGS,
    IS_OR_HAS,
    NEGATIONS,
    NUMBERS,
    ORDERS,
    PARTICIPLES,
    PHRASES,
    POLITENESS,
    SAYING,
    STARTERS,
    STATES,
    SYNONYMS,
)

_LAYOUT: Final = re.compile(r"[\n\r\t`]")
_STRAIGHT: Final = str.maketrans("\u2018\u2019\u201c\u201d", "''\"\"")
_ENDS: Final = "?.!\u2026"
_MARKS: Final = f",{_ENDS}"
_PERCENT: Final = re.compile(r"(?<=\d) percent(?!\w)")
_CANON: Final = {word: row.split()[0] for row in SYNONYMS for word in row.split()} | NUMBERS
_OPENINGS: Final = sorted(
    [*POLITENESS, *[greeting + mark for greeting in GREETINGS for mark in ",.!"]], key=len, reverse=True
)
_PHRASES: Final = [
    (re.compile(rf"(?<= ){said} (?!(?:{'|'.join(sorted(STATES))}) )"), f"{meant} ") for said, meant in PHRASES
]
_PREPOSED_MOST: Final = 4
"""Words after a phrase that was put first; of more, they may be two clauses, and the phrase belongs to one of them."""

Reading = tuple[str, ...]
"""The words of a text as it is compared, in order."""


def differ(first: str, second: str) -> str:
    """Return what keeps two texts apart, in one word for people and metrics; "" when they ask the same."""
    if first == second:
        return ""
    if _LAYOUT.search(first) or _LAYOUT.search(second):
        return "layout"
    one, other = read(first), read(second)
    if one == other or _is_fronted(one, other) or _is_fronted(other, one):
        return "" if one else "nothing"
    if sorted(one) == sorted(other):
        return "order"
    apart = set(one) ^ set(other)
    if apart & NEGATIONS:
        return "negation"
    if any(char.isdigit() for word in apart for char in word):
        return "numbers"
    return "capitals" if _small(one) == _small(other) else "words"


def read(text: str) -> Reading:
    """Return the reading of a text."""
    plain = unicodedata.normalize("NFC", text).translate(_STRAIGHT)
    words = _ended(_started(_PERCENT.sub("%", plain).split()))
    if ENGLISH.isdisjoint(words):
        return tuple(words)
    return tuple([_CANON.get(word, word) for word in _owned(_rewritten(_uncontracted(_closed(words))))])


def _is_fronted(one: Reading, other: Reading) -> bool:
    """Tell whether `one` is `other` with its last phrase first: a preposition that comes once, and what it is of."""
    words = list(one)
    size = 3 if words[1:2] and words[1] in DETERMINERS else 2
    phrase, rest = words[:size], words[size:]
    if not 2 <= len(rest) <= _PREPOSED_MOST or rest[0] == "who":
        return False
    if phrase[0] not in FRONTED or words.count(phrase[0]) > 1:
        return False
    return list(other) == [*rest, *phrase[:-1], phrase[-1].removesuffix(",")]


def _small(words: Reading) -> list[str]:
    return [word.lower() for word in words]


def _started(words: Sequence[str]) -> list[str]:
    """Return the words with the capitals taken off that say nothing; every other one is a letter of its own."""
    found: list[str] = []
    for word in words:
        low = word.lower()
        is_first = not found or found[-1][-1] in _ENDS
        says_nothing = is_first and word == low.capitalize() and low.rstrip(_MARKS) in STARTERS
        is_speaker = low.startswith("i'") or (
            low.rstrip(_MARKS) == "i" and (is_first or found[-1].lower() in BEFORE_I)
        )
        found.append(low if says_nothing or is_speaker else word)
    return found


def _ended(words: list[str]) -> list[str]:
    """Return the words without the mark that ends a sentence. What may be part of its last word stays: 5!, .*?"""
    if not words:
        return words
    *others, last = words
    core = last.rstrip(_ENDS)
    if not core:
        return others if last == "?" else words
    if "!" in last and (len(core) == 1 or not core[-2:].isalpha()):
        return words
    return [*others, core] if core[-1].isalnum() or core[-1] in ")'\"%" else words


def _closed(words: list[str]) -> list[str]:
    """Return the words without what is said after a question, where no words may be what it is about."""
    text = " ".join(words)
    if not SAYING.isdisjoint(words):
        return words
    for said, marks in CLOSINGS.items():
        if text.endswith(f" {said}") and text[-len(said) - 2] in marks:
            return _ended(text[: -len(said) - 1].rstrip(",").split())
    return words


def _uncontracted(words: list[str]) -> list[str]:
    found: list[str] = []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word in IS_OR_HAS and not (following.endswith("ed") or following in PARTICIPLES):
            found += [word.removesuffix("'s"), "is"]
        else:
            found += _whole(word).split()
    return found


def _whole(word: str) -> str:
    for said, meant in CONTRACTIONS:
        if word == said or (said[0] in "'n" and word.endswith(said)):
            return word.removesuffix(said) + meant
    return word


def _rewritten(words: list[str]) -> list[str]:
    """Return the words without what is said before a question, and phrases as they are read."""
    text = f" {' '.join(words)} "
    while opening := next((each for each in _OPENINGS if text.startswith(f" {each} ")), ""):
        text = text[len(opening) + 1 :]
    for asking in (" can you ", " could you ", " would you "):
        if text.startswith(asking) and text[len(asking) :].partition(" ")[0] in ORDERS:
            text = text[len(asking) - 1 :]
    for said, meant in _PHRASES:
        text = said.sub(meant, text)
    return text.split()


def _owned(words: list[str]) -> list[str]:
    """Return the words with every "the hotel's pool" as "the pool of the hotel"."""
    found: list[str] = []
    owner: list[str] = []
    for word in words:
        if owner:
            found += ["the", word, "of", *owner]
            owner = []
        elif word.endswith("'s") and word not in IS_OR_HAS:
            owner = [found.pop()] if found and found[-1] in DETERMINERS else []
            owner.append(word.removesuffix("'s"))
        else:
            found.append(word)
    return found + ([*owner[:-1], f"{owner[-1]}'s"] if owner else [])
