"""What the documents of one space say of themselves, as columns: which of them pass a question, for all at once.

A column numbers its different values; a condition is looked up once per different value and spread over the documents.
Promise: exactly those pass that the port's promise 2 lets through. Labels are denied by default.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from penstock.adapters.index.embedded_lines import Head
from penstock.ports.index import Question, Scalar, Where

V = TypeVar("V")
Bools = NDArray[np.bool_]
_OWN: Final = ("id", "title", "url", "language")
_ABSENT: Final = 0
"""The code of a document without the field."""
_GROWTH: Final = 2
_VALUE_BYTES: Final = 150
"""What a value costs in a dictionary, about."""


class _Column(Generic[V]):
    """The values of one field, one code a document; `codes` is filled up to the document last added."""

    def __init__(self) -> None:
        self.codes: NDArray[np.int32] = np.zeros(64, np.int32)
        self.values: dict[V, int] = {}

    def set(self, place: int, value: V) -> None:
        code = self.values.setdefault(value, len(self.values) + 1)
        if place >= len(self.codes):
            codes = np.zeros(max(_GROWTH * len(self.codes), place + 1), np.int32)
            codes[: len(self.codes)] = self.codes
            self.codes = codes
        self.codes[place] = code

    def spread(self, passing: Iterable[int], size: int) -> Bools:
        """Tell for each of `size` documents whether its code is among `passing`."""
        table = np.zeros(len(self.values) + 1, np.bool_)
        table[list(passing)] = True
        codes = self.codes[:size]
        verdict = np.full(size, table[_ABSENT])
        verdict[: len(codes)] = table[codes]
        return verdict


class Columns:
    """The documents of a space, by the order in which they were added."""

    def __init__(self) -> None:
        self.size = 0
        self.languages: set[str] = set()
        self._labels: _Column[tuple[str, ...]] = _Column()
        self._labelled = False
        self._fields: dict[str, _Column[tuple[bool, Scalar]]] = {}

    @property
    def bytes(self) -> int:
        """Return about how much memory this takes."""
        columns = [self._labels, *self._fields.values()]
        return sum(column.codes.nbytes + _VALUE_BYTES * len(column.values) for column in columns)

    def add(self, heads: Sequence[Head]) -> None:
        """Add documents."""
        for place, head in enumerate(heads, self.size):
            self._labels.set(place, tuple(sorted(set(head.labels))))
            self._labelled = self._labelled or bool(head.labels)
            self.languages.add(head.language)
            own = zip(_OWN, (head.id, head.title, head.url, head.language), strict=True)
            for field, value in (*((f, v) for f, v in head.metadata.items() if f not in _OWN), *own):
                column = self._fields.get(field)
                if column is None:
                    column = self._fields[field] = _Column()
                column.set(place, _key(value))
        self.size += len(heads)

    def passing(self, question: Question) -> Bools | None:
        """Tell of each document whether it passes; None: all do."""
        verdict: Bools | None = None
        if self._labelled:
            has = frozenset(question.labels)
            seen = [
                code
                for labels, code in self._labels.values.items()
                if not labels or not has.isdisjoint(labels)
            ]
            verdict = self._labels.spread(seen, self.size)
        for where in question.where:
            each = self._where(where)
            verdict = each if verdict is None else verdict & each
        return verdict

    def _where(self, where: Where) -> Bools:
        column = self._fields.get(where.field)
        if column is None:
            return np.zeros(self.size, np.bool_)
        if where.any_of:
            wanted = {_key(value) for value in where.any_of}
            codes = {column.values[key]: key for key in wanted if key in column.values}
        else:
            codes = {code: key for key, code in column.values.items()}
        return column.spread((code for code, key in codes.items() if _within(where, key)), self.size)


def _key(value: Scalar) -> tuple[bool, Scalar]:
    """Return what equal values have in common: 1 and 1.0 are one number, and no truth value is."""
    return isinstance(value, bool), value


def _within(where: Where, key: tuple[bool, Scalar]) -> bool:
    is_truth, value = key
    if where.at_least is None and where.at_most is None:
        return True
    if is_truth or isinstance(value, str):
        return False
    return (where.at_least is None or value >= where.at_least) and (
        where.at_most is None or value <= where.at_most
    )
