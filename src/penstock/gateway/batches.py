"""Batches of a project: written down, and made, listed, watched and cancelled in the words of OpenAI's SDK.

    POST /v1/batches   GET /v1/batches[/{id}]   POST /v1/batches/{id}/cancel

Promises: a batch is created under an API key and spends as that key; its states are OpenAI's, whoever made it; every
change is made on the version it was decided on, so a cancellation and the work on a batch never undo each other.
`gateway/batch_runs` does the work; `gateway/message_batches` serves Anthropic's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import nsmallest
from typing import Any

import msgspec

from penstock.dialects.openai_batches import Counts, LineError, parse_batch, render_page
from penstock.gateway.files import DAY_S, TENANT, Files, owner_of, page_of, send_json
from penstock.kernel.clock import Clock
from penstock.kernel.context import Principal
from penstock.kernel.errors import Conflict, Invalid, NotFound, OverLimit, StaleVersion
from penstock.kernel.ids import new_id
from penstock.mechanisms.tenancy import Tenancy
from penstock.net.request import Request
from penstock.net.responder import Responder
from penstock.ports.records import Collection, Records, Row, Write

COLLECTION = Collection(name="batches", indexes=("owner", "open", "open_of", "open_input"))
OPEN = ("validating", "in_progress", "finalizing", "cancelling")
PAGE = 1_000
CHANGES_MAX = 8
"""Times a change is decided anew because somebody else changed the batch meanwhile."""


class BatchDoc(msgspec.Struct, frozen=True, kw_only=True):
    """A batch of a project, `owner`, under one key. `entered`: when it came into each state (seconds since 1970).
    `shelf` is where it lies with its files: each dialect has one in a project, "" is the project's own, OpenAI's.
    """

    id: str
    org: str
    owner: str
    shelf: str = ""
    key_id: str
    endpoint: str
    input_file_id: str
    metadata: dict[str, str]
    created_s: float
    status: str = "validating"
    counts: Counts = Counts()
    errors: tuple[LineError, ...] = ()
    output_file_id: str | None = None
    error_file_id: str | None = None
    entered: dict[str, float] = {}
    runner: str = ""
    leased_until_s: float = 0.0

    @property
    def place(self) -> str:
        """Return under what it and its files are found."""
        return self.shelf or self.owner

    @property
    def expires_s(self) -> float:
        """Return when it ends, done or not."""
        return self.created_s + DAY_S

    def entering(self, status: str, now_s: float, **changes: Any) -> BatchDoc:
        """Return it in another state."""
        return msgspec.structs.replace(
            self, status=status, entered={**self.entered, status: now_s}, **changes
        )

    def told(self) -> dict[str, Any]:
        """Return it as OpenAI's SDK reads it."""
        entered = {f"{status}_at": int(at_s) for status, at_s in self.entered.items()}
        names = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
        errors = {"object": "list", "data": self.errors} if self.errors else None
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "errors": errors,
            "input_file_id": self.input_file_id,
            "completion_window": "24h",
            "status": self.status,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "created_at": int(self.created_s),
            "expires_at": int(self.expires_s),
            **{f"{name}_at": entered.get(f"{name}_at") for name in names},
            "request_counts": self.counts,
            "metadata": self.metadata or None,
        }


class BatchBook:
    """Where batches are written down. One per process."""

    def __init__(self, records: Records) -> None:
        """Keep them in `records`."""
        self._records = records

    async def get(self, batch_id: str) -> BatchDoc | None:
        """Return a batch, None where there is none."""
        row = await self._records.get(COLLECTION.name, TENANT, batch_id)
        return None if row is None else _doc(row)

    async def found(self, place: str, batch_id: str) -> BatchDoc:
        """Return a batch that lies at `place`. Raises NotFound."""
        doc = await self.get(batch_id[:64])
        if doc is None or doc.place != place:
            raise _not_found(batch_id)
        return doc

    async def add(self, doc: BatchDoc) -> None:
        """Write a new batch down."""
        await self._records.transact([_write(doc, 0)])

    async def change(self, batch_id: str, decide: Callable[[BatchDoc], BatchDoc | None]) -> BatchDoc | None:
        """Change a batch as `decide` says of what it is now; None there (or no such batch) changes nothing.

        Raises StaleVersion when others change it all the time.
        """
        for _ in range(CHANGES_MAX):
            row = await self._records.get(COLLECTION.name, TENANT, batch_id)
            decided = None if row is None else decide(_doc(row))
            if row is None or decided is None:
                return None
            try:
                await self._records.transact([_write(decided, row.version)])
            except StaleVersion:
                continue
            return decided
        raise StaleVersion

    async def cancel(self, batch_id: str, now_s: float) -> BatchDoc:
        """Stop a batch: what is under way is finished, nothing else is begun. Raises Conflict, NotFound."""

        def cancelled(doc: BatchDoc) -> BatchDoc | None:
            if doc.status not in ("validating", "in_progress", "cancelling"):
                raise Conflict(f"The batch is {doc.status}; it cannot be cancelled.", field="status")
            return doc if doc.status == "cancelling" else doc.entering("cancelling", now_s)

        doc = await self.change(batch_id, cancelled)
        if doc is None:
            raise _not_found(batch_id)
        return doc

    async def delete(self, batch_id: str) -> None:
        """Forget one batch."""
        await self._records.transact([_deletion(batch_id)])

    async def of(self, place: str, after: str, limit: int) -> Sequence[BatchDoc]:
        """Return the batches at `place`, in the order of their ids."""
        rows = await self._records.find(COLLECTION.name, TENANT, "owner", place, after=after, limit=limit)
        return [_doc(row) for row in rows]

    async def unfinished(self, wanted: Callable[[BatchDoc], bool], each: int) -> Sequence[BatchDoc]:
        """Return of every owner the `each` oldest of those `wanted` among its batches with work left."""
        oldest: dict[str, list[BatchDoc]] = {}
        after = ""
        while rows := await self._records.find(
            COLLECTION.name, TENANT, "open", "yes", after=after, limit=PAGE
        ):
            after = rows[-1].id
            for doc in filter(wanted, map(_doc, rows)):
                oldest.setdefault(doc.owner, []).append(doc)
            oldest = {owner: nsmallest(each, docs, key=_age) for owner, docs in oldest.items()}
        return [doc for docs in oldest.values() for doc in docs]

    async def room(self, principal: Principal, most: int) -> None:
        """Refuse one more batch of a project that has `most` with work left. Raises OverLimit."""
        rows = await self._records.find(
            COLLECTION.name, TENANT, "open_of", owner_of(principal), limit=min(most, PAGE)
        )
        if len(rows) >= most:
            raise OverLimit(
                "The project has as many unfinished batches as it may.",
                code="too_many_batches",
                field="project",
                value=len(rows),
                limit=most,
                remedy="Wait for one to end, or cancel one (setting batches.open_per_project).",
            )

    async def needs(self, file_id: str) -> bool:
        """Tell whether a batch with work left was made of a file."""
        return bool(await self._records.find(COLLECTION.name, TENANT, "open_input", file_id, limit=1))

    async def forget(self, before_s: float) -> list[str]:
        """Forget batches made before the wall time `before_s`; returns their ids."""
        forgotten: list[str] = []
        after = ""
        while rows := await self._records.scan(COLLECTION.name, TENANT, after=after, limit=100):
            after = rows[-1].id
            old = [row for row in rows if _doc(row).created_s < before_s]
            for row in old:
                await self.delete(row.id)
            forgotten += [row.id for row in old]
        return forgotten


