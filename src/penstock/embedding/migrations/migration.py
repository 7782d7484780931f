"""A collection's change to another model: what each is, and how it is told and written down.

    building ─▶ checking ─▶ ready ─▶ switched ⇄ rolled_back        blocked: the job ended with failures, or the check
        │          │                                                        could not be made; its reason says which
        └──────────┴─▶ failed, cancelled                            failed: the new space finds less than it must

Promises: the space that is searched changes by one row, from whole to whole, together with the row that tells of it; a
change that has not been switched can be called off at any time, and one that has can be undone as long as the rows of
before are kept (`drop_after_s`); a step is taken only from the state it was decided in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final, Literal

import msgspec

from penstock.embedding.catalog.collections import (
    CHANGES_MOST,
    COLLECTIONS,
    TENANT,
    CollectionDoc,
    collection_write,
    model_of,
    read_collection,
)
from penstock.kernel.errors import NotFound, StaleVersion
from penstock.ports import records
from penstock.ports.records import Records, Row, Write

MIGRATIONS: Final = records.Collection(name="knowledge_migrations", indexes=("collection", "open"))
PAGE_ROWS: Final = 100

State = Literal[
    "building", "blocked", "checking", "ready", "switched", "rolled_back", "failed", "cancelled", "ended"
]
UNDER_WAY: Final = ("building", "blocked", "checking", "ready")
Open = Literal["yes", "kept"]
"""Whether there is something left to do: soon, or only to let go of rows one day."""
Turn = Callable[[CollectionDoc], CollectionDoc | None]
"""What becomes of a migration's collection; None where it is not as the step needs it."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What a new space found. `known_before` and `known_after` are the shares of known documents that a piece of each
    found among the first ten, in the space before (None where nothing can be embedded for it any more) and in the new
    one; `meant_before` and `meant_after` the shares of pieces whose vector alone found their words among the nearest;
    `dense_recall` is the share of the exact ten nearest that the index found.
    """

    probes: int
    known_after: float
    meant_after: float
    dense_recall: float
    known_before: float | None = None
    meant_before: float | None = None
    missing: str = ""
    """What is wrong; "" when it passed."""


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the collection `uid` from one space to another, worked on by `job` as `key_id`. `drop` is the space
    that is let go of at `drop_after_s`.
    """

    id: str
    uid: str
    owner: str
    key_id: str
    before: str
    after: str
    job: str
    automatic: bool
    created_s: float
    changed_s: float
    state: State = "building"
    reason: str = ""
    blocked_by: Literal["", "job", "check"] = ""
    check: Check | None = None
    drop: str = ""
    drop_after_s: float = 0.0

    @property
    def open(self) -> Open | None:
        """Tell whether there is something left to do, None where nothing is."""
        if self.state in UNDER_WAY or (self.drop and not self.drop_after_s):
            return "yes"
        return "kept" if self.drop else None

    def told(self) -> Mapping[str, object]:
        """Return it as callers read it."""
        return {
            "id": self.id,
            "object": "collection.migration",
            "status": self.state,
            "reason": self.reason or None,
            "from": self.before,
            "to": self.after,
            "model": model_of(self.after),
            "automatic": self.automatic,
            "job": self.job,
            "check": self.check,
            "rollback_until": int(self.drop_after_s) if self.state == "switched" and self.drop else None,
            "created_at": int(self.created_s),
            "changed_at": int(self.changed_s),
        }


