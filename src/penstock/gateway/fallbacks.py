"""What answers a request whose own back ends have all failed, before anything has left: one step after the other.

    another model      routed, priced, held and checked for caps anew; may not be what the feature forbids
    stale              what was kept, past its time        ``x-penstock-cache: stale; age=…``
    rule, canned       what the operator wrote             ``x-penstock-answer: rule``
    later              accepted with 202, told by webhook  ``x-penstock-later: later_…``          `gateway/later`
    the honest error   the first failure, naming what was tried in its place

A feature's rules name the steps; without any a kept answer stands in where the cache keeps them past their time. The
caller may shorten them: ``x-penstock-fallback: models`` takes only what a model says now, ``none`` nothing.

Promises: what a vendor refused for its content is tried nowhere else; whatever stands in says so, in a header and in
the audit (``fallback:…``, ``fallback:none`` for the honest error); what no model answers costs nothing, and the
attempts before it are billed as ever.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import msgspec
from msgspec import Raw

from penstock.gateway.admission import Admission
from penstock.gateway.ask import asked
from penstock.gateway.cached_answers import CachedAnswers, Fetch
from penstock.gateway.complexity import last_words
from penstock.gateway.features import CANNED, LATER, RULE, STALE, WORDS, Feature
from penstock.gateway.inquiry import Inquiry
from penstock.gateway.later import HEADER, Later
from penstock.gateway.route_ask import Chooser
from penstock.gateway.saying import Nobody, say, written
from penstock.gateway.targets import Target, route_header
from penstock.gateway.turn import Turn
from penstock.kernel.context import RequestContext
from penstock.kernel.errors import Rejected, Unavailable
from penstock.ports.providers import ProviderFailure

OF_THE_REQUEST: Final = frozenset(("invalid", "context_overflow", "content_filter"))
"""Failures that another answer would only hide."""


class _Case:
    """One request without an answer: what is known of it, and which back ends have failed."""

    __slots__ = ("failed", "feature", "fetch", "inquiry", "targets", "turn")

    def __init__(
        self, turn: Turn, inquiry: Inquiry, targets: tuple[Target, ...], feature: Feature, fetch: Fetch
    ) -> None:
        self.turn = turn
        self.inquiry = inquiry
        self.targets = targets
        self.feature = feature
        self.fetch = fetch
        self.failed: set[str] = set()

    def note(self, failure: ProviderFailure) -> None:
        self.failed |= {target.label for target, _ in failure.attempts if isinstance(target, Target)}

    def in_place(self, what: str) -> str:
        """Return what `x-penstock-route` says of whatever stands in."""
        return f"{what}; in place of {self.turn.wording.envelope.model}"


class Fallbacks:
    """Finds what stands in. One per process."""

    def __init__(
        self, chooser: Chooser, admission: Admission, answers: CachedAnswers | None, later: Later | None
    ) -> None:
        """Choose other models by `chooser`, and hold what they cost more by `admission`."""
        self._chooser = chooser
        self._admission = admission
        self.answers = answers
        self._later_on = later
        self._words: dict[str, Callable[[_Case], Awaitable[str]]] = {
            STALE: self._stale,
            RULE: self._rule,
            CANNED: self._canned,
            LATER: self._later,
        }

    def check(self, context: RequestContext) -> None:
        """Refuse a request that asks to be answered later by a way there is not. Raises Invalid."""
        if (
            self._later_on is not None and self._later_on.takes
        ):  # else nobody can mean it, and nothing is looked at
            self._later_on.check(context)

    async def stand_in(
        self,
        turn: Turn,
        inquiry: Inquiry,
        targets: tuple[Target, ...],
        failure: ProviderFailure,
        fetch: Fetch,
    ) -> None:
        """Answer a request whose `targets` have failed, by the first step that can. Raises `failure` when none can."""
        if turn.client.started or failure.kind in OF_THE_REQUEST:
            raise failure
        case = _Case(turn, inquiry, targets, self._chooser.feature(turn.context) or Feature(name=""), fetch)
        case.note(failure)
        tried: list[str] = []
        for step in self._steps(turn.context, case.feature):
            why_not = await self._tried(step, case)
            if not why_not:
                turn.story.flag(f"fallback:{step}")
                return
            if case.feature.steps or step != STALE:  # what nobody named need not be told of
                tried.append(f"{step} ({why_not})")
        if tried:
            turn.story.flag("fallback:none")
            failure.message = f"{failure.message} Tried in its place: {', '.join(tried)}."
        raise failure

    def _steps(self, context: RequestContext, feature: Feature) -> tuple[str, ...]:
        """Return what is tried, in order."""
        steps = feature.steps
        if not steps and self.answers is not None and self.answers.keeps_stale:
            steps = (STALE,)
        if LATER not in steps and self._later_on is not None and context.header(HEADER) is not None:
            steps += (LATER,)
        only = context.header(b"x-penstock-fallback")
        if only is None:
            return steps
        if only.strip().lower() == b"models":
            return tuple([step for step in steps if step not in WORDS])
        return ()  # "none", and whatever else nobody can have meant to widen it

    async def _tried(self, step: str, case: _Case) -> str:
        """Try one step; returns why it did not answer, "" when it did."""
        doing = self._words.get(step) or partial(self._another, step)
        try:
            return await doing(case)
        except (Rejected, Unavailable) as error:
            if case.turn.client.started:
                raise
            if isinstance(error, ProviderFailure):
                case.note(error)
                return error.kind
            return error.reason

    async def _another(self, model: str, case: _Case) -> str:
        """Have another public model name answer."""
        turn = case.turn
        context, wording, meter = turn.context, turn.wording, turn.meter
        if not context.principal.may_use(model):
            return "not for this key"
        choice = self._chooser.choose(context, wording, model)
        targets = tuple([each for each in choice.targets if each.label not in case.failed])
        if not targets:
            return "has failed already"
        targets = wording.sayable(targets)
        ask = asked(wording.envelope, targets)
        await self._admission.admit_elsewhere(context, ask, targets, meter.seat, meter.spent_nanos)
        turn.ask = meter.ask = ask
        turn.larger, turn.cascade = choice.larger, choice.cascade
        why = (*choice.why, f"in place of {wording.envelope.model}")
        await case.fetch(turn, tuple([each.because(why) for each in targets]))
        return ""

    async def _stale(self, case: _Case) -> str:
        if self.answers is None or not await self.answers.stale(case.turn, case.targets):
            return "nothing kept"
        return ""

    async def _rule(self, case: _Case) -> str:
        text = case.feature.rule(last_words(case.turn.wording.request))
        return self._written(case, RULE, text) if text else "none fits"

    async def _canned(self, case: _Case) -> str:
        return self._written(case, CANNED, case.feature.canned)

    def _written(self, case: _Case, step: str, text: str) -> str:
        """Give an answer that the operator wrote."""
        source = Nobody(route_header(case.in_place(step)))
        mark = b"x-penstock-answer: %b\r\n" % step.encode()
        return "" if say(case.turn, written(case.turn, text), source, mark) else "not what was asked for"

    async def _later(self, case: _Case) -> str:
        """Accept the request, to be answered when a provider is back."""
        turn = case.turn
        if self._later_on is None:
            return "not served here"
        receipt = await self._later_on.accept(
            turn.context, case.inquiry, turn.wording.envelope.model, case.feature.later
        )
        told = Raw(msgspec.json.encode(receipt))
        turn.wording.check, turn.wording.filters = None, ()  # a receipt is no answer
        turn.story.accepted()
        text = (
            f"No model answers now. This request waits as {receipt.id}; its answer goes to the webhook "
            f"{receipt.webhook} and to {receipt.url}."
        )
        marks = b"%b: %b\r\nlocation: %b\r\n" % (HEADER, receipt.id.encode(), receipt.url.encode())
        source = Nobody(route_header(case.in_place(LATER)))
        say(turn, written(turn, text, {LATER: told}), source, marks, status=202)
        return ""
