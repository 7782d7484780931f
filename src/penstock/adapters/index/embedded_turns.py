"""Many who read or one who writes: the turns that threads take at one space.

Promise: who waits to write goes before who comes later to read; who writes may go on as one who reads, with nobody
between.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager


class Turns:
    """A lock for many readers or one writer."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._readers = 0
        self._writing = False
        self._waiting = 0

    @contextmanager
    def reading(self, stale: Callable[[], bool], freshen: Callable[[], None]) -> Generator[None]:
        """Read. Where what is read is `stale`, `freshen` it as the one who writes, and go on reading from there."""
        self._begin_reading()
        if stale():
            self._end_reading()
            self._begin_writing()
            try:
                freshen()
            except BaseException:  # because the others must have their turn; it is raised again
                self._end_writing()
                raise
            self._end_writing(still_reading=True)
        try:
            yield
        finally:
            self._end_reading()

    @contextmanager
    def writing(self) -> Generator[None]:
        """Write."""
        self._begin_writing()
        try:
            yield
        finally:
            self._end_writing()

    def _begin_reading(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._writing and not self._waiting)
            self._readers += 1

    def _end_reading(self) -> None:
        with self._changed:
            self._readers -= 1
            self._changed.notify_all()

    def _begin_writing(self) -> None:
        with self._changed:
            self._waiting += 1
            self._changed.wait_for(lambda: not self._writing and not self._readers)
            self._waiting -= 1
            self._writing = True

    def _end_writing(self, *, still_reading: bool = False) -> None:
        with self._changed:
            self._writing = False
            self._readers += still_reading
            self._changed.notify_all()
