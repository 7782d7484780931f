"""The path of one paid request, top to bottom. Every mandatory step is here, in order, and nothing else is.

    open       bytes → envelope, bounded                                     `dialects/openai_envelope`
    route      model name → ordered targets, pure                            `gateway/routing`
    admit      caps, limits, money held                                      `gateway/admission`
    call       attempts within retry budget, breaker and deadline            `mechanisms/resilience`, `gateway/attempt`
    relay      the answer, whole or streamed, to the caller                  `gateway/relay`
    settle     one posting, whatever happened, then one audit event          `gateway/metering`, `gateway/story`

Promises: every admitted request is settled exactly once and every request is audited exactly once; whatever happens to
the client or the vendor, one place (the `finally` below) settles; a refusal costs nothing and leaves nothing held.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine

from penstock.dialects.openai_envelope import open_chat
from penstock.gateway.admission import Admission, Seat
from penstock.gateway.ask import Ask, asked
from penstock.gateway.attempt import Answer, attempt
from penstock.gateway.client import Client
from penstock.gateway.metering import Meter
from penstock.gateway.relay import Relay
from penstock.gateway.routing import RouteTable, Target
from penstock.gateway.story import Story
from penstock.kernel.context import RequestContext
from penstock.mechanisms.audit import AuditPipe
from penstock.mechanisms.resilience import Resilience
from penstock.mechanisms.tenancy import Tenancy
from penstock.ports.ledger import SettlesInBackground
from penstock.ports.providers import ChatCall, ProviderFailure


class Pipeline:
    """Everything a paid request passes. One per process."""

    def __init__(
        self,
        *,
        routes: Callable[[], RouteTable],
        tenancy: Tenancy,
        admission: Admission,
        resilience: Resilience,
        ledger: SettlesInBackground,
        relay: Relay,
        audit: AuditPipe,
    ) -> None:
        """`routes()` returns the table in force now."""
        self._routes = routes
        self._tenancy = tenancy
        self._admission = admission
        self._resilience = resilience
        self._ledger = ledger
        self._relay = relay
        self._audit = audit
        self._draws = 0

    async def serve(self, context: RequestContext, body: bytes, client: Client, story: Story) -> None:
        """Serve one chat request. Raises PenstockError if nothing has left yet; afterwards errors go in-band."""
        try:
            await self._serve(context, body, client, story)
        except BaseException as error:  # because whatever ends a request must be in its audit record
            story.failed(error)
            raise
        finally:
            self._audit.offer(story.event())

    async def _serve(self, context: RequestContext, body: bytes, client: Client, story: Story) -> None:
        envelope = story.asked(open_chat(body))
        self._draws += 1
        table = self._routes()
        targets = table.find(envelope.model).order(self._draws)
        if envelope.service_tier:
            targets = table.in_service(targets, envelope.service_tier)
        story.routed()
        if envelope.user:
            context.principal = await self._tenancy.acting_for(context.principal, envelope.user)
        ask = asked(envelope, targets)
        seat = await self._admission.admit(context, ask, targets)
        story.admitted()
        meter = Meter(self._ledger, self._admission, seat, ask)
        try:
            target, answer = await self._call(context, ask, seat, meter, targets, story)
            await self._relay.answer(context, meter, target, answer, client, story)
        finally:
            meter.settle()
            story.settled(meter)
            await meter.release()

    async def _call(
        self,
        context: RequestContext,
        ask: Ask,
        seat: Seat,
        meter: Meter,
        targets: tuple[Target, ...],
        story: Story,
    ) -> tuple[Target, Answer]:
        """Return the first good answer. Every attempt that may have cost money is on the meter when this ends."""
        envelope = ask.envelope
        trying = targets[0]
        under_way = False

        def call(target: Target) -> Coroutine[None, None, Answer]:
            nonlocal trying, under_way
            body = envelope.render(
                target.model, seat.output_tokens, include_usage=True, limit_name=target.limit_name
            )
            sent = ChatCall(
                model=target.model,
                body=body,
                stream=envelope.stream,
                request_id=context.request_id,
                timers=target.within(self._resilience.left_s(context.deadline_s)),
            )
            trying, under_way = target, True
            story.calling(target)
            return attempt(target, sent, keep_usage=envelope.include_usage)

        async def before_retry(target: Target, failure: ProviderFailure) -> bool:
            nonlocal under_way
            under_way = False
            meter.failed(target, failure)
            story.called()
            missing_nanos = meter.spent_nanos + meter.worst_nanos(targets) - seat.held_nanos
            return missing_nanos <= 0 or await self._admission.top_up(seat, missing_nanos)

        try:
            answered = await self._resilience.first_answer(targets, call, context.deadline_s, before_retry)
        except ProviderFailure as failure:
            if len(meter.attempts) < len(failure.attempts):
                meter.failed(trying, failure)
            raise
        except BaseException:  # because whatever ends a call on its way, the vendor may bill all of it
            if under_way:
                meter.abandoned(trying)
            raise
        return answered.target, answered.answer
