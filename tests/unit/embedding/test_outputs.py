"""Vectors in fewer bytes: within half a step of what was computed, at the edges too."""

from __future__ import annotations

import math
import struct
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.embedding.serving.outputs import PACKERS, numbers_of, shortened

NUMBERS = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40)


def vector(numbers) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


@given(NUMBERS)
def test_int8_is_within_half_a_step_and_uses_the_whole_range(numbers) -> None:
    data, scale = PACKERS["int8"](vector(numbers))
    assert scale is not None
    told = array("b", data).tolist()
    assert len(told) == len(numbers)
    assert all(abs(q * scale - x) <= 0.5001 * scale for q, x in zip(told, numbers, strict=True))
    largest = max(map(abs, numbers))
    assert scale == pytest.approx(largest / 127)
    assert max(map(abs, told)) == (127 if scale else 0)


@given(NUMBERS)
def test_float16_is_the_nearest_half(numbers) -> None:
    data, scale = PACKERS["float16"](vector(numbers))
    assert scale is None
    assert struct.unpack(f"<{len(numbers)}e", data) == tuple(
        struct.unpack("<e", struct.pack("<e", number))[0] for number in numbers
    )


@given(NUMBERS)
def test_binary_is_one_bit_a_number_first_to_last(numbers) -> None:
    data, _ = PACKERS["ubinary"](vector(numbers))
    bits = "".join(f"{byte:08b}" for byte in data)
    assert len(data) == math.ceil(len(numbers) / 8)
    signs = "".join("0" if math.copysign(1, number) < 0 else "1" for number in numbers)
    assert bits == signs.ljust(8 * len(data), "0")
    signed, _ = PACKERS["binary"](vector(numbers))
    assert [byte + 128 for byte in array("b", signed)] == list(data)


def test_float_is_what_was_computed() -> None:
    data = vector([0.25, -1.0])
    assert PACKERS["float"](data) == (data, None)
    assert numbers_of(data).tolist() == [0.25, -1.0]


def test_what_is_cut_has_length_one_again() -> None:
    assert numbers_of(shortened(vector([3.0, 4.0, 12.0]), 2)).tolist() == pytest.approx([0.6, 0.8])
    assert shortened(vector([0.0, 0.0, 1.0]), 2) == bytes(8)
