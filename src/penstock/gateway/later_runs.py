"""The work on requests that wait: asked again when a provider may be back, told to their webhook once.

    waiting ⇄ running → answered        a model answered; billed as any request
              running → failed          refused for good (budget, key, policy, content), or a crash came between
    waiting → expired                   nobody answered in time

Promises: one process is at a request at one time (a lease), and another takes it up when that one is gone; a request
that a crash interrupted while it was being answered is not sent again on its own, so that it is billed once; of those
that wait for a model one asks for all, after growing pauses; what fails and costs is given up after `PAID_MOST` times;
every end is told in the transaction that writes it down, so that neither is there without the other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from penstock.gateway.admission import LimitReached
from penstock.gateway.batch_lines import Sink
from penstock.gateway.faces import Face
from penstock.gateway.fallbacks import OF_THE_REQUEST
from penstock.gateway.inquiry import Inquiry
from penstock.gateway.later import told
from penstock.gateway.later_book import ENDED, OPEN, Claim, Found, LaterBook, LaterDoc
from penstock.gateway.line import Line
from penstock.gateway.story import Story
from penstock.kernel.clock import Clock
from penstock.kernel.context import Principal, RequestContext
from penstock.kernel.errors import NotFound, PenstockError, StaleVersion, Unavailable, Upstream
from penstock.kernel.ids import new_id
from penstock.mechanisms.background import let_end
from penstock.mechanisms.tenancy import Tenancy
from penstock.mechanisms.webhooks import Message, Webhooks
from penstock.ports.providers import ProviderFailure

LOOK_S: Final = 1.0
"""Seconds between two looks at what waits."""
BEAT_S: Final = 5.0
"""Seconds between two signs of life of whoever answers a request."""
LEASE_S: Final = 20.0
"""Seconds without one after which it counts as gone."""
GRACE_S: Final = 5.0
"""Seconds that answers under way are given when the process ends."""
PAUSE_S: Final = 1.0
PAUSE_MOST_S: Final = 60.0
"""Pauses of 1 s, 2 s, 4 s … 60 s between two requests to a model that does not answer."""
PAID_MOST: Final = 3
"""Attempts without an answer that a vendor may have billed, until a request is given up."""
ANSWER_BYTES: Final = 900_000
TOLD_BYTES: Final = 48_000
"""A longer answer is not in the webhook's message: it is to be read."""
LOOKED_AT: Final = 1_000
"""Requests looked at in one look; the next one goes on from there."""
SWEEP_S: Final = 60.0
INTERRUPTED: Final = "later_interrupted"
EXPIRED: Final = "later_expired"
GIVEN_UP: Final = "later_given_up"
NS_PER_S: Final = 1_000_000_000
_log = logging.getLogger("penstock.gateway")


class Wait(NamedTuple):
    """An attempt after which a request waits on: why, behind whom (a model, or a key), and how long if it was told."""

    error: str
    behind: str
    pause_s: float
    paid: bool


class End(NamedTuple):
    """An attempt after which it waits no longer."""

    status_code: int
    body: bytes
    error: str


class Pace:
    """Who does not answer, and when they may be asked again: one asks for all of them."""

    def __init__(self, clock: Clock) -> None:
        """Start with everybody well."""
        self._clock = clock
        self._pauses: dict[str, tuple[float, float]] = {}
        self._asking: set[str] = set()

    def begin(self, *behind: str) -> frozenset[str] | None:
        """Return for whom a request behind these asks, those that were ill; None when it must wait."""
        now_s = self._clock.monotonic_s()
        ill = frozenset([each for each in behind if each in self._pauses])
        if any(each in self._asking or self._pauses[each][0] > now_s for each in ill):
            return None
        self._asking |= ill
        return ill

    def failed(self, behind: str, pause_s: float = 0.0) -> None:
        """Note that somebody did not answer; `pause_s` is the least pause that was asked for."""
        now_s = self._clock.monotonic_s()
        until_s, before_s = self._pauses.get(behind, (now_s, PAUSE_S / 2))
        if until_s > now_s:
            return  # others who asked at the same time have noted it
        pause_s = min(max(2 * before_s, pause_s), PAUSE_MOST_S)
        self._pauses[behind] = now_s + pause_s, pause_s

    def ended(self, asked_for: frozenset[str], *, well: bool) -> None:
        """Note that an attempt is over; `well` when it was answered."""
        self._asking -= asked_for
        if well:
            for each in asked_for:
                self._pauses.pop(each, None)

    def forget(self) -> None:
        """Forget those whom nobody asked for long: nothing waits behind them any more."""
        before_s = self._clock.monotonic_s() - PAUSE_MOST_S
        self._pauses = {name: pause for name, pause in self._pauses.items() if pause[0] > before_s}


