"""Message batches in the words of Anthropic's SDK, worked off by the same hands as OpenAI's (`gateway/batch_runs`).

    POST /v1/messages/batches                GET /v1/messages/batches[/{id}[/results]]
    POST /v1/messages/batches/{id}/cancel    DELETE /v1/messages/batches/{id}

Promises: a batch is created under an API key and spends as that key; it begins at once, and a request that is none
costs nothing and is told in its result; a project sees its own batches, the newest first, and neither their files nor
those of the other dialect. A batch is told as ended once its results lie there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from penstock.dialects.anthropic_batches import ENDPOINT, PATH, parse_batch, render_batch, render_deleted
from penstock.dialects.openai_batches import Counts, render_page
from penstock.gateway.batches import OPEN, BatchBook, BatchDoc
from penstock.gateway.faces import Face
from penstock.gateway.files import Files, owner_of, page_of, send, send_json
from penstock.kernel.clock import Clock
from penstock.kernel.context import Principal
from penstock.kernel.errors import Conflict, Invalid, NotFound
from penstock.kernel.ids import new_id
from penstock.mechanisms.tenancy import Tenancy
from penstock.net.request import Request
from penstock.net.responder import Responder

PAGE_MAX = 1_000
LINES_TYPE = b"content-type: application/x-jsonl\r\n"
_ALL_BITS = (1 << 128) - 1


class MessageBatches:
    """Serves callers. One per process."""

    def __init__(
        self,
        book: BatchBook,
        files: Files,
        tenancy: Tenancy,
        clock: Clock,
        face: Face,
        wake: Callable[[], None],
        *,
        max_lines: int,
        open_most: int,
    ) -> None:
        """A batch has `max_lines` requests, a project `open_most` unfinished batches at most; `wake` tells the runner
        that there is work.
        """
        self._open_most = open_most
        self._book = book
        self._files = files
        self._tenancy = tenancy
        self._clock = clock
        self._id_header = face.id_header
        self._wake = wake
        self._max_lines = max_lines

    async def create(self, request: Request, responder: Responder, principal: Principal) -> None:
        """Make a batch of the requests in the body."""
        lines = parse_batch(request.body, self._max_lines)
        if await self._tenancy.key(principal.key_id) is None:
            raise Invalid("A batch needs an API key to spend as.", remedy="Create it with a key.")
        await self._book.room(principal, self._open_most)
        batch_id, place, now_s = _newest_first_id(), place_of(principal), self._clock.wall_s()
        content = b"\n".join([msgspec.json.encode(line) for line in lines])
        file = await self._files.put(principal.org, place, f"{batch_id}_requests.jsonl", "batch", content)
        doc = BatchDoc(
            id=batch_id,
            org=principal.org,
            owner=owner_of(principal),
            shelf=place,
            key_id=principal.key_id,
            endpoint=ENDPOINT,
            input_file_id=file.id,
            metadata={},
            created_s=now_s,
            counts=Counts(total=len(lines)),
        ).entering("in_progress", now_s)
        await self._book.add(doc)
        self._wake()
        send_json(responder, told(doc), self._id_header)

    async def list(self, request: Request, responder: Responder, principal: Principal) -> None:
        """Serve one page, the newest first: those older than `after_id`, or those just newer than `before_id`."""
        place = place_of(principal)
        after, limit = page_of(request, "after_id", PAGE_MAX)
        before, _ = page_of(request, "before_id", PAGE_MAX)
        if before:
            found = await self._newer(place, before, limit + 1)
            data = found[-limit:]
        else:
            found = await self._book.of(place, after, limit + 1)
            data = found[:limit]
        page = render_page([told(doc) for doc in data], has_more=len(found) > limit)
        send_json(responder, page, self._id_header)

    async def _newer(self, place: str, before: str, most: int) -> Sequence[BatchDoc]:
        """Return the `most` batches just newer than one, the newest first; walks from the newest."""
        newer: deque[BatchDoc] = deque(maxlen=most)
        after = ""
        while page := await self._book.of(place, after, PAGE_MAX):
            newer += [doc for doc in page if doc.id < before]
            after = page[-1].id
            if after >= before:
                break
        return list(newer)

    async def one(self, request: Request, responder: Responder, principal: Principal) -> None:
        """Serve one batch, or the results below its path."""
        doc, below = await self._named(request, principal)
        if below == "results":
            await self._results(doc, responder)
        elif below:
            raise _nothing(request)
        else:
            send_json(responder, told(doc), self._id_header)

    async def _results(self, doc: BatchDoc, responder: Responder) -> None:
        if doc.status in OPEN:
            raise NotFound(
                "The batch has no results yet.",
                field="batch_id",
                value=doc.id,
                remedy="Wait until its processing_status is ended.",
            )
        content = b""
        if doc.output_file_id is not None:
            content = await self._files.content(await self._files.doc(doc.place, doc.output_file_id))
        send(responder, LINES_TYPE, content, self._id_header)

    async def cancel(self, request: Request, responder: Responder, principal: Principal) -> None:
        """Stop a batch: what is under way is finished, nothing else is begun."""
        doc, verb = await self._named(request, principal)
        if verb != "cancel":
            raise _nothing(request)
        doc = await self._book.cancel(doc.id, self._clock.wall_s())
        self._wake()
        send_json(responder, told(doc), self._id_header)

    async def delete(self, request: Request, responder: Responder, principal: Principal) -> None:
        """Forget a batch that has ended, with all that it asked and was answered."""
        doc, below = await self._named(request, principal)
        if below:
            raise _nothing(request)
        if doc.status in OPEN:
            raise Conflict(
                "The batch has not ended.",
                field="batch_id",
                value=doc.id,
                remedy="Cancel it, and wait for its end.",
            )
        for file_id in (doc.input_file_id, doc.output_file_id, doc.error_file_id):
            if file_id is not None:
                with suppress(NotFound):  # expired, or gone in a deletion that broke off
                    await self._files.drop(await self._files.doc(doc.place, file_id))
        await self._book.delete(doc.id)
        send_json(responder, render_deleted(doc.id), self._id_header)

    async def _named(self, request: Request, principal: Principal) -> tuple[BatchDoc, str]:
        """Return the batch that a path names, and what follows its id. Raises NotFound."""
        batch_id, _, below = request.path.removeprefix(f"{PATH}/").partition("/")
        return await self._book.found(place_of(principal), batch_id), below


def place_of(principal: Principal) -> str:
    """Return where the message batches of a caller's project lie; no name of a project has a ``#``."""
    return f"{owner_of(principal)}#messages"


def told(doc: BatchDoc) -> dict[str, Any]:
    """Return a batch as Anthropic's SDK reads it."""
    return render_batch(
        doc.id,
        doc.status,
        doc.counts,
        created_s=doc.created_s,
        expires_s=doc.expires_s,
        entered=doc.entered,
    )


def _newest_first_id() -> str:
    """Return an id that sorts before all earlier ones: rows are read in the order of ids, batches told newest first."""
    return f"msgbatch_{_ALL_BITS - int(new_id(''), 16):032x}"


def _nothing(request: Request) -> NotFound:
    return NotFound("There is nothing at this path.", field="path", value=request.path[:200])
