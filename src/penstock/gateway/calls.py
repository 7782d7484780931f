"""The path of one paid call beside chat: asked whole, answered whole. The rungs are those of `gateway/pipeline`.

    open → route → word → inspect → admit → call → meter → send → settle, and one audit event

Promises: as the pipeline's; what a tenant's rules take out of the inputs never reaches a vendor. A call is held at its
byte bound and billed by the vendor's own usage, or by that bound, flagged as an estimate, where the vendor tells none
(or zeroes, which mean nothing). Inputs of one call share no context window.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

import msgspec

from penstock.gateway.admission import Admission
from penstock.gateway.ask import asked
from penstock.gateway.client import Client
from penstock.gateway.faces import JSON_TYPE
from penstock.gateway.headers import id_lines, money_headers
from penstock.gateway.inquiry import Inquiry
from penstock.gateway.lanes import lane_of, tenant_of
from penstock.gateway.metering import Meter
from penstock.gateway.oneshot import OneShot
from penstock.gateway.route_ask import route_ask
from penstock.gateway.routing import RouteTable, Target
from penstock.gateway.story import Story
from penstock.gateway.tries import Tries
from penstock.gateway.wording import left_out_line
from penstock.kernel.context import RequestContext
from penstock.kernel.errors import Invalid
from penstock.kernel.money import Usage
from penstock.mechanisms.audit import AuditPipe
from penstock.mechanisms.redaction.texts import Texts
from penstock.mechanisms.resilience import Resilience
from penstock.mechanisms.tenancy import Tenancy
from penstock.ports.ledger import SettlesInBackground
from penstock.ports.providers import CallTimers, ChatProvider


class Told(msgspec.Struct, frozen=True, gc=False):
    """A whole answer in the caller's words, what its vendor bills, None where it did not say or said 0, and header
    lines of its own.
    """

    body: bytes
    usage: Usage | None
    headers: bytes = b""


class Kind(Protocol):
    """One kind of call."""

    name: str
    """What the audit flags it with."""
    has_lanes: bool
    """Whether its calls may wait in a queue of this machine's, where `x-priority` says in which lane."""

    def can(self, provider: ChatProvider, model: str, /) -> bool:
        """Tell whether a provider's model answers calls of this kind."""
        ...

    def left_out(self, asked: OneShot[Any], target: Target, /) -> tuple[str, ...]:
        """Name what a `target` that can is not told, for it cannot change the answer. Raises `Invalid` where it cannot
        be told what can.
        """
        ...

    async def call(self, asked: OneShot[Any], target: Target, request_id: str, timers: CallTimers) -> Told:
        """Make one attempt at a `target` that can. Raises ProviderFailure."""
        ...


class Screen(Protocol):
    """Looks into the words of a request, as an `Inspection` of `gateway/pipeline` does into a chat."""

    async def screen(self, context: RequestContext, content: Texts, story: Story) -> tuple[str, ...]:
        """Return the words as they may leave, in their order. Raises PenstockError to refuse."""
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
        screens: tuple[Screen, ...] = (),
    ) -> None:
        """Serve calls of `kind`; `routes()` returns the table in force now; `screens` look into each call, in order."""
        self._kind = kind
        self._routes = routes
        self._tenancy = tenancy
        self._admission = admission
        self._resilience = resilience
        self._tries = Tries(admission, resilience)
        self._ledger = ledger
        self._audit = audit
        self._screens = screens
        self._draws = 0

    async def serve(self, context: RequestContext, inquiry: Inquiry, client: Client, story: Story) -> None:
        """Serve one call. Raises PenstockError; nothing has left then."""
        story.flag(self._kind.name)
        with story.told_to(self._audit):
            await self._serve(context, inquiry, client, story)

    async def _serve(self, context: RequestContext, inquiry: Inquiry, client: Client, story: Story) -> None:
        face = inquiry.face
        # Whoever declares a route of this line gives it a face that opens requests of its kind.
        call = cast("OneShot[Any]", story.asked(face.open(inquiry.body, inquiry.path)))
        if call.user:
            context.principal = await self._tenancy.acting_for(context.principal, call.user)
        if self._kind.has_lanes:
            call.lane, call.tenant = lane_of(context), tenant_of(context.principal)
        targets, left_out = self._sayable(call, self._targets(call, context))
        story.routed()
        for each in self._screens:
            await _screened(each, context, call, story)
        ask = asked(call, targets)
        ask.requests = call.requests
        seat = await self._admission.admit(context, ask, targets)
        story.admitted()
        meter = Meter(self._ledger, self._admission, seat, ask)

        async def attempt(target: Target, timers: CallTimers) -> Told:
            return await self._kind.call(call, target, context.request_id, timers)

        try:
            target, told = await self._tries.first(context, meter, story, targets, attempt)
            story.first_token(target)
            self._resilience.answered(target.label)
            if told.usage is None:
                meter.estimated(target, seat.input_tokens, 0, "usage_missing")
            else:
                meter.answered(target, told.usage)
            ids = id_lines(face.id_header, context.request_id) + target.headers
            notes = left_out_line(left_out.get(target.label, ())) + money_headers(meter.spent_nanos)
            notes += told.headers
            client.send(200, JSON_TYPE + ids + face.limits(seat) + notes, told.body)
        finally:
            meter.settle()
            story.settled(meter)
            await meter.release()

    def _sayable(
        self, call: OneShot[Any], targets: tuple[Target, ...]
    ) -> tuple[tuple[Target, ...], dict[str, tuple[str, ...]]]:
        """Return the targets that can be told what is asked, and what each is not told. Raises `Invalid`."""
        refusals: list[Invalid] = []
        left_out: dict[str, tuple[str, ...]] = {}
        for target in targets:
            try:
                left_out[target.label] = self._kind.left_out(call, target)
            except Invalid as refusal:
                refusals.append(refusal)
        if not left_out:
            raise refusals[0]
        return tuple([target for target in targets if target.label in left_out]), left_out

    def _targets(self, call: OneShot[Any], context: RequestContext) -> tuple[Target, ...]:
        """Return who can answer, each without a window: which input is too long, its vendor says."""
        self._draws += 1
        table, model = self._routes(), call.model
        ask = route_ask(context, call, self._draws, text=lambda: "\n".join(call.texts()))
        choice = table.find(model, context.principal).choose(ask)
        chosen = table.narrow(choice, model, context.principal, context.feature).targets
        able = tuple(
            [_windowless(target) for target in chosen if self._kind.can(target.provider, target.model)]
        )
        if not able:
            raise Invalid(
                f"The model {model!r} does not answer {self._kind.name}.",
                code="model_not_able",
                field="model",
                value=model,
                remedy="Choose a model whose provider does.",
            )
        return able


async def _screened(screen: Screen, context: RequestContext, call: OneShot[Any], story: Story) -> None:
    """Have one look at what a call says, and say no more than may leave."""
    content = call.content()
    texts = await screen.screen(context, content, story)
    if texts is not content.texts:
        call.reword(texts)


def _windowless(target: Target) -> Target:
    if not target.price.context_window:
        return target
    return msgspec.structs.replace(target, price=msgspec.structs.replace(target.price, context_window=0))
