"""Requests that nobody can answer now, accepted to be answered later: by a signed webhook, and here.

    POST …  with ``x-penstock-later: <webhook>``  →  202 where no provider answers, with the request's own id
    GET /v1/later/{id}                            →  where it stands, and its answer
    DELETE /v1/later/{id}                         →  taken back while it waits, forgotten once it has ended

Promises: an answer goes only to a webhook that the settings name, and that names the caller's organisation, never to an
address of a request; a request is seen by callers of the project that made it and by nobody else; it spends as its key,
and nothing is held while it waits. `gateway/later_runs` does the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from penstock.gateway.files import owner_of, send_json
from penstock.gateway.inquiry import Inquiry
from penstock.gateway.later_book import Asked, LaterBook, LaterDoc
from penstock.kernel.clock import Clock
from penstock.kernel.context import Principal, RequestContext, no_header
from penstock.kernel.errors import Invalid, NotFound, TooLarge
from penstock.kernel.ids import new_id
from penstock.mechanisms.tenancy import Tenancy
from penstock.net.request import Request
from penstock.net.responder import Responder

HEADER: Final = b"x-penstock-later"
PATH: Final = "/v1/later/"
REQUEST_BYTES: Final = 900_000
"""The largest request that is put off: a row holds it."""
KEPT_HEADERS: Final = (
    b"x-penstock-task", b"x-penstock-region", b"x-penstock-priority", b"x-penstock-structured", b"x-penstock-overflow",
    b"x-prefer-cached", b"cache-control", b"x-penstock-cache-ttl-class", b"x-penstock-cache-tags",
    b"x-penstock-cache-version",
)  # fmt: skip
"""What a request said beside its body that still counts when it is asked again."""
OF_STREAMS: Final = ("stream", "stream_options")
"""Members that no whole answer has, whatever the dialect."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller is told of a request that was accepted. `expires_at` is wall time, in seconds."""

    id: str
    status: str
    url: str
    webhook: str
    expires_at: int


class Later:
    """Takes requests and tells of them. One per process."""

    def __init__(
        self,
        book: LaterBook,
        tenancy: Tenancy,
        clock: Clock,
        *,
        takes: Mapping[str, frozenset[str]],
        kept_s: float,
    ) -> None:
        """`takes` are the webhooks by name, each with the organisations whose answers it takes."""
        self.book = book
        self._tenancy = tenancy
        self._clock = clock
        self._kept_s = kept_s
        self.takes = {name: orgs for name, orgs in takes.items() if orgs}
        self.accepted = 0
        """Requests put off, since the start; so are the other figures of `later_runs`."""

    def check(self, context: RequestContext) -> str:
        """Return the webhook a request names, "" when it names none. Raises Invalid for one there is not, or that is
        not its organisation's.
        """
        header = context.header(HEADER)
        return "" if header is None else self._webhook(context, header[:256].decode("latin-1").strip())

    async def accept(self, context: RequestContext, inquiry: Inquiry, model: str, webhook: str) -> Receipt:
        """Write a request down, to be told to the webhook it names, else to `webhook`. Raises Rejected, Unavailable."""
        if context.header is no_header:
            raise Invalid("What nobody waits for is not put off.", code="not_put_off")
        name = self.check(context) or self._webhook(context, webhook)
        who = context.principal
        if await self._tenancy.key(who.key_id) is None:
            raise Invalid(
                "A request that is put off needs an API key to spend as.",
                code="key_needed",
                remedy="Use a key.",
            )
        asked = _asked(context, inquiry)
        if len(asked.body) > REQUEST_BYTES:
            raise TooLarge(
                "This request is too large to be put off.", value=len(asked.body), limit=REQUEST_BYTES
            )
        now_s, id = self._clock.wall_s(), new_id("later_")
        doc = LaterDoc(
            id=id,
            org=who.org,
            owner=owner_of(who),
            key_id=who.key_id,
            feature=context.feature,
            face=inquiry.face.name,
            model=model,
            webhook=name,
            created_s=now_s,
            expires_s=now_s + self._kept_s,
            box=self.book.sealed(who.org, id, asked),
        )
        await self.book.add(doc)
        self.accepted += 1
        url, until = f"{PATH}{id}", int(doc.expires_s)
        return Receipt(id=id, status=doc.status, url=url, webhook=name, expires_at=until)

    def _webhook(self, context: RequestContext, name: str) -> str:
        if context.principal.org not in self.takes.get(name, frozenset()):
            raise Invalid(
                "No webhook of that name takes answers of your organisation.",
                code="no_such_webhook",
                field=HEADER.decode(),
                value=name,
                remedy="Ask the operator to name your organisation in `orgs` of one under [[webhooks]].",
            )
        return name

    # --------------------------------------------------------------------------------------------------- for callers

    async def one(self, request: Request, responder: Responder, principal: Principal) -> None:
        """Serve one request: where it stands, and its answer."""
        doc = await self._found(request, principal)
        answer = b"" if doc.status in ("waiting", "running") else self.book.answer(doc)
        send_json(responder, told(doc, answer))

    async def delete(self, request: Request, responder: Responder, principal: Principal) -> None:
        """Take one back, or forget it."""
        doc = await self._found(request, principal)
        await self.book.remove(doc.org, doc.id)
        send_json(responder, {"id": doc.id, "object": "later", "deleted": True})

    async def _found(self, request: Request, principal: Principal) -> LaterDoc:
        id = request.path.removeprefix(PATH)[:64]
        doc = await self.book.get(principal.org, id)
        if doc is None or doc.owner != owner_of(principal):
            raise NotFound("There is no such request.", field="id", value=id)
        return doc


def told(doc: LaterDoc, answer: bytes) -> dict[str, Any]:
    """Return a request as callers and webhooks read it. `answer` is JSON in the caller's own dialect, b"" for none."""
    return {
        "id": doc.id,
        "object": "later",
        "status": doc.status,
        "model": doc.model,
        "feature": doc.feature,
        "created_at": int(doc.created_s),
        "expires_at": int(doc.expires_s),
        "attempts": doc.attempts,
        "webhook": doc.webhook,
        "url": PATH + doc.id,
        "error": doc.error or None,
        "request_id": doc.request_id or None,
        "status_code": doc.status_code or None,
        "answer": Raw(answer) if answer else None,
    }


def _asked(context: RequestContext, inquiry: Inquiry) -> Asked:
    """Return the request as it will be asked: whole, and of models alone."""
    face, path, body = inquiry
    if face.open(body, path).stream:
        members = msgspec.json.decode(body, type=dict[str, Raw])
        body = msgspec.json.encode({name: told for name, told in members.items() if name not in OF_STREAMS})
        path = path.replace(":streamGenerateContent", ":generateContent")
    headers = {name: value for name in KEPT_HEADERS if (value := context.header(name)) is not None}
    only = context.header(b"x-penstock-fallback") or b"models"
    return Asked(path=path, body=body, headers={**headers, b"x-penstock-fallback": only})
