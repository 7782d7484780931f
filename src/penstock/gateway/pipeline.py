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

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from penstock.dialects.codec import Codec
from penstock.gateway.admission import Admission
from penstock.gateway.ask import asked
from penstock.gateway.calling import Calling
from penstock.gateway.client import Client
from penstock.gateway.faces import Face
from penstock.gateway.metering import Meter
from penstock.gateway.relay import Relay
from penstock.gateway.routing import RouteTable, Target
from penstock.gateway.story import Story
from penstock.gateway.turn import Turn
from penstock.gateway.wording import Wording
from penstock.kernel.clock import Clock
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
        codecs: Mapping[str, Codec],
        clock: Clock,
        inspections: tuple[Inspection, ...] = (),
    ) -> None:
        """`routes()` returns the table in force now; `codecs` are the providers' dialects by name; `inspections` look
        into every request, in order.
        """
        self._routes = routes
        self._tenancy = tenancy
        self._admission = admission
        self._calling = calling
        self._ledger = ledger
        self._relay = relay
        self._audit = audit
        self._codecs = codecs
        self._clock = clock
        self._draws = 0
        self.inspections = inspections

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
        table = self._routes()
        targets = table.find(envelope.model).order(self._draws)
        if envelope.service_tier:
            targets = table.in_service(targets, envelope.service_tier)
        wording = Wording(face, envelope, self._codecs, context.request_id, self._clock)
        targets = wording.sayable(targets)
        story.routed()
        if envelope.user:
            context.principal = await self._tenancy.acting_for(context.principal, envelope.user)
        for each in self.inspections:
            await each.inspect(context, wording, targets, story)
        ask = asked(wording.envelope, targets)
        seat = await self._admission.admit(context, ask, targets)
        story.admitted()
        meter = Meter(self._ledger, self._admission, seat, ask)
        turn = Turn(context, client, wording=wording, ask=ask, meter=meter, story=story)
        try:
            target, answer = await self._calling.answer(turn, targets)
            await self._relay.answer(turn, target, answer)
        finally:
            meter.settle()
            story.settled(meter)
            await meter.release()