class MigrationBook:
    """Where migrations are written down. One per process."""

    def __init__(self, rows: Records) -> None:
        """Keep them in `rows`."""
        self._rows = rows

    async def get(self, migration_id: str) -> Migration | None:
        """Return a migration, None where there is none."""
        row = await self._rows.get(MIGRATIONS.name, TENANT, migration_id)
        return None if row is None else _migration(row)

    async def found(self, uid: str, migration_id: str) -> Migration:
        """Return a migration of a collection. Raises NotFound."""
        found = await self.get(migration_id[:64])
        if found is None or found.uid != uid:
            raise NotFound("There is no such migration.", field="migration", value=migration_id[:64])
        return found

    async def begin(self, migration: Migration, turn: Turn) -> bool:
        """Write a new migration down, and its collection as `turn` has it; False where that has None."""
        for _ in range(CHANGES_MOST):
            beside = await self._turned(migration.uid, turn)
            if beside is None:
                return False
            try:
                await self._rows.transact([_write(migration, 0), beside])
            except StaleVersion:
                continue
            return True
        raise StaleVersion

    async def of(self, uid: str, after: str = "", limit: int = PAGE_ROWS) -> list[Migration]:
        """Return a collection's migrations, oldest first, after the id `after`."""
        rows = await self._rows.find(MIGRATIONS.name, TENANT, "collection", uid, after=after, limit=limit)
        return [_migration(row) for row in rows]

    async def open(self, how: Open) -> AsyncIterator[Migration]:
        """Yield everybody's migrations with something left to do, soon or one day."""
        after = ""
        while rows := await self._rows.find(
            MIGRATIONS.name, TENANT, "open", how, after=after, limit=PAGE_ROWS
        ):
            after = rows[-1].id
            for row in rows:
                yield _migration(row)

    async def change(
        self, migration_id: str, decide: Callable[[Migration], Migration | None], turn: Turn | None = None
    ) -> Migration | None:
        """Change a migration as `decide` says of what it is now, and its collection as `turn` does, both or neither.

        None of either (or no such migration) changes nothing. Raises StaleVersion when others change them all the time.
        """
        for _ in range(CHANGES_MOST):
            row = await self._rows.get(MIGRATIONS.name, TENANT, migration_id)
            decided = None if row is None else decide(_migration(row))
            if row is None or decided is None:
                return None
            beside = None if turn is None else await self._turned(decided.uid, turn)
            if turn is not None and beside is None:
                return None
            try:
                await self._rows.transact([_write(decided, row.version), *([beside] if beside else [])])
            except StaleVersion:
                continue
            return decided
        raise StaleVersion

    async def _turned(self, uid: str, turn: Turn) -> Write | None:
        """Return what writes a collection down as `turn` has it, on the version it was read at."""
        row = await self._rows.get(COLLECTIONS.name, TENANT, uid)
        after = None if row is None else turn(read_collection(row))
        return None if row is None or after is None else collection_write(after, row.version)

    async def forget(self, uid: str) -> None:
        """Forget the migrations of a collection."""
        while found := await self.of(uid):
            await self._rows.transact(
                [Write(collection=MIGRATIONS.name, tenant=TENANT, id=each.id, value=None) for each in found]
            )


def begun(doc: CollectionDoc, migration: Migration) -> CollectionDoc | None:
    """Return a collection that builds the new space; None where it cannot just now."""
    space = migration.after
    if doc.deleted or doc.building or doc.space != migration.before or space in (*doc.spaces, *doc.dropping):
        return None
    builds = {each: doc.build_of(each) for each in doc.spaces}
    return msgspec.structs.replace(
        doc,
        building=space,
        migration=migration.id,
        builds={**builds, space: migration.id},
        declined="" if doc.declined == space else doc.declined,
    )


def switched(doc: CollectionDoc, migration: Migration, *, keeps_before: bool) -> CollectionDoc | None:
    """Return a collection that searches the new space; None where that is not there to be searched."""
    if migration.after not in (doc.building, doc.previous) or doc.space != migration.before:
        return None
    over = (doc.previous, "" if keeps_before else migration.before)
    return msgspec.structs.replace(
        doc,
        space=migration.after,
        building="" if doc.building == migration.after else doc.building,
        previous=migration.before if keeps_before else "",
        migration="",
        dropping=(*doc.dropping, *[each for each in over if each not in ("", migration.after)]),
    )


def rolled_back(doc: CollectionDoc, migration: Migration) -> CollectionDoc | None:
    """Return a collection that searches the space of before again; None where that is gone."""
    if doc.space != migration.after or doc.previous != migration.before:
        return None
    return msgspec.structs.replace(doc, space=migration.before, previous=migration.after)


def without(doc: CollectionDoc, migration: Migration) -> CollectionDoc | None:
    """Return a collection that lets go of what the migration drops; None where it does already, or searches it."""
    space = migration.drop
    if space == doc.space or space in doc.dropping:
        return None
    is_built = doc.building == space
    is_ours = model_of(space) == doc.model
    return msgspec.structs.replace(
        doc,
        building="" if is_built else doc.building,
        migration="" if is_built else doc.migration,
        previous="" if doc.previous == space else doc.previous,
        dropping=(*doc.dropping, space),
        declined=space if is_built and is_ours else doc.declined,
    )


def let_go(doc: CollectionDoc, space: str) -> CollectionDoc:
    """Return a collection of which nothing stands in `space` any more."""
    return msgspec.structs.replace(doc, dropping=tuple([each for each in doc.dropping if each != space]))


def _migration(row: Row) -> Migration:
    return msgspec.json.decode(row.value, type=Migration)


def _write(migration: Migration, expected: int) -> Write:
    is_open = {"open": migration.open} if migration.open else {}
    return Write(
        collection=MIGRATIONS.name,
        tenant=TENANT,
        id=migration.id,
        value=msgspec.json.encode(migration),
        indexed={"collection": migration.uid, **is_open},
        expected=expected,
    )
