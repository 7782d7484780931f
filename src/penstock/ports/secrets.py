"""Secrets, read by name; never listed, never logged, never printed.

Promises
1. `read` returns the secret's current text, or raises NotFound naming the name, never a value.
2. A secret file that others can read is refused with the mode and the remedy.
3. The value is wrapped: its repr, str and format show ``***``; only `.reveal()` returns the text.
4. Names are plain words; one that tries to leave the folder is refused.

Errors: NotFound, Forbidden (unsafe file mode), Invalid (bad name).
"""

from __future__ import annotations

from typing import Protocol


class Secret:
    """A text that does not show itself."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Wrap `text`."""
        self._text = text

    def reveal(self) -> str:
        """Return the text; call this only where it goes onto the wire."""
        return self._text

    def __repr__(self) -> str:
        """Show nothing."""
        return "Secret('***')"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        """Show nothing."""
        return "***"


class Secrets(Protocol):
    """Secrets by name. See the promises above."""

    async def read(self, name: str) -> Secret:
        """Return the secret called `name`."""
        ...
