"""Knowledge: collections with their documents, jobs, searches and migrations; vectors and tokens of texts.

Promise: a list is read to its end, or to `ROWS_MAX` rows; nothing is sent twice.
"""

from __future__ import annotations

import binascii
from array import array
from collections.abc import Iterable, Mapping, Sequence
from sys import byteorder
from typing import Final, Literal, TypeVar
from urllib.parse import urlencode

import msgspec

from penstock.kernel.errors import Invalid, Upstream
from penstock.net.client import Timers
from penstock.sdk.calls import ROWS_MAX, Calls, decoded, encoded, inside
from penstock.sdk.knowledge import (
    CollectionInfo,
    CollectionRequest,
    DocumentInfo,
    DocumentPage,
    DocumentRequest,
    Job,
    JobPage,
    Migration,
    SearchAnswer,
    SearchRequest,
    Token,
    Vectors,
)
from penstock.sdk.transport import told

COLLECTIONS: Final = "/v1/collections"
PAGE: Final = 100
SENDING: Final = Timers(connect_s=3.0, first_byte_s=300.0, between_chunks_s=60.0, total_s=600.0)
"""Documents are many bytes, and are written down before they are told as taken."""
T = TypeVar("T")
Lane = Literal["query", "ingest"]


class CollectionCalls(Calls):
    """The collections of a key's project, what is in them, and what is found there."""

    async def create(self, request: CollectionRequest) -> CollectionInfo:
        """Make a collection. Raises Conflict where its name is taken."""
        return await self._v1("POST", "", CollectionInfo, body=encoded(request))

    async def list(self) -> tuple[CollectionInfo, ...]:
        """Return the project's collections, oldest first."""
        return await self._pages("", tuple[CollectionInfo, ...])

    async def get(self, name: str) -> CollectionInfo:
        """Return a collection, and how much is in it. Raises NotFound."""
        return await self._v1("GET", inside(name), CollectionInfo)

    async def delete(self, name: str) -> None:
        """Delete a collection and everything in it."""
        await self._v1("DELETE", inside(name), dict[str, object])

    async def add(self, name: str, documents: Sequence[DocumentRequest]) -> Job:
        """Have up to 1,000 documents indexed; all of them are taken, or none."""
        body = encoded({"documents": documents})
        return await self._v1("POST", inside(name, "documents"), Job, body=body)

    async def add_lines(self, name: str, documents: Iterable[DocumentRequest]) -> Job:
        """Have many documents indexed, sent as lines; those that are none are told in the job."""
        body = b"\n".join(encoded(document) for document in documents)
        headers = b"content-type: application/x-ndjson\r\n"
        return await self._v1("POST", inside(name, "bulk"), Job, body=body, headers=headers)

    async def add_bytes(
        self,
        name: str,
        content: bytes,
        media_type: str = "",
        *,
        id: str = "",
        file: str = "",
        acl: Sequence[str] = (),
    ) -> Job:
        """Have one document indexed as it is, without base64; `file` is its name, `acl` are its labels."""
        if any("," in label or not label for label in acl):
            raise Invalid("This label cannot be said in an address.", field="acl", value=",".join(acl)[:200])
        given = {"id": id, "name": file, "acl": ",".join(acl)}
        query = urlencode({key: value for key, value in given.items() if value})
        headers = f"content-type: {media_type or 'application/octet-stream'}\r\n"
        if not headers.isascii() or not headers.removesuffix("\r\n").isprintable():
            raise Invalid("This is no media type.", field="media_type", value=media_type[:80])
        path = inside(name, "documents") + (f"?{query}" if query else "")
        return await self._v1("POST", path, Job, body=content, headers=headers.encode())

    async def documents(self, name: str) -> tuple[DocumentInfo, ...]:
        """Return the documents of a collection."""
        return await self._pages(inside(name, "documents"), tuple[DocumentInfo, ...])

    async def document_page(self, name: str, after: str = "", limit: int = PAGE) -> DocumentPage:
        """Return up to `limit` documents (at most 100) that come after the id `after`."""
        page = await self._v1("GET", f"{inside(name, 'documents')}?{_page_query(after, limit)}", _Page)
        documents = decoded(page.data, tuple[DocumentInfo, ...], "documents")
        return DocumentPage(documents=documents, after=(page.last_id or "") if page.has_more else "")

    async def document(self, name: str, document: str) -> DocumentInfo:
        """Return one document, by its id. Raises NotFound."""
        return await self._v1("GET", inside(name, "documents", document), DocumentInfo)

    async def remove(self, name: str, document: str) -> None:
        """Delete a document; what was told as deleted is never found again."""
        await self._v1("DELETE", inside(name, "documents", document), dict[str, object])

    async def jobs(self, name: str) -> tuple[Job, ...]:
        """Return the jobs of a collection, the newest first."""
        return await self._pages(inside(name, "jobs"), tuple[Job, ...])

    async def job_page(self, name: str, after: str = "", limit: int = PAGE) -> JobPage:
        """Return up to `limit` jobs (at most 100), the newest first; with `after`, those older than that one."""
        path = inside(name, "jobs")
        page = await self._v1("GET", f"{path}?{_page_query(after, limit)}", _Page)
        jobs = decoded(page.data, tuple[Job, ...], path)
        return JobPage(jobs=jobs, after=(page.last_id or "") if page.has_more else "")

    async def job(self, name: str, job: str) -> Job:
        """Return one job, with all its failures once it has ended, with the first of them before. Raises NotFound."""
        path = f"{inside(name, 'jobs', job)}?limit={PAGE}"
        found = await self._v1("GET", path, Job)
        failures, after = [*found.failures], found.last_failure
        while after and not found.is_open and len(failures) < ROWS_MAX:
            page = await self._v1("GET", f"{path}&{urlencode({'after': after})}", Job)
            failures += page.failures
            after = page.last_failure
        return msgspec.structs.replace(
            found, failures=tuple(failures), has_more_failures=bool(after), last_failure=after
        )

    async def retry(self, name: str, job: str) -> Job:
        """Have what failed, and may succeed, tried again."""
        return await self._v1("POST", inside(name, "jobs", job, "retry"), Job)

    async def cancel(self, name: str, job: str) -> Job:
        """Have what is not yet indexed left alone."""
        return await self._v1("POST", inside(name, "jobs", job, "cancel"), Job)

    async def search(self, name: str, request: SearchRequest) -> SearchAnswer:
        """Find passages by meaning and by words."""
        return await self._v1("POST", inside(name, "search"), SearchAnswer, body=encoded(request))

    async def migrate(self, name: str, model: str, switch: Literal["auto", "manual"] = "auto") -> Migration:
        """Begin to embed everything for another model, beside what is searched meanwhile."""
        body = encoded({"model": model, "switch": switch})
        return await self._v1("POST", inside(name, "migrations"), Migration, body=body)

    async def migrations(self, name: str) -> tuple[Migration, ...]:
        """Return the migrations of a collection."""
        return await self._pages(inside(name, "migrations"), tuple[Migration, ...])

    async def migration(self, name: str, migration: str) -> Migration:
        """Return one migration. Raises NotFound."""
        return await self._v1("GET", inside(name, "migrations", migration), Migration)

    async def steer(
        self, name: str, migration: str, step: Literal["switch", "rollback", "cancel", "finish"]
    ) -> Migration:
        """Take a migration's next step, or back."""
        return await self._v1("POST", inside(name, "migrations", migration, step), Migration)

    async def _v1(
        self, method: str, path: str, kind: type[T], *, body: bytes = b"", headers: bytes = b""
    ) -> T:
        """Call one route below the collections."""
        reply = await self._transport.call(method, COLLECTIONS + path, body, headers=headers, timers=SENDING)
        return decoded(reply.body, kind, path)

    async def _pages(self, path: str, kind: type[tuple[T, ...]]) -> tuple[T, ...]:
        """Collect a list page by page."""
        rows: list[T] = []
        after: str | None = ""
        while after is not None and len(rows) < ROWS_MAX:
            reply = await self._transport.call("GET", f"{COLLECTIONS}{path}?{_page_query(after, PAGE)}")
            page = decoded(reply.body, _Page, path)
            rows.extend(decoded(page.data, kind, path))
            after = page.last_id if page.has_more else None
        return tuple(rows)


