"""Before a byte leaves: caps, limits and money, in that order; every refusal says which limit, its value and
the remedy.

Promises: a refused request costs nothing and leaves nothing held; an admitted one holds its worst case at
every level of the tenancy path before it is dispatched, and gives back what it did not use; the answer is
clamped so that it cannot cost more than was held. `Seat` is the receipt: whoever holds it settles it exactly
once.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.gateway.ask import Ask
from penstock.gateway.routing import Target
from penstock.kernel.context import Principal, RequestContext
from penstock.kernel.errors import Forbidden, Invalid, OverBudget, OverLimit, Unavailable
from penstock.kernel.money import affordable_output_tokens, format_dollars, worst_case_nanos
from penstock.kernel.settings import AdmissionSettings
from penstock.mechanisms.limits import Plan, Plans, window_end
from penstock.ports.ledger import Hold, Ledger
from penstock.ports.state import Ask as LimitAsk
from penstock.ports.state import State, Taken

LEAST_OUTPUT_TOKENS = 16
SLOT_RETRY_S = 1.0
"""When to ask again for a place among requests at one time: nobody knows when one of them ends."""
UNLIMITED = Taken(-1, (), ())
_UNPRICED_KINDS = {"input_audio": "audio", "audio": "audio", "video_url": "video", "input_video": "video"}
_UNPRICED_MEMBERS = {"audio": "audio", "web_search_options": "web_search"}


class Seat:
    """An admitted request: what it holds and what it may use.

    `output_tokens` is what the upstream is clamped to, per choice; `wanted_tokens` what was asked for, or, where
    no length was, granted before the money was looked at (0: no answer has a length); `held_nanos` what the ledger
    reserved so far.
    """

    __slots__ = (
        "asks_tokens",
        "held_nanos",
        "in_doubt",
        "input_tokens",
        "operation",
        "output_tokens",
        "plan",
        "taken",
        "topups",
        "wanted_tokens",
    )

    def __init__(
        self, operation: str, plan: Plan, input_tokens: int, output_tokens: int, tokens: int
    ) -> None:
        """Open a seat for `operation`; `tokens` is what the token limits were charged."""
        self.operation = operation
        self.plan = plan
        self.input_tokens = input_tokens
        self.output_tokens = output_tokens
        self.wanted_tokens = 0
        self.asks_tokens = tokens
        self.held_nanos = 0
        self.taken = UNLIMITED
        self.in_doubt = False
        """Whether the limits were asked for and no answer came: the slots may be taken all the same."""
        self.topups = 0


class LimitReached(OverLimit):
    """A rate limit of the caller is reached. Wait for `retry-after` seconds."""

    def __init__(self, seat: Seat, taken: Taken, ask: LimitAsk) -> None:
        """Say which limit, with what is left of every limit in `seat`."""
        name, wait_s = seat.plan.names[taken.refused], taken.retry_after_s
        remedy = f"Retry after {max(wait_s, 0.001):.3f} s."
        if ask.kind == "slots":  # told is when one of a dead holder lapses; one is free when a request ends
            wait_s = min(wait_s, SLOT_RETRY_S)
            remedy = "Retry when one of them has ended."
        super().__init__(
            f"The limit of {ask.limit} {name} is reached.",
            field=name,
            value=ask.amount,
            limit=ask.limit,
            retry_after_s=wait_s,
            remedy=remedy,
        )
        seat.taken = taken
        self.seat = seat


class Admission:
    """The gate. One per process."""

    def __init__(
        self, settings: AdmissionSettings, plans: Plans, state: State, ledger: Ledger, hold_timeout_s: int
    ) -> None:
        """Take limits from `state` and money from `ledger`; holds lapse after `hold_timeout_s` seconds."""
        self._settings = settings
        self._plans = plans
        self._state = state
        self._ledger = ledger
        self._hold_timeout_s = hold_timeout_s
        self.unlimited = 0
        """Requests let through without rate limits because the state store was unreachable."""

    async def admit(self, context: RequestContext, ask: Ask, targets: Sequence[Target]) -> Seat:
        """Admit a request or raise Rejected/Unavailable; see the module's promises."""
        principal = context.principal
        output_tokens = self._granted_output(ask, principal, targets)
        self._check_caps(ask, principal, targets)
        worst = worst_nanos(targets, ask, output_tokens)
        self._check_price(ask, principal, worst)
        plan = self._plans.of(principal, targets[0].limited)
        seat = Seat(
            context.request_id,
            plan,
            ask.input_tokens,
            output_tokens,
            ask.input_tokens + output_tokens * ask.n,
        )
        seat.wanted_tokens = ask.max_output_tokens or output_tokens
        await self._take_limits(seat)
        try:
            await self._hold(seat, ask, targets, worst)
        except BaseException:  # because whatever stops the hold, the limits taken a moment ago must go back
            await self.give_back(seat, seat.asks_tokens)
            raise
        return seat

    async def admit_elsewhere(
        self, context: RequestContext, ask: Ask, targets: Sequence[Target], seat: Seat, spent_nanos: int
    ) -> None:
        """Admit a request that has a `seat` at other targets than it was admitted for: under the same caps, with what
        they can cost held besides what it has `spent_nanos` on already. Raises Rejected; the seat is as it was then.
        """
        principal = context.principal
        output_tokens = min(seat.output_tokens, self._granted_output(ask, principal, targets))
        self._check_caps(ask, principal, targets)
        worst = spent_nanos + worst_nanos(targets, ask, output_tokens)
        self._check_price(ask, principal, worst)
        missing_nanos = worst - seat.held_nanos
        if missing_nanos > 0 and not await self.top_up(seat, missing_nanos):
            raise OverBudget(value=missing_nanos)
        seat.input_tokens, seat.output_tokens = ask.input_tokens, output_tokens

    async def admit_unpaid(
        self, context: RequestContext, ask: Ask, targets: Sequence[Target], *, tokens: int = 0
    ) -> Seat:
        """Admit a request that no vendor bills: caps and limits of requests hold for it, `tokens` are taken from limits
        of tokens, and no money is held. Raises Rejected.
        """
        self._check_caps(ask, context.principal, targets)
        plan = self._plans.of(context.principal, targets[0].limited if targets else None)
        seat = Seat(context.request_id, plan, ask.input_tokens, 0, tokens)
        await self._take_limits(seat)
        return seat

    async def top_up(self, seat: Seat, amount_nanos: int) -> bool:
        """Reserve `amount_nanos` more for the same operation; False when the budget has no room."""
        try:
            await self._ledger.hold(
                Hold(seat.operation, amount_nanos, seat.plan.lines, self._hold_timeout_s, seat.topups + 1)
            )
        except (OverBudget, Unavailable):
            return False
        seat.topups += 1
        seat.held_nanos += amount_nanos
        return True

    async def give_back(self, seat: Seat, unused_tokens: int) -> None:
        """Return the request's slots and unused tokens; when the store is down they lapse by themselves."""
        if seat.taken.remaining:
            refund = seat.plan.refund(unused_tokens, seat.asks_tokens)
        else:
            refund = seat.plan.refund(0) if seat.in_doubt else ()
        if refund:
            try:
                await self._state.give_back(refund, seat.operation)
            except Unavailable:
                return

    # --- the rungs -------------------------------------------------------------------------------------------------

    def _granted_output(self, ask: Ask, principal: Principal, targets: Sequence[Target]) -> int:
        """Return the answer tokens granted per choice: what was asked for, within every cap that applies."""
        settings, wanted = self._settings, ask.max_output_tokens
        if wanted is None:
            if settings.require_output_limit:
                raise Invalid(
                    "A request must name the length of its answer here.",
                    code="output_limit_required",
                    field="max_tokens",
                    limit=settings.max_output_tokens,
                    remedy="Send max_tokens, or what your SDK calls it: max_completion_tokens, max_output_tokens, "
                    "maxOutputTokens.",
                )
            wanted = settings.default_output_tokens
        granted = min(wanted, settings.max_output_tokens)
        if principal.max_output_tokens:
            granted = min(granted, principal.max_output_tokens)
        if ask.output_cap:
            granted = min(granted, ask.output_cap)
        for target in targets:
            if target.price.max_output_tokens:
                granted = min(granted, target.price.max_output_tokens)
        return granted

    def _check_price(self, ask: Ask, principal: Principal, worst: int) -> None:
        cap_nanos = principal.max_request_nanos
        if not cap_nanos or 0 < self._settings.max_request_nanos < cap_nanos:
            cap_nanos = self._settings.max_request_nanos
        if cap_nanos and worst > cap_nanos:
            raise OverBudget(
                f"This request could cost {format_dollars(worst)}; {format_dollars(cap_nanos)} is allowed.",
                code="request_too_expensive",
                field="max_tokens" if ask.is_chat else "input",
                value=worst,
                limit=cap_nanos,
                remedy="Shorten the prompt or lower max_tokens." if ask.is_chat else "Send less at one time.",
            )

    def _check_caps(self, ask: Ask, principal: Principal, targets: Sequence[Target]) -> None:
        if principal.models and not principal.may_use(ask.model):
            raise Forbidden(
                "This key may not use that model.",
                code="model_not_allowed",
                field="model",
                value=ask.model,
                limit=", ".join(principal.models),
            )
        if ask.envelope.message_count > self._settings.max_messages:
            raise Invalid(
                "The conversation has too many messages.",
                field="messages",
                value=ask.envelope.message_count,
                limit=self._settings.max_messages,
                remedy="Drop or summarise the oldest ones.",
            )
        if ask.n > self._settings.max_choices:
            raise Invalid(
                "Too many choices asked for.", field="n", value=ask.n, limit=self._settings.max_choices
            )
        cap = principal.max_input_tokens
        if cap and ask.input_tokens > cap and ask.least_input_tokens() > cap:
            raise Invalid(
                "The prompt is longer than this key allows.",
                code="prompt_too_long",
                field="messages" if ask.is_chat else "input",
                value=ask.least_input_tokens(),
                limit=cap,
                remedy="Shorten the conversation." if ask.is_chat else "Send less at one time.",
            )
        if unpriced := [target for target in targets if target.price.unpriced]:
            _check_kinds(ask, unpriced)
        windows = [target.price.context_window for target in targets if target.price.context_window]
        if windows and ask.bound_tokens > min(windows):
            _check_overflow(ask, max(windows))

    async def _take_limits(self, seat: Seat) -> None:
        plan = seat.plan
        if not plan.asks and not plan.token_asks:
            return
        asks = plan.asks_for(seat.asks_tokens)
        try:
            taken = await self._state.take(asks, seat.operation)
        except Unavailable:
            # Rate limits protect capacity, not money: without their store traffic goes on and the metric says so.
            self.unlimited += 1
            seat.in_doubt = True
            return
        except (
            BaseException
        ):  # because a call whose caller left may be carried out all the same: give back its slots
            seat.in_doubt = True
            await self.give_back(seat, 0)
            raise
        if taken.refused >= 0:
            raise LimitReached(seat, taken, asks[taken.refused])
        seat.taken = taken

    async def _hold(self, seat: Seat, ask: Ask, targets: Sequence[Target], worst: int) -> None:
        """Reserve the worst case; a caller that named no answer length gets the length the room affords.

        A refusal tells the room of one account, and another may have less: at most one more try for each.
        """
        amount_nanos = worst
        for tries_left in range(len(seat.plan.lines), -1, -1):
            try:
                await self._ledger.hold(self._reservation(seat, targets, amount_nanos))
                break
            except OverBudget as refusal:
                room_nanos = refusal.limit if isinstance(refusal.limit, int) else 0
                output_tokens = _affordable(targets, ask, room_nanos)
                if not tries_left or ask.max_output_tokens is not None or output_tokens < LEAST_OUTPUT_TOKENS:
                    raise self._broke(refusal, amount_nanos, room_nanos) from None
                seat.output_tokens = min(seat.output_tokens, output_tokens)
                amount_nanos = worst_nanos(targets, ask, seat.output_tokens)
        seat.held_nanos = amount_nanos

    def _broke(self, refusal: OverBudget, amount_nanos: int, room_nanos: int) -> OverBudget:
        """Return a refusal of the ledger's in words for callers: the money, and when there is room at the latest."""
        account = refusal.field
        could, left = format_dollars(amount_nanos), format_dollars(room_nanos)
        retry_after_s, ends = self._plans.room_in_s(account), window_end(account)
        wait = "it has no next window" if ends is None else f"or wait until {ends:%Y-%m-%d %H:%M} UTC"
        return OverBudget(
            f"The budget of {account} has no room for this request: it could cost {could}, and {left} is left.",
            field=account,
            value=amount_nanos,
            limit=room_nanos,
            remedy=f"Shorten the request or raise the budget{';' if ends is None else ','} {wait}.",
            retry_after_s=retry_after_s,
        )

    def _reservation(self, seat: Seat, targets: Sequence[Target], amount_nanos: int) -> Hold:
        first = targets[0]
        return Hold(
            seat.operation,
            amount_nanos,
            seat.plan.lines,
            self._hold_timeout_s,
            0,
            f"{first.label} {first.price.version}",
        )


