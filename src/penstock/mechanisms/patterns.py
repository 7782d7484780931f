"""Many patterns over one text in one pass: RE2, typed, with what this platform needs of it and nothing else.

Promises: time linear in the text whatever the text and the patterns (no backtracking), which is why a tenant's own
terms may be compiled here; `hits` is one pass for all patterns together; what could outgrow its memory is refused when
it is compiled, so a search never fails; positions are in bytes of UTF-8.
"""
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol, cast

import re2

MEMORY_BYTES: Final = 64 << 20
"""For the automaton of one set; RE2 starts it anew when it is full, and only then gets slower."""

_re2 = cast("Any", re2)


class _Match(Protocol):
    def span(self, group: int = 0) -> tuple[int, int]: ...


class PatternSet:
    """Patterns in RE2's syntax, compiled together and each by itself. Safe to share: a search keeps nothing."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Compile `patterns`. Raises ValueError naming one that RE2 cannot read, or if all together are too large."""
        options = _re2.Options()
        options.max_mem = MEMORY_BYTES
        options.log_errors = False
        together = _re2.Set.SearchSet(options)
        each: list[Any] = []
        for pattern in patterns:
            try:
                each.append(_re2.compile(pattern, options))
                together.Add(pattern)
            except _re2.error as error:
                raise ValueError(f"not a pattern: {pattern!r}: {error}") from error
        try:
            together.Compile()
        except _re2.error as error:
            raise ValueError(f"{len(patterns)} patterns are too large together: {error}") from error
        self._together = together
        self._each = tuple(each)

    def __len__(self) -> int:
        """Return how many patterns there are."""
        return len(self._each)

    def hits(self, data: bytes) -> list[int]:
        """Return the places, in order, of the patterns that occur anywhere in `data` (about 3 µs per KB)."""
        found = cast("list[int] | None", self._together.Match(data)) if self._each else None
        return sorted(found or ())

    def search(self, place: int, data: bytes, position: int = 0, group: int = 0) -> tuple[int, int] | None:
        """Return where `group` of pattern `place` is first found at or after `position`, end exclusive."""
        match = cast("_Match | None", self._each[place].search(data, position))
        return None if match is None else match.span(group)
