"""Getting one admitted request answered: attempts at its targets, and again where an answer is not what was asked for.

Promises: every attempt that may have cost money is on the meter when this ends, answers thrown away among them; before
each further attempt its money is held; an answer returned has begun (`gateway/attempt`) and passed its check.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine

from penstock.dialects.codec import Codec
from penstock.gateway.admission import Admission, worst_nanos
from penstock.gateway.ask import asked
from penstock.gateway.attempt import Answer, StreamedAnswer, WholeAnswer, attempt
from penstock.gateway.effects import has_effects
from penstock.gateway.lanes import tenant_of
from penstock.gateway.load import Deaf, Loads
from penstock.gateway.places import priority_in
from penstock.gateway.quota_rooms import QuotaRooms
from penstock.gateway.structured import Accepted, Failed, Outcome
from penstock.gateway.targets import Target
from penstock.gateway.tries import Hedge, Tries
from penstock.gateway.turn import Turn
from penstock.gateway.wording import AnswerCheck, Wording
from penstock.kernel.chat import ChatRequest
from penstock.kernel.context import RequestContext
from penstock.kernel.errors import Invalid, OverBudget
from penstock.mechanisms.priorities import Priority
from penstock.mechanisms.resilience import Resilience
from penstock.ports.providers import CallTimers, ChatCall, ProviderFailure


class Calling:
    """Calls vendors. One per process."""

    def __init__(
        self,
        admission: Admission,
        resilience: Resilience,
        loads: Loads | Deaf | None = None,
        rooms: QuotaRooms | None = None,
    ) -> None:
        """Hold more money from `admission`, try within `resilience`, tell `loads` what is under way; wait in `rooms`
        for quotas that are nearly used up.
        """
        self._admission = admission
        self._resilience = resilience
        self._loads = loads or Deaf()
        self._tries = Tries(admission, resilience, self._loads, rooms)

    def ended(self, target: Target) -> None:
        """Note that an answer has been passed on, or given up."""
        self._loads.ended(target.label)

    async def answer(self, turn: Turn, targets: tuple[Target, ...]) -> tuple[Target, Answer]:
        """Return the first good answer and whose it is. Raises ProviderFailure, Upstream."""
        reasks = 0
        while True:
            try:
                target, answer = await self._first(turn, targets)
            except ProviderFailure as failure:
                if not await self._shortened(turn, targets, failure):
                    raise
                continue
            self._loads.first_token(target.label, turn.story.waited_ms())
            check = turn.wording.check
            try:
                answer.check()
                if isinstance(answer, StreamedAnswer):
                    return target, answer
                if turn.larger and await self._escalates(turn, target, answer):
                    targets, turn.larger = turn.larger, ()
                    continue
                if check is None:
                    return target, answer
                outcome = _judged(check, turn.wording.face.codec, answer, reasks)
            except (
                BaseException
            ):  # because its vendor bills an answer, whatever keeps it from being looked at
                self.thrown_away(turn, target, answer)
                raise
            if isinstance(outcome, Accepted):
                return target, answer
            self.thrown_away(turn, target, answer)
            if isinstance(outcome, Failed) or not await self.may_say(turn, targets, outcome.request):
                raise check.failure(outcome, reasks)
            reasks += 1

    async def begin(self, turn: Turn, targets: tuple[Target, ...]) -> None:
        """Finish what must be done before a conversation that is too long can be sent. Raises `Invalid`, and OverBudget
        where that cost so much that no room is left for the answer.
        """
        if turn.wording.shortening is not None:
            request = await turn.wording.shortening.begin(turn.context, turn.meter, turn.story)
            if request is not None and not await self.may_say(turn, targets, request):
                raise OverBudget("Shortening the conversation left no room in the budget for an answer.")

    async def _shortened(self, turn: Turn, targets: tuple[Target, ...], failure: ProviderFailure) -> bool:
        """Tell whether a conversation that its vendor found too long is now shorter, and its money held."""
        shortening = turn.wording.shortening
        if failure.kind != "context_overflow" or shortening is None:
            return False
        request = await shortening.shorter(turn.context, turn.meter, turn.story)
        return request is not None and await self.may_say(turn, targets, request)

    async def _escalates(self, turn: Turn, target: Target, answer: WholeAnswer) -> bool:
        """Tell whether a small model's answer will not do and there is money to ask the large one."""
        if (
            turn.cascade is None
            or turn.cascade.next(turn.wording.face.codec.parse_reply(answer.body)) is None
        ):
            return False
        seat = turn.meter.seat
        if not await self._admission.top_up(seat, worst_nanos(turn.larger, turn.ask, seat.output_tokens)):
            return False
        self.thrown_away(turn, target, answer)
        turn.story.flag("escalated")
        return True

    def may_retry(self) -> bool:
        """Take one retry from the budget for what is not a further attempt at the same; False when it is used up."""
        return self._resilience.budget.spend()

    def thrown_away(self, turn: Turn, target: Target, answer: Answer) -> None:
        """Note an answer that will not leave; its vendor bills it all the same, a stream as far as it came."""
        if isinstance(answer, StreamedAnswer):
            answer.close()
            outcome = answer.refusal.reason if answer.refusal is not None else "abandoned"
            turn.meter.streamed(target, answer.facts, outcome)
        else:
            turn.meter.whole(target, answer.facts, len(answer.body))
        turn.story.called(target)
        self.ended(target)

    async def may_say(self, turn: Turn, targets: tuple[Target, ...], request: ChatRequest) -> bool:
        """Say the new request and hold what it can cost more; False when the budget has no room."""
        meter, seat = turn.meter, turn.meter.seat
        _say(turn, targets, request)
        missing_nanos = (
            meter.spent_nanos + worst_nanos(targets, turn.ask, seat.output_tokens) - seat.held_nanos
        )
        return missing_nanos <= 0 or await self._admission.top_up(seat, missing_nanos)

    def _first(self, turn: Turn, targets: tuple[Target, ...]) -> Coroutine[None, None, tuple[Target, Answer]]:
        """Return the first answer that has begun, and whose it is."""
        context, wording, seat = turn.context, turn.wording, turn.meter.seat
        envelope = wording.envelope

        def call(target: Target, timers: CallTimers) -> Coroutine[None, None, Answer]:
            sent = ChatCall(
                model=target.model,
                body=wording.body(target, seat.output_tokens),
                stream=envelope.stream,
                request_id=context.request_id,
                timers=timers,
                tenant=tenant_of(context.principal),
            )
            return attempt(
                target,
                sent,
                wording.passage(target),
                keep_usage=envelope.include_usage,
                loads=self._loads,
            )

        if targets[0].hedge:
            return self._hedged(turn, targets, call)
        return self._tries.first(context, turn.meter, turn.story, targets, call)

    async def _hedged(
        self,
        turn: Turn,
        targets: tuple[Target, ...],
        call: Callable[[Target, CallTimers], Coroutine[None, None, Answer]],
    ) -> tuple[Target, Answer]:
        context, wording = turn.context, turn.wording
        hedge = Hedge(wording.envelope.stream, lambda: _may_be_hedged(context, wording), _let_go)
        target, answer = await self._tries.first(context, turn.meter, turn.story, targets, call, hedge=hedge)
        # The reply tells what the one who answers was not told.
        wording.body(target, turn.meter.seat.output_tokens)
        return target, answer


def _judged(check: AnswerCheck, codec: Codec, answer: WholeAnswer, reasks: int) -> Outcome:
    """Judge an answer; one that was mended says what it was mended to."""
    outcome = check.judge(codec.parse_reply(answer.body), reasks)
    if isinstance(outcome, Accepted) and outcome.repairs:
        answer.body = codec.render_reply(outcome.reply)
    return outcome


def _may_be_hedged(context: RequestContext, wording: Wording) -> bool:
    """Tell whether asking twice does nothing twice, and somebody waits for the answer."""
    if wording.filters:
        return False  # each of them follows one answer
    try:
        return priority_in(context) < Priority.LOW and not has_effects(wording.request)
    except Invalid:  # what passes as bytes, and only its vendor understands, may do anything
        return False


def _let_go(answer: Answer) -> None:
    if isinstance(answer, StreamedAnswer):
        answer.close()


def _say(turn: Turn, targets: tuple[Target, ...], request: ChatRequest) -> None:
    """Say `request` from now on; what is held, and what an estimate may come to, is reckoned from it."""
    turn.wording.rewrite(request)
    turn.ask = turn.meter.ask = asked(turn.wording.envelope, targets)
    turn.meter.seat.input_tokens = turn.ask.input_tokens
