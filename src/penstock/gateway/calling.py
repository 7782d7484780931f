"""Getting one admitted request answered: attempts at its targets, and again where an answer is not what was asked for.

Promises: every attempt that may have cost money is on the meter when this ends, answers thrown away among them; before
each further attempt its money is held; an answer returned has begun (`gateway/attempt`) and passed its check.
"""

from __future__ import annotations

from collections.abc import Coroutine

from penstock.gateway.admission import Admission, worst_nanos
from penstock.gateway.ask import asked
from penstock.gateway.attempt import Answer, WholeAnswer, attempt
from penstock.gateway.load import Deaf, Loads
from penstock.gateway.structured import Accepted, Failed, ReAsk
from penstock.gateway.targets import Target
from penstock.gateway.tries import Tries
from penstock.gateway.turn import Turn
from penstock.mechanisms.resilience import Resilience
from penstock.ports.providers import CallTimers, ChatCall


class Calling:
    """Calls vendors. One per process."""

    def __init__(
        self, admission: Admission, resilience: Resilience, loads: Loads | Deaf | None = None
    ) -> None:
        """Hold more money from `admission`, try within `resilience`, tell `loads` what is under way."""
        self._admission = admission
        self._loads = loads or Deaf()
        self._tries = Tries(admission, resilience, self._loads)

    def ended(self, target: Target) -> None:
        """Note that an answer has been passed on, or given up."""
        self._loads.ended(target.label)

    async def answer(self, turn: Turn, targets: tuple[Target, ...]) -> tuple[Target, Answer]:
        """Return the first good answer and whose it is. Raises ProviderFailure, Upstream."""
        reasks = 0
        while True:
            target, answer = await self._first(turn, targets)
            self._loads.first_token(target.label, turn.story.waited_ms())
            if not isinstance(answer, WholeAnswer):
                return target, answer
            if await self._escalates(turn, target, answer):
                targets, turn.larger = turn.larger, ()
                continue
            check = turn.wording.check
            if check is None:
                return target, answer
            codec = turn.wording.face.codec
            outcome = check.judge(codec.parse_reply(answer.body), reasks)
            if isinstance(outcome, Accepted):
                if outcome.repairs:
                    answer.body = codec.render_reply(outcome.reply)
                return target, answer
            self._thrown_away(turn, target, answer)
            if isinstance(outcome, Failed) or not await self._may_ask(turn, targets, outcome):
                raise check.failure(outcome, reasks)
            reasks += 1

    async def _escalates(self, turn: Turn, target: Target, answer: WholeAnswer) -> bool:
        """Tell whether a small model's answer will not do and there is money to ask the large one."""
        if not turn.larger or turn.cascade is None:
            return False
        if turn.cascade.next(turn.wording.face.codec.parse_reply(answer.body)) is None:
            return False
        seat = turn.meter.seat
        if not await self._admission.top_up(seat, worst_nanos(turn.larger, turn.ask, seat.output_tokens)):
            return False
        self._thrown_away(turn, target, answer)
        turn.story.flag("escalated")
        return True

    def _thrown_away(self, turn: Turn, target: Target, answer: WholeAnswer) -> None:
        """Note an answer that will not leave; its vendor bills it all the same."""
        turn.meter.whole(target, answer.facts, len(answer.body))
        turn.story.called()
        self.ended(target)

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
        context, wording, seat = turn.context, turn.wording, turn.meter.seat
        envelope = wording.envelope

        def call(target: Target, timers: CallTimers) -> Coroutine[None, None, Answer]:
            sent = ChatCall(
                model=target.model,
                body=wording.body(target, seat.output_tokens),
                stream=envelope.stream,
                request_id=context.request_id,
                timers=timers,
            )
            return attempt(target, sent, wording.passage(target), keep_usage=envelope.include_usage)

        return await self._tries.first(context, turn.meter, turn.story, targets, call)
