"""Vectors of texts seen before: least recently used go first, by bytes.

    key = SHA-256 of tenant · model@version · precision · pooling · prefix · the text as its model reads it

Promises
1. A text's vector is found only by a key that holds everything which made it; the tenant is in every key, because what
   is shared tells by its speed whether somebody else had that very text embedded. What that costs is one computation a
   tenant and text.
2. It holds at most `max_bytes`, what Python needs around an entry included; `is_alarming` from 80 % on.
3. Finding takes microseconds (a hash of the text and one look-up) and touches neither tokenizer nor encoder.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from typing import Final, NamedTuple

from penstock.ports.encoder import EncoderSpec

ENTRY_BYTES: Final = 320
"""Around a vector: its key, the pair it is in, their places in the table (measured: 297)."""
ALARM_SHARE: Final = 0.8


class Kept(NamedTuple):
    """A vector and how many tokens its text had."""

    vector: bytes
    tokens: int


class Keys:
    """Makes the keys of one model's vectors."""

    def __init__(self, spec: EncoderSpec) -> None:
        """Make keys for vectors of `spec`."""
        self._model = f"{spec.name}@{spec.version}\0{spec.precision}\0{spec.pooling}"
        self._lowercases = spec.lowercases

    def start(self, tenant: str, prefix: str) -> bytes:
        """Return what all keys of a tenant and a prefix begin with."""
        return sha256(f"{tenant}\0{self._model}\0{prefix}".encode()).digest()

    def key(self, start: bytes, text: str) -> bytes:
        """Return the key of a text. Raises UnicodeEncodeError for one that is none (a lone surrogate)."""
        # Outside ASCII Python's lower case is not every tokenizer's (ΟΔΟΣ has two sigmas): there each text has its own.
        same = text.lower() if self._lowercases and text.isascii() else text
        return sha256(start + same.encode()).digest()


class VectorsCache:
    """The cache of one model. See the promises above."""

    def __init__(self, max_bytes: int) -> None:
        """Hold at most `max_bytes`; 0 keeps nothing."""
        self.max_bytes = max_bytes
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self.evicted = 0
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()

    def __len__(self) -> int:
        """Return how many vectors are kept."""
        return len(self._kept)

    @property
    def is_alarming(self) -> bool:
        """Tell whether it is so full that it will soon forget what is still wanted."""
        return self.bytes >= ALARM_SHARE * self.max_bytes > 0

    def get(self, key: bytes) -> Kept | None:
        """Return what is kept under a key."""
        found = self._kept.get(key)
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        self._kept.move_to_end(key)
        return found

    def put(self, key: bytes, vector: bytes, tokens: int) -> None:
        """Keep a vector; one larger than everything may be is not kept."""
        size = len(vector) + ENTRY_BYTES
        if size > self.max_bytes:
            return
        before = self._kept.pop(key, None)
        if before is not None:
            self.bytes -= len(before.vector) + ENTRY_BYTES
        self._kept[key] = Kept(vector, tokens)
        self.bytes += size
        while self.bytes > self.max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self.bytes -= len(oldest.vector) + ENTRY_BYTES
            self.evicted += 1
