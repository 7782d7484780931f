"""What was taken out of one request, by stand-in, and how it comes back in the answer.

    request   "write to bob@example.com"  ──▶  "write to <EMAIL_1>"      the vendor sees this
    answer    "Sent to <EMA" · "IL_1>."   ──▶  "Sent to " · "bob@example.com."

Promises: within one request the same value has the same stand-in and different values have different ones, numbered
in order of appearance, so that a growing conversation keeps its prefix (and a vendor's prompt cache its use); a
stand-in never equals anything that stood in the request before; what is not a stand-in of this vault passes
through unchanged. A `Restorer` gives the same text however the answer was cut into chunks, and holds back only a tail
that may still become a stand-in: less than the longest of them. The vault dies with the request and is never written
or logged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final

_LIKE: Final = re.compile(r"(?:<|\\u003[cC])([A-Z][A-Z_]*_[0-9]{1,9})(?:>|\\u003[eE])")


def masked(entity: str) -> str:
    """Return what stands for an `entity` that must not come back; no vault has it."""
    return f"<{entity}>"


class Vault:
    """Values by stand-in, of one request."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        """`texts` are all those of the request: a stand-in-like word in one of them is never given out."""
        self._taken = {name for text in texts if "_" in text for name in _LIKE.findall(text)}
        self._stand_ins: dict[tuple[str, str], str] = {}
        self._numbers: dict[str, int] = {}
        self._values: dict[str, str] = {}

    def __len__(self) -> int:
        """Return how many values it keeps."""
        return len(self._values)

    def stand_in(self, entity: str, value: str) -> str:
        """Return what stands for `value`, an `entity`, in this request."""
        known = self._stand_ins.get((entity, value))
        if known is not None:
            return known
        number = self._numbers.get(entity, 0) + 1
        while f"{entity}_{number}" in self._taken:
            number += 1
        self._numbers[entity] = number
        made = f"<{entity}_{number}>"
        self._stand_ins[entity, value] = made
        self._values[made] = value
        return made

    def restorer(self, *, in_json: bool = False) -> Restorer:
        """Return a restorer for one run of text. `in_json`: the text is JSON, so values are escaped as JSON wants it,
        and stand-ins are known with escaped brackets too, as some vendors' encoders write them.
        """
        if not in_json:
            return Restorer(self._values)
        values: dict[str, str] = {}
        for stand_in, value in self._values.items():
            escaped = json.dumps(value, ensure_ascii=False)[1:-1]
            name = stand_in[1:-1]
            for lower, upper in (("<", ">"), (r"\u003c", r"\u003e"), (r"\u003C", r"\u003E")):
                values[f"{lower}{name}{upper}"] = escaped
        return Restorer(values)

    def restore(self, text: str, *, in_json: bool = False) -> str:
        """Return a whole `text` with its stand-ins turned back into their values."""
        restorer = self.restorer(in_json=in_json)
        return restorer.feed(text) + restorer.end()


class Restorer:
    """Turns stand-ins back into values in text that arrives in chunks."""

    def __init__(self, values: dict[str, str]) -> None:
        """`values` by stand-in."""
        self._values = values
        self._known = re.compile("|".join(map(re.escape, values))) if values else None
        self._starts = frozenset(stand_in[0] for stand_in in values)
        self._longest = max(map(len, values), default=0)
        self._held = ""

    @property
    def held(self) -> int:
        """Characters held back."""
        return len(self._held)

    def feed(self, text: str) -> str:
        """Return what can be said now that `text` has come."""
        if self._known is None:
            return text
        text = self._held + text
        keep = self._may_grow(text)
        self._held = text[keep:]
        return self._known.sub(self._value, text[:keep])

    def end(self) -> str:
        """Return what was held back: no more will come."""
        rest, self._held = self._held, ""
        return rest

    def _value(self, match: re.Match[str]) -> str:
        return self._values[match[0]]

    def _may_grow(self, text: str) -> int:
        """Return where a tail begins that is the beginning, not the whole, of a stand-in; the length for none."""
        lowest = max(0, len(text) - self._longest + 1)
        if self._starts.isdisjoint(text[lowest:]):
            return len(text)
        for at in range(lowest, len(text)):
            if text[at] in self._starts:
                tail = text[at:]
                if any(len(tail) < len(each) and each.startswith(tail) for each in self._values):
                    return at
        return len(text)
