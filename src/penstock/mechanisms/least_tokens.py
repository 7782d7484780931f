"""The fewest tokens a prompt can have, for refusing only what certainly does not fit.

Promise: no vendor's tokenizer counts less than `least_tokens`, so nobody is refused wrongly; it is never a bill.
"""

from __future__ import annotations

import re
from typing import cast

import msgspec

# Byte-pair tokenizers split text into words before they merge, and no merge crosses a word: every ASCII word (with its
# contraction, which o200k keeps attached) is at least one token. Other scripts and punctuation only add to the count.
_WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]{1,2}\b)?")


def least_tokens(messages_json: bytes) -> int:
    """Return a number of tokens that no vendor's tokenizer counts less than, for a JSON array of messages.

    O(size); for use near a limit only. Raises `msgspec.DecodeError` on bytes that are not JSON.
    """
    total = 0
    waiting: list[object] = [msgspec.json.decode(messages_json)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(cast("list[object]", value))
        elif isinstance(value, dict):
            held = cast("dict[str, object]", value)
            waiting.extend(held[name] for name in ("content", "text") if name in held)
        elif isinstance(value, str):
            total += sum(1 for _ in _WORD.finditer(value))
    return total
