"""The keys of contents: one for each organisation, day and person, kept wrapped, and never kept twice.

    master (a secret) ──wraps──▶ data key of (organisation, day or "flagged", person) ──seals──▶ contents

Promises: a content is readable as long as its key's row is there, and never after: to forget a person, a day or an
organisation is to delete rows. Nothing else holds a key but the memory of a process that writes, for `FRESH_S`; what it
seals with a key that was deleted meanwhile is lost, which is what was asked for. (A store's free pages and backups hold
deleted rows for as long as they do.)
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from os import urandom
from typing import Final, Protocol

from penstock.kernel.clock import Clock
from penstock.kernel.errors import StaleVersion
from penstock.ports.records import Collection, Records, Write

COLLECTIONS: Final = (Collection(name="content_keys", indexes=("day", "person")),)
KEY_BYTES: Final = 32
FRESH_S: Final = 60.0
REMEMBERED: Final = 4_096
FLAGGED: Final = "flagged"
"""The "day" of what is kept for ever."""
PAGE: Final = 100


class Seal(Protocol):
    """What seals: AES-256-GCM."""

    def seal(self, key: bytes, plain: bytes, context: bytes) -> bytes:
        """Return what is sealed."""
        ...

    def open(self, key: bytes, sealed: bytes, context: bytes) -> bytes:
        """Return what was sealed; Broken when a byte, the key or the context is another."""
        ...


def person_id(user: str) -> str:
    """Return an id of fixed size for a user."""
    return blake2b(user.encode(errors="replace"), digest_size=16).hexdigest()


class ContentKeys:
    """Makes, finds and deletes data keys. `tenant` is the organisation's (see `store`)."""

    def __init__(self, records: Records, seal: Seal, master: bytes, clock: Clock) -> None:
        """Wrap keys with `master`, 32 secret bytes."""
        self._records = records
        self._seal = seal
        self._master = master
        self._clock = clock
        self._fresh: OrderedDict[tuple[str, str], tuple[str, bytes, float]] = OrderedDict()

    async def writing(self, tenant: str, day: str, user: str) -> tuple[str, bytes]:
        """Return the id and bytes of the key to seal with, made when there is none.

        The id is the row's and a mark of this very key: one that is made after another was deleted has another id.
        """
        place = tenant, f"{day}:{person_id(user)}"
        id, key, until_s = self._fresh.get(place, ("", b"", 0.0))
        if until_s > self._clock.monotonic_s():
            return id, key
        wrapped = await self._wrapped(*place)
        id, key = f"{place[1]}#{_mark(wrapped)}", self._unwrapped(*place, wrapped)
        self._fresh[place] = id, key, self._clock.monotonic_s() + FRESH_S
        self._fresh.move_to_end(place)
        if len(self._fresh) > REMEMBERED:
            self._fresh.popitem(last=False)
        return id, key

    async def reading(self, tenant: str, id: str) -> bytes | None:
        """Return a key; None when it was deleted."""
        row_id, _, mark = id.partition("#")
        row = await self._records.get("content_keys", tenant, row_id)
        if row is None or _mark(row.value) != mark:
            return None
        return self._unwrapped(tenant, row_id, row.value)

    async def forget(self, tenant: str, *, day: str = "", user: str | None = None) -> int:
        """Delete the keys of a day, of a person, or of the whole organisation; returns how many."""
        gone = 0
        while True:
            if day:
                rows = await self._records.find("content_keys", tenant, "day", day, limit=PAGE)
            elif user is not None:
                rows = await self._records.find("content_keys", tenant, "person", person_id(user), limit=PAGE)
            else:
                rows = await self._records.scan("content_keys", tenant, limit=PAGE)
            if not rows:
                return gone
            await self._records.transact([_write(tenant, row.id, None) for row in rows])
            for row in rows:
                self._fresh.pop((tenant, row.id), None)
            gone += len(rows)

    async def days(self, tenant: str) -> set[str]:
        """Return the days of which there are keys."""
        days: set[str] = set()
        after = ""
        while rows := await self._records.scan("content_keys", tenant, after=after, limit=1):
            day = rows[0].id.partition(":")[0]
            days.add(day)
            after = f"{day};"  # the first id after every one of that day
        return days

    async def _wrapped(self, tenant: str, row_id: str) -> bytes:
        """Return a wrapped key, made when there is none."""
        row = await self._records.get("content_keys", tenant, row_id)
        if row is not None:
            return row.value
        wrapped = self._seal.seal(self._master, urandom(KEY_BYTES), _context(tenant, row_id))
        try:
            await self._records.transact([_write(tenant, row_id, wrapped)])
        except StaleVersion:  # another process was first
            return await self._wrapped(tenant, row_id)
        return wrapped

    def _unwrapped(self, tenant: str, row_id: str, wrapped: bytes) -> bytes:
        return self._seal.open(self._master, wrapped, _context(tenant, row_id))


def _mark(wrapped: bytes) -> str:
    return blake2b(wrapped, digest_size=8).hexdigest()


def _context(tenant: str, id: str) -> bytes:
    return f"{tenant}\n{id}".encode()


def _write(tenant: str, id: str, value: bytes | None) -> Write:
    day, _, person = id.partition(":")
    return Write(
        collection="content_keys",
        tenant=tenant,
        id=id,
        value=value,
        indexed={} if value is None else {"day": day, "person": person},
        expected=None if value is None else 0,
    )
