"""The path of one paid call beside chat: asked whole, answered whole. The rungs are those of `gateway/pipeline`.

    open → route → admit → call → meter → send → settle, and one audit event

Promises: as the pipeline's. A call is held at its byte bound and billed by the vendor's own usage, or by that bound,
flagged as an estimate, where the vendor tells none. Inputs of one call share no context window.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from penstock.dialects.envelope import Envelope
from penstock.gateway.admission import Admission
from penstock.gateway.ask import Ask
from penstock.gateway.client import Client
from penstock.gateway.faces import JSON_TYPE
from penstock.gateway.headers import id_lines, money_headers
from penstock.gateway.metering import Meter
from penstock.gateway.pipeline import Inquiry
from penstock.gateway.routing import RouteAsk, RouteTable, Target
from penstock.gateway.story import Story
from penstock.gateway.tries import Tries
from penstock.kernel.context import RequestContext
from penstock.kernel.errors import Invalid
from penstock.kernel.money import Usage
from penstock.mechanisms.audit import AuditPipe
from penstock.mechanisms.resilience import Resilience
from penstock.mechanisms.tenancy import Tenancy
from penstock.ports.ledger import SettlesInBackground
from penstock.ports.providers import CallTimers, ChatProvider


class Told(msgspec.Struct, frozen=True, gc=False):
    """A whole answer in the caller's words. `input_tokens` is what the vendor bills, None where it did not say."""

    body: bytes
    input_tokens: int | None


class Kind(Protocol):
    """One kind of call."""

    name: str
    """What the audit flags it with."""

    def can(self, provider: ChatProvider) -> bool:
        """Tell whether a provider answers calls of this kind."""
        ...

    async def call(self, envelope: Envelope, target: Target, request_id: str, timers: CallTimers) -> Told:
        """Make one attempt at a `target` that can. Raises ProviderFailure."""
        ...


class Calls:
    """Everything a call of one kind passes. One per process and kind."""

    def __init__(
        self,
        kind: Kind,
        *,
        routes: Callable[[], RouteTable],
        tenancy: Tenancy,
        admission: Admission,
        resilience: Resilience,
        ledger: SettlesInBackground,
        audit: AuditPipe,
    ) -> None:
        """Serve calls of `kind`; `routes()` returns the table in force now."""
        self._kind = kind
        self._routes = routes
        self._tenancy = tenancy
        self._admission = admission
        self._resilience = resilience
        self._tries = Tries(admission, resilience)
        self._ledger = ledger
        self._audit = audit
        self._draws = 0

    async def serve(self, context: RequestContext, inquiry: Inquiry, client: Client, story: Story) -> None:
        """Serve one call. Raises PenstockError; nothing has left then."""
        story.flag(self._kind.name)
        try:
            await self._serve(context, inquiry, client, story)
        except BaseException as error:  # because whatever ends a call must be in its audit record
            story.failed(error)
            raise
        finally:
            self._audit.offer(story.event())

    async def _serve(self, context: RequestContext, inquiry: Inquiry, client: Client, story: Story) -> None:
        face = inquiry.face
        envelope = story.asked(face.open(inquiry.body, inquiry.path))
        if envelope.user:
            context.principal = await self._tenancy.acting_for(context.principal, envelope.user)
        targets = self._targets(envelope.model, context)
        story.routed()
        ask = Ask(envelope, 0, 0)
        seat = await self._admission.admit(context, ask, targets)
        story.admitted()
        meter = Meter(self._ledger, self._admission, seat, ask)

        async def call(target: Target, timers: CallTimers) -> Told:
            return await self._kind.call(envelope, target, context.request_id, timers)

        try:
            target, told = await self._tries.first(context, meter, story, targets, call)
            story.first_token(target)
            self._resilience.answered(target.label)
            if told.input_tokens is None:
                meter.estimated(target, seat.input_tokens, 0, "usage_missing")
            else:
                meter.answered(target, Usage(input_tokens=told.input_tokens))
            headers = JSON_TYPE + id_lines(face.id_header, context.request_id) + target.headers
            client.send(200, headers + face.limits(seat) + money_headers(meter.spent_nanos), told.body)
        finally:
            meter.settle()
            story.settled(meter)
            await meter.release()

    def _targets(self, model: str, context: RequestContext) -> tuple[Target, ...]:
        """Return who can answer, each without a window: which input is too long, its vendor says."""
        self._draws += 1
        chosen = self._routes().find(model).choose(RouteAsk(self._draws, context.principal)).targets
        able = tuple([_windowless(target) for target in chosen if self._kind.can(target.provider)])
        if not able:
            raise Invalid(
                f"The model {model!r} does not answer {self._kind.name}.",
                code="model_not_able",
                field="model",
                value=model,
                remedy="Choose a model whose provider does.",
            )
        return able


def _windowless(target: Target) -> Target:
    if not target.price.context_window:
        return target
    return msgspec.structs.replace(target, price=msgspec.structs.replace(target.price, context_window=0))
