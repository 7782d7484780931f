"""Do two questions ask the same? The second opinion on what an encoder takes for alike. Pure.

An encoder puts a question and its opposite side by side ("How do I enable …", "How do I disable …": a cosine of .9).
So what it finds is read word by word: politeness, spelling and a few synonyms aside, both must have the same words in
the same order; a word bound by a preposition goes with it ("to london", "from london"), and only one such may stand
first in the one and last in the other. Negations, opposites, numbers, dates, units, names, quantifiers, comparisons and
exchanged roles ("A to B", "B to A") are nothing special then: each is a word, or an order, that the other has not. The
price is that paraphrases in other words are asked anew.

Promise: `differ` returns "" only for two texts that this reading makes one; else what first keeps them apart.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from penstock.gateway.semantic_words import (
    BINDING,
    CASED,
    CLOSINGS,
    CONTRACTIONS,
    ENGLISH,
    IRREGULAR,
    KEEPS_ITS_S,
    NEGATIONS,
    NOTHING,
    NUMBERS,
    OPENINGS,
    ORDERS,
    PHRASES,
    SYNONYMS,
)

_BEFORE: Final = "([{\"\u201c\u00ab'"
_AFTER: Final = ".,;:!?)]}\"\u201d\u00bb'\u2026"
_ODD: Final = re.compile(r"[^\w\s'.-]|[\d_]|\w[.]\w")
"""What no plain word holds: such a word is taken letter for letter."""
_LAYOUT: Final = re.compile(r"[\n\r\t`]")
_THOUSANDS: Final = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_FACTORIAL: Final = re.compile(r"\d!$")
_CANON: Final = {word: row.split()[0] for row in SYNONYMS for word in row.split()}
_LEAST_PLURAL: Final = 4

Reading = tuple[str, ...]
"""The words of a text as it is compared, in order; a bound one as ``to:london``."""


def differ(first: str, second: str) -> str:
    """Return what keeps two texts apart, in one word for people and metrics; "" when they ask the same."""
    if first == second:
        return ""
    if _LAYOUT.search(first) or _LAYOUT.search(second):
        return "layout"
    one, other = read(first), read(second)
    if one == other or _fronted(one, other) or _fronted(other, one):
        return "" if one else "nothing"
    if sorted(one) == sorted(other):
        return "order"
    apart = set(_bare(one)) ^ set(_bare(other))
    if not apart:
        return "roles"
    if apart & NEGATIONS:
        return "negation"
    return "numbers" if any(char.isdigit() for word in apart for char in word) else "words"


def read(text: str) -> Reading:
    """Return the reading of a text."""
    words = _words(text)
    if not any(word in ENGLISH for word in words):
        return tuple(words)
    return _bound(_rewritten(words))


def _fronted(one: Reading, other: Reading) -> bool:
    """Tell whether `one` is `other` with its last bound word first, and no other word bound alike."""
    if len(one) != len(other) or not one or one[0] != other[-1] or one[1:] != other[:-1]:
        return False
    binding, colon, _ = one[0].partition(":")
    return bool(colon) and sum(word.startswith(f"{binding}:") for word in one) == 1


def _bare(words: Reading) -> list[str]:
    return [word.rpartition(":")[2] for word in words]


def _words(text: str) -> list[str]:
    """Return the words of a text in small letters; one that is to be taken letter for letter begins with "="."""
    plain = unicodedata.normalize("NFKC", text).replace("\u2019", "'").replace("\u2018", "'")
    shouts = not any(char.islower() for char in plain)
    words: list[str] = []
    for at, token in enumerate(_THOUSANDS.sub("", plain.replace(" percent", "%")).split()):
        stripped = token.lstrip(_BEFORE).rstrip(_AFTER)
        if _FACTORIAL.search(token):
            stripped += "!"
        if not stripped:
            continue
        low = stripped.lower()
        is_name = len(stripped) > 1 and stripped.isupper()
        is_cased = not shouts and low in CASED and (is_name or (at > 0 and stripped[0].isupper()))
        if is_cased or _ODD.search(low) or not low.strip("-"):
            words.append(f"={low}")
        else:
            words.extend([part for part in _uncontracted(low).replace("-", " ").split() if part])
    return words


def _uncontracted(word: str) -> str:
    for said, meant in CONTRACTIONS:
        if word == said or (said[0] in "'n" and word.endswith(said)):
            return word.removesuffix(said) + meant
    return word


def _rewritten(words: list[str]) -> list[str]:
    """Return the words without what is said around a question, and phrases as they are read."""
    text = f" {' '.join(words)} "
    while opening := next((each for each in _BY_LENGTH if text.startswith(f" {each} ")), ""):
        text = text[len(opening) + 1 :]
    while closing := next((each for each in CLOSINGS if text.endswith(f" {each} ")), ""):
        text = text[: -len(closing) - 1]
    for asking in (" can you ", " could you ", " would you "):
        if text.startswith(asking) and text[len(asking) :].partition(" ")[0] in ORDERS:
            text = text[len(asking) - 1 :]
    for said, meant in PHRASES:
        text = text.replace(f" {said} ", f" {meant} ")
    return text.split()


def _bound(words: list[str]) -> Reading:
    """Return the words that carry meaning, each with the preposition before it or the owner it belongs to."""
    found: list[str] = []
    before = owner = ""
    for word in words:
        if word in BINDING:
            before = f"{before} {word}".strip()
            continue
        if word in NOTHING:
            continue
        if word.endswith("'s") and not word.startswith("="):
            owner = f"{owner} {before} {_root(word[:-2])}".strip()
            before = ""
            continue
        found.append(f"{before}:{_root(word)}" if before else _root(word))
        before = ""
        if owner:
            found.append(f"of:{owner}")
            owner = ""
    return tuple(found + [each for each in (before, owner) if each])


def _root(word: str) -> str:
    """Return what stands for a word."""
    if word.startswith("="):
        return word.removeprefix("=") if word[1:] not in CASED else word
    word = NUMBERS.get(word, IRREGULAR.get(word, word))
    if len(word) >= _LEAST_PLURAL and word.isascii() and word not in KEEPS_ITS_S:
        word = _single(word)
    return _CANON.get(word, word)


def _single(word: str) -> str:
    """Return a plural's singular; what is none stays."""
    if word.endswith("ies") and len(word) > _LEAST_PLURAL:
        return word.removesuffix("ies") + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word.removesuffix("es")
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word.removesuffix("s")
    return word


_BY_LENGTH: Final = tuple(sorted(OPENINGS, key=len, reverse=True))
