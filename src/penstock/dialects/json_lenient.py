"""The one JSON value in a whole answer of a model, mended if need be.

Where `json_mend` must take the first value that comes, here the whole text is known: a fence's content goes before the
prose around it, a brace in a sentence (``Use {name: value}: {"name": "x"}``) is passed over, and of several values
the only one that `accepts` stands. Two different ones that could both be meant are refused: nobody knows.

Promises: valid JSON comes back byte for byte, at the cost of parsing it; what is mended is valid JSON and its repairs
are listed; what cannot be known is `Unreadable`, with the reason and the place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import msgspec

from penstock.dialects.json_mend import JsonMender

MAX_CHARS: Final = 256 * 1024
"""Longest answer that is mended, in characters."""
MAX_VALUES: Final = 16
"""Most beginnings of a value tried in one answer."""

_ANY: Final = msgspec.json.Decoder()
_FENCE: Final = re.compile(
    r"^[ \t]*```[ \t]*[\w+-]{0,20}[ \t]*\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL | re.MULTILINE
)
_THOUGHTS: Final = re.compile(r"\s*<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
_GOES_ON: Final = re.compile(r"""\s*,\s*(?:["'“]|[\w$]+\s*:)""")
_FALSE_START: Final = re.compile(r"\{[^{}\[\]]{0,200}\}|\[[^{}\[\]]{0,200}\]")
_ESCAPED: Final = re.compile(r'\s*[{\[]\s*(?:\\n\s*)?\\"')


class Mended(msgspec.Struct, frozen=True, gc=False):
    """A value, the JSON text that says it, and the kinds of repair that led there (none: the text as it was)."""

    text: str
    value: object
    repairs: tuple[str, ...] = ()


class Unreadable(msgspec.Struct, frozen=True, gc=False):
    """Why no value can be had: one sentence without its full stop."""

    reason: str


def mend(
    text: str, *, accepts: Callable[[object], bool] | None = None, opens: str = "{[", cut: bool = False
) -> Mended | Unreadable:
    """Return the JSON value in `text`.

    `accepts` tells which of several values is meant, `opens` which brackets may begin it, `cut` that the answer ended
    at a limit, so that its last number may not be whole.
    """
    if len(text) > MAX_CHARS:
        return Unreadable(f"the answer has more than {MAX_CHARS} characters")
    whole = _decode(text)
    if whole is not None:
        wrapped = isinstance(whole.value, str) and accepts is not None and not accepts(whole.value)
        return (_unwrapped(whole, opens) if wrapped else None) or whole
    found = _found(text, opens, cut=cut)
    if isinstance(found, Unreadable):
        escaped = _decode(f'"{text.strip()}"') if _ESCAPED.match(text) else None
        return (_unwrapped(escaped, opens) if escaped else None) or found
    return _the_one(found, accepts)


def _decode(text: str, repairs: tuple[str, ...] = ()) -> Mended | None:
    """Return the value of valid JSON."""
    try:
        value = _ANY.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return Mended(text, value, repairs)


def _unwrapped(string: Mended, opens: str) -> Mended | None:
    """Return the value of JSON that is itself in a JSON string."""
    text = str(string.value)
    return _decode(text, ("unwrapped",)) if text.lstrip().startswith(tuple(opens)) else None


def _found(text: str, opens: str, *, cut: bool) -> list[Mended] | Unreadable:
    """Return every value in the answer: those in fences, else those in its prose."""
    thoughts = _THOUGHTS.match(text)
    spoken = text[thoughts.end() :] if thoughts else text
    first = ("thoughts",) if thoughts else ()
    fences = list(_FENCE.finditer(spoken)) if not spoken.lstrip().startswith(tuple(opens)) else []
    for regions in ([fence.group(1) for fence in fences], [spoken]):
        found: list[Mended] = []
        for region in regions:
            around = (*first, "fence") if region is not spoken else first
            values = _values(region, opens, around, cut=cut)
            if isinstance(values, Unreadable):
                return values
            found += values
        if found:
            return found
    return Unreadable("no JSON value begins in the answer")


def _values(text: str, opens: str, around: tuple[str, ...], *, cut: bool) -> list[Mended] | Unreadable:
    """Return the values of one region, in order."""
    plain = _decode(text.strip(), around) if around else None
    if plain is not None:
        return [plain]
    found: list[Mended] = []
    for _ in range(MAX_VALUES):
        mender = JsonMender(opens, MAX_CHARS)
        mended = mender.feed(text) + mender.close(cut=cut)
        if mender.began < 0:
            break
        if mender.problem:
            sentence = _FALSE_START.match(text, mender.began)
            if mender.meant or sentence is None:  # what stands within it, or after it, was not meant alone
                return Unreadable(mender.problem)
            text = text[sentence.end() :]
            continue
        value = _decode(mended.strip(), tuple(dict.fromkeys((*around, *mender.repairs))))
        if value is None:
            return Unreadable("a number is out of range")
        text = text[mender.ended :]
        if _GOES_ON.match(text):
            return Unreadable("the value is closed before it ends")
        found.append(value)
    return found


def _the_one(found: list[Mended], accepts: Callable[[object], bool] | None) -> Mended | Unreadable:
    """Return the value that is meant."""
    different: list[Mended] = []
    for value in found:
        if all(value.value != other.value for other in different):
            different.append(value)
    if len(different) > 1 and accepts is not None:
        different = [value for value in different if accepts(value.value)]
    if len(different) != 1:
        return Unreadable(f"the answer holds {len(found)} JSON values, and which one is meant is unknown")
    only = different[0]
    repeated = () if len(found) == 1 else ("other_values",)
    return Mended(only.text, only.value, (*only.repairs, *repeated))
