"""How the stores are: asked once a second, remembered in between.

Promise: whoever wants to know (readiness, metrics, status) is answered at once from memory and asks no store; a store
that does not answer within `PATIENCE_S` is down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from penstock.kernel.errors import PenstockError

PATIENCE_S: Final = 1.0
Question = Callable[[], Awaitable[bool]]


class Health:
    """The last answer of every store."""

    def __init__(self) -> None:
        """Know of no store yet."""
        self._questions: dict[str, Question] = {}
        self._works: dict[str, bool] = {}

    def watch(self, name: str, question: Question) -> None:
        """Ask `question` from now on; a store that was just opened works."""
        self._questions[name] = question
        self._works[name] = True

    def works(self, name: str) -> bool:
        """Return the last answer of a store."""
        return self._works[name]

    def answers(self) -> dict[str, bool]:
        """Return the last answer of every store by name."""
        return dict(self._works)

    async def tick(self) -> None:
        """Ask every store, all at the same time."""
        names = tuple(self._questions)
        answers = await asyncio.gather(*(self._ask(self._questions[name]) for name in names))
        self._works.update(zip(names, answers, strict=True))

    async def _ask(self, question: Question) -> bool:
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await question()
        except (PenstockError, OSError, TimeoutError):
            return False
