"""The cache of vectors: by bytes, by everything that made them, and by whose they are."""

from __future__ import annotations

import sys
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.embedding.serving.vectors_cache import ENTRY_BYTES, Kept, Keys, VectorsCache
from tests.counting_encoder import spec

SIZE = 100 + ENTRY_BYTES


def key_of(text: str, tenant: str = "a", prefix: str = "", **fields) -> bytes:
    keys = Keys(spec(**fields))
    return keys.key(keys.start(tenant, prefix), text)


@pytest.mark.parametrize(
    "other",
    [
        {"text": "lake!"},
        {"tenant": "b"},
        {"prefix": "query: "},
        {"name": "other"},
        {"version": "2"},
        {"precision": "int8"},
        {"pooling": "cls"},
    ],
)
def test_whatever_makes_another_vector_makes_another_key(other) -> None:
    assert key_of(**{"text": "lake", **other}) != key_of("lake")
    assert key_of("lake") == key_of("lake")


def test_case_is_one_where_the_model_declares_it_and_two_elsewhere() -> None:
    assert key_of("Lake", lowercases=True) == key_of("lAKE", lowercases=True)
    assert key_of("Lake", lowercases=False) != key_of("lake", lowercases=False)
    assert key_of("ΟΔΟΣ", lowercases=True) != key_of(
        "οδος", lowercases=True
    )  # a tokenizer may tell them apart


def test_a_prefix_cannot_pretend_to_be_a_text() -> None:
    assert key_of("query: a") != key_of("a", prefix="query: ")
    assert key_of("a", tenant="x\0y") != key_of("a", tenant="x")


def test_what_is_no_text_has_no_key() -> None:
    with pytest.raises(UnicodeEncodeError):
        key_of("\ud800")


def test_the_least_recently_used_goes_first_at_the_bound() -> None:
    cache = VectorsCache(3 * SIZE)
    for name in (b"a", b"b", b"c"):
        cache.put(name, bytes(100), 5)
    assert (cache.bytes, len(cache)) == (3 * SIZE, 3)
    assert cache.get(b"a") == Kept(bytes(100), 5)
    cache.put(b"d", bytes(100), 5)
    assert cache.get(b"b") is None
    assert [cache.get(name) is not None for name in (b"a", b"c", b"d")] == [True] * 3
    assert (cache.bytes, cache.evicted, cache.hits, cache.misses) == (3 * SIZE, 1, 4, 1)


def test_the_alarm_sounds_from_four_fifths_on() -> None:
    cache = VectorsCache(10 * SIZE)
    for number in range(7):
        cache.put(bytes([number]), bytes(100), 1)
    assert not cache.is_alarming
    cache.put(b"one more", bytes(100), 1)
    assert cache.is_alarming
    assert not VectorsCache(0).is_alarming


def test_what_is_larger_than_everything_is_not_kept() -> None:
    cache = VectorsCache(SIZE)
    cache.put(b"a", bytes(100), 1)
    cache.put(b"b", bytes(101), 1)
    assert (cache.get(b"a") is not None, cache.get(b"b")) == (True, None)
    nothing = VectorsCache(0)
    nothing.put(b"a", b"", 1)
    assert nothing.get(b"a") is None


@given(st.lists(st.tuples(st.binary(max_size=2), st.integers(0, 300)), max_size=60))
def test_its_bytes_are_always_those_of_what_it_keeps(puts) -> None:
    cache = VectorsCache(4 * SIZE)
    for name, size in puts:
        cache.put(name, bytes(size), 1)
        assert cache.bytes == sum(len(kept.vector) + ENTRY_BYTES for kept in cache._kept.values()) <= 4 * SIZE


def test_an_entry_is_counted_with_all_it_takes() -> None:
    kept: OrderedDict[bytes, Kept] = OrderedDict()
    for number in range(10_000):
        kept[number.to_bytes(32, "big")] = Kept(bytes(1_536), number)
    each = kept[bytes(32)]
    entry = sys.getsizeof(kept) / 10_000 + sys.getsizeof(bytes(32)) + sys.getsizeof(each) + sys.getsizeof(b"")
    assert entry <= ENTRY_BYTES
