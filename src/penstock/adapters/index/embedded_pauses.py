"""How long the upkeep leaves alone what failed, so that a full disk is not met again by every search.

Promise: a task that fails is not called for again before a pause, which doubles from `AGAIN_S` to `AGAIN_MOST_S` with
each failure, and ends with a success.
"""

from __future__ import annotations

from typing import Final, Literal

AGAIN_S: Final = 1.0
AGAIN_MOST_S: Final = 3_600.0

Kind = Literal["load", "keep", "words", "graph"]
Task = tuple[Kind, int]
"""What to do, and for which space."""
KINDS: Final[tuple[Kind, ...]] = ("load", "keep", "words", "graph")


class Pauses:
    """The tasks that failed last, each with the end of its pause and how long that is, in seconds."""

    def __init__(self) -> None:
        """Begin without any."""
        self._pauses: dict[Task, tuple[float, float]] = {}

    def failed(self, task: Task, now_s: float) -> None:
        """Begin a pause, twice as long as the last."""
        _, last_s = self._pauses.get(task, (0.0, AGAIN_S / 2))
        pause_s = min(2 * last_s, AGAIN_MOST_S)
        self._pauses[task] = now_s + pause_s, pause_s

    def ended(self, task: Task) -> None:
        """Forget that a task failed."""
        self._pauses.pop(task, None)

    def forget(self, space: int) -> None:
        """Forget whatever failed for a space."""
        for kind in KINDS:
            self.ended((kind, space))

    def left_s(self, task: Task, now_s: float) -> float:
        """Return the seconds that are left of a task's pause."""
        return max(0.0, self._pauses.get(task, (now_s, 0.0))[0] - now_s)

    def over(self, task: Task, now_s: float) -> bool:
        """Tell whether a task may be called for."""
        return not self.left_s(task, now_s)
