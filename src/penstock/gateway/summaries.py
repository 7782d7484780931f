"""Summaries that are kept: what was summarised once is not summarised again, and the next turn only adds to it.

A summary is an answer like any other: kept per team in the cache of answers (`mechanisms/answer_cache`) under a digest
of what it covers, the model, the length and the version of the prompt, for a day; purged with it.

Promise: nobody meets another team's; who opted out of the cache, or says ``no-store``, has none kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from penstock.gateway.metering import Meter
from penstock.gateway.story import Story
from penstock.gateway.structured import text_of
from penstock.gateway.summariser import PROMPT_VERSION, Summariser
from penstock.gateway.summary_plan import Gap
from penstock.kernel.chat import ChatReply, ChatRequest, Message, Text
from penstock.kernel.context import RequestContext
from penstock.kernel.settings_context import ContextSettings
from penstock.mechanisms.answer_cache import AnswerCache, Place

KEPT_S: Final = 86_400.0
PROBES_MOST: Final = 64
"""Beginnings of one conversation that are looked up, the longest first."""


class Summaries:
    """Keeps summaries, and has them made. One per process."""

    def __init__(
        self, cache: AnswerCache, summariser: Summariser, opted_out: frozenset[str] = frozenset()
    ) -> None:
        """Keep in `cache`, but for those who `opted_out` (`ORG`, or `ORG/TEAM`)."""
        self._cache = cache
        self._summariser = summariser
        self._opted_out = opted_out
        self.made = 0
        """Summaries that a model wrote."""
        self.reused = 0
        """Summaries that were there already."""

    async def longest(
        self, context: RequestContext, rules: ContextSettings, digests: Sequence[str]
    ) -> tuple[int, str]:
        """Return how many turns the longest summary kept covers, and its words; (0, "") when none is. `digests[n]`
        names the first n turns.
        """
        newest = len(digests) - 1
        for turns in range(newest, max(newest - PROBES_MOST, 0), -1):
            words = await self.kept(context, rules, digests[turns])
            if words:
                return turns, words
        return 0, ""

    async def kept(self, context: RequestContext, rules: ContextSettings, digest: str) -> str:
        """Return the summary kept of what `digest` names, "" when there is none."""
        if not self._keeps(context):
            return ""
        found = await self._cache.peek(self._place(context, rules, digest))
        if found is None:
            return ""
        self.reused += 1
        return text_of(found.reply.choices[0])

    async def make(
        self, gap: Gap, rules: ContextSettings, context: RequestContext, meter: Meter, story: Story
    ) -> str:
        """Return a new summary. Raises PenstockError when there is none to be had; what it cost is metered."""
        place = self._place(context, rules, gap.digest)
        before_nanos = meter.spent_nanos
        words = await self._summariser.summary(gap, rules, context, meter, story)
        self.made += 1
        if self._keeps(context):
            said = Message(role="assistant", content=(Text(words),))
            reply = ChatReply(
                id="", model=rules.summary_model, created_s=0, choices=(said,), finishes=("stop",)
            )
            cost_nanos = meter.spent_nanos - before_nanos
            entry = self._cache.entry(reply, cost_nanos=cost_nanos, fresh_s=KEPT_S)
            await self._cache.keep(place, entry, (f"model:{rules.summary_model}",))
        return words

    def _place(self, context: RequestContext, rules: ContextSettings, digest: str) -> Place:
        who = context.principal
        versions = ("summary", PROMPT_VERSION, str(rules.summary_tokens), digest)
        request = ChatRequest(model=rules.summary_model, messages=())
        return self._cache.place(request, org=who.org, team=who.team, versions=versions)

    def _keeps(self, context: RequestContext) -> bool:
        who = context.principal
        no_store = b"no-store" in (context.header(b"cache-control") or b"").lower()
        return not no_store and not self._opted_out & {who.org, f"{who.org}/{who.team}"}
