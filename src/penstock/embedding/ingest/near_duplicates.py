"""Chunks that say nearly the same as one before: MinHash signatures (Broder 1997), found by banding (LSH).

A chunk is a set of shingles: three words in a row, in any case and without what stands between them; where a script has
no blanks, three letters. A signature is the least of all shingles' hashes under each of `MASKS` orders; the share of
places where two signatures agree estimates the share of shingles the chunks have in common (Jaccard). Orders are XORs
with random masks: of well mixed hashes the least under each is any of them with equal chance.

Promises: nothing is read twice; at most `most` chunks are remembered, the oldest are forgotten and counted; the same
chunks in the same order give the same pairs. With 12 bands of 5 a pair of Jaccard .9 is found with .9999, of .8 with
.99, of .7 with .89; those below `threshold` by their signatures are not reported.
"""

from __future__ import annotations

import random
import re
import zlib
from array import array
from collections import OrderedDict
from typing import Final

import msgspec

BANDS: Final = 12
ROWS: Final = 5
WORDS: Final = 3
_BITS: Final = 0xFFFFFFFF
_MIX: Final = 0x9E3779B1
_draw = random.Random("penstock near duplicates")  # noqa: S311 an order, not a secret
MASKS: Final = tuple(_draw.getrandbits(32) for _ in range(BANDS * ROWS))
_WORD: Final = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff]|\w+"
)


class Near(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Two chunks, by the names they were given, the later one first, and how much they have in common (0 to 1)."""

    name: str
    like: str
    similarity: float


def signature(text: str) -> array[int]:
    """Return the MinHash of a text; an empty one for a text without words."""
    words = [word.encode(errors="replace") for word in _WORD.findall(text.casefold())]
    if not words:
        return array("I")
    runs = range(max(1, len(words) - WORDS + 1))
    hashes = {(zlib.crc32(b" ".join(words[n : n + WORDS])) * _MIX) & _BITS for n in runs}
    mixed = [each ^ (each >> 15) for each in hashes]
    return array("I", [min(map(mask.__xor__, mixed)) for mask in MASKS])


def similarity(one: array[int], other: array[int]) -> float:
    """Return the estimated Jaccard similarity of two texts by their signatures."""
    return sum(map(int.__eq__, one, other)) / len(MASKS) if one and other else 0.0


class NearDuplicates:
    """The chunks of one job."""

    def __init__(self, *, threshold: float = 0.85, most: int = 20_000) -> None:
        """Remember up to `most` chunks, about 1.5 KB each; report pairs from `threshold` on."""
        self.forgotten = 0
        self._threshold = threshold
        self._most = most
        self._known: OrderedDict[str, array[int]] = OrderedDict()
        self._bands: list[dict[bytes, str]] = [{} for _ in range(BANDS)]

    def add(self, name: str, text: str) -> Near | None:
        """Remember a chunk; return the chunk before it that is most like it, if one is."""
        signed = signature(text)
        if not signed or name in self._known:
            return None
        keys = _keys(signed)
        candidates = {like for band, key in zip(self._bands, keys, strict=True) if (like := band.get(key))}
        alike = max(
            ((similarity(signed, self._known[like]), like) for like in sorted(candidates)), default=(0.0, "")
        )
        self._remember(name, signed, keys)
        if alike[0] < self._threshold:
            return None
        return Near(name=name, like=alike[1], similarity=alike[0])

    def _remember(self, name: str, signed: array[int], keys: list[bytes]) -> None:
        if len(self._known) == self._most:
            self._forget()
        self._known[name] = signed
        for band, key in zip(self._bands, keys, strict=True):
            band.setdefault(key, name)

    def _forget(self) -> None:
        """Forget the oldest chunk."""
        name, signed = self._known.popitem(last=False)
        self.forgotten += 1
        for band, key in zip(self._bands, _keys(signed), strict=True):
            if band.get(key) == name:
                del band[key]


def _keys(signed: array[int]) -> list[bytes]:
    return [signed[at : at + ROWS].tobytes() for at in range(0, BANDS * ROWS, ROWS)]
