"""How rows of the audit of admin writes are named: newest first, found by organisation and by what else is asked.

Promise: an id sorts before every earlier one's, also within one microsecond of one process, and tells when its row was
made; index values are of one length, whatever the names are.
"""

from __future__ import annotations

from hashlib import blake2b
from itertools import count
from secrets import token_hex
from typing import Final

import msgspec

CHANGES: Final = "changes"
PLATFORM: Final = "*"
US_PER_S: Final = 1_000_000
_TIMES: Final = 1 << 56
_DIGITS: Final = 14
_SEQUENCE = count()


def new_id(at_s: float) -> str:
    """Return the id of a row made at `at_s` (wall clock)."""
    return f"{falling(int(at_s * US_PER_S))}{0xFFFF - next(_SEQUENCE) % 0x10000:04x}{token_hex(8)}"


def falling(at_us: int) -> str:
    """Return how ids of the microsecond `at_us` begin; those of older rows sort behind it."""
    return f"{_TIMES - 1 - at_us:014x}"


def made_us(id: str) -> int:
    """Return when the row of an id was made, in microseconds since 1970."""
    return _TIMES - 1 - int(id[:_DIGITS], 16)


def after_us(at_us: int) -> str:
    """Return what only ids of rows made before `at_us` sort behind."""
    return f"{falling(at_us)}~"


def index_value(*values: str) -> str:
    """Return an index value of fixed size: names together may be longer than an index admits."""
    return blake2b(msgspec.json.encode(values), digest_size=16).hexdigest()
