"""Looks for personal data in an answer while it streams, holding back only what could still be part of one.

Promises: the result does not depend on how the answer was cut into chunks; at most `WINDOW_CHARS` are held back, or
`WINDOW_MAX_CHARS` while a finding or one word reaches the end of the window; a finding is masked before its first
character leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from penstock.kernel.findings import Finding
from penstock.mechanisms.redaction.policy import Action
from penstock.mechanisms.redaction.scanner import Scanner
from penstock.mechanisms.redaction.vault import masked

STEP_CHARS: Final = 64
"""Said at a time."""
LOOK_AHEAD_CHARS: Final = 128
"""What must be seen behind a character before it is said: longer than any finding but long keys and addresses."""
WINDOW_CHARS: Final = STEP_CHARS + LOOK_AHEAD_CHARS
WINDOW_MAX_CHARS: Final = 4_096
_CONTEXT_CHARS: Final = 64

Seen = Callable[[str], None]
"""Hears the entity of each finding; may raise to end the answer."""


class Screen:
    """The look at one run of text."""

    def __init__(self, scanner: Scanner, actions: dict[str, Action], seen: Seen) -> None:
        """`actions` by entity; `seen` hears of each finding once."""
        self._scanner = scanner
        self._actions = actions
        self._wanted = frozenset(entity for entity, action in actions.items() if action is not Action.ALLOW)
        self._seen = seen
        self._said = ""
        self._held = ""
        self._window = WINDOW_CHARS

    @property
    def held(self) -> int:
        """Characters held back."""
        return len(self._held)

    def feed(self, text: str) -> str:
        """Return what can be said now that `text` has come."""
        self._held += text
        parts: list[str] = []
        while len(self._held) >= self._window:
            parts.append(self._step(self._held[: self._window], last=False))
        return "".join(parts)

    def end(self) -> str:
        """Return the rest: no more will come."""
        parts: list[str] = []
        while self._held:
            parts.append(self._step(self._held[: self._window], last=len(self._held) <= self._window))
        return "".join(parts)

    def _step(self, window: str, *, last: bool) -> str:
        """Return the beginning of `window` as it may be said, and drop it from what is held; "" to look further."""
        context = len(self._said)
        found = [
            Finding(each.start - context, each.end - context, each.entity, each.score)
            for each in self._scanner.scan(self._said + window, self._wanted)
            if each.start >= context
        ]
        until = len(window) if last else self._until(found, window)
        if not until:
            self._window = min(2 * self._window, WINDOW_MAX_CHARS)
            return ""
        self._window = WINDOW_CHARS
        said = self._changed(window[:until], [each for each in found if each.start < until])
        self._said = (self._said + window[:until])[-_CONTEXT_CHARS:]
        self._held = self._held[until:]
        return said

    def _until(self, found: list[Finding], window: str) -> int:
        """Return how much of the window may be said: a step, but neither a part of a finding nor of a word that goes
        on beyond the window (a long key is known only by its end), unless the window cannot grow any more.
        """
        until = len(window) - LOOK_AHEAD_CHARS
        full = len(window) >= WINDOW_MAX_CHARS
        for each in found:
            if each.start < until < each.end:
                return each.start if each.end == len(window) and not full else each.end
        return until if full else min(until, _word_start(window))

    def _changed(self, text: str, found: list[Finding]) -> str:
        parts: list[str] = []
        done = 0
        for each in found:
            self._seen(each.entity)
            if self._actions[each.entity] in {Action.MASK, Action.REPLACE}:
                parts += (text[done : each.start], masked(each.entity))
                done = each.end
        return "".join((*parts, text[done:])) if parts else text


def _word_start(window: str) -> int:
    """Return where the last word of `window` begins."""
    return max(window.rfind(space) for space in " \n\t") + 1