class LaterRuns:
    """Works on what waits. One per process."""

    def __init__(
        self,
        book: LaterBook,
        line: Line,
        faces: Mapping[str, Face],
        tenancy: Tenancy,
        webhooks: Webhooks,
        clock: Clock,
        *,
        deadline_s: float,
        kept_s: float,
        concurrency: int,
    ) -> None:
        """Have requests served by `line`, each in `deadline_s`, `concurrency` at one time; keep answers `kept_s`."""
        self._book = book
        self._line = line
        self._faces = faces
        self._tenancy = tenancy
        self._webhooks = webhooks
        self._clock = clock
        self._deadline_s = deadline_s
        self._kept_s = kept_s
        self._concurrency = concurrency
        self._me = new_id("later_runner_")
        self._pace = Pace(clock)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closing = False
        self._swept_s = 0.0
        self._after = ""
        """The last request looked at; "" to begin with the oldest."""
        self.answered = 0
        self.failed = 0
        self.expired = 0
        self.attempts = 0
        """Times a request was asked again."""
        self.stumbles = 0
        """Times the work on a request broke off, to be taken up again."""

    async def watch(self) -> None:
        """Find work and see to it, for ever."""
        while True:
            try:
                await self.look()
                await self._sweep()
            except Exception as error:  # because whatever it is, the next look may find things in order
                unexpected = not isinstance(error, PenstockError)
                _log.warning("requests that wait cannot be looked at: %s", error, exc_info=unexpected)
            await asyncio.sleep(LOOK_S)

    async def close(self) -> None:
        """Begin nothing more; wait a little for answers under way."""
        self._closing = True
        await let_end(list(self._tasks.values()), GRACE_S)

    async def look(self) -> None:
        """Begin whatever may be begun now."""
        looked_at = 0
        while looked_at < LOOKED_AT:
            page = await self._book.page(OPEN, self._after)
            for found in page:
                if self._closing or len(self._tasks) >= self._concurrency:
                    return
                self._after = found.id
                if found.id not in self._tasks:
                    self._begin(found)
            if not page:
                self._after = ""
                return
            looked_at += len(page)

    def _begin(self, found: Found) -> None:
        """Begin the work on one request, if there is any to do now."""
        ticket, now_s = found.ticket, self._clock.wall_s()
        if ticket.leased_until_s > now_s:
            return
        code = INTERRUPTED if ticket.runner else EXPIRED if ticket.expires_s <= now_s else ""
        if code:
            work = self._ending(found, code)
        else:
            asks_for = self._pace.begin(ticket.model, ticket.key_id)
            if asks_for is None:
                return
            work = self._running(found, asks_for)
        self._tasks[found.id] = asyncio.create_task(work, name=f"later {found.id}")

    async def _ending(self, found: Found, code: str) -> None:
        """End a request that is not asked again."""
        try:
            claim = await self._book.claim(found, self._me, self._clock.wall_s() + LEASE_S)
            if claim is not None:
                await self._end(claim, End(0, b"", code))
        except Exception:  # because one that stumbles is taken up again, and must not take the others with it
            self.stumbles += 1
            _log.exception("%s could not be ended", found.id)
        finally:
            del self._tasks[found.id]

    async def _running(self, found: Found, asks_for: frozenset[str]) -> None:
        """Ask a request again, and note what came of it."""
        well = False
        try:
            claim = await self._book.claim(
                found, self._me, self._clock.wall_s() + LEASE_S, request_id=new_id("req_")
            )
            if claim is not None:
                well = await self._run(claim)
        except StaleVersion:
            _log.warning("%s was taken up by another process meanwhile", found.id)
        except Exception:  # because one that stumbles is taken up again, and must not take the others with it
            self.stumbles += 1
            _log.exception("the work on %s broke off", found.id)
        finally:
            self._pace.ended(asks_for, well=well)
            del self._tasks[found.id]

    # ------------------------------------------------------------------------------------------------------ one request

    async def _run(self, claim: Claim) -> bool:
        """Make one attempt under a claim that is held meanwhile; returns whether it was answered."""
        self.attempts += 1
        face, now_s = self._faces[claim.doc.face], self._clock.monotonic_s()
        principal = Principal(key_id=claim.doc.key_id, org=claim.doc.org, team="", project="", user="")
        context = RequestContext(
            claim.doc.request_id,
            principal,  # until the key is looked up
            deadline_s=now_s + self._deadline_s,
            received_ns=int(now_s * NS_PER_S),
            feature=claim.doc.feature,
        )
        story = Story(context, self._clock, face.name)
        attempt = asyncio.create_task(self._attempt(claim.doc, context, story))
        try:
            while not (await asyncio.wait((attempt,), timeout=BEAT_S))[0]:
                claim = await self._held(claim)
        except (
            BaseException
        ):  # because an attempt that nobody waits for must end, and what it called be known
            attempt.cancel()
            await asyncio.gather(attempt, return_exceptions=True)
            await self._book.put_back(claim, error="interrupted", paid=claim.doc.paid + (story.attempts > 0))
            raise
        came = attempt.result()
        if isinstance(came, End):
            await self._end(claim, came)
            return not came.error
        paid = claim.doc.paid + came.paid
        if paid >= PAID_MOST:
            await self._end(claim, End(0, b"", GIVEN_UP))
            return False
        self._pace.failed(came.behind, came.pause_s)
        await self._book.put_back(claim, error=came.error, paid=paid)
        return False

    async def _held(self, claim: Claim) -> Claim:
        """Hold a claim for longer; a store that cannot be asked just now may be back before it lapses."""
        try:
            return await self._book.beat(claim, self._clock.wall_s() + LEASE_S)
        except Unavailable as error:
            _log.warning("the lease of %s could not be renewed: %s", claim.doc.id, error)
            return claim

    async def _attempt(self, doc: LaterDoc, context: RequestContext, story: Story) -> Wait | End:
        """Have the request served as if its caller had sent it now."""
        face, sink = self._faces[doc.face], Sink()
        try:
            asked = self._book.asked(doc)
            context.principal = await self._tenancy.principal_of(doc.key_id)
            context.header = asked.headers.get
            story.flag("later")
            await self._line.serve(context, Inquiry(face, asked.path, asked.body), sink, story)
        except PenstockError as error:
            behind = _waits_behind(error, doc)
            if behind:
                return Wait(error.reason, behind, error.retry_after_s or 0.0, story.spent_nanos > 0)
            status, _, body = face.error_reply(error, context.request_id)
            return End(status, body, error.reason)
        return End(sink.status, sink.body, "")

    async def _end(self, claim: Claim, end: End) -> None:
        """Write a request's end down and have it told."""
        before, now_s = claim.doc, self._clock.wall_s()
        is_kept = bool(end.body) and len(end.body) <= ANSWER_BYTES
        doc = msgspec.structs.replace(
            before,
            status="expired" if end.error == EXPIRED else "failed" if end.error else "answered",
            error=end.error or ("" if is_kept else "answer_too_large"),
            status_code=end.status_code,
            expires_s=now_s + self._kept_s,
            box=self._book.sealed(before.org, before.id, end.body) if is_kept else b"",
        )
        message = _message(doc, end.body, now_s)
        await self._book.end(claim, doc, doc.expires_s, self._webhooks.writes(message, to=doc.webhook))
        self.answered += doc.status == "answered"
        self.failed += doc.status == "failed"
        self.expired += doc.status == "expired"

    async def _sweep(self) -> None:
        """Forget what has ended and is past its time; now and then."""
        if self._clock.monotonic_s() < self._swept_s:
            return
        self._swept_s = self._clock.monotonic_s() + SWEEP_S
        self._pace.forget()
        after = ""
        while page := await self._book.page(ENDED, after):
            after = page[-1].id
            for found in page:
                if found.ticket.expires_s <= self._clock.wall_s():
                    with suppress(NotFound):  # its project has forgotten it meanwhile
                        await self._book.remove(found.ticket.org, found.id)


def _waits_behind(error: PenstockError, doc: LaterDoc) -> str:
    """Return behind whom a request waits after `error`; "" when it is its end."""
    if isinstance(error, ProviderFailure):
        return "" if error.kind in OF_THE_REQUEST else doc.model
    if isinstance(error, LimitReached):
        return doc.key_id
    if isinstance(error, Unavailable) and not isinstance(error, Upstream):
        return doc.model
    return ""


def _message(doc: LaterDoc, body: bytes, now_s: float) -> Message:
    """Return what a webhook is told of an end; a long answer is left to be read."""
    data = told(doc, body if len(body) <= TOLD_BYTES else b"")
    text = f"{doc.id}, asked of {doc.model}, is {doc.status}{f' ({doc.error})' if doc.error else ''}: {data['url']}"
    raw = Raw(msgspec.json.encode(data))
    return Message(type=f"later.{doc.status}", org=doc.org, at_s=now_s, text=text, data=raw)
