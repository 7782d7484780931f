"""Files of a project: uploaded, listed, read and deleted, in the words of OpenAI's SDK.

    POST /v1/files   GET /v1/files   GET /v1/files/{id}[/content]   DELETE /v1/files/{id}

    put     a row that says "half" ──▶ the bytes ──▶ the row says "whole"
    drop    the row says "half" ──▶ the bytes' name ends ──▶ no row

Promises: a file is seen by callers of the project that put it there and by nobody else; it is whole or not there; it is
forgotten when it expires, at the latest an hour later; while a batch still needs it, nobody deletes it; what a crash
leaves is a row that says "half", by which the rest is found and forgotten. A project's files are bounded. The bytes lie
in the node's own blobs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import msgspec

from penstock.dialects.openai_batches import render_file, render_page
from penstock.gateway.faces import JSON_TYPE
from penstock.gateway.headers import id_lines
from penstock.gateway.uploads import read_upload
from penstock.kernel.clock import Clock
from penstock.kernel.context import Principal
from penstock.kernel.errors import Conflict, Invalid, NotFound, OverLimit
from penstock.kernel.ids import new_id
from penstock.net.request import Request
from penstock.net.responder import Responder
from penstock.ports.blobs import Blobs
from penstock.ports.records import Collection, Records, Row, Write

COLLECTION = Collection(name="files", indexes=("owner",))
TENANT = "*"
"""Rows know their owner; one tenant lets one sweep find all that is old."""
DAY_S = 86_400
HALF_S = 3_600.0
"""How long a file may take to be put; what is half then was left by a crash."""
PAGE_MAX = 100
PURPOSES = ("batch", "user_data")


class FileDoc(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a project, `owner`; nobody sees one that is not `whole`."""

    id: str
    org: str
    owner: str
    name: str
    purpose: str
    size_bytes: int
    created_s: float
    expires_s: float
    whole: bool = True

    def told(self) -> dict[str, Any]:
        """Return it as its SDK reads it."""
        return render_file(
            self.id,
            self.name,
            self.purpose,
            self.size_bytes,
            created_s=self.created_s,
            expires_s=self.expires_s,
        )


def owner_of(principal: Principal) -> str:
    """Return the project a caller acts in, for whom files and batches are."""
    return f"{principal.org}/{principal.team}/{principal.project}"


class Bounds(NamedTuple):
    """What one project may have uploaded: files, and bytes of all its files, those of its batches included."""

    files: int
    bytes: int


