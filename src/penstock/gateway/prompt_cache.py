"""Vendors' own prompt caches on the request path.

Who keeps a prompt's beginning by itself (OpenAI, Gemini) is sent it byte for byte in its own order, which is all that
takes. Who keeps only what is marked (Anthropic) is sent marks (`mechanisms/prompt_marks`), when every back end this
request may go to is such a one: another would refuse them.

Promise: a prompt too short to be kept costs one comparison; an answer is the same with and without marks.
"""

from __future__ import annotations

from typing import Final

from penstock.gateway.story import Story
from penstock.gateway.targets import Target
from penstock.gateway.wording import Wording
from penstock.kernel.clock import Clock
from penstock.kernel.context import RequestContext
from penstock.mechanisms.prompt_marks import BYTES_PER_TOKEN, DATA, PromptMarks

MARKED: Final = "anthropic"
"""The dialect whose vendor wants marks."""
SHORTEST_BYTES: Final = BYTES_PER_TOKEN * min(tokens for _, tokens in DATA.min_tokens)


class PromptCacheCare:
    """An `Inspection` that marks prompts. One per process; comes last, so that it marks what is really said."""

    def __init__(self, clock: Clock) -> None:
        """Remember prefixes by `clock`."""
        self.marks = PromptMarks(clock)

    def inspect(
        self, context: RequestContext, wording: Wording, targets: tuple[Target, ...], _story: Story
    ) -> None:
        """Mark the request where that pays."""
        if targets[0].provider.dialect != MARKED or len(wording.envelope.body) < SHORTEST_BYTES:
            return
        if any(target.provider.dialect != MARKED for target in targets):
            return
        who = context.principal
        marked = self.marks.marked_request(wording.request, f"{who.org}\0{who.team}", targets[0].model)
        if marked is not None:
            wording.rewrite(marked)
