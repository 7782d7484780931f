"""Vectors in fewer bytes, for callers who keep many: `output_dtype` in the words of Voyage and Cohere.

    float     four bytes a number, as computed
    float16   two; loses nothing that a search can see
    int8      one; each vector by its own scale, which is told beside it, so that no other's range can clip it
    binary    one bit a number, its sign, packed eight to a signed byte (bits of `ubinary` less 128)
    ubinary   the same, unsigned

Promises: what is told times its `scale` is within half a step of what was computed; cosines of int8 vectors need no
scale; a vector that is cut to fewer dimensions has length 1 again. What each costs in recall: docs/embeddings.md.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Callable
from struct import pack
from typing import Final, Literal, NamedTuple

OutputType = Literal["float", "float16", "int8", "binary", "ubinary"]

_SIGNS: Final = bytes([ord("1") if byte < 0x80 else ord("0") for byte in range(256)])
"""By the highest byte of a little-endian float32: whether it is not negative."""


class Packed(NamedTuple):
    """A vector as it is told, and what its numbers are to be multiplied by; None where they are what they are."""

    data: bytes
    scale: float | None = None


def numbers_of(vector: bytes) -> array[float]:
    """Return the numbers of a little-endian float32 vector."""
    numbers = array("f", vector)
    if sys.byteorder != "little":
        numbers.byteswap()
    return numbers


def shortened(vector: bytes, dimensions: int) -> bytes:
    """Return the first `dimensions` numbers of a vector at length 1 (for models trained for that)."""
    numbers = numbers_of(vector[: 4 * dimensions])
    length = math.sqrt(sum([number * number for number in numbers]))
    return (
        pack(f"<{len(numbers)}f", *[number / length for number in numbers])
        if length
        else bytes(4 * len(numbers))
    )


def _as_float(vector: bytes) -> Packed:
    return Packed(vector)


def _as_float16(vector: bytes) -> Packed:
    numbers = numbers_of(vector)
    return Packed(pack(f"<{len(numbers)}e", *numbers))


def _as_int8(vector: bytes) -> Packed:
    numbers = numbers_of(vector)
    step = max(map(abs, numbers)) / 127.0
    if not step:
        return Packed(bytes(len(numbers)), 0.0)
    by = 1.0 / step
    return Packed(array("b", [round(number * by) for number in numbers]).tobytes(), step)


def _as_ubinary(vector: bytes) -> Packed:
    signs = vector[3::4].translate(_SIGNS)
    size = -(-len(signs) // 8)
    return Packed(int(signs.ljust(8 * size, b"0"), 2).to_bytes(size, "big"))


def _as_binary(vector: bytes) -> Packed:
    return Packed(_as_ubinary(vector).data.translate(_LESS_128))


_LESS_128: Final = bytes([(byte - 128) % 256 for byte in range(256)])

PACKERS: Final[dict[OutputType, Callable[[bytes], Packed]]] = {
    "float": _as_float,
    "float16": _as_float16,
    "int8": _as_int8,
    "binary": _as_binary,
    "ubinary": _as_ubinary,
}
"""What writes a vector (little-endian float32) as a type."""
