"""Requests that wait for a provider, written down: what was asked and answered, sealed; whose turn it is; how many.

    later          the request or, once there is one, its answer       by organisation
    later_tickets  what there is to do, and who is at it               of all organisations, for the workers
    later_tallies  how many and how large                              by organisation

Promises: a request, its ticket and its place in the tally are there together or not at all; an organisation has at
most so many requests and bytes; whoever holds a claim on a ticket is the only one that can change it, until the claim
lapses; contents are sealed with a key of the organisation, and gone with their row.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from penstock.kernel.errors import Broken, Conflict, NotFound, OverLimit, Overloaded, StaleVersion
from penstock.kernel.settings_features import LaterSettings
from penstock.mechanisms.contents.keys import Seal
from penstock.ports.records import Collection, Records, Row, Write

DOCS: Final = "later"
TICKETS: Final = "later_tickets"
TALLIES: Final = "later_tallies"
COLLECTIONS: Final = (
    Collection(name=DOCS),
    Collection(name=TICKETS, indexes=("state",)),
    Collection(name=TALLIES),
)
EVERYBODY: Final = "*"
OPEN: Final = "open"
ENDED: Final = "ended"
ALL: Final = "all"
CHANGES_MOST: Final = 8
"""Times a tally is counted anew because somebody else changed it meanwhile."""
PAGE: Final = 100
WAITING: Final = "waiting"
RUNNING: Final = "running"


class LaterDoc(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a project, `owner`, under one key. `box` is sealed: the request, once it has ended its answer.

    `status` is "waiting", "running", "answered", "failed" or "expired"; `error` says why the last attempt did not
    answer; times are wall time in seconds.
    """

    id: str
    org: str
    owner: str
    key_id: str
    feature: str
    face: str
    model: str
    webhook: str
    created_s: float
    expires_s: float
    box: bytes
    status: str = WAITING
    attempts: int = 0
    paid: int = 0
    """Attempts that cost something and brought no answer."""
    error: str = ""
    request_id: str = ""
    status_code: int = 0


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it is asked again: whole, never streamed, with the headers that count."""

    path: str
    body: bytes
    headers: dict[bytes, bytes]


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker must know of a request to decide whether its turn has come. `runner` is who is at it."""

    org: str
    model: str
    key_id: str
    expires_s: float
    runner: str = ""
    leased_until_s: float = 0.0


class Tally(msgspec.Struct, frozen=True):
    """What an organisation has here."""

    requests: int = 0
    bytes: int = 0


class Found(NamedTuple):
    """An open ticket as it was read."""

    id: str
    ticket: Ticket
    version: int


class Claim(NamedTuple):
    """A request one worker is at: nobody else may change it while `ticket` is at `ticket_version`."""

    doc: LaterDoc
    doc_version: int
    ticket: Ticket
    ticket_version: int


