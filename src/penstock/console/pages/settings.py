"""Settings: every one in force with its default and its meaning, where to change it, and how the platform is.

Promises: what is shown is what the platform says is in force, secrets as three stars; for each setting the line to
write and the variable that does the same; nothing can be changed here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, cast

from starlette.responses import Response

from penstock.console import formats
from penstock.console.visits import Page, Visit
from penstock.kernel.settings import LISTS
from penstock.sdk.people import JsonValue
from penstock.sdk.replies import Status
from penstock.sdk.requests import SettingRow

SEARCH_CHARS_MOST: Final = 100
TOP: Final = "penstock"
"""What the settings outside every table are shown under."""
_UNITS: Final = ("KiB", "MiB", "GiB", "TiB")
_BREAKER_KINDS: Final = {"closed": "ok", "open": "bad"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A setting as its row shows it: its value as the file would hold it and, where it helps, in `words`; `variable` is
    "" where the environment cannot hold it.
    """

    key: str
    name: str
    value: str
    words: str
    default: str
    changed: bool
    description: str
    unit: str
    variable: str


@dataclass(frozen=True, slots=True)
class Section:
    """A table of the file with its settings."""

    name: str
    rows: tuple[Row, ...]
    changed: int

    @property
    def heading(self) -> str:
        """How the file heads it; of a list of tables, with which one it is."""
        if self.name == TOP:
            return "top of the file"
        table, of_several, number = self.name.partition("[")
        return f"[[{table}]] {int(number.rstrip(']')) + 1}" if of_several else f"[{table}]"


async def show(visit: Visit) -> Response:
    """Show the settings, and the platform's health."""
    found = await visit.client.settings.get()
    now = await visit.client.status() if visit.may("read status") else None
    wanted = visit.query("q").strip()[:SEARCH_CHARS_MOST]
    only_changed = visit.query("show") == "changed"
    rows = [row(each) for each in found.rows]
    chosen = [each for each in rows if matches(each, wanted) and (each.changed or not only_changed)]
    return visit.render(
        "pages/settings.html",
        file=found.file,
        sections=sections(chosen),
        known=len(rows),
        shown=len(chosen),
        changed=sum(each.changed for each in rows),
        wanted=wanted,
        only_changed=only_changed,
        now=now,
        health=health(now) if now else (),
        breakers=breakers(now) if now else (),
    )


def row(given: SettingRow) -> Row:
    """Return a setting as it is shown."""
    section, _, name = given.key.rpartition(".")
    table = section.partition(".")[2] if given.section and section != given.section else ""
    return Row(
        key=given.key,
        name=f"{table}.{name}" if table else name,
        value=said(given.value),
        words=in_words(given.value, given.unit),
        default=said(given.default),
        changed=given.changed,
        description=given.description,
        unit=given.unit,
        variable=variable(given.key),
    )


def said(value: JsonValue) -> str:
    """Return a value as the file would hold it; text without its quotes."""
    if value is None:
        return formats.DASH
    if isinstance(value, str):
        return value or '""'
    if isinstance(value, list):
        return ", ".join(said(cast("JsonValue", each)) for each in value) if value else "[]"
    return json.dumps(value, ensure_ascii=False)


def in_words(value: JsonValue, unit: str) -> str:
    """Return what a large figure means: ``8388608`` bytes are 8 MiB; "" where the figure says it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    if unit == "nano-dollars" and value:
        return formats.money(int(value))
    if unit == "bytes" and value >= 1024:
        return _size(value)
    if unit == "seconds" and value >= 120:
        return formats.span(value)
    return ""


def _size(number: float) -> str:
    """Return bytes by their largest binary unit."""
    power = min(int(math.log2(number)) // 10, len(_UNITS))
    return f"{formats.count(round(number / 1024**power, 1))} {_UNITS[power - 1]}"


def variable(key: str) -> str:
    """Return the variable of the environment that sets it; a list of tables is set whole."""
    whole = key.partition("[")[0]
    return "" if whole.partition(".")[0] in LISTS else f"PENSTOCK_{whole.replace('.', '_').upper()}"


def matches(each: Row, wanted: str) -> bool:
    """Tell whether every word of a search is somewhere in a setting."""
    text = f"{each.key} {each.value} {each.description} {each.unit} {each.variable}".lower()
    return all(word in text for word in wanted.lower().split())


def sections(rows: Iterable[Row]) -> list[Section]:
    """Return settings by their tables, in the order of the file's reference; members of a list each by itself."""
    by_name: dict[str, list[Row]] = {}
    for each in rows:
        by_name.setdefault(_section(each.key), []).append(each)
    return [
        Section(name, tuple(members), sum(each.changed for each in members))
        for name, members in by_name.items()
    ]


def _section(key: str) -> str:
    head, dot, _ = key.partition(".")
    return head if dot else TOP


def health(status: Status) -> tuple[tuple[str, bool], ...]:
    """Return what the platform depends on, what does not work first."""
    return tuple(sorted(status.dependencies.items(), key=lambda item: (item[1], item[0])))


def breakers(status: Status) -> tuple[tuple[str, str, str], ...]:
    """Return back ends with the state of their breakers, what is left of their vendors' limits and its tone, those that
    are not closed first.
    """
    ordered = sorted(status.breakers.items(), key=lambda item: (item[1] == "closed", item[0]))
    return tuple(
        (
            name,
            state.replace("_", " ") + _quota(status.quotas.get(name)),
            _BREAKER_KINDS.get(state, "warn"),
        )
        for name, state in ordered
    )


def _quota(left: float | None) -> str:
    return "" if left is None else f", {left:.0%} of its quota left"


PAGES: Final = (Page(path="/settings", serve=show, needs="read settings"),)