def worst_nanos(targets: Sequence[Target], ask: Ask, output_tokens: int) -> int:
    """Return the most this request can cost at the dearest of its targets, in nano-dollars."""
    if len(targets) == 1:
        price = targets[0].price
        return worst_case_nanos(price, ask.input_tokens, output_tokens, ask.n, ask.images, ask.requests)
    return max(
        worst_case_nanos(t.price, ask.input_tokens, output_tokens, ask.n, ask.images, ask.requests)
        for t in targets
    )


def _affordable(targets: Sequence[Target], ask: Ask, room_nanos: int) -> int:
    return min(
        affordable_output_tokens(t.price, room_nanos, ask.input_tokens, ask.n, ask.images) for t in targets
    )


def _check_kinds(ask: Ask, targets: Sequence[Target]) -> None:
    """Refuse parts and services that the price does not cover: what cannot be priced cannot be held."""
    envelope = ask.envelope
    for member, kind in _UNPRICED_MEMBERS.items():
        if envelope.asks_for(member):
            _must_be_priced(kind, targets, member, member)
    for part in envelope.other_parts:
        if part in _UNPRICED_KINDS:
            _must_be_priced(_UNPRICED_KINDS[part], targets, "messages.content.type", part)


def _must_be_priced(kind: str, targets: Sequence[Target], field: str, value: str) -> None:
    if any(kind in target.price.unpriced for target in targets):
        raise Invalid(
            f"{value!r} has no price for this model.",
            code="part_without_price",
            field=field,
            value=value,
            remedy="Use a model that is priced for it, or leave it out.",
        )


def _check_overflow(ask: Ask, window: int) -> None:
    """Refuse a prompt that cannot fit. `least_input_tokens` never exceeds the model's own count, so nobody
    is refused wrongly; what lies between the two bounds is the vendor's to decide.
    """
    least = ask.least_input_tokens()
    if least > window:
        raise Invalid(
            f"The prompt has at least {least:,} tokens; the model's context window holds {window:,}.",
            code="context_length_exceeded",
            field="messages",
            value=least,
            limit=window,
            remedy="Shorten the conversation or use a model with a larger window.",
        )
