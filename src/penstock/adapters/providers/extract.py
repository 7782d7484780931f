"""Picking the sentences of a text that best match a question: BM25 over sentences, no model, no randomness.

Promises: the same text and question give the same sentences, in the order of the text; work is bounded by
`MAX_SENTENCES` (about 10 µs each); a sentence is quoted word for word (only the marks and blanks around it go).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

MAX_SENTENCES: Final = 20_000
"""Only the first so many sentences of a text are looked at."""
MAX_SENTENCE_CHARS: Final = 600
"""A longer run without an end is cut into pieces of this many characters."""

# After a full stop or mark that blanks follow, after a full-width one, and at line ends.
_END: Final = re.compile(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])|\n+")
_WORD: Final = re.compile(r"\w+")
_K1, _B = 1.2, 0.75
_COMMON: Final = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be been but by can did do does for from had has have he her his how i if in into is it its "
        "me my not of on or our she should so that the their them there they this to us was we were what when where "
        "which who whom whose why will with would you your please tell about",
    )
)


def words_of(text: str) -> list[str]:
    """Return the words that carry meaning, lower case, a plural's s removed."""
    return [_stem(word) for word in _WORD.findall(text.lower()) if word not in _COMMON]


def sentences_of(text: str) -> Iterator[str]:
    """Cut `text` into sentences at full stops, marks and line ends, at most `MAX_SENTENCES`."""
    return islice(_sentences(text), MAX_SENTENCES)


def _sentences(text: str) -> Iterator[str]:
    start = 0
    for end in [*(match.span() for match in _END.finditer(text)), (len(text), len(text))]:
        for at in range(start, end[0], MAX_SENTENCE_CHARS):
            sentence = text[at : min(at + MAX_SENTENCE_CHARS, end[0])].strip(" \t\r#*->|")
            if sentence:
                yield sentence
        start = end[1]


def best_sentences(sentences: Iterable[str], question: str, count: int) -> list[str]:
    """Return at most `count` sentences that share words with `question`: the best ones, in their own order."""
    scored = word_scores(sentences, question)
    best = sorted(scored, key=lambda each: (-each[2], each[0]))[:count]
    return list(dict.fromkeys(sentence for _, sentence, _ in sorted(best)))


def word_scores(sentences: Iterable[str], question: str) -> list[tuple[int, str, float]]:
    """Return position, words and score of each sentence that shares words with `question`."""
    wanted = set(words_of(question))
    if not wanted:
        return []
    bags: list[tuple[int, str, Counter[str], int]] = []
    carriers: Counter[str] = Counter()
    length = seen = 0
    for position, sentence in enumerate(islice(sentences, MAX_SENTENCES)):
        words = words_of(sentence)
        seen += 1
        length += len(words)
        bag = Counter(word for word in words if word in wanted)
        if bag:
            carriers.update(bag.keys())
            bags.append((position, sentence, bag, len(words)))
    mean = max(length, 1) / max(seen, 1)
    rarity = {word: math.log(1 + (seen - few + 0.5) / (few + 0.5)) for word, few in carriers.items()}
    return [(position, sentence, _score(bag, size / mean, rarity)) for position, sentence, bag, size in bags]


def _score(bag: Counter[str], relative_length: float, rarity: dict[str, float]) -> float:
    damp = _K1 * (1 - _B + _B * relative_length)
    return sum(rarity[word] * times * (_K1 + 1) / (times + damp) for word, times in bag.items())


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
