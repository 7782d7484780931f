"""Vectors as the embedded index stores them: float32, float16, or eight bits a number with one scale a vector.

Promise: what comes back is float32 again; float32 to the bit, float16 and int8 within half a step of their grid.
A stored vector says its own precision, so rows of several may stand in one space.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from penstock.ports.index import Precision

Floats = NDArray[np.float32]
KINDS: Final[dict[Precision, int]] = {"fp32": 0, "fp16": 1, "int8": 2}
_FP16, _INT8 = 1, 2
_SCALE_BYTES = 4
_FP16_MOST = 65_504.0


def stacked(vectors: Sequence[bytes]) -> Floats:
    """Return float32 vectors of one length as the rows of a matrix."""
    return np.frombuffer(b"".join(vectors), "<f4").reshape(len(vectors), -1)


def stored(matrix: Floats, precision: Precision) -> list[bytes]:
    """Return each row as it is stored."""
    if precision == "fp16":
        return _bytes(np.clip(matrix, -_FP16_MOST, _FP16_MOST).astype("<f2"))
    if precision == "int8":
        scales = (np.abs(matrix).max(axis=1, keepdims=True) / 127).astype("<f4")
        numbers = np.rint(matrix / np.where(scales > 0, scales, 1)).clip(-127, 127).astype(np.int8)
        return [scale + row for scale, row in zip(_bytes(scales), _bytes(numbers), strict=True)]
    return _bytes(np.ascontiguousarray(matrix, "<f4"))


def restored(kind: int, data: Sequence[bytes]) -> Floats:
    """Return vectors stored in one precision as the rows of a matrix."""
    whole = b"".join(data)
    if kind == _FP16:
        return np.frombuffer(whole, "<f2").astype(np.float32).reshape(len(data), -1)
    if kind == _INT8:
        rows = np.frombuffer(whole, np.int8).reshape(len(data), -1)
        scales = np.ascontiguousarray(rows[:, :_SCALE_BYTES]).view("<f4")
        return (rows[:, _SCALE_BYTES:] * scales).astype(np.float32, copy=False)
    return np.frombuffer(whole, "<f4").reshape(len(data), -1)


def mixed(kinds: Sequence[int], data: Sequence[bytes]) -> Floats:
    """Return vectors, each stored in a precision of its own, as the rows of a matrix."""
    if not data or min(kinds) == max(kinds):
        return restored(kinds[0] if data else 0, data)
    which = np.array(kinds)
    first = restored(kinds[0], data[:1])
    whole = np.empty((len(data), first.shape[1]), np.float32)
    for kind in set(kinds):
        places: list[int] = np.flatnonzero(which == kind).tolist()
        whole[places] = restored(kind, [data[place] for place in places])
    return whole


def unit(matrix: Floats) -> Floats:
    """Return the rows scaled to length one; one of length zero stays as it is."""
    peaks = np.abs(matrix).max(axis=1, keepdims=True, initial=0)
    safe = matrix / np.where(peaks > 0, peaks, 1)  # so that no square of a large number overflows
    lengths = np.sqrt(np.einsum("ij,ij->i", safe, safe))[:, None]
    return (safe / np.where(lengths > 0, lengths, 1)).astype(np.float32, copy=False)


def _bytes(matrix: NDArray[Any]) -> list[bytes]:
    width, whole = matrix.itemsize * matrix.shape[1], matrix.tobytes()
    return [whole[at : at + width] for at in range(0, len(whole), width)]
