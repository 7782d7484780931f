"""One request on one line: who asked what, who answered, how it ended, what it took.

    12:03:11  42edca2968  search/maria  smart → openai/gpt-4o  200  1.2k → 340  $0.0041  276 ms   1.9 s  2 attempts

Promises: a line fits the width that it is given; what matters less goes first: the note is cut, then feature, tokens,
the time to the first token and who asked are left out; without a width (a pipe) nothing is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from penstock.cli.output import line, shown
from penstock.console.formats import clock_time, duration, money, short
from penstock.sdk.requests import RequestView

ROOMY: Final = 100
"""From this width on the columns stand two spaces apart."""
MODEL_MOST: Final = 40
"""The model takes what room is left, up to this."""
STYLES: Final = {"ok": "green", "refused": "yellow", "failed": "red"}
ID_CHARS: Final = len("req_") + 32
NOTE_LEAST: Final = 12
"""A note that has less room is left out."""


@dataclass(frozen=True, slots=True)
class Column:
    """A part of the line. Those of the lowest `rank` go first when there is no room."""

    name: str
    chars: int
    rank: int
    told: Callable[[RequestView], str]
    is_figure: bool = False


def short_id(request_id: str) -> str:
    """Return the part of an id that tells it from its neighbours; `penstock requests show` finds it by that."""
    # kernel/ids: 12 digits of milliseconds, 4 of a sequence, 16 of the process, which are alike in all of them
    return (
        request_id[10:20]
        if request_id.startswith("req_") and len(request_id) == ID_CHARS
        else request_id[-10:]
    )


def who(request: RequestView) -> str:
    """Return whose request it was; a default user is not worth a word."""
    parts = [request.team, *([request.user] if request.user not in ("", "default") else [])]
    return "/".join(parts)


def model(request: RequestView) -> str:
    """Return the model asked for and, if it is another, who served it."""
    served = request.model_used and f"{request.provider}/{request.model_used}"
    if not served or request.model in (request.model_used, served):
        return request.model
    return f"{request.model} → {served}"


def note(request: RequestView) -> str:
    """Return what is worth a word: the error, further attempts, a cache, a cost that is an estimate, the route."""
    plain = {"", f"{request.provider}/{request.model_used}", f"{request.provider}/{request.model}"}
    words = (
        request.error,
        f"{request.attempts} attempts" if request.attempts > 1 else "",
        request.cache and f"{request.cache} cache",
        "estimated" if request.estimated else "",
        "" if request.route in plain else request.route,
    )
    return ", ".join(word for word in words if word)


def _tokens(request: RequestView) -> str:
    return f"{short(request.input_tokens)} → {short(request.output_tokens)}"


COLUMNS: Final[tuple[Column, ...]] = (
    Column("time", 8, 9, lambda it: clock_time(it.at_s)),
    Column("id", 10, 6, lambda it: short_id(it.request_id)),
    Column("who", 14, 4, who),
    Column("feature", 12, 1, lambda it: it.feature),
    Column("model", 16, 8, model),
    Column("code", 4, 9, lambda it: str(it.status)),
    Column("tokens", 13, 2, _tokens, is_figure=True),
    Column("cost", 10, 7, lambda it: money(it.cost_nanos), is_figure=True),
    Column("first", 7, 3, lambda it: duration(it.first_token_ms), is_figure=True),
    Column("took", 7, 5, lambda it: duration(it.latency_ms), is_figure=True),
)


def heading(width: int | None) -> Text:
    """Return the line above the lines."""
    gap, told = _gap(width), Text(style="bold")
    for column in fitting(width):
        told.append(_sized(column, column.name, width) + gap)
    told.rstrip()
    return told


def request_line(request: RequestView, width: int | None) -> Text:
    """Return a request's line, at most `width` wide; None is as wide as it comes, with the whole id."""
    style = STYLES.get(request.outcome, "")
    gap, kept = _gap(width), fitting(width)
    after = line(note(request), "dim" if request.outcome == "ok" else style)
    room = None if width is None else width - _wide(kept, gap) - len(gap)
    if room is not None and room < min(NOTE_LEAST, after.cell_len):
        if request.error and not request.cost_nanos:
            kept = [
                each for each in kept if not each.is_figure
            ]  # of nothing: what went wrong takes their place
        else:
            after = Text()
    told = Text()
    for column in kept:
        text = request.request_id if column.name == "id" and width is None else column.told(request)
        told.append(_sized(column, text, width) + gap, style=style if column.name == "code" else "")
    told.append_text(after)
    told.rstrip()
    if width is not None:
        told.truncate(width, overflow="ellipsis")
    return told


def fitting(width: int | None) -> list[Column]:
    """Return the columns that a line of this width has room for, in their order, the model as wide as it may be."""
    kept, gap = list(COLUMNS), _gap(width)
    if width is None:
        roomy = {"id": ID_CHARS, "model": MODEL_MOST}
        return [replace(each, chars=roomy.get(each.name, each.chars)) for each in kept]
    while len(kept) > 1 and _wide(kept, gap) > width:
        kept.remove(min(kept, key=lambda each: each.rank))
    spare = width - _wide(kept, gap)
    return [
        replace(each, chars=min(each.chars + spare, MODEL_MOST)) if each.name == "model" else each
        for each in kept
    ]


def _gap(width: int | None) -> str:
    return "  " if width is None or width >= ROOMY else " "


def _wide(kept: Sequence[Column], gap: str) -> int:
    return sum(each.chars for each in kept) + len(gap) * (len(kept) - 1)


def _sized(column: Column, text: str, width: int | None) -> str:
    """Return a cell: as wide as its column, or wider when nothing is cut."""
    text = shown(text)
    wide = cell_len(text)
    if width is None or wide <= column.chars:
        return " " * (column.chars - wide) + text if column.is_figure else text + " " * (column.chars - wide)
    return set_cell_size(text, column.chars - 1) + "…"