class LaterBook:
    """Where they are written down. One per process."""

    def __init__(self, records: Records, seal: Seal, secret: bytes, settings: LaterSettings) -> None:
        """Seal under keys derived from `secret`."""
        self._records = records
        self._seal = seal
        self._secret = secret
        self._most = settings

    # ------------------------------------------------------------------------------------------------------ contents

    def sealed(self, org: str, id: str, content: object) -> bytes:
        """Return `content` for a box."""
        return self._seal.seal(self._key(org), msgspec.msgpack.encode(content), _context(org, id))

    def asked(self, doc: LaterDoc) -> Asked:
        """Return what waits. Raises Broken when it was changed."""
        return msgspec.msgpack.decode(self._opened(doc), type=Asked)

    def answer(self, doc: LaterDoc) -> bytes:
        """Return the answer of a request that has ended; b"" when none is kept. Raises Broken when it was changed."""
        return msgspec.msgpack.decode(self._opened(doc), type=bytes) if doc.box else b""

    def _opened(self, doc: LaterDoc) -> bytes:
        return self._seal.open(self._key(doc.org), doc.box, _context(doc.org, doc.id))

    def _key(self, org: str) -> bytes:
        return hmac.digest(self._secret, org.encode(errors="replace"), "sha256")

    # ------------------------------------------------------------------------------------------------------ callers

    async def add(self, doc: LaterDoc) -> None:
        """Write a request down. Raises OverLimit when its organisation has as many, or as much, as it may."""
        ticket = Ticket(org=doc.org, model=doc.model, key_id=doc.key_id, expires_s=doc.expires_s)
        for _ in range(CHANGES_MOST):
            tally, version = await self._tally(doc.org)
            self._check(tally, len(doc.box))
            counted = Tally(tally.requests + 1, tally.bytes + len(doc.box))
            writes = [_doc(doc, 0), _ticket(doc.id, ticket, OPEN, 0), _counted(doc.org, counted, version)]
            try:
                await self._records.transact(writes)
            except StaleVersion:
                continue
            return
        raise Overloaded("Too many requests of this organisation are put off at once.", retry_after_s=1)

    async def get(self, org: str, id: str) -> LaterDoc | None:
        """Return a request, None where there is none."""
        row = await self._records.get(DOCS, org, id)
        return None if row is None else _read(row)

    async def remove(self, org: str, id: str) -> None:
        """Forget a request nobody is at, answered or not. Raises NotFound, Conflict while it is being answered."""
        for _ in range(CHANGES_MOST):
            row, ticket = (
                await self._records.get(DOCS, org, id),
                await self._records.get(TICKETS, EVERYBODY, id),
            )
            if row is None or ticket is None:
                raise NotFound("There is no such request.", field="id", value=id[:64])
            doc = _read(row)
            if doc.status == RUNNING:
                raise Conflict("The request is being answered; it cannot be taken back.", field="status")
            tally, version = await self._tally(org)
            counted = Tally(tally.requests - 1, tally.bytes - len(doc.box))
            writes = [
                Write(collection=DOCS, tenant=org, id=id, value=None, expected=row.version),
                Write(collection=TICKETS, tenant=EVERYBODY, id=id, value=None, expected=ticket.version),
                _counted(org, counted, version),
            ]
            try:
                await self._records.transact(writes)
            except StaleVersion:
                continue
            return
        raise Overloaded("The request is being changed by others.", retry_after_s=1)

    def _check(self, tally: Tally, size: int) -> None:
        most = self._most
        for what, has, limit in (
            ("requests", tally.requests + 1, most.max_requests),
            ("bytes", tally.bytes + size, most.max_bytes),
        ):
            if has > limit:
                raise OverLimit(
                    f"Your organisation has as many {what} put off as it may.", code="later_full",
                    field=f"later.{what}", value=has, limit=limit,
                    remedy="Take answers back that were read (DELETE), or wait.",
                )  # fmt: skip

    async def _tally(self, org: str) -> tuple[Tally, int]:
        row = await self._records.get(TALLIES, org, ALL)
        return (Tally(), 0) if row is None else (msgspec.json.decode(row.value, type=Tally), row.version)

    # ------------------------------------------------------------------------------------------------------ workers

    async def page(self, state: str, after: str) -> list[Found]:
        """Return tickets that are "open" or "ended", in the order of their ids, which is that of their coming."""
        rows = await self._records.find(TICKETS, EVERYBODY, "state", state, after=after, limit=PAGE)
        return [Found(row.id, msgspec.json.decode(row.value, type=Ticket), row.version) for row in rows]

    async def claim(self, found: Found, runner: str, until_s: float, *, request_id: str = "") -> Claim | None:
        """Take a ticket, for an attempt under `request_id` or to end it; None when somebody else was first, or what it
        is of is gone.
        """
        row = await self._records.get(DOCS, found.ticket.org, found.id)
        if row is None:
            return None
        doc = _read(row)
        taken = msgspec.structs.replace(
            doc,
            status=RUNNING,
            attempts=doc.attempts + bool(request_id),
            request_id=request_id or doc.request_id,
        )
        ticket = msgspec.structs.replace(found.ticket, runner=runner, leased_until_s=until_s)
        try:
            versions = await self._records.transact(
                [_doc(taken, row.version), _ticket(found.id, ticket, OPEN, found.version)]
            )
        except StaleVersion:
            return None
        return Claim(taken, versions[0], ticket, versions[1])

    async def beat(self, claim: Claim, until_s: float) -> Claim:
        """Hold a claim for longer. Raises StaleVersion when it has lapsed and is another's."""
        ticket = msgspec.structs.replace(claim.ticket, leased_until_s=until_s)
        (version,) = await self._records.transact([_ticket(claim.doc.id, ticket, OPEN, claim.ticket_version)])
        return claim._replace(ticket=ticket, ticket_version=version)

    async def put_back(self, claim: Claim, **changes: Any) -> None:
        """Let a request wait again. Raises StaleVersion."""
        doc = msgspec.structs.replace(claim.doc, status=WAITING, **changes)
        ticket = msgspec.structs.replace(claim.ticket, runner="", leased_until_s=0.0)
        await self._records.transact(
            [_doc(doc, claim.doc_version), _ticket(doc.id, ticket, OPEN, claim.ticket_version)]
        )

    async def end(self, claim: Claim, doc: LaterDoc, kept_until_s: float, more: Sequence[Write]) -> LaterDoc:
        """Bring a request to its end, with `more` in the same transaction; what has no room is not kept of it. Raises
        StaleVersion, Overloaded.
        """
        ticket = msgspec.structs.replace(claim.ticket, runner="", leased_until_s=0.0, expires_s=kept_until_s)
        for _ in range(CHANGES_MOST):
            tally, version = await self._tally(doc.org)
            grown = len(doc.box) - len(claim.doc.box)
            if grown > 0 and tally.bytes + grown > self._most.max_bytes:
                doc = msgspec.structs.replace(doc, box=b"")
                grown = -len(claim.doc.box)
            counted = Tally(tally.requests, tally.bytes + grown)
            try:
                await self._records.transact(
                    [
                        _doc(doc, claim.doc_version),
                        _ticket(doc.id, ticket, ENDED, claim.ticket_version),
                        _counted(doc.org, counted, version),
                        *more,
                    ]
                )
            except StaleVersion:
                if (await self._tally(doc.org))[1] == version:
                    raise  # it is not the tally that changed
                continue
            return doc
        raise Overloaded("Too many requests of this organisation end at once.", retry_after_s=1)


def _read(row: Row) -> LaterDoc:
    try:
        return msgspec.msgpack.decode(row.value, type=LaterDoc)
    except msgspec.DecodeError as error:
        raise Broken(f"A request that waits cannot be read: {error}.") from None


def _context(org: str, id: str) -> bytes:
    return f"{org}\n{id}".encode(errors="replace")


def _doc(doc: LaterDoc, expected: int) -> Write:
    value = msgspec.msgpack.encode(doc)
    return Write(collection=DOCS, tenant=doc.org, id=doc.id, value=value, expected=expected)


def _ticket(id: str, ticket: Ticket, state: str, expected: int) -> Write:
    return Write(
        collection=TICKETS,
        tenant=EVERYBODY,
        id=id,
        value=msgspec.json.encode(ticket),
        indexed={"state": state},
        expected=expected,
    )


def _counted(org: str, tally: Tally, version: int) -> Write:
    value = msgspec.json.encode(tally)
    return Write(collection=TALLIES, tenant=org, id=ALL, value=value, expected=version)
