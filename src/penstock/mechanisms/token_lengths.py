"""How long tokens are, learned back end by back end from prompts that vendors counted when they billed them.

Promise: memory is two numbers per back end; nothing is learned from a prompt too short to tell, nor from pictures and
documents, whose bytes say nothing of tokens. What is here is never a bill and refuses nobody.
"""

from __future__ import annotations

from typing import Final

import msgspec

UNTOLD: Final = 3.0
"""Bytes in a token where no vendor has told yet: between code and the average of English, which is 4."""
TELLING_BYTES: Final = 1_000
"""A shorter prompt is mostly template."""
SHARE: Final = 0.05
"""How much one prompt moves the average."""
FADING: Final = 0.999
"""How much of the longest is remembered from one prompt to the next."""


class Length(msgspec.Struct, frozen=True, gc=False):
    """Bytes of text in a token: on average, and at most of late."""

    mean: float
    longest: float


class TokenLengths:
    """What was learned. One per process."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        """Know nothing yet."""
        self._known: dict[str, Length] = {}

    def learn(self, label: str, text_bytes: int, tokens: int) -> None:
        """Note that the back end `label` counted `tokens` in a prompt of `text_bytes` bytes and nothing but text."""
        if text_bytes < TELLING_BYTES or tokens <= 0:
            return
        seen = max(text_bytes / tokens, 1.0)
        known = self._known.get(label)
        if known is None:
            self._known[label] = Length(seen, seen)
            return
        mean = known.mean + (seen - known.mean) * SHARE
        self._known[label] = Length(mean, max(seen, known.longest * FADING))

    def mean(self, label: str) -> float:
        """Return the bytes in a token of `label` on average, `UNTOLD` where it has not told."""
        known = self._known.get(label)
        return UNTOLD if known is None else known.mean

    def longest(self, label: str) -> float:
        """Return the bytes in a token of the prompt with the longest tokens seen of late; 0.0 where none was."""
        known = self._known.get(label)
        return 0.0 if known is None else known.longest
