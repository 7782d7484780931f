"""The work on migrations: begun, built as a job beside the searches, checked, switched, undone, let go of.

Promises: as `migration` has them; documents that are sent meanwhile go into both spaces; before the check every
document that stands in the space of before stands in the new one as it is now; a crash at any step is taken up by the
next look; a model whose version changed by itself (an upgrade) is followed, eagerly or from the first search on, once:
where that failed or was called off, only somebody who asks begins it again.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from hashlib import sha256
from heapq import nsmallest
from operator import methodcaller
from typing import Final

from msgspec import structs

from penstock.embedding.catalog.announcing import LEASE_S, Announcer
from penstock.embedding.catalog.collections import CollectionDoc, marked
from penstock.embedding.catalog.embedder import is_alive
from penstock.embedding.catalog.jobs import JobDoc, changed, list_write
from penstock.embedding.catalog.library import Library
from penstock.embedding.migrations.migration import (
    UNDER_WAY,
    Migration,
    MigrationBook,
    Open,
    State,
    Turn,
    begun,
    let_go,
    rolled_back,
    switched,
    without,
)
from penstock.embedding.migrations.recall import PROBES_MOST, Finder, check
from penstock.kernel.errors import (
    Conflict,
    Invalid,
    NotFound,
    OverLimit,
    PenstockError,
    StaleVersion,
    Unavailable,
)
from penstock.kernel.ids import new_id

_log = logging.getLogger("penstock.embedding")
PAGE: Final = 500
DAY_S: Final = 86_400.0
REST_S: Final = 10.0
"""Seconds until a migration is looked at again that could not go on."""
KEPT_LOOK_S: Final = 60.0
"""Seconds between two looks at migrations whose rows of before are kept."""


class Migrations:
    """Works on migrations. One per process."""

    def __init__(
        self, library: Library, book: MigrationBook, announcer: Announcer, finder: Finder, *, kept_days: float
    ) -> None:
        """Keep the rows of before for `kept_days` days."""
        self._library = library
        self.book = book
        self._announcer = announcer
        self._finder = finder
        self._kept_s = kept_days * DAY_S
        self._resting: dict[str, float] = {}
        self._kept_seen_s = -KEPT_LOOK_S

    # ------------------------------------------------------------------------------------------------ as asked for

    async def start(
        self, collection: CollectionDoc, model: str, key_id: str, *, automatic: bool = True
    ) -> Migration:
        """Begin the change of a collection to a model. Raises NotFound, Conflict, Invalid."""
        library = self._library
        space = library.embedder.space(model).name
        if space == collection.space:
            raise Invalid("The collection has that model.", field="model", value=model, limit=space)
        now_s = library.clock.wall_s()
        migration = Migration(
            id=new_id("mig_"),
            uid=collection.uid,
            owner=collection.owner,
            key_id=key_id,
            before=collection.space,
            after=space,
            job=new_id("job_"),
            automatic=automatic,
            created_s=now_s,
            changed_s=now_s,
        )
        if not await self.book.begin(migration, lambda doc: begun(doc, migration)):
            raise Conflict(
                "The collection is being changed, or keeps the rows of that model.",
                code="migration_under_way",
                field="model",
                value=model,
                remedy="Wait for the change under way, roll it back, or cancel it.",
            )
        await self._job(migration)
        return migration

    async def switch(self, migration: Migration, key_id: str) -> Migration:
        """Search the new space from now on. Raises Conflict where it is not ready."""
        if migration.state == "blocked":
            told = await self._enter(migration, "checking", of=("blocked",), key_id=key_id, automatic=True)
            return await self._advance(told)
        return await self._switch(migration)

    async def rollback(self, migration: Migration) -> Migration:
        """Search the space of before again. Raises Conflict where it is gone."""
        return await self._enter(
            migration,
            "rolled_back",
            of=("switched",),
            turn=lambda doc: rolled_back(doc, migration),
            drop=migration.after,
            drop_after_s=self._library.clock.wall_s() + self._kept_s,
        )

    async def finish(self, migration: Migration) -> Migration:
        """Let go of the space that is not searched now rather than later. Raises Conflict."""
        if migration.state not in ("switched", "rolled_back") or not migration.drop:
            raise _not_now(migration, "finished")
        done = await self._enter(migration, migration.state, of=(migration.state,), drop_after_s=0.0)
        try:
            return await self._dropped(done)
        except Conflict:  # a look that came meanwhile has done it
            return await self.book.get(migration.id) or done

    async def cancel(self, migration: Migration) -> Migration:
        """Call a change off that has not been switched. Raises Conflict."""
        done = await self._enter(migration, "cancelled", of=UNDER_WAY, drop=migration.after)
        await self._call_off(done)
        return done

    async def follow(self, collection: CollectionDoc) -> None:
        """Begin the change to the version that a collection's model has become, if it has, and nobody declined it."""
        try:
            space = self._library.embedder.space(collection.model).name
        except NotFound:
            return  # there is no such model any more
        if space in (collection.space, collection.declined) or collection.building:
            return
        try:
            await self.start(collection, collection.model, collection.key_id)
        except Conflict:
            pass  # somebody else began it a moment ago

    async def seen_stale(self, collection: CollectionDoc, documents: Sequence[str]) -> None:
        """Note that a search came upon documents of a version that is no more: they are embedded anew, these first."""
        await self.follow(collection)
        now = await self._library.book.get(collection.uid)
        migration = None if now is None or not now.migration else await self.book.get(now.migration)
        if migration is not None:
            await self._announcer.hasten(migration.job, documents)

    # ------------------------------------------------------------------------------------------------- by themselves

    async def tend(self) -> None:
        """Bring every migration as far as it goes now; one that could not go on is left alone for a while."""
        now_s = self._library.clock.monotonic_s()
        self._resting = {name: until_s for name, until_s in self._resting.items() if until_s > now_s}
        await self._tend("yes", now_s)
        if now_s - self._kept_seen_s >= KEPT_LOOK_S:
            self._kept_seen_s = now_s
            await self._tend("kept", now_s)

    async def _tend(self, how: Open, now_s: float) -> None:
        async for migration in self.book.open(how):
            if migration.id in self._resting:
                continue
            try:
                await self._advance(migration)
            except Conflict:
                continue  # somebody took another step meanwhile: the next look goes on from there
            except PenstockError as error:
                self._resting[migration.id] = now_s + REST_S
                _log.warning("the migration %s cannot go on just now: %s", migration.id, error)

    async def _advance(self, migration: Migration) -> Migration:
        collection = await self._library.book.get(migration.uid)
        if collection is None or collection.deleted:
            return migration  # all of it goes with the collection
        if migration.state in ("building", "blocked"):
            migration = await self._built(migration)
        if migration.state == "checking":
            migration = await self._checked(collection, migration)
        if migration.state == "ready" and migration.automatic:
            migration = await self._switch(migration)
        if not migration.drop:
            return migration
        is_over = migration.drop in collection.dropping
        if is_over or self._library.clock.wall_s() >= migration.drop_after_s:
            return await self._dropped(migration)
        return migration

    async def _built(self, migration: Migration) -> Migration:
        """Look how far the job is."""
        job = await self._library.jobs.get(migration.job)
        if job is None:
            await self._job(migration)
        elif job.status == "complete":
            if migration.blocked_by != "check":
                return await self._enter(migration, "checking", of=(migration.state,))
        elif job.status in ("partial", "failed") and migration.state == "building":
            reason = f"Its job ended {job.status}: retry the job {job.id}, or cancel the migration."
            return await self._enter(migration, "blocked", of=("building",), reason=reason, blocked_by="job")
        elif job.status == "cancelled":
            return await self._enter(migration, "cancelled", of=(migration.state,), drop=migration.after)
        elif job.is_open and migration.state == "blocked":
            return await self._enter(migration, "building", of=("blocked",))
        return migration

    async def _checked(self, collection: CollectionDoc, migration: Migration) -> Migration:
        """Complete the new space, and see what it finds."""
        library = self._library
        of: Collection[State] = ("checking",)
        missing, sample = await self._compared(collection, migration)
        if missing:
            told = await self._enter(migration, "building", of=of)
            job = await library.jobs.get(migration.job)
            if job is not None:
                await self._again(job, missing)
            return told
        try:
            who = await library.principals.principal_of(migration.key_id)
            after = structs.replace(collection, space=migration.after)
            found = await check(library, self._finder, collection, after, sample, who)
        except (OverLimit, Unavailable):
            if library.clock.wall_s() < migration.changed_s + DAY_S:
                raise  # it may pass: the next look tries again
            reason = "The check could not be made for a day."
            return await self._enter(migration, "blocked", of=of, reason=reason, blocked_by="check")
        except PenstockError as error:
            reason = f"The check could not be made: {error}"[:500]
            return await self._enter(migration, "blocked", of=of, reason=reason, blocked_by="check")
        if found.missing:
            return await self._enter(
                migration, "failed", of=of, reason=found.missing, check=found, drop=migration.after
            )
        return await self._enter(migration, "ready", of=of, check=found)

    async def _compared(
        self, collection: CollectionDoc, migration: Migration
    ) -> tuple[list[str], Sequence[str]]:
        """Return documents (a page at most) that do not stand in the new space as they do in the index, and a sample
        of all, the same always.
        """
        missing: list[str] = []
        sample: list[tuple[bytes, str]] = []
        after = ""
        while page := await self._library.book.documents(collection.uid, after, PAGE):
            after = page[-1].id
            held = [doc for doc in page if doc.held is not None and not doc.deleted]
            missing += [
                doc.id
                for doc in held
                if doc.held and doc.spaces.get(migration.after) != marked(doc.held, migration.id)
            ]
            if len(missing) >= PAGE:
                break
            sample += [(sha256(doc.id.encode()).digest(), doc.id) for doc in held]
            sample = nsmallest(PROBES_MOST, sample)
        return missing[:PAGE], [name for _, name in sample]

    async def _again(self, job: JobDoc, documents: Sequence[str]) -> None:
        """Have documents built that slipped through between the beginning of the change and their job's."""
        for first in range(0, len(documents), 40):
            page = documents[first : first + 40]
            ended = {name: end for name in page if (end := await self._library.jobs.end(job.id, name))}
            begun = changed(job, begun_s=self._library.clock.wall_s())
            await self._library.jobs.reopen(begun, ended)
            if new := [name for name in page if name not in ended]:
                longer = methodcaller("longer", len(new), self._library.clock.wall_s() + LEASE_S)
                await self._library.jobs.change(job.id, longer, [list_write(job.id, new)])
        now = await self._library.jobs.get(job.id)
        if now is not None:
            await self._announcer.announce(now)

    async def _job(self, migration: Migration) -> None:
        """Make the job that builds, and put it on the stream."""
        now_s = self._library.clock.wall_s()
        collection = await self._library.book.get(migration.uid)
        if collection is None:
            return
        job = JobDoc(
            id=migration.job,
            uid=migration.uid,
            org=collection.org,
            owner=migration.owner,
            key_id=migration.key_id,
            kind="migration",
            created_s=now_s,
            begun_s=now_s,
            space=migration.after,
            runner=self._library.runner,
            leased_until_s=now_s + LEASE_S,
        )
        try:
            await self._library.jobs.add(job)
        except StaleVersion:
            return  # a look that came meanwhile has made it
        await self._announcer.announce(job)

    async def _switch(self, migration: Migration) -> Migration:
        library = self._library
        keeps = is_alive(library.embedder, migration.before)
        return await self._enter(
            migration,
            "switched",
            of=("ready", "rolled_back"),
            turn=lambda doc: switched(doc, migration, keeps_before=keeps),
            drop=migration.before,
            drop_after_s=library.clock.wall_s() + self._kept_s if keeps else 0.0,
        )

    async def _dropped(self, migration: Migration) -> Migration:
        """Let go of a space: from now on nobody writes there, then its rows go."""
        library, space = self._library, migration.drop
        await self._call_off(migration)
        await library.book.change(migration.uid, lambda doc: without(doc, migration))
        doc = await library.book.get(migration.uid)
        if doc is not None and space in doc.dropping:
            await library.index.delete(doc.place, space=space)
        state: State = "ended" if migration.state in ("switched", "rolled_back") else migration.state
        return await self._enter(
            migration,
            state,
            of=(migration.state,),
            turn=lambda doc: let_go(doc, space),
            drop="",
            reason=migration.reason,
        )

    async def _call_off(self, migration: Migration) -> None:
        """Have nothing more built for a migration that is over."""
        await self._library.jobs.change(
            migration.job, lambda job: changed(job, cancelled=True) if job.is_open else None
        )

    async def _enter(
        self,
        migration: Migration,
        state: State,
        *,
        of: Collection[State],
        turn: Turn | None = None,
        **changes: object,
    ) -> Migration:
        """Bring a migration that is in one of `of` now to `state`, and its collection to what `turn` makes of it; both
        or neither. Raises Conflict where either is not so any more.
        """
        now_s = self._library.clock.wall_s()

        def entered(now: Migration) -> Migration | None:
            if now.state not in of:
                return None
            return structs.replace(
                now, state=state, changed_s=now_s, **{"reason": "", "blocked_by": "", **changes}
            )

        done = await self.book.change(migration.id, entered, turn)
        if done is None:
            raise _not_now(await self.book.get(migration.id) or migration, state.replace("_", " "))
        return done


def _not_now(migration: Migration, what: str) -> Conflict:
    return Conflict(
        f"The migration is {migration.state}; it cannot be {what}.",
        code="wrong_state",
        field="status",
        value=migration.state,
        remedy=migration.reason,
    )
