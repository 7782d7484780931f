"""The lines of a batch: read from its file, answered one by one, kept until the output is written.

Promises: a line is dispatched at most once, whatever crashes (its Idempotency-Key is the batch's id and its number):
one that a crash interrupted is told as an error, and never sent again on its own; it passes every rung that a request
of its key passes, and is the least urgent of them (`low`); where a rate limit of the key or want of room refuses it, it
waits.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from penstock.dialects import anthropic_batches, openai_batches
from penstock.dialects.openai_batches import Line, LineError, parse_line
from penstock.gateway.admission import LimitReached
from penstock.gateway.faces import Face
from penstock.gateway.files import TENANT
from penstock.gateway.idempotency import Idempotency
from penstock.gateway.inquiry import Inquiry
from penstock.gateway.line import Line as Served
from penstock.gateway.routing import RouteTable
from penstock.kernel.clock import Clock
from penstock.kernel.context import Principal, RequestContext
from penstock.kernel.errors import Invalid, Overloaded, PenstockError
from penstock.kernel.ids import new_id
from penstock.mechanisms.priorities import HEADER
from penstock.ports.providers import ProviderFailure
from penstock.ports.records import Collection, Records, Write

COLLECTION = Collection(name="batch_lines", indexes=("batch",))
ENDS = Collection(name="batch_ends")
"""Of each line that has ended whether well, and the bytes of its end; a batch is the tenant. So a batch that is taken
up again is known without reading its answers."""
COLLECTIONS = (COLLECTION, ENDS)
ERRORS_MAX = 50
"""Mistakes told of one file."""
PAGE_ROWS = 50
PAGE_ENDS = 1_000
DELETED_MOST = 100
AT_ONCE = 200
"""Lines read before others have their turn."""
WAIT_MAX_S = 5.0
KEPT_BYTES_MAX = 1_000_000
NS_PER_S = 1_000_000_000
_REQUEST_ID = re.compile(rb"x-request-id: ([!-~]+)")


class Words(NamedTuple):
    """How the ends of lines are told in one dialect."""

    answered: Callable[[str, str, int, str, bytes], bytes]
    """By the id of the line, its custom_id, status, the request's id and the body of the reply."""
    unanswered: Callable[[str, str, str, str], bytes]
    """By the id of the line, its custom_id, a code and a message."""
    apart: bool
    """Whether good and bad lines are told in files of their own."""


OPENAI_WORDS = Words(openai_batches.render_answer, openai_batches.render_unanswered, apart=True)
ANTHROPIC_WORDS = Words(anthropic_batches.render_answer, anthropic_batches.render_unanswered, apart=False)


class Way(NamedTuple):
    """How the lines of one endpoint are understood and served, and how their ends are told."""

    face: Face
    line: Served
    words: Words = OPENAI_WORDS


class Asked(NamedTuple):
    """One line, where it goes and as whom."""

    line: Line
    endpoint: str
    principal: Principal


class Answered(NamedTuple):
    """One line's end: its number (from 0), whether its reply was good, and the line of output."""

    number: int
    good: bool
    output: bytes


class Sink:
    """The client of a line: it takes the reply whole and never leaves."""

    gone = paused = False

    def __init__(self) -> None:
        """Wait for a reply."""
        self.started = self.complete = False
        self.status = 0
        self.headers = self.body = b""

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        """Take a whole reply."""
        self.status, self.headers, self.body = status, headers, body
        self.started = self.complete = True

    def begin(self, status: int, headers: bytes) -> None:
        """Take the head of a stream; no line asks for one."""
        self.status, self.headers, self.started = status, headers, True

    def write(self, data: bytes) -> None:
        """Take a piece."""
        self.body += data

    def finish(self, tail: bytes = b"") -> None:
        """Take the last piece."""
        self.body += tail
        self.complete = True

    async def drain(self) -> None:
        """Return at once."""


