"""The fewest tokens a prompt can have, for refusing only what certainly does not fit.

Promise: no vendor's tokenizer counts less than `least_tokens`, so nobody is refused wrongly; it is never a bill.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Byte-pair tokenizers split text into words before they merge, and no merge crosses a word: every ASCII word (with its
# contraction, which o200k keeps attached) is at least one token. Other scripts and punctuation only add to the count.
_WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]{1,2}\b)?")


def least_tokens(texts: Iterable[str]) -> int:
    """Return a number of tokens that no vendor's tokenizer counts less than, for the texts of a conversation.

    O(size); for use near a limit only.
    """
    return sum(sum(1 for _ in _WORD.finditer(text)) for text in texts)