class Files:
    """The files of every project. One per process."""

    def __init__(
        self,
        blobs: Blobs,
        records: Records,
        clock: Clock,
        *,
        kept_days: int,
        bounds: Bounds,
        needed: Callable[[str], Awaitable[bool]],
    ) -> None:
        """Keep bytes in `blobs` and what they are in `records`, for `kept_days` days and while they are `needed`."""
        self._bounds = bounds
        self._needed = needed
        self._blobs = blobs
        self._records = records
        self._clock = clock
        self._kept_s = kept_days * DAY_S

    # ------------------------------------------------------------------------------------------------ for batches

    async def put(self, org: str, owner: str, name: str, purpose: str, content: bytes) -> FileDoc:
        """Keep a file. Raises Unavailable, Invalid (too large)."""
        now_s = self._clock.wall_s()
        doc = FileDoc(
            id=new_id("file-"), org=org, owner=owner, name=name, purpose=purpose, size_bytes=len(content),
            created_s=now_s, expires_s=now_s + self._kept_s,
        )  # fmt: skip
        (version,) = await self._records.transact([_half(doc)])
        await self._blobs.name(org, _blob(doc.id), content)
        await self._records.transact([_whole(doc, version)])
        return doc

    async def doc(self, owner: str, file_id: str) -> FileDoc:
        """Return a file of `owner`. Raises NotFound."""
        row = await self._records.get(COLLECTION.name, TENANT, file_id)
        doc = None if row is None else _doc(row)
        if doc is None or not doc.whole or doc.owner != owner or doc.expires_s <= self._clock.wall_s():
            raise NotFound("There is no such file.", field="file_id", value=file_id[:64])
        return doc

    async def content(self, doc: FileDoc) -> bytes:
        """Return its bytes. Raises NotFound, Unavailable, Broken."""
        return await self._blobs.get(doc.org, _blob(doc.id))

    async def forget(self) -> None:
        """Forget every file that has expired, and what crashes left."""
        now_s, after = self._clock.wall_s(), ""
        while rows := await self._records.scan(COLLECTION.name, TENANT, after=after, limit=PAGE_MAX):
            for doc in map(_doc, rows):
                if await self._is_over(doc, now_s):
                    await self.drop(doc)
                    await self._blobs.expire(doc.org, now_s - DAY_S)
            after = rows[-1].id

    async def _is_over(self, doc: FileDoc, now_s: float) -> bool:
        if not doc.whole:
            return doc.created_s + HALF_S <= now_s
        return doc.expires_s <= now_s and not await self._needed(doc.id)

    async def drop(self, doc: FileDoc) -> None:
        """Delete a file."""
        await self._records.transact([_half(doc)])
        await self._blobs.unname(doc.org, _blob(doc.id))
        await self._records.transact([_write(doc.id, None)])

    # ------------------------------------------------------------------------------------------------ for callers

    async def create(self, request: Request, responder: Responder, principal: Principal) -> None:
        """Take an upload."""
        upload = read_upload(request.header(b"content-type") or b"", request.body)
        purpose = upload.fields.get("purpose", "")
        if purpose not in PURPOSES:
            raise Invalid(
                "Not a purpose served here.", field="purpose", value=purpose, limit=", ".join(PURPOSES)
            )
        content = upload.content or b""
        await self._room(owner_of(principal), len(content))
        doc = await self.put(principal.org, owner_of(principal), upload.filename, purpose, content)
        send_json(responder, doc.told())

    async def _room(self, owner: str, more_bytes: int) -> None:
        """Refuse what would be more than a project may have. Raises OverLimit."""
        most = self._bounds
        kept = [doc async for doc in self._of(owner)]
        held = sum(doc.size_bytes for doc in kept)
        for what, value, limit in (
            ("files", len(kept) + 1, most.files),
            ("bytes", held + more_bytes, most.bytes),
        ):
            if value > limit:
                raise OverLimit(
                    f"The project's files would be more {what} than it may have.",
                    code="too_many_files",
                    field="file",
                    value=value,
                    limit=limit,
                    remedy=f"Delete files that are no longer needed (setting batches.{what}_per_project).",
                )

    async def _of(self, owner: str) -> AsyncIterator[FileDoc]:
        after = ""
        while rows := await self._records.find(
            COLLECTION.name, TENANT, "owner", owner, after=after, limit=1_000
        ):
            for row in rows:
                yield _doc(row)
            after = rows[-1].id

    async def list(self, request: Request, responder: Responder, principal: Principal) -> None:
        """Serve one page, oldest first."""
        after, limit = page_of(request)
        rows = await self._records.find(
            COLLECTION.name, TENANT, "owner", owner_of(principal), after=after, limit=limit + 1
        )
        data = [doc.told() for doc in map(_doc, rows[:limit]) if doc.expires_s > self._clock.wall_s()]
        send_json(responder, render_page(data, has_more=len(rows) > limit))

    async def one(self, request: Request, responder: Responder, principal: Principal) -> None:
        """Serve a file or, below its path, its content."""
        file_id, _, below = request.path.removeprefix("/v1/files/").partition("/")
        doc = await self.doc(owner_of(principal), file_id)
        if below == "content":
            send(responder, b"content-type: application/octet-stream\r\n", await self.content(doc))
        elif below:
            raise NotFound("There is nothing at this path.", field="path", value=request.path[:200])
        else:
            send_json(responder, doc.told())

    async def delete(self, request: Request, responder: Responder, principal: Principal) -> None:
        """Delete a file."""
        doc = await self.doc(owner_of(principal), request.path.removeprefix("/v1/files/"))
        if await self._needed(doc.id):
            raise Conflict(
                "A batch that has not ended was made of this file.",
                code="file_in_use",
                field="file_id",
                value=doc.id,
                remedy="Wait until the batch has ended, or cancel it first.",
            )
        await self.drop(doc)
        send_json(responder, {"id": doc.id, "object": "file", "deleted": True})


def page_of(request: Request, cursor: str = "after", most: int = PAGE_MAX) -> tuple[str, int]:
    """Return the page asked for: the id that `cursor` names, and its size, `most` at the most. Raises Invalid."""
    asked = parse_qs(request.query.decode("ascii"))
    size = asked.get("limit", ["20"])[0]
    if not size.isascii() or not size.isdigit() or int(size[:9]) < 1:
        raise Invalid("This is no size of a page.", field="limit", value=size[:20], limit=most)
    return asked.get(cursor, [""])[0][:64], min(int(size[:9]), most)


def send(responder: Responder, content_type: bytes, body: bytes, id_header: bytes = b"") -> None:
    """Send a reply that is whole; its id in `id_header` (see `faces.Face`) too."""
    responder.send(200, content_type + id_lines(id_header, new_id("req_")), body)


def send_json(responder: Responder, told: dict[str, Any], id_header: bytes = b"") -> None:
    """Send one object, likewise."""
    send(responder, JSON_TYPE, msgspec.json.encode(told), id_header)


def _blob(file_id: str) -> str:
    return f"files/{file_id}"


def _doc(row: Row) -> FileDoc:
    return msgspec.json.decode(row.value, type=FileDoc)


def _half(doc: FileDoc) -> Write:
    """Return the row of a file that is on its way here, or away: its owner does not find it."""
    return _write(doc.id, msgspec.json.encode(msgspec.structs.replace(doc, whole=False)))


def _whole(doc: FileDoc, half: int) -> Write:
    """Return the row of a file that is whole, to take the place of the version that was `half`."""
    row = _write(doc.id, msgspec.json.encode(doc))
    return msgspec.structs.replace(row, indexed={"owner": doc.owner}, expected=half)


def _write(file_id: str, value: bytes | None) -> Write:
    return Write(collection=COLLECTION.name, tenant=TENANT, id=file_id, value=value)
