"""The path of one paid request, top to bottom. Every mandatory step is here, in order, and nothing else is.

    open       bytes → envelope, bounded                                     `gateway/faces`
    route      model name → ordered targets, pure                            `gateway/routing`
    word       what each target must hear, in its own dialect                `gateway/wording`
    inspect    what the tenant's rules say of it: rewritten, refused, checked `Inspection`s, none by default
    admit      caps, limits, money held                                      `gateway/admission`
    shorten    what was too long, where the rules have it summarised          `gateway/summary_care`
    call       attempts within retry budget, breaker and deadline            `gateway/calling`, `mechanisms/resilience`
    relay      the answer, whole or streamed, to the caller                  `gateway/relay`
    fall back  whatever stands in for those who failed: a model, words kept or written, later  `gateway/fallbacks`
    settle     one posting, whatever happened, then one audit event          `gateway/metering`, `gateway/story`

Promises: every admitted request is settled exactly once and every request is audited exactly once; whatever happens to
the client or the vendor, one place (the `finally` below) settles; a refusal costs nothing and leaves nothing held.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, Protocol

from penstock.gateway.admission import Admission
from penstock.gateway.ask import asked
from penstock.gateway.cached_answers import CachedAnswers
from penstock.gateway.calling import Calling
from penstock.gateway.client import Client
from penstock.gateway.context_care import Windows
from penstock.gateway.fallbacks import Fallbacks
from penstock.gateway.inquiry import Inquiry
from penstock.gateway.later import Later
from penstock.gateway.metering import Meter
from penstock.gateway.relay import Relay
from penstock.gateway.resuming import resume
from penstock.gateway.route_ask import Chooser
from penstock.gateway.routing import RouteTable
from penstock.gateway.story import Story
from penstock.gateway.targets import Target
from penstock.gateway.turn import Turn
from penstock.gateway.wording import Wording, Wordings
from penstock.kernel.context import RequestContext
from penstock.mechanisms.audit import AuditPipe
from penstock.mechanisms.tenancy import Tenancy
from penstock.ports.ledger import SettlesInBackground
from penstock.ports.providers import ProviderFailure


class Inspection(Protocol):
    """Looks into a request before limits are taken and money is held: may refuse it, rewrite it, add answer filters."""

    def inspect(
        self, context: RequestContext, wording: Wording, targets: tuple[Target, ...], story: Story, /
    ) -> Awaitable[None] | None:
        """Look, at once (None) or by waiting for what is returned; either raises PenstockError to refuse."""
        ...


class Choices(NamedTuple):
    """What a deployment may have on the way or not: `inspections` look into every request, in order; `answers` keeps
    answers; `later` takes what nobody can answer now; `windows` learns how long tokens are.
    """

    inspections: tuple[Inspection, ...] = ()
    answers: CachedAnswers | None = None
    later: Later | None = None
    windows: Windows | None = None


NONE_CHOSEN: Final = Choices()


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
        chosen: Choices = NONE_CHOSEN,
    ) -> None:
        """`routes()` returns the table in force now."""
        self._chooser = Chooser(routes)
        self._tenancy = tenancy
        self._admission = admission
        self._calling = calling
        self._ledger = ledger
        self._relay = relay
        self._audit = audit
        self._wordings = wordings
        self.inspections = chosen.inspections
        self._answers = chosen.answers
        self.windows = chosen.windows
        self.fallbacks = Fallbacks(self._chooser, admission, chosen.answers, chosen.later)

    async def serve(self, context: RequestContext, inquiry: Inquiry, client: Client, story: Story) -> None:
        """Serve one chat request. Raises PenstockError if nothing has left yet; afterwards errors go in-band."""
        with story.told_to(self._audit):
            face = inquiry.face
            envelope = story.asked(face.open(inquiry.body, inquiry.path))
            wording = self._wordings.of(face, envelope, context.request_id)
            self.fallbacks.check(context)
            if envelope.user:
                context.principal = await self._tenancy.acting_for(context.principal, envelope.user)
            choice = self._chooser.choose(context, wording, envelope.model)
            targets = wording.sayable(choice.targets)
            story.routed()
            for each in self.inspections:
                looking = each.inspect(context, wording, targets, story)
                if looking is not None:
                    await looking
            ask = asked(wording.envelope, targets)
            ask.output_cap = wording.output_cap
            seat = await self._admission.admit(context, ask, targets)
            story.admitted()
            meter = Meter(self._ledger, self._admission, seat, ask)
            turn = Turn(context, client, wording=wording, ask=ask, meter=meter, story=story)
            turn.larger, turn.cascade = choice.larger, choice.cascade
            try:
                if wording.shortening is not None:
                    await self._calling.begin(turn, targets)
                if self._answers is None:
                    await self._fetch(turn, targets)
                else:
                    await self._answers.answer(turn, targets, self._fetch)
            except ProviderFailure as failure:
                await self.fallbacks.stand_in(turn, inquiry, targets, failure, self._fetch)
            finally:
                meter.settle()
                story.settled(meter)
                await meter.release()

    async def _fetch(self, turn: Turn, targets: tuple[Target, ...]) -> Target:
        """Have a provider answer and pass the answer on; returns whose it is."""
        if targets[0].resume:
            resume(turn, targets, self._calling)
        target, answer = await self._calling.answer(turn, targets)
        turn.reply = answer.reply
        try:
            sending = self._relay.answer(turn, target, answer)
            if sending is not None:
                await sending
        finally:
            target = turn.resumed_by or target
            self._calling.ended(target)
        if self.windows is not None:
            self.windows.learn(target, turn.wording, turn.meter)
        return target
