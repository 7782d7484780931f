"""Getting one admitted request answered: attempts at its targets, and again where an answer is not what was asked for.

Promises: every attempt that may have cost money is on the meter when this ends, answers thrown away among them; before
each further attempt its money is held; an answer returned has begun (`gateway/attempt`) and passed its check.
"""

from __future__ import annotations

from collections.abc import Coroutine

from penstock.gateway.admission import Admission, worst_nanos
from penstock.gateway.ask import asked
from penstock.gateway.attempt import Answer, WholeAnswer, attempt
from penstock.gateway.routing import Target
from penstock.gateway.structured import Accepted, Failed, ReAsk
from penstock.gateway.turn import Turn
from penstock.mechanisms.resilience import Resilience
from penstock.ports.providers import ChatCall, ProviderFailure


class Calling:
    """Calls vendors. One per process."""

    def __init__(self, admission: Admission, resilience: Resilience) -> None:
        """Hold more money from `admission`, try within `resilience`."""
        self._admission = admission
        self._resilience = resilience

    async def answer(self, turn: Turn, targets: tuple[Target, ...]) -> tuple[Target, Answer]:
        """Return the first good answer and whose it is. Raises ProviderFailure, Upstream."""
        reasks = 0
        while True:
            target, answer = await self._first(turn, targets)
            check = turn.wording.check
            if check is None or not isinstance(answer, WholeAnswer):
                return target, answer
            codec = turn.wording.face.codec
            outcome = check.judge(codec.parse_reply(answer.body), reasks)
            if isinstance(outcome, Accepted):
                if outcome.repairs:
                    answer.body = codec.render_reply(outcome.reply)
                return target, answer
            turn.meter.whole(target, answer.facts, len(answer.body))
            turn.story.called()
            if isinstance(outcome, Failed) or not await self._may_ask(turn, targets, outcome):
                raise check.failure(outcome, reasks)
            reasks += 1

    async def _may_ask(self, turn: Turn, targets: tuple[Target, ...], again: ReAsk) -> bool:
        """Say the new request and hold what it can cost more; False when the budget has no room."""
        meter, seat = turn.meter, turn.meter.seat
        turn.wording.rewrite(again.request)
        turn.ask = meter.ask = asked(turn.wording.envelope, targets)
        seat.input_tokens = turn.ask.input_tokens
        missing_nanos = (
            meter.spent_nanos + worst_nanos(targets, turn.ask, seat.output_tokens) - seat.held_nanos
        )
        return missing_nanos <= 0 or await self._admission.top_up(seat, missing_nanos)

    async def _first(self, turn: Turn, targets: tuple[Target, ...]) -> tuple[Target, Answer]:
        """Return the first answer that has begun."""
        context, meter, story, wording = turn.context, turn.meter, turn.story, turn.wording
        envelope, seat = wording.envelope, meter.seat
        trying = targets[0]
        under_way = False
        before = len(meter.attempts)

        def call(target: Target) -> Coroutine[None, None, Answer]:
            nonlocal trying, under_way
            sent = ChatCall(
                model=target.model,
                body=wording.body(target, seat.output_tokens),
                stream=envelope.stream,
                request_id=context.request_id,
                timers=target.within(self._resilience.left_s(context.deadline_s)),
            )
            trying, under_way = target, True
            story.calling(target)
            return attempt(target, sent, wording.passage(target), keep_usage=envelope.include_usage)

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
            if len(meter.attempts) - before < len(failure.attempts):
                meter.failed(trying, failure)
            raise
        except BaseException:  # because whatever ends a call on its way, the vendor may bill all of it
            if under_way:
                meter.abandoned(trying)
            raise
        return answered.target, answered.answer