class Lines:
    """Reads and serves lines. One per process."""

    def __init__(
        self,
        ways: Mapping[str, Way],
        idempotency: Idempotency,
        records: Records,
        routes: Callable[[], RouteTable],
        clock: Clock,
        *,
        deadline_s: float,
        max_lines: int,
    ) -> None:
        """`ways` are by endpoint; each line has `deadline_s` seconds; a batch has `max_lines` at most."""
        self._ways = ways
        self._idempotency = idempotency
        self._records = records
        self._routes = routes
        self._clock = clock
        self._deadline_s = deadline_s
        self._max_lines = max_lines

    async def read(
        self, content: bytes, endpoint: str, principal: Principal
    ) -> tuple[list[Line], list[LineError]]:
        """Return the lines of a file and what is wrong with them; nothing is spent."""
        lines: list[Line] = []
        errors: list[LineError] = []
        seen: set[str] = set()
        rows = [row for row in content.split(b"\n") if row.strip()]
        if not 1 <= len(rows) <= self._max_lines:
            told = f"The file has {len(rows)} requests; 1 to {self._max_lines} are taken."
            return [], [LineError(code="wrong_number_of_requests", message=told)]
        for number, row in enumerate(rows, 1):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            try:
                lines.append(self._checked(row, endpoint, principal, seen))
            except PenstockError as error:
                errors.append(
                    LineError(
                        code=error.reason, message=error.message, param=error.field or None, line=number
                    )
                )
                if len(errors) == ERRORS_MAX:
                    break
        return lines, errors

    def parsed(self, content: bytes, endpoint: str) -> list[Line]:
        """Return the lines of a file that was found good before."""
        return [parse_line(row, endpoint) for row in content.split(b"\n") if row.strip()]

    def _checked(self, row: bytes, endpoint: str, principal: Principal, seen: set[str]) -> Line:
        line = parse_line(row, endpoint)
        if line.custom_id in seen:
            raise Invalid("The custom_id comes twice.", code="duplicate_custom_id", field="custom_id")
        seen.add(line.custom_id)
        envelope = self._ways[endpoint].face.open(bytes(line.body), endpoint)
        if envelope.stream:
            raise Invalid("A request of a batch is not streamed.", field="body.stream", value=True)
        if not principal.may_use(envelope.model):
            raise Invalid("This key may not use that model.", code="model_not_allowed", field="body.model")
        self._routes().find(envelope.model, principal)
        return line

    async def answer(
        self, batch_id: str, number: int, asked: Asked, may_wait: Callable[[], bool]
    ) -> Answered | None:
        """Have one line answered; None when a limit refuses it and it may not wait any longer."""
        line, endpoint, principal = asked
        face, served, words = self._ways[endpoint]
        key = f"{batch_id}/{number}".encode()
        inquiry = Inquiry(face, endpoint, bytes(line.body))
        while True:
            sink = Sink()
            now_s = self._clock.monotonic_s()
            context = RequestContext(
                new_id("req_"),
                principal,
                deadline_s=now_s + self._deadline_s,
                received_ns=int(now_s * NS_PER_S),
                feature="batch",
            )
            context.header = _header
            try:
                await self._idempotency.serve(context, key, inquiry, sink, served)
            except PenstockError as error:
                if isinstance(error, LimitReached | Overloaded) or _is_for_room(error):
                    await asyncio.sleep(min(error.retry_after_s or 1.0, WAIT_MAX_S))
                    if may_wait():
                        continue
                    return None
                sink.send(*face.error_reply(error, context.request_id))
            found = _REQUEST_ID.search(sink.headers)
            request_id = context.request_id if found is None else found[1].decode()
            output = words.answered(new_id("batch_req_"), line.custom_id, sink.status, request_id, sink.body)
            if len(output) > KEPT_BYTES_MAX:
                told = f"The answer has {len(output)} bytes; {KEPT_BYTES_MAX} are kept of one request."
                return Answered(number, False, self.unanswered(endpoint, line, "answer_too_large", told))
            return Answered(number, sink.status == 200, output)

    def unanswered(self, endpoint: str, line: Line, code: str, message: str) -> bytes:
        """Return the line of output of a request that has no answer."""
        return self._ways[endpoint].words.unanswered(new_id("batch_req_"), line.custom_id, code, message)

    # ---------------------------------------------------------------------------------------------------- kept

    async def keep(self, batch_id: str, answered: Answered) -> None:
        """Keep one line's end, durably."""
        mark = b"+" if answered.good else b"-"
        number, output = f"{answered.number:08d}", answered.output
        row = Write(
            collection=COLLECTION.name,
            tenant=TENANT,
            id=f"{batch_id}/{number}",
            value=mark + output,
            indexed={"batch": batch_id},
        )
        end = Write(collection=ENDS.name, tenant=batch_id, id=number, value=b"%b%d" % (mark, len(output)))
        await self._records.transact([row, end])

    async def kept(self, batch_id: str) -> tuple[dict[int, bool], int]:
        """Return which lines have ended, by number, and whether well; and the bytes of their ends."""
        ended: dict[int, bool] = {}
        size, after = 0, ""
        while rows := await self._records.scan(ENDS.name, batch_id, after=after, limit=PAGE_ENDS):
            ended.update({int(row.id): row.value[:1] == b"+" for row in rows})
            size += sum([int(row.value[1:]) for row in rows])
            after = rows[-1].id
        return ended, size

    async def outputs(self, batch_id: str, endpoint: str) -> tuple[list[bytes], list[bytes] | None]:
        """Return the lines of the output and of the error file, in the order of the input; None where one has all."""
        output: list[bytes] = []
        errors: list[bytes] | None = [] if self._ways[endpoint].words.apart else None
        after = ""
        while rows := await self._records.find(
            COLLECTION.name, TENANT, "batch", batch_id, after=after, limit=PAGE_ROWS
        ):
            for row in rows:
                (output if errors is None or row.value[:1] == b"+" else errors).append(row.value[1:])
            after = rows[-1].id
        return output, errors

    async def forget(self, batch_id: str) -> None:
        """Forget what was kept of a batch: its files have it now."""
        while rows := await self._records.find(COLLECTION.name, TENANT, "batch", batch_id, limit=PAGE_ROWS):
            await self._records.transact([_deletion(COLLECTION, TENANT, row.id) for row in rows])
        while rows := await self._records.scan(ENDS.name, batch_id, limit=DELETED_MOST):
            await self._records.transact([_deletion(ENDS, batch_id, row.id) for row in rows])


def _deletion(collection: Collection, tenant: str, row_id: str) -> Write:
    return Write(collection=collection.name, tenant=tenant, id=row_id, value=None)


def _header(name: bytes) -> bytes | None:
    """Return what the headers of a line would be: it waits for nobody, and nobody for it."""
    return b"low" if name == HEADER else None


def _is_for_room(error: PenstockError) -> bool:
    """Tell whether a line was kept back from a quota that is nearly used up; no vendor was called."""
    return isinstance(error, ProviderFailure) and error.kind == "rate_limited" and not error.attempts