class EmbeddingCalls(Calls):
    """Vectors and tokens of texts."""

    async def create(
        self,
        *,
        model: str,
        input: str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]],
        lane: Lane = "query",
        timeout_s: float = 120.0,
        **parameters: object,
    ) -> Vectors:
        """Return a vector a text; `lane` "ingest" lets those go first who wait. `parameters` are OpenAI's."""
        body = encoded({"model": model, "input": input, **parameters, "encoding_format": "base64"})
        timers = Timers(connect_s=3.0, first_byte_s=timeout_s, between_chunks_s=timeout_s, total_s=timeout_s)
        headers = f"x-priority: {lane}\r\n".encode()
        reply = await self._transport.call("POST", "/v1/embeddings", body, headers=headers, timers=timers)
        said = decoded(reply.body, _Embedded, "/v1/embeddings")
        cost = told(reply.headers, b"x-penstock-cost-nanos")
        return Vectors(
            model=said.model,
            vectors=tuple(_floats(each.embedding) for each in sorted(said.data, key=lambda each: each.index)),
            tokens=said.usage.get("prompt_tokens", 0),
            request_id=told(reply.headers, b"x-request-id"),
            cost_nanos=int(cost) if cost.isascii() and cost.isdigit() and len(cost) <= 19 else None,
        )

    async def tokenize(self, texts: Sequence[str], model: str = "") -> tuple[tuple[Token, ...], ...]:
        """Return each text's tokens; without `model` those of the only one there is in the machine."""
        body = encoded({"inputs": texts, "model": model})
        reply = await self._transport.call("POST", "/v1/tokenize", body)
        return decoded(reply.body, tuple[tuple[Token, ...], ...], "/v1/tokenize")


class _Page(msgspec.Struct, frozen=True):
    data: msgspec.Raw
    has_more: bool = False
    last_id: str | None = None


class _Vector(msgspec.Struct, frozen=True):
    index: int
    embedding: str | tuple[float, ...]


class _Embedded(msgspec.Struct, frozen=True):
    model: str
    data: tuple[_Vector, ...]
    usage: Mapping[str, int]


def _page_query(after: str, limit: int) -> str:
    return urlencode({"after": after, "limit": limit} if after else {"limit": limit})


def _floats(embedding: str | tuple[float, ...]) -> tuple[float, ...]:
    """Return a vector; little-endian float32 in base64, or numbers from a provider that knows no base64."""
    if not isinstance(embedding, str):
        return embedding
    numbers = array("f")
    try:
        numbers.frombytes(binascii.a2b_base64(embedding, strict_mode=True))
    except ValueError as error:
        raise Upstream(f"A vector was not understood: {error}.", code="malformed_reply") from None
    if byteorder == "big":
        numbers.byteswap()
    return tuple(numbers)
