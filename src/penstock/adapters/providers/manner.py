"""How one vendor is spoken to, apart from the words themselves, which are its codec's.

Promise: a value; whoever makes a provider says all of it at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from penstock.adapters.providers.hints import RateNames
from penstock.dialects.codec import Codec
from penstock.ports.providers import ChatCall


class Manner(msgspec.Struct, frozen=True, kw_only=True):
    """How one vendor is spoken to, apart from the words themselves."""

    codec: Codec
    limit_name: str
    """The request member it reads its answer limit from."""
    key_header: bytes
    """The header line that carries the key, with ``%b`` for it."""
    target: Callable[[ChatCall], bytes]
    """Where a call goes, under the path of the base URL."""
    answer_marks: tuple[bytes, ...]
    """Members of which every whole answer has one."""
    ends: tuple[re.Pattern[bytes], ...]
    """Of which the last lines of every whole stream hold one. Each begins with plain bytes: that is found fast."""
    rates: RateNames
    headers: bytes = b""
    """Header lines that go with every call."""
    shape: Callable[[bytes], bytes] = bytes
    """What must be done to a request before this vendor takes it."""
    inner_error: Callable[[bytes], bytes] | None = None
    """The error told inside a body that looks like an answer, b"" for none; None: this vendor does no such thing."""