class Batches:
    """Serves callers. One per process."""

    def __init__(
        self,
        book: BatchBook,
        files: Files,
        tenancy: Tenancy,
        clock: Clock,
        wake: Callable[[], None],
        *,
        open_most: int,
    ) -> None:
        """A project has `open_most` unfinished batches at most; `wake` tells the runner that there is work."""
        self._open_most = open_most
        self._book = book
        self._files = files
        self._tenancy = tenancy
        self._clock = clock
        self._wake = wake

    async def create(self, request: Request, responder: Responder, principal: Principal) -> None:
        """Make a batch of an uploaded file."""
        ask = parse_batch(request.body)
        file = await self._files.doc(owner_of(principal), ask.input_file_id)
        if file.purpose != "batch":
            raise Invalid(
                "This file is not for batches.", field="input_file_id", value=file.purpose, limit="batch"
            )
        if await self._tenancy.key(principal.key_id) is None:
            raise Invalid("A batch needs an API key to spend as.", remedy="Create it with a key.")
        await self._book.room(principal, self._open_most)
        doc = BatchDoc(
            id=new_id("batch_"),
            org=principal.org,
            owner=owner_of(principal),
            key_id=principal.key_id,
            endpoint=ask.endpoint,
            input_file_id=file.id,
            metadata=ask.metadata,
            created_s=self._clock.wall_s(),
        )
        await self._book.add(doc)
        self._wake()
        send_json(responder, doc.told())

    async def list(self, request: Request, responder: Responder, principal: Principal) -> None:
        """Serve one page, oldest first."""
        after, limit = page_of(request)
        found = await self._book.of(owner_of(principal), after, limit + 1)
        data = [doc.told() for doc in found[:limit]]
        send_json(responder, render_page(data, has_more=len(found) > limit))

    async def one(self, request: Request, responder: Responder, principal: Principal) -> None:
        """Serve one batch."""
        doc = await self._book.found(owner_of(principal), request.path.removeprefix("/v1/batches/"))
        send_json(responder, doc.told())

    async def cancel(self, request: Request, responder: Responder, principal: Principal) -> None:
        """Stop a batch: what is under way is finished, nothing else is begun."""
        batch_id, _, verb = request.path.removeprefix("/v1/batches/").partition("/")
        if verb != "cancel":
            raise NotFound("There is nothing at this path.", field="path", value=request.path[:200])
        await self._book.found(owner_of(principal), batch_id)
        doc = await self._book.cancel(batch_id, self._clock.wall_s())
        self._wake()
        send_json(responder, doc.told())


def _age(doc: BatchDoc) -> tuple[float, str]:
    return doc.created_s, doc.id


def _not_found(batch_id: str) -> NotFound:
    return NotFound("There is no such batch.", field="batch_id", value=batch_id[:64])


def _doc(row: Row) -> BatchDoc:
    return msgspec.json.decode(row.value, type=BatchDoc)


def _write(doc: BatchDoc, expected: int) -> Write:
    is_open = (
        {"open": "yes", "open_of": doc.owner, "open_input": doc.input_file_id} if doc.status in OPEN else {}
    )
    return Write(
        collection=COLLECTION.name,
        tenant=TENANT,
        id=doc.id,
        value=msgspec.json.encode(doc),
        indexed={"owner": doc.place, **is_open},
        expected=expected,
    )


def _deletion(batch_id: str) -> Write:
    return Write(collection=COLLECTION.name, tenant=TENANT, id=batch_id, value=None)
