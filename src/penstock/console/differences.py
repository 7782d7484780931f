"""What a change changed, member by member, as people read it. Pure.

    {"rate": {"tokens_per_minute": 0}}  →  {"rate": {"tokens_per_minute": 9}}    =    rate · tokens per minute: 0 → 9

Promises: every member that differs has a line, none that does not (a document that came or went: every member that
says something), the first `LINES_MOST` of them; money and times are shown as such; what is named like a secret or
looks like a token is three stars, though the platform leaves it out already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, cast

from penstock.console import formats
from penstock.sdk.people import JsonValue

LINES_MOST: Final = 60
VALUE_CHARS_MOST: Final = 300
DEPTH_MOST: Final = 8
STARS: Final = "***"
NOTHING: Final = "nothing"
_SECRET_WORDS: Final = frozenset({"mac", "password", "secret", "token", "hash", "pepper", "digest", "csrf"})
_TOKEN: Final = re.compile(r"\bpen[sl]?-[\w-]{12,}|\beyJ[\w-]{8,}(?:\.[\w-]*)*")
_FIRST_TIME_S: Final = 1e9
"""A number of seconds above it is a time (2001 or later), not a length."""


@dataclass(frozen=True, slots=True)
class Line:
    """A member with how it was and is. `is_new` and `is_gone` tell that there was, or is, none."""

    name: str
    before: str
    after: str
    is_new: bool = False
    is_gone: bool = False


@dataclass(frozen=True, slots=True)
class Difference:
    """The lines of a change, and how many more there are."""

    lines: tuple[Line, ...]
    more: int = 0


def difference(before: JsonValue, after: JsonValue) -> Difference:
    """Return what differs between two documents; either may be None, where there was none."""
    was, now = dict(_members(before)), dict(_members(after))
    lines = [
        Line(
            _words(name),
            shown(name, was.get(name)),
            shown(name, now.get(name)),
            name not in was,
            name not in now,
        )
        for name in (*now, *(name for name in was if name not in now))
        if was.get(name) != now.get(name)
        and (_says_something(was.get(name)) or _says_something(now.get(name)))
    ]
    return Difference(tuple(lines[:LINES_MOST]), max(0, len(lines) - LINES_MOST))


def shown(name: str, value: object) -> str:
    """Return a value as people read it, by the unit that its member's name ends with."""
    if not _SECRET_WORDS.isdisjoint(re.split(r"[^a-z]+", name.lower())) and value not in (None, ""):
        return STARS
    if value is None or value in ("", [], {}):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _number(name, value)
    if isinstance(value, list):
        return _cut(", ".join(_TOKEN.sub(STARS, str(each)) for each in cast("list[object]", value)))
    return _cut(_TOKEN.sub(STARS, str(value)))


def _number(name: str, value: float) -> str:
    if name.endswith("_nanos") and isinstance(value, int):
        return formats.money(value)
    if name.endswith("_s"):
        if not value:
            return "never" if name.endswith(("created_s", "expires_s", "revoked_s", "seen_s")) else "0 s"
        return f"{formats.moment(value)} UTC" if value >= _FIRST_TIME_S else f"{formats.count(value)} s"
    return formats.count(value)


def _members(document: object, path: str = "", depth: int = 0) -> Iterator[tuple[str, object]]:
    """Yield the members of a document with their paths, in order; lists of plain values are one member."""
    inner = _inner(document, path) if depth < DEPTH_MOST else []
    for name, value in inner:
        yield from _members(value, name, depth + 1)
    if not inner and (path or document is not None):
        yield path or "value", document


def _inner(document: object, path: str) -> list[tuple[str, object]]:
    """Return what a document holds that has members of its own; nothing of what is one value."""
    if isinstance(document, dict):
        members = cast("dict[str, object]", document)
        return [(f"{path}.{name}" if path else name, value) for name, value in members.items()]
    if isinstance(document, list):
        values = cast("list[object]", document)
        if any(isinstance(value, dict | list) for value in values):
            return [(f"{path} {number}", value) for number, value in enumerate(values, start=1)]
    return []


def _says_something(value: object) -> bool:
    return value not in (None, "", 0, False, [], {})


def _words(name: str) -> str:
    """Return a member's path as people read it: ``caps 1.limit_nanos`` is ``caps 1 · limit``."""
    parts = (re.sub(r"_(nanos|s)$", "", part).replace("_", " ") for part in name.split("."))
    return _cut(" · ".join(parts))


def _cut(text: str) -> str:
    return text if len(text) <= VALUE_CHARS_MOST else f"{text[: VALUE_CHARS_MOST - 1]}…"
