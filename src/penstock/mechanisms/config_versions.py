"""The routing configuration as numbered versions: checked whole, switched at once on every node, taken back by hand.

    version 0     what the settings file says; needs no store
    1, 2, 3, …    documents in `records`, one row each, and a head row that says which is in force

Promises
1. A document is applied whole or not at all: every mistake in it is told at once, and what was in force stays so.
2. Every node routes by a new version within a second (`signals`; polled while those are down): the switch is one
   assignment, so that a request sees one version from beginning to end.
3. The version before stays built ("hot"): to go back needs no check, no prices and no providers.
4. A version is never changed: to go back is to apply an older one again, under a new number, with who and why.
5. Of two who apply at the same time one is refused, and told to look again.
6. A stored version that cannot be used here takes no node down: the node keeps what it has (at its start the newest
   version that can be used, at last the file's) and `refused` says why.
7. The newest `KEPT_VERSIONS` are kept.

Errors: Invalid, Conflict, NotFound, Unavailable.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, Generic, Protocol, TypeVar, cast

import msgspec

from penstock.kernel.clock import Clock
from penstock.kernel.conversion import table_of
from penstock.kernel.errors import Conflict, Invalid, NotFound, PenstockError, StaleVersion
from penstock.kernel.settings_routes import RoutingDocument
from penstock.mechanisms.news import News
from penstock.ports.records import Collection, Records, Row, Write
from penstock.ports.signals import Signals

COLLECTION: Final = "routing_versions"
COLLECTIONS: Final = (Collection(name=COLLECTION),)
PLATFORM: Final = "*"
TOPIC: Final = "routing"
HEAD: Final = "head"
KEPT_VERSIONS: Final = 500
DOCUMENT_BYTES_MOST: Final = 512 * 1024
WORDS_MOST: Final = 500
POLL_S: Final = 0.25
T = TypeVar("T")
_log = logging.getLogger("penstock.routing")


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One version. `document` None is what the settings file says; `again` is the version it repeats, if any."""

    number: int
    document: RoutingDocument | None
    author: str = ""
    why: str = ""
    at_s: float = 0.0
    again: int | None = None


class Table(Protocol, Generic[T]):
    """What routes by a document: builds one without using it, and uses what was built."""

    def current(self) -> T:
        """Return what is used now."""
        ...

    def built(self, document: RoutingDocument, /) -> T:
        """Return what a document comes to; raises Invalid listing every mistake."""
        ...

    def adopt(self, document: RoutingDocument, table: T, /) -> None:
        """Use it from now on."""
        ...


def read_document(raw: object) -> RoutingDocument:
    """Return a routing document from plain JSON or TOML; raises Invalid that lists every mistake of its shape."""
    if isinstance(raw, RoutingDocument):
        return raw
    if not isinstance(raw, dict):
        raise Invalid("A routing document is a table.", field="document", value=type(raw).__name__)
    mistakes: list[str] = []
    found = table_of("routing", cast("dict[str, object]", raw), RoutingDocument, mistakes)
    if mistakes:
        raise _mistaken(mistakes)
    return cast("RoutingDocument", found)


