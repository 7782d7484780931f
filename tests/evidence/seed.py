"""One seeded bug: a small edit of the code that breaks a promise, and the tests that must notice it.

Promise: a seed applies to the code as it stands exactly once, or `StaleSeed` names it, so that a list nobody keeps up
cannot pass for one that is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PACKAGE = "src/penstock"
EMBEDDED = "not postgres and not redis"
"""Which tests of the paths are run first: those that start no server."""


class StaleSeed(LookupError):
    """The code has moved on: give the seed a passage that is there exactly once, or another bug of the same kind."""


@dataclass(frozen=True, slots=True)
class Seed:
    """One bug. `file` is below src/penstock; `old` stands there exactly once and becomes `new`.

    `paths` are the tests that answer for this file, `chosen` pytest's `-k` for which of them are run first.
    """

    name: str
    breaks: str
    file: str
    old: str
    new: str
    paths: tuple[str, ...]
    chosen: str = EMBEDDED

    def place(self, tree: Path) -> Path:
        """Return the file to edit in a checkout at `tree`."""
        return tree / PACKAGE / self.file

    def planted(self, text: str) -> str:
        """Return `text`, the file's, with the bug in it. Raises StaleSeed unless its passage is there exactly once."""
        found = text.count(self.old)
        if found != 1:
            raise StaleSeed(
                f"seed {self.name!r} no longer applies: its passage is {found} times in {self.file}"
            )
        return text.replace(self.old, self.new)
