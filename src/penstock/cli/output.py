"""How commands speak: tables for people, JSON for programs, one line for an error.

Promises: results go to standard output, everything else to standard error; JSON is one document per command, one line
per event for what is live; amounts in tables are exact, to the nano-dollar; a name is shown, never obeyed: whatever
control character is in it, it reaches the terminal as its escape (`shown`, `line`; tables do it by themselves).
"""

from __future__ import annotations

import sys
import unicodedata
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
WIDEST_CHARS: Final = 10_000
"""A pipe has no width of its own: tables then take what they need, within these."""


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
            sys.stdout.write(
                _harmless(msgspec.json.format(msgspec.json.encode(value), indent=2).decode()) + "\n"
            )
            return
        page = Page()
        if not page.is_terminal:
            wide = Page(width=WIDEST_CHARS)
            page = Page(width=max([NARROWEST_CHARS, *(wide.measure(part).maximum for part in people)]))
        for part in people:
            # A token or a script will be copied, so text is never broken into lines; tables are laid out.
            page.print(part, soft_wrap=isinstance(part, Text))

    def tell(self, value: object, people: Text) -> None:
        """Print one event at once: one line of JSON if asked for, else the line for `people`."""
        if self.json:
            sys.stdout.write(_harmless(msgspec.json.encode(value).decode()) + "\n")
        else:
            Page().print(people, soft_wrap=True)
        sys.stdout.flush()


PEOPLE: Final = Output()


class Page(Console):
    """Standard output. Whoever stops reading it ends the command, as `main` says, not as an error."""

    def on_broken_pipe(self) -> None:
        """Pass on what rich would end the process for."""
        raise BrokenPipeError


def shown(text: str, keep: str = "") -> str:
    """Return `text` with everything a terminal would obey, or nobody would see, as its escape; `keep` stays.

    That is control characters (C0, DEL, C1), those of formatting (the bidirectional and zero-width ones), line and
    paragraph separators and lone surrogates: the categories Cc, Cf, Cs, Zl and Zp of Unicode.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _escape(each) if each not in keep and unicodedata.category(each) in _UNSEEN else each for each in text
    )


def line(value: object, style: str = "") -> Text:
    """Return one line for people."""
    return Text(shown(str(value)), style=style)


def verbatim(ours: str) -> Text:
    """Return text of our own making, with its lines and tabs as they are."""
    return Text(shown(ours, keep="\n\t"), tab_size=8)


_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _harmless(json: str) -> str:
    """Return a JSON document with such characters as JSON escapes; those of ASCII already are."""
    if json.isascii():
        return json.replace("\x7f", "\\u007f")
    return "".join(
        "".join(f"\\u{unit:04x}" for unit in memoryview(each.encode("utf-16-le", "surrogatepass")).cast("H"))
        if each != "\n" and unicodedata.category(each) in _UNSEEN
        else each
        for each in json
    )


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
        text = _harmless(msgspec.json.encode({"error": told}, enc_hook=str).decode())
    else:
        # A configuration tells each mistake on a line of its own.
        text = shown(f"penstock: {error}", keep="\n")
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
        grid.add_row(*(line(cell) for cell in row))
        count += 1
    return grid if count else line(empty)


def facts(pairs: Iterable[tuple[str, object]]) -> Table:
    """Lay out named values, one a line."""
    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, value in pairs:
        grid.add_row(line(name), line(value))
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
        grid.add_row(line(name), line(bar, "cyan"), line(word(amount)))
    return grid


def dollars(nanos: int) -> str:
    """Write an amount exactly."""
    return format_dollars(nanos)


def when(seconds: float, *, never: str = "") -> str:
    """Write a time (seconds since 1970) as UTC to the minute; 0 is `never`."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}Z" if seconds else never
