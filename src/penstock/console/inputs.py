"""What people type into forms, read: each mistake is kept beside its field, and what was typed is never lost.

    reading = Reading(form)
    change = KeyChange(name=reading.text("name"), max_request_nanos=reading.dollars("max_request_dollars"))
    if reading.wrong: show the form again

Promises: dollars become nano-dollars by whole-number arithmetic, to the last digit; a number that could be meant in two
ways ("1,5") is refused with how to write it; every mistake of a form is found in one reading.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

import msgspec

from penstock.kernel.errors import Conflict, PenstockError, Rejected, StaleVersion

NANOS_PER_DOLLAR: Final = 1_000_000_000
NANOS_MOST: Final = 9_000_000_000_000_000_000
"""The most an amount may be, nine billion dollars: the API's own bound."""
COUNT_MOST: Final = 1_000_000_000
LABEL_CHARS_MOST: Final = 128
LINES_MOST: Final = 200
LINE_CHARS_MOST: Final = 256
WARNINGS_MOST: Final = 10

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_COUNT: Final = re.compile(r"[0-9]{1,12}|[0-9]{1,3}(?:[, ][0-9]{3}){1,3}")
_DOLLARS: Final = re.compile(r"\$? ?([0-9]{1,12}|[0-9]{1,3}(?:,[0-9]{3}){1,3})(?:\.([0-9]{1,9}))?")
_AMOUNT_HELP: Final = (
    "Write an amount in dollars, like 20 or 0.005: a point before the cents, nine decimals at most."
)


@dataclass(frozen=True, slots=True)
class Reading:
    """A form being read. `wrong` collects what is wrong, by field."""

    form: Mapping[str, str]
    wrong: dict[str, str] = field(default_factory=dict[str, str])

    def text(self, name: str, *, most: int = LABEL_CHARS_MOST) -> str:
        """Return a line of free text."""
        text = self.form.get(name, "")
        if len(text) > most:
            self.wrong[name] = f"This is {len(text)} characters long; {most} is the most."
        elif not text.isprintable():
            self.wrong[name] = "This holds a character that cannot be shown."
        return text

    def name(self, name: str, *, required: bool = True) -> str:
        """Return what something is known by: 1 to 64 of letters, digits, dot, dash and underscore."""
        text = self.form.get(name, "")
        if not text and not required:
            return ""
        if not _NAME.fullmatch(text):
            self.wrong[name] = (
                "Give a name."
                if not text
                else "Use 1 to 64 of the letters a–z, digits, dot, dash and underscore."
            )
        return text

    def choice(self, name: str, allowed: Collection[str], default: str) -> str:
        """Return one of some values."""
        text = self.form.get(name, default)
        if text not in allowed:
            self.wrong[name] = "Choose one of the list."
            return default
        return text

    def count(self, name: str, *, most: int = COUNT_MOST) -> int:
        """Return a whole number; 0 for nothing typed."""
        text = self.form.get(name, "")
        if not text:
            return 0
        value = int(re.sub("[, ]", "", text)) if _COUNT.fullmatch(text) else -1
        if not 0 <= value <= most:
            self.wrong[name] = f"Write a whole number up to {most:,}, or nothing for no limit."
            return 0
        return value

    def dollars(self, name: str) -> int | None:
        """Return an amount in nano-dollars; None for nothing typed."""
        text = self.form.get(name, "")
        if not text:
            return None
        nanos = nanos_of(text)
        if nanos is None:
            self.wrong[name] = _AMOUNT_HELP
        elif nanos > NANOS_MOST:
            self.wrong[name] = f"The most is ${NANOS_MOST // NANOS_PER_DOLLAR:,}."
        return nanos

    def percents(self, name: str) -> tuple[int, ...]:
        """Return percentages from 1 to 100, in order, each once."""
        words = [word for word in re.split(r"[\s,;%]+", self.form.get(name, "")) if word]
        values = [int(word) if re.fullmatch("[0-9]{1,3}", word) else 0 for word in words]
        if not all(1 <= value <= 100 for value in values) or len(values) > WARNINGS_MOST:
            self.wrong[name] = f"Write up to {WARNINGS_MOST} whole numbers from 1 to 100, like 50, 80, 100."
        return tuple(sorted(set(values)))

    def lines(self, name: str) -> tuple[str, ...]:
        """Return the words of a list, one a line or with commas between, each once, in the order given."""
        words = (word.strip() for word in re.split(r"[\r\n,]", self.form.get(name, "")))
        kept = tuple(dict.fromkeys(word for word in words if word))
        if len(kept) > LINES_MOST:
            self.wrong[name] = f"These are {len(kept)}; {LINES_MOST} is the most."
        elif any(len(word) > LINE_CHARS_MOST for word in kept):
            self.wrong[name] = f"One of these is longer than {LINE_CHARS_MOST} characters."
        return kept


def nanos_of(text: str) -> int | None:
    """Return dollars as nano-dollars: ``$1,234.5`` is 1234500000000. None for what is no amount."""
    found = _DOLLARS.fullmatch(text.strip())
    if found is None:
        return None
    whole, part = found.groups()
    return int(whole.replace(",", "")) * NANOS_PER_DOLLAR + int((part or "").ljust(9, "0"))


def typed_dollars(nanos: int) -> str:
    """Return nano-dollars as somebody types them, to the last digit: 20, 19.50, 0.000000001."""
    whole, part = divmod(nanos, NANOS_PER_DOLLAR)
    digits = f"{part:09d}".rstrip("0")
    return f"{whole}.{digits.ljust(2, '0')}" if digits else str(whole)


def fingerprint(*values: object) -> str:
    """Return a short text that another value does not have: a form keeps that of what it was filled from."""
    return blake2b(msgspec.json.encode(values), digest_size=12).hexdigest()


def must_be_seen(form: Mapping[str, str], now: str) -> None:
    """Raise StaleVersion unless the form was filled from what has fingerprint `now`."""
    if form.get("seen", "") != now:
        raise StaleVersion(
            "Somebody else changed this while you were typing.",
            remedy="What you typed is still here. Look at how it is now in another window; saving again replaces it.",
        )


def said(problem: PenstockError) -> str:
    """Return what the platform says of a field, in one line."""
    limit = f" At most: {problem.limit}." if problem.limit not in (None, "", False) else ""
    return f"{problem.message}{limit}{' ' if problem.remedy else ''}{problem.remedy}"


FORM_ERRORS: Final = (Rejected, Conflict)
"""What the platform refuses a form with that somebody can put right in it."""
