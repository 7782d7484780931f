"""The path of one paid request, top to bottom. Every mandatory step is here, in order, and nothing else is.

    open       bytes → envelope, bounded                                     `gateway/faces`
    route      model name → ordered targets, pure                            `gateway/routing`
    word       what each target must hear, in its own dialect                `gateway/wording`
    inspect    what the tenant's rules say of it: rewritten, refused, checked `Inspection`s, none by default
    admit      caps, limits, money held                                      `gateway/admission`
    call       attempts within retry budget, breaker and deadline            `gateway/calling`, `mechanisms/resilience`
    relay      the answer, whole or streamed, to the caller                  `gateway/relay`
    settle     one posting, whatever happened, then one audit event          `gateway/metering`, `gateway/story`

Promises: every admitted request is settled exactly once and every request is audited exactly once; whatever happens to
the client or the vendor, one place (the `finally` below) settles; a refusal costs nothing and leaves nothing held.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from penstock.gateway.admission import Admission
from penstock.gateway.ask import asked
from penstock.gateway.cached_answers import CachedAnswers
from penstock.gateway.calling import Calling
from penstock.gateway.choosing import Choice
from penstock.gateway.client import Client
from penstock.gateway.faces import Face
from penstock.gateway.metering import Meter
from penstock.gateway.relay import Relay
from penstock.gateway.route_ask import route_ask
from penstock.gateway.routing import RouteTable
from penstock.gateway.story import Story
from penstock.gateway.targets import Target
from penstock.gateway.turn import Turn
from penstock.gateway.wording import Wording, Wordings
from penstock.kernel.context import RequestContext
from penstock.mechanisms.audit import AuditPipe
from penstock.mechanisms.tenancy import Tenancy
from penstock.ports.ledger import SettlesInBackground


class Inquiry(NamedTuple):
    """A request as it came in: the dialect it is in, its path and its bytes."""

    face: Face
    path: str
    body: bytes


class Inspection(Protocol):
    """Looks into a request before limits are taken and money is held: may refuse it, rewrite it, add answer filters."""

    async def inspect(
        self, context: RequestContext, wording: Wording, targets: tuple[Target, ...], story: Story, /
    ) -> None:
        """Look; raises PenstockError to refuse."""
        ...


class Pipeline:
    """Everything a paid request passes. One per process."""

    def __init__(
        self,
        *,
        routes: Callable[[], RouteTable],
        tenancy: Tenancy,
        admission: Admission,
        calling: Calling,
        ledger: SettlesInBackground,
        relay: Relay,
        audit: AuditPipe,
        wordings: Wordings,
        inspections: tuple[Inspection, ...] = (),
        answers: CachedAnswers | None = None,
    ) -> None:
        """`routes()` returns the table in force now; `inspections` look into every request, in
        order; `answers` keeps answers, None keeps none.
        """
        self._routes = routes
        self._tenancy = tenancy
        self._admission = admission
        self._calling = calling
        self._ledger = ledger
        self._relay = relay
        self._audit = audit
        self._wordings = wordings
        self._draws = 0
        self.inspections = inspections
        self._answers = answers

    async def serve(self, context: RequestContext, inquiry: Inquiry, client: Client, story: Story) -> None:
        """Serve one chat request. Raises PenstockError if nothing has left yet; afterwards errors go in-band."""
        try:
            await self._serve(context, inquiry, client, story)
        except BaseException as error:  # because whatever ends a request must be in its audit record
            story.failed(error)
            raise
        finally:
            self._audit.offer(story.event())

    async def _serve(self, context: RequestContext, inquiry: Inquiry, client: Client, story: Story) -> None:
        face = inquiry.face
        envelope = story.asked(face.open(inquiry.body, inquiry.path))
        self._draws += 1
        wording = self._wordings.of(face, envelope, context.request_id)
        if envelope.user:
            context.principal = await self._tenancy.acting_for(context.principal, envelope.user)
        choice = self._choose(context, wording)
        targets = wording.sayable(choice.targets)
        story.routed()
        for each in self.inspections:
            await each.inspect(context, wording, targets, story)
        ask = asked(wording.envelope, targets)
        seat = await self._admission.admit(context, ask, targets)
        story.admitted()
        meter = Meter(self._ledger, self._admission, seat, ask)
        turn = Turn(context, client, wording=wording, ask=ask, meter=meter, story=story)
        turn.larger, turn.cascade = choice.larger, choice.cascade
        try:
            if self._answers is None:
                await self._fetch(turn, targets)
            else:
                await self._answers.answer(turn, targets, self._fetch)
        finally:
            meter.settle()
            story.settled(meter)
            await meter.release()

    def _choose(self, context: RequestContext, wording: Wording) -> Choice:
        """Return the targets of a request, and what else its route says of it."""
        envelope, table = wording.envelope, self._routes()
        route = table.find(envelope.model)
        if route.rules is None:  # the usual route
            choice = Choice(route.order(self._draws))
        else:
            choice = route.choose(route_ask(context, wording, self._draws))
        if envelope.service_tier:
            choice = choice._replace(targets=table.in_service(choice.targets, envelope.service_tier))
        return choice

    async def _fetch(self, turn: Turn, targets: tuple[Target, ...]) -> Target:
        """Have a provider answer and pass the answer on; returns whose it is."""
        target, answer = await self._calling.answer(turn, targets)
        try:
            await self._relay.answer(turn, target, answer)
        finally:
            self._calling.ended(target)
        return target
