"""Collections over HTTP: made, filled, looked at, changed to another model, emptied.

    POST|GET /v1/collections                     GET|DELETE /v1/collections/{c}
    POST|GET …/{c}/documents                     GET|DELETE …/{c}/documents/{id}      POST …/{c}/bulk
    GET      …/{c}/jobs[/{id}]                   POST …/{c}/jobs/{id}/retry|cancel    POST …/{c}/search
    POST|GET …/{c}/migrations[/{id}]             POST …/{c}/migrations/{id}/switch|rollback|cancel|finish

Promises: whoever calls sees the collections of its project and no others; what is told as accepted (202) is written
down; a deletion that was told is done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import parse_qs, unquote

import msgspec

from penstock.edge.errors import JSON_TYPE, request_id
from penstock.embedding.catalog.announcing import Announcer
from penstock.embedding.catalog.collections import CollectionDoc, owner_of
from penstock.embedding.catalog.jobs import End, JobDoc
from penstock.embedding.catalog.library import Library
from penstock.embedding.collections_wire import (
    LINE,
    CollectionAsk,
    parse_collection,
    parse_documents,
    parse_lines,
    parse_migration,
    raw_document,
)
from penstock.embedding.ingest import retries
from penstock.embedding.ingest.intake import Intake
from penstock.embedding.ingest.removal import Removal
from penstock.embedding.migrations.migrations import Migrations
from penstock.kernel.context import Principal
from penstock.kernel.errors import Invalid, NotFound
from penstock.kernel.ids import new_id
from penstock.kernel.settings_collections import CollectionSettings
from penstock.net.request import Request
from penstock.net.responder import Responder

PATH: Final = "/v1/collections"
PAGE_MOST: Final = 100


class Searches(Protocol):
    """Serves a search."""

    async def serve(
        self, collection: CollectionDoc, request: Request, responder: Responder, principal: Principal
    ) -> None:
        """Answer `request`, a search of `collection`. Raises PenstockError."""
        ...


class _Call(NamedTuple):
    """A request below a collection: what of it, and which."""

    request: Request
    responder: Responder
    principal: Principal
    collection: CollectionDoc
    rest: str

    def send(self, told: Mapping[str, object], status: int = 200) -> None:
        send_json(self.responder, told, status)


_Serve = Callable[[_Call], Awaitable[None]]


class Collections:
    """Serves callers. One per process."""

    def __init__(
        self,
        library: Library,
        settings: CollectionSettings,
        *,
        announcer: Announcer,
        intake: Intake,
        removal: Removal,
        migrations: Migrations,
        searches: Searches,
        wake: Callable[[], None],
    ) -> None:
        """`wake` tells whoever tidies up that there is something."""
        self._library = library
        self._settings = settings
        self._announcer = announcer
        self._intake = intake
        self._removal = removal
        self._migrations = migrations
        self._searches = searches
        self._wake = wake
        self._served: dict[tuple[str, str], _Serve] = {
            ("GET", ""): self._one,
            ("DELETE", ""): self._delete,
            ("POST", "documents"): self._add,
            ("GET", "documents"): self._documents,
            ("DELETE", "documents"): self._delete_document,
            ("POST", "bulk"): self._bulk,
            ("GET", "jobs"): self._jobs,
            ("POST", "jobs"): self._job_verb,
            ("POST", "search"): self._search,
            ("GET", "migrations"): self._list_migrations,
            ("POST", "migrations"): self._migrate,
        }

    # ------------------------------------------------------------------------------------------------- collections

    async def create(self, request: Request, responder: Responder, principal: Principal) -> None:
        """Make a collection."""
        ask = parse_collection(request.body)
        await self._intake.check_key(principal)
        owner = owner_of(principal)
        most = self._settings.per_project
        if len(await self._library.book.of(owner, limit=most)) >= most:
            raise Invalid(
                "The project has as many collections as it may.",
                code="too_many_collections",
                field="name",
                value=most,
                limit=most,
                remedy="Delete one.",
            )
        doc = self._made(ask, principal, owner)
        await self._library.book.add(doc)
        send_json(responder, self._told(doc), 201)

    def _made(self, ask: CollectionAsk, principal: Principal, owner: str) -> CollectionDoc:
        model = ask.model or self._settings.model
        space = self._library.embedder.space(model)
        if ask.chunk_tokens is not None and ask.chunk_tokens > space.max_tokens:
            raise Invalid(
                "The model does not read so much at once.",
                field="chunk_tokens",
                value=ask.chunk_tokens,
                limit=space.max_tokens,
                remedy="Choose smaller chunks, or a model with a longer window.",
            )
        if ask.keep_token_vectors and not space.late:
            raise Invalid(
                "The vectors of this model's tokens cannot be had.",
                field="keep_token_vectors",
                value=True,
                limit=model,
                remedy="Choose a model in this machine, or leave it out.",
            )
        return CollectionDoc(
            uid=new_id("col_"),
            name=ask.name,
            org=principal.org,
            owner=owner,
            key_id=principal.key_id,
            created_s=self._library.clock.wall_s(),
            space=space.name,
            chunk_tokens=ask.chunk_tokens or 0,
            overlap_percent=ask.overlap_percent,
            precision=ask.precision,
            rerank=ask.rerank,
            keep_token_vectors=ask.keep_token_vectors,
        )

    async def list(self, request: Request, responder: Responder, principal: Principal) -> None:
        """Serve one page, oldest first."""
        after, limit = page_of(request)
        found = await self._library.book.of(owner_of(principal), after, limit + 1)
        send_json(responder, _page([self._told(doc) for doc in found[:limit]], more=len(found) > limit))

    async def below(self, request: Request, responder: Responder, principal: Principal) -> None:
        """Serve what is below one collection."""
        name, _, tail = request.path.removeprefix(f"{PATH}/").partition("/")
        what, _, rest = tail.partition("/")
        serve = self._served.get((request.method, what))
        if serve is None:
            raise NotFound("There is nothing at this path.", field="path", value=request.path[:200])
        collection = await self._library.book.found(owner_of(principal), unquote(name))
        await serve(_Call(request, responder, principal, collection, unquote(rest)))

    async def _one(self, call: _Call) -> None:
        doc, library = call.collection, self._library
        counts = await library.index.count(doc.place, doc.space)
        told = self._told(doc)
        told["documents"] = await library.book.count(doc.uid)
        told["searchable"] = {"documents": counts.documents, "chunks": counts.chunks, "bytes": counts.bytes}
        call.send(told)

    async def _delete(self, call: _Call) -> None:
        await self._removal.collection(call.collection)
        self._wake()
        call.send(
            {"id": call.collection.uid, "object": "collection", "name": call.collection.name, "deleted": True}
        )

    def _told(self, doc: CollectionDoc) -> dict[str, Any]:
        try:
            now = self._library.embedder.space(doc.model).name
        except NotFound:
            now = ""
        return {
            "id": doc.uid,
            "object": "collection",
            "name": doc.name,
            "model": doc.model,
            "space": doc.space,
            "stale": now != doc.space,
            "building": doc.building or None,
            "previous": doc.previous or None,
            "migration": doc.migration or None,
            "chunk_tokens": doc.chunk_tokens or None,
            "overlap_percent": doc.overlap_percent,
            "precision": doc.precision,
            "rerank": doc.rerank,
            "keep_token_vectors": doc.keep_token_vectors,
            "created_at": int(doc.created_s),
        }

    async def _search(self, call: _Call) -> None:
        if call.rest:
            raise NotFound("There is nothing at this path.", field="path", value=call.request.path[:200])
        await self._searches.serve(call.collection, call.request, call.responder, call.principal)

    # --------------------------------------------------------------------------------------------------- documents

    async def _add(self, call: _Call) -> None:
        """Take a list of documents, or one as it is."""
        most = self._settings.document_bytes
        kind = (
            (call.request.header(b"content-type") or b"application/json").partition(b";")[0].strip().lower()
        )
        if kind == b"application/json":
            sent = parse_documents(call.request.body, most)
        else:
            sent = [raw_document(call.request, most)]
        job = await self._intake.take(call.collection, call.principal, sent)
        call.send(_told_job(job, call), 202)

    async def _bulk(self, call: _Call) -> None:
        sent, unread = parse_lines(call.request.body, self._settings.document_bytes)
        job = await self._intake.take(call.collection, call.principal, sent, unread)
        call.send(_told_job(job, call), 202)

    async def _documents(self, call: _Call) -> None:
        book, uid = self._library.book, call.collection.uid
        if call.rest:
            doc, _ = await book.document(uid, call.rest)
            if doc is None or doc.deleted:
                raise NotFound("There is no such document.", field="document", value=call.rest[:200])
            call.send(doc.told())
            return
        after, limit = page_of(call.request)
        rows = await book.documents(uid, after, limit + 1)
        data = [doc.told() for doc in rows[:limit] if not doc.deleted]
        last = rows[limit - 1].id if len(rows) > limit else None
        # Where more follows, the page ends at the last row read: its own documents may all be deleted ones.
        call.send(_page(data, more=last is not None) | ({} if last is None else {"last_id": last}))

    async def _delete_document(self, call: _Call) -> None:
        await self._removal.document(call.collection, call.rest)
        call.send({"id": call.rest, "object": "collection.document", "deleted": True})

    # -------------------------------------------------------------------------------------------------------- jobs

    async def _jobs(self, call: _Call) -> None:
        jobs, uid = self._library.jobs, call.collection.uid
        after, limit = page_of(call.request)
        if not call.rest:
            found = await jobs.latest(uid, after, limit + 1)
            call.send(_page([_told_job(job, call) for job in found[:limit]], more=len(found) > limit))
            return
        job = await jobs.found(uid, call.rest)
        failures = await jobs.failures(job.id, after, limit + 1)
        near = await jobs.near(job.id, after, limit)
        call.send(
            {
                **_told_job(job, call),
                "failures": [_told_failure(name, end) for name, end in failures[:limit]],
                "has_more_failures": len(failures) > limit,
                "last_failure": failures[limit - 1][0] if len(failures) > limit else None,
                "near_duplicates": [{"document": name, "of": end.near} for name, end in near],
            }
        )

    async def _job_verb(self, call: _Call) -> None:
        job_id, _, verb = call.rest.partition("/")
        job = await self._library.jobs.found(call.collection.uid, job_id)
        if verb == "retry":
            await self._intake.check_key(call.principal)
            job = await retries.retry(self._library, self._announcer, job, call.principal.key_id)
        elif verb == "cancel":
            job = await retries.cancel(self._library, job)
        else:
            raise NotFound("There is nothing at this path.", field="path", value=call.request.path[:200])
        call.send(_told_job(job, call), 202)

    # -------------------------------------------------------------------------------------------------- migrations

    async def _list_migrations(self, call: _Call) -> None:
        book, uid = self._migrations.book, call.collection.uid
        if call.rest:
            call.send((await book.found(uid, call.rest)).told())
            return
        after, limit = page_of(call.request)
        found = await book.of(uid, after, limit + 1)
        call.send(_page([each.told() for each in found[:limit]], more=len(found) > limit))

    async def _migrate(self, call: _Call) -> None:
        """Begin a migration, or do something about one."""
        await self._intake.check_key(call.principal)
        migrations = self._migrations
        if not call.rest:
            ask = parse_migration(call.request.body)
            key_id = call.principal.key_id
            begun = await migrations.start(call.collection, ask.model, key_id, automatic=ask.switch == "auto")
            call.send(begun.told(), 202)
            return
        migration_id, _, verb = call.rest.partition("/")
        found = await migrations.book.found(call.collection.uid, migration_id)
        if verb == "switch":
            found = await migrations.switch(found, call.principal.key_id)
        elif verb == "rollback":
            found = await migrations.rollback(found)
        elif verb == "cancel":
            found = await migrations.cancel(found)
        elif verb == "finish":
            found = await migrations.finish(found)
        else:
            raise NotFound("There is nothing at this path.", field="path", value=call.request.path[:200])
        call.send(found.told())


def page_of(request: Request) -> tuple[str, int]:
    """Return the page asked for: after what, and how much. Raises Invalid."""
    asked = parse_qs(request.query.decode("ascii"))
    size = asked.get("limit", ["20"])[0]
    if not size.isascii() or not size.isdigit() or not 1 <= int(size[:9]) <= PAGE_MOST:
        raise Invalid("This is no size of a page.", field="limit", value=size[:20], limit=f"1 to {PAGE_MOST}")
    return asked.get("after", [""])[0][:256], int(size)


def send_json(responder: Responder, told: Mapping[str, object], status: int = 200) -> None:
    """Send one object."""
    responder.send(status, JSON_TYPE + request_id(), msgspec.json.encode(told))


def _page(data: Sequence[Mapping[str, object]], *, more: bool) -> dict[str, object]:
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": more}


def _told_job(job: JobDoc, call: _Call) -> dict[str, object]:
    return {**job.told(), "collection": call.collection.name}


def _told_failure(name: str, end: End) -> dict[str, object]:
    failure = end.failure
    told: dict[str, object] = {} if failure is None else msgspec.structs.asdict(failure)
    if name.startswith(LINE):
        return {"line": int(name.removeprefix(LINE)), **told}
    return {"document": name, **told}