class ConfigVersions(Generic[T]):
    """Versions of the routing configuration, as one node knows them. `refused` tells of a version not usable here."""

    def __init__(
        self, records: Records, signals: Signals, clock: Clock, table: Table[T], file: RoutingDocument
    ) -> None:
        """Start at version 0, which is `file`'s; `table` routes by it already."""
        self._records = records
        self._clock = clock
        self._table = table
        self.file = file
        self._changed = asyncio.Event()
        self._news = News(signals, TOPIC, clock, self._changed.set)
        self._hot: dict[int, T] = {}
        self.current = Version(number=0, document=None)
        self.refused: dict[int, str] = {}
        self.switches = 0

    @property
    def document(self) -> RoutingDocument:
        """Return the document in force here."""
        return self.current.document or self.file

    # ------------------------------------------------------------------------------------------------ following

    async def start(self) -> None:
        """Take the newest stored version that can be used here; never raises for a bad one. Raises Unavailable."""
        newest = await self._head()
        for number in range(newest, max(newest - KEPT_VERSIONS, 0), -1):
            if await self._follow(number):
                return

    async def watch(self) -> None:
        """Follow what other nodes apply, until cancelled."""
        listening = asyncio.create_task(self._news.watch(), name="routing-news")
        try:
            while True:
                await self._wait()
                try:
                    await self.refresh()
                except PenstockError as error:
                    _log.warning("the routing configuration could not be read: %s", error)
                    await asyncio.sleep(POLL_S)
                    self._changed.set()
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def refresh(self) -> None:
        """Switch to the newest version, if it is another than this node's and can be used. Raises Unavailable."""
        newest = await self._head()
        if newest > self.current.number and newest not in self.refused:
            await self._follow(newest)

    async def _wait(self) -> None:
        """Return at news, or, while there can be none, after a moment."""
        while not self._changed.is_set():
            try:
                async with asyncio.timeout(POLL_S):
                    await self._changed.wait()
            except TimeoutError:
                if not self._news.is_fresh(float("-inf")):
                    break
        self._changed.clear()

    async def _follow(self, number: int) -> bool:
        """Use a stored version; False, with the reason kept, when it cannot be."""
        try:
            version = await self.version(number)
            self._switch(version, self._built(version))
        except (Invalid, NotFound) as error:
            if len(self.refused) >= KEPT_VERSIONS:
                self.refused.pop(next(iter(self.refused)))
            self.refused[number] = str(error)
            _log.error("routing version %d is not used: %s", number, error)
            return False
        return True

    # ------------------------------------------------------------------------------------------------ changing

    def check(self, raw: object) -> RoutingDocument:
        """Return a document that could be applied now; raises Invalid that lists every mistake."""
        document = read_document(raw)
        self._table.built(document)
        return document

    async def apply(
        self,
        raw: object,
        *,
        author: str,
        why: str,
        based_on: int | None = None,
        also: Sequence[Write] = (),
    ) -> Version:
        """Apply a document. `based_on` is the version its author looked at: Conflict if another came since. The rows
        `also` are written with it or not at all; one that is stale is a Conflict, too.
        """
        document = read_document(raw)
        return await self._apply(document, author, why, based_on=based_on, also=also)

    async def rollback(self, to: int | None = None, *, author: str, why: str) -> Version:
        """Go back to version `to`, or to the one that was in force before; raises NotFound when there is none."""
        current = await self._current()
        if to is None:
            to = await self._before(current)
        target = await self.version(to)
        return await self._apply(target.document, author, why, again=to, based_on=current.number)

    async def _before(self, current: Version) -> int:
        """Return the version that was in force before `current`, through any that only went back to it."""
        if current.number == 0:
            raise NotFound("Nothing was applied yet, so there is nothing to go back to.", field="to", value=0)
        if current.again is None:
            return current.number - 1
        # It repeats an older one: the one before is older still, so that going back twice goes back two steps.
        repeated = await self.version(current.again)
        return await self._before(repeated)

    async def _current(self) -> Version:
        """Return what is in force on the platform, which this node may not have heard of yet."""
        return await self.version(await self._head())

    async def _apply(
        self,
        document: RoutingDocument | None,
        author: str,
        why: str,
        *,
        again: int | None = None,
        based_on: int | None = None,
        also: Sequence[Write] = (),
    ) -> Version:
        newest = await self._head()
        if based_on is not None and based_on != newest:
            raise _overtaken(based_on, newest)
        version = Version(
            number=newest + 1,
            document=document,
            author=author[:WORDS_MOST],
            why=why[:WORDS_MOST],
            at_s=self._clock.wall_s(),
            again=again,
        )
        hot = self._hot.get(again) if again is not None else None
        table = self._built(version) if hot is None else hot
        await self._store(version, also)
        self._switch(version, table)
        await self._news.tell()
        return version

    async def _store(self, version: Version, also: Sequence[Write]) -> None:
        value = msgspec.json.encode(version)
        if len(value) > DOCUMENT_BYTES_MOST:
            raise Invalid(
                "The document is too large.", field="document", value=len(value), limit=DOCUMENT_BYTES_MOST
            )
        head = await self._records.get(COLLECTION, PLATFORM, HEAD)
        writes = [
            *also,
            Write(collection=COLLECTION, tenant=PLATFORM, id=_id(version.number), value=value, expected=0),
            Write(
                collection=COLLECTION,
                tenant=PLATFORM,
                id=HEAD,
                value=b"%d" % version.number,
                expected=0 if head is None else head.version,
            ),
        ]
        if version.number > KEPT_VERSIONS:
            writes.append(
                Write(
                    collection=COLLECTION,
                    tenant=PLATFORM,
                    id=_id(version.number - KEPT_VERSIONS),
                    value=None,
                )
            )
        try:
            await self._records.transact(writes)
        except StaleVersion:
            raise _overtaken(version.number - 1, version.number) from None

    def _built(self, version: Version) -> T:
        return self._table.built(self.file if version.document is None else version.document)

    def _switch(self, version: Version, table: T) -> None:
        self._hot = {self.current.number: self._table.current()}
        self._table.adopt(self.file if version.document is None else version.document, table)
        self.current = version
        self.switches += 1

    # ------------------------------------------------------------------------------------------------ looking

    async def version(self, number: int) -> Version:
        """Return one version. Raises NotFound, and Invalid for a row that is no version."""
        if number == 0:
            return Version(number=0, document=None, author="settings file")
        row = await self._records.get(COLLECTION, PLATFORM, _id(number))
        if row is None:
            raise NotFound(
                "There is no such version.",
                field="version",
                value=number,
                remedy="See `config routes history`.",
            )
        return _decoded(row)

    async def history(self, limit: int = 50) -> list[Version]:
        """Return the newest versions, newest first; a row that cannot be read is told as an empty one."""
        newest = await self._head()
        oldest = max(newest - min(limit, KEPT_VERSIONS), 0)
        rows = await self._records.scan(
            COLLECTION, PLATFORM, after=_id(oldest), limit=min(limit, KEPT_VERSIONS) + 1
        )
        found = [_told(row) for row in rows if row.id != HEAD]
        if len(found) < limit:
            found.insert(0, await self.version(0))
        return found[::-1][:limit]

    async def _head(self) -> int:
        row = await self._records.get(COLLECTION, PLATFORM, HEAD)
        return int(row.value) if row is not None and row.value.isdigit() else 0


def _id(number: int) -> str:
    """Return a row's id: numbers in the order of text."""
    return f"{number:012d}"


def _decoded(row: Row) -> Version:
    try:
        return msgspec.json.decode(row.value, type=Version)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"The stored version cannot be read: {error}.", field="version", value=row.id) from None


def _told(row: Row) -> Version:
    try:
        return _decoded(row)
    except Invalid as error:
        return Version(number=int(row.id), document=None, why=error.message)


def _overtaken(based_on: int, newest: int) -> Conflict:
    return Conflict(
        "Somebody else changed the routing configuration meanwhile.",
        code="configuration_changed",
        field="based_on",
        value=based_on,
        limit=newest,
        remedy="Look at what is in force now, and apply again.",
    )


def _mistaken(mistakes: list[str]) -> Invalid:
    return Invalid(
        "The routes cannot be used: " + "; ".join(mistakes),
        code="invalid_routes",
        field="routes",
        value=len(mistakes),
    )
