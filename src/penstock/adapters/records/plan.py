"""What a transaction on rows will do, decided before any of it is done. Pure: both adapters read, plan, then write.

Promises: every bound of ports/records.py is checked here, for both adapters alike; a plan applies all of its writes
or raises; writes to one row apply in their order; unique values may move between rows of one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from penstock.kernel.errors import Invalid, StaleVersion
from penstock.ports.records import Collection, Write

TEXT_BYTES = 512
VALUE_BYTES = 1 << 20
WRITES_MOST = 100
PAGE_MOST = 1_000
BEHIND_ALL = "\U0010ffff" * (TEXT_BYTES // 4 + 1)
"""Sorts behind every id: no text is greater, and it is longer than an id may be."""

Place = tuple[str, str, str]
"""Where a row stands: collection, tenant, id."""


class Stored(msgspec.Struct, frozen=True):
    """What the store knows of a row before the transaction. A deleted row is remembered by its last version."""

    version: int
    alive: bool
    indexed: dict[str, str]


class Change(msgspec.Struct, frozen=True):
    """What a row becomes. `value` None: it is deleted and only its version is remembered."""

    place: Place
    version: int
    value: bytes | None
    indexed: dict[str, str]
    is_new: bool


class Entry(msgspec.Struct, frozen=True, order=True):
    """One line of an index. `sole` when the index is unique."""

    collection: str
    tenant: str
    index: str
    value: str
    id: str
    sole: bool


class Plan(msgspec.Struct, frozen=True):
    """Rows to write, then index entries to drop, then entries to add: in this order a unique value can change hands.

    Each list is in one order for every transaction, so that two of them wait for each other rather than deadlock.
    """

    changes: list[Change]
    dropped: list[Entry]
    added: list[Entry]
    versions: list[int]


class Catalogue:
    """The declared collections, and the checks that belong to them."""

    __slots__ = ("_indexes", "_unique")

    def __init__(self, collections: Sequence[Collection]) -> None:
        """Learn the declarations; Invalid when a name is declared twice."""
        self._indexes: dict[str, frozenset[str]] = {}
        self._unique: dict[str, frozenset[str]] = {}
        for collection in collections:
            if collection.name in self._indexes:
                raise Invalid("A collection is declared twice.", field="collections", value=collection.name)
            self._indexes[collection.name] = frozenset((*collection.indexes, *collection.unique))
            self._unique[collection.name] = frozenset(collection.unique)

    def check_scope(self, collection: str, tenant: str) -> None:
        """Raise Invalid unless `collection` is declared and `tenant` is text within bounds."""
        if collection not in self._indexes:
            raise Invalid("This collection was not declared when the store was opened.", field=collection)
        check_text("tenant", tenant, least=0)

    def check_index(self, collection: str, index: str, value: str) -> None:
        """Raise Invalid unless `index` is declared on `collection` and `value` is text within bounds."""
        if index not in self._indexes[collection]:
            raise Invalid("This index was not declared on its collection.", field=f"{collection}.{index}")
        check_text(f"{collection}.{index}", value, least=0)

    def check_writes(self, writes: Sequence[Write]) -> None:
        """Raise Invalid when a write, or their number, is out of bounds."""
        if not 1 <= len(writes) <= WRITES_MOST:
            bounds = f"1 to {WRITES_MOST}"
            raise Invalid("A transaction is out of bounds.", field="writes", value=len(writes), limit=bounds)
        for write in writes:
            self.check_scope(write.collection, write.tenant)
            check_text("id", write.id, least=1)
            if write.value is not None and len(write.value) > VALUE_BYTES:
                raise Invalid(
                    "A value is too large.", field="value", value=len(write.value), limit=VALUE_BYTES
                )
            if write.expected is not None and write.expected < 0:
                raise Invalid("A version is never negative.", field="expected", value=write.expected, limit=0)
            for index, value in write.indexed.items():
                self.check_index(write.collection, index, value)

    def plan(self, writes: Sequence[Write], stored: Mapping[Place, Stored]) -> Plan:
        """Decide what checked `writes` do to the rows `stored` knows; StaleVersion when one expected otherwise."""
        changes: dict[Place, Change] = {}
        versions: list[int] = []
        for write in writes:
            place = (write.collection, write.tenant, write.id)
            found = stored.get(place)
            last, alive = (found.version, found.alive) if found else (0, False)
            if place in changes:
                last, alive = changes[place].version, changes[place].value is not None
            _check_version(write, last if alive else 0)
            if write.value is None:
                versions.append(0)
                if alive:
                    changes[place] = Change(place, last, None, {}, found is None)
                continue
            versions.append(last + 1)
            changes[place] = Change(place, last + 1, write.value, write.indexed, found is None)
        ordered = [changes[place] for place in sorted(changes)]
        after = {entry for change in ordered for entry in self._entries(change.place, change.indexed)}
        before = {
            entry
            for place in changes
            if place in stored
            for entry in self._entries(place, stored[place].indexed)
        }
        return Plan(ordered, sorted(before - after), sorted(after - before), versions)

    def declared(self) -> list[tuple[str, str, bool]]:
        """Every index as (collection, index, is it unique), for the store to remember."""
        return [
            (collection, index, index in self._unique[collection])
            for collection, indexes in sorted(self._indexes.items())
            for index in sorted(indexes)
        ]

    def _entries(self, place: Place, indexed: Mapping[str, str]) -> list[Entry]:
        collection, tenant, id_ = place
        unique = self._unique.get(collection, frozenset())
        return [
            Entry(collection, tenant, index, value, id_, index in unique) for index, value in indexed.items()
        ]


def check_remembered(index: tuple[str, str], *, sole: bool, remembered: bool) -> None:
    """Raise Invalid when an index was plain and is now declared unique, or the other way round."""
    if sole != remembered:
        kind = "unique" if remembered else "plain"
        name = ".".join(index)
        raise Invalid(
            f"This index was made {kind}.", field=name, remedy="Declare the new kind under a new name."
        )


def check_page(after: str, limit: int) -> None:
    """Raise Invalid unless `limit` is 1 to 1,000 and `after` is text within bounds."""
    if not 1 <= limit <= PAGE_MOST:
        raise Invalid("A page is out of bounds.", field="limit", value=limit, limit=f"1 to {PAGE_MOST}")
    check_text("after", after, least=0)


def check_text(field: str, text: str, *, least: int) -> None:
    """Raise Invalid unless `text` takes `least` to 512 bytes of UTF-8."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise Invalid("This is not text: a lone surrogate has no UTF-8.", field=field) from None
    if not least <= size <= TEXT_BYTES:
        raise Invalid(
            "This text is out of bounds.", field=field, value=size, limit=f"{least} to {TEXT_BYTES} bytes"
        )


def _check_version(write: Write, current: int) -> None:
    if write.expected is not None and write.expected != current:
        raise StaleVersion(field=f"{write.collection}/{write.id}", value=write.expected, limit=current)
