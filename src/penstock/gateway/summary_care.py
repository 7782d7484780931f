"""A conversation longer than its model's window goes on with a summary in place of its older turns.

    inspect   after whatever refuses and rewrites, so that what is summarised is what may leave: the plan, and all of it
              when its summaries are kept already
    begin     money is held: the missing summaries are made, on the request's own meter
    shorter   the vendor found it too long all the same: planned again, tighter

Promises: a caller is told (``x-penstock-context: summarised 14 of 18``), and so is the record of the request; a summary
that cannot be had leaves the older turns out, or the request is refused, as the rules say, and either is told.
"""

from __future__ import annotations

import msgspec

from penstock.gateway.context_care import REFUSALS_MOST, ContextCare
from penstock.gateway.context_fit import Room
from penstock.gateway.metering import Meter
from penstock.gateway.routing import Target
from penstock.gateway.story import Story
from penstock.gateway.summaries import Summaries
from penstock.gateway.summary_plan import DOCUMENT_HEAD, TURNS_LEAST, Plan, Talk, filled, longest, without
from penstock.gateway.wording import Wording
from penstock.kernel.chat import ChatRequest
from penstock.kernel.context import RequestContext
from penstock.kernel.errors import Invalid, PenstockError
from penstock.kernel.settings_context import ContextSettings

FLAG = "context_summarised"


class SummaryCare:
    """An `Inspection` that has summaries stand for older turns. One per process."""

    def __init__(self, care: ContextCare, summaries: Summaries) -> None:
        """Have `summaries` made; `care` leaves out what cannot be summarised."""
        self.care = care
        self.summaries = summaries

    async def inspect(
        self, context: RequestContext, wording: Wording, targets: tuple[Target, ...], story: Story
    ) -> None:
        """Plan what must be. Raises Invalid for a bad header, Forbidden for a choice callers do not have."""
        windows = self.care.windows
        choice, rules = windows.chosen(context)
        if choice != "summarise" or not windows.may_be_over(wording, targets[0]):
            return
        it = _Summarising(self, rules, wording, targets[0])
        wording.shortening = it
        if windows.is_over(wording, targets[0]):
            await it.plan(context, story)


class _Summarising:
    """A `Shortening` of one request by summaries."""

    __slots__ = ("_care", "_plan", "_refusals", "_rules", "_target", "_wording")

    def __init__(self, care: SummaryCare, rules: ContextSettings, wording: Wording, target: Target) -> None:
        self._care = care
        self._rules = rules
        self._wording = wording
        self._target = target
        self._refusals = 0
        self._plan: Plan | None = None

    async def plan(self, context: RequestContext, story: Story) -> None:
        """Say the conversation as it will be; gaps are as long as their summaries may become."""
        room = self._room()
        plan = await self._planned(room, context)
        if plan is None:
            request = self._cut(room, story)
            if request is not None:
                self._wording.rewrite(request)
            return
        self._plan = plan
        self._wording.rewrite(plan.request)
        if not plan.gaps:
            self._tell(plan, story)

    async def begin(self, context: RequestContext, meter: Meter, story: Story) -> ChatRequest | None:
        """Return the conversation with its summaries; None when nothing is missing. Raises `Invalid`."""
        if self._plan is None or not self._plan.gaps:
            return None
        return await self._made(self._plan, self._wording.request, context, meter, story)

    async def shorter(self, context: RequestContext, meter: Meter, story: Story) -> ChatRequest | None:
        """Return the conversation with summaries, now that its vendor found it too long. Raises `Invalid`."""
        self._refusals += 1
        if self._refusals > REFUSALS_MOST:
            return None
        room = self._room()
        plan = await self._planned(room, context)
        if plan is None:
            return self._cut(room, story)
        return await self._made(plan, plan.request, context, meter, story)

    def _room(self) -> Room:
        return self._care.care.windows.room(self._wording, self._target, self._refusals)

    def _cut(self, room: Room, story: Story) -> ChatRequest | None:
        """Return the conversation without its oldest turns, where no summary helps and the rules let them go."""
        if self._rules.unsummarised == "reject":
            return None
        return self._care.care.cut(self._wording, room, story)

    async def _planned(self, room: Room, context: RequestContext) -> Plan | None:
        """Return how the conversation is made to fit; None when it fits already, or no summary helps."""
        if room.excess(self._wording.request) <= 0:
            return None
        plan = await self._with_older_summarised(Talk(self._wording.request, room), context)
        return None if plan is None else await self._with_known_documents(plan, context)

    async def _with_older_summarised(self, talk: Talk, context: RequestContext) -> Plan | None:
        rules, tokens = self._rules, self._rules.summary_tokens
        known, words = await self._care.summaries.longest(context, rules, talk.digests)
        if known and talk.fits(known, words):
            return talk.covering(known, words)
        wanted = max(talk.coverable + TURNS_LEAST - rules.keep_turns, known + 1, 1)
        for turns in range(wanted, talk.coverable + 1):
            if talk.fits(turns, longest(tokens)):
                return talk.to_come(turns, tokens, known, words)
        if known == talk.coverable:
            return talk.with_documents(talk.covering(known, words), tokens)
        return talk.with_documents(talk.to_come(talk.coverable, tokens, known, words), tokens)

    async def _with_known_documents(self, plan: Plan, context: RequestContext) -> Plan:
        """Fill the gaps of long texts that were summarised before."""
        request, gaps = plan.request, list(plan.gaps)
        for gap in plan.gaps:
            if gap.head == DOCUMENT_HEAD:
                words = await self._care.summaries.kept(context, self._rules, gap.digest)
                if words:
                    request = filled(request, gap, words)
                    gaps.remove(gap)
        return msgspec.structs.replace(plan, request=request, gaps=tuple(gaps))

    async def _made(
        self, plan: Plan, request: ChatRequest, context: RequestContext, meter: Meter, story: Story
    ) -> ChatRequest:
        """Fill every gap of `request`. Raises Invalid for one that cannot be, where nothing may be left out."""
        for gap in plan.gaps:
            try:
                words = await self._care.summaries.make(gap, self._rules, context, meter, story)
            except PenstockError as error:
                bare = without(request, gap) if self._rules.unsummarised == "truncate_oldest" else None
                if bare is None:
                    raise _too_long(error) from None
                request = bare
                self._care.care.left_out(plan.covered, self._wording, story)
                plan = _uncovered(plan)
            else:
                request = filled(request, gap, words)
        if plan.covered or plan.documents:
            self._tell(plan, story)
        return request

    def _tell(self, plan: Plan, story: Story) -> None:
        told = b"x-penstock-context: summarised %d of %d" % (plan.covered, plan.total)
        self._wording.notes += told + (b"; documents=%d\r\n" % plan.documents if plan.documents else b"\r\n")
        story.flag(FLAG)


def _uncovered(plan: Plan) -> Plan:
    """Return a plan whose older turns are gone."""
    return msgspec.structs.replace(plan, covered=0)


def _too_long(error: PenstockError) -> Invalid:
    return Invalid(
        f"The conversation is too long, and no summary of it could be had: {error.message}",
        code="context_length_exceeded",
        field="messages",
        value=error.reason,
        remedy="Shorten the conversation, use a model with a larger window, or try again.",
    )
