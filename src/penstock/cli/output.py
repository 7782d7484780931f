"""How commands speak: tables for people, JSON for programs, one line for an error.

Promise: results go to standard output, everything else to standard error; JSON is one document per command; amounts
are exact, to the nano-dollar, wherever they are shown.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from cyclopts import Parameter
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from penstock.kernel.errors import PenstockError
from penstock.kernel.money import format_dollars

BAR_CHARS: Final = 32
NARROWEST_CHARS: Final = 100
"""A pipe has no width of its own: tables then take what they need, this at least."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Output:
    """How the result is printed."""

    json: Annotated[bool, Parameter(help="Print JSON, for programs.", negative="", show_default=False)] = (
        False
    )

    def show(self, value: object, *people: RenderableType) -> None:
        """Print `value` as JSON if asked for, else what is meant for `people`."""
        if self.json:
            sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
            return
        console = Console()
        if not console.is_terminal:
            console = Console(
                width=max([NARROWEST_CHARS, *(console.measure(part).maximum for part in people)])
            )
        for part in people:
            # A token or a script will be copied, so text is never broken into lines; tables are laid out.
            console.print(part, soft_wrap=isinstance(part, Text))


PEOPLE: Final = Output()


def complain(error: PenstockError, *, as_json: bool) -> int:
    """Print an error on standard error and return its exit code."""
    if as_json:
        told = {
            "code": error.reason,
            "message": error.message,
            "field": error.field,
            "value": error.value,
            "limit": error.limit,
            "remedy": error.remedy,
        }
        text = msgspec.json.encode({"error": told}, enc_hook=str).decode()
    else:
        text = f"penstock: {error}"
    sys.stderr.write(text + "\n")
    return error.exit_code


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> RenderableType:
    """Lay out rows; a column named with a leading ``>`` holds figures. `empty` is said when there is no row."""
    grid = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        grid.add_column(
            column.removeprefix(">"), justify="right" if column.startswith(">") else "left", overflow="fold"
        )
    count = 0
    for row in rows:
        grid.add_row(*(Text(str(cell)) for cell in row))
        count += 1
    return grid if count else Text(empty)


def facts(pairs: Iterable[tuple[str, object]]) -> Table:
    """Lay out named values, one a line."""
    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, value in pairs:
        grid.add_row(name, Text(str(value)))
    return grid


def bars(amounts: Iterable[tuple[str, int]], word: Callable[[int], str]) -> RenderableType:
    """Draw one bar per name, the longest for the greatest amount; `word` says the amount."""
    rows = list(amounts)
    most = max((amount for _, amount in rows), default=0)
    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, amount in rows:
        # Eighths of a character, rounded up, so that what is not nothing can be seen.
        eighths = -(-amount * BAR_CHARS * 8 // most) if most > 0 else 0
        bar = "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]
        grid.add_row(Text(name), Text(bar, style="cyan"), Text(word(amount)))
    return grid


def dollars(nanos: int) -> str:
    """Write an amount exactly."""
    return format_dollars(nanos)


def when(seconds: float, *, never: str = "") -> str:
    """Write a time (seconds since 1970) as UTC to the minute; 0 is `never`."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}Z" if seconds else never
