"""The places of this process: how many paid requests are under way at one time, and who gets the next one.

    face → [place] → pipeline, or whatever line serves the face

A place costs memory for as long as a model takes, so their number is fixed; how many may come in a second is what
`mechanisms/shedding` adapts. Who finds none waits in one room (`mechanisms/priorities`), whatever face it came by.

Promises: a place taken is given back, whatever ends the request; while there are places, taking one is a comparison; a
request refused here is audited like any other, and has cost nothing.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from penstock.gateway.client import Client
from penstock.gateway.inquiry import Inquiry
from penstock.gateway.line import Line
from penstock.gateway.story import Story
from penstock.kernel.clock import Clock
from penstock.kernel.context import RequestContext
from penstock.kernel.errors import Overloaded, PenstockError
from penstock.mechanisms.audit import AuditPipe
from penstock.mechanisms.priorities import HEADER, Priority, WaitingBounds, WaitingRoom, priority_of


def priority_in(context: RequestContext) -> Priority:
    """Return how urgent a request is, as far as its caller may say so."""
    return priority_of(context.header(HEADER), context.principal.tier)


class Places:
    """All places. One per process."""

    def __init__(self, serving: int, bounds: WaitingBounds, clock: Clock, audit: AuditPipe) -> None:
        """Have `serving` places; tell `audit` of those who got none."""
        self._serving = serving
        self._audit = audit
        self.taken = 0
        self.room = WaitingRoom(bounds, clock, self._is_free, self._refusal)

    def before(self, line: Line) -> Line:
        """Return `line` with a place to be had before it."""
        return _Placed(self, line)

    async def wait(self, context: RequestContext, story: Story) -> None:
        """Wait for a place. Raises Overloaded; then the request has been audited."""
        try:
            await self.room.enter(priority_in(context), context.deadline_s)
        except BaseException as error:  # because whatever ends a request must be in its audit record
            story.failed(error)
            self._audit.offer(story.event())
            raise
        story.flag("waited")

    def leave(self) -> None:
        """Give a place back."""
        self.taken -= 1
        if self.room.waiting:
            self.room.let_in()

    def _is_free(self, _priority: Priority) -> bool:
        return self.taken < self._serving

    def _refusal(self, retry_after_s: float) -> PenstockError:
        return Overloaded(
            "All places are taken, and this request's turn did not come.",
            code="no_place",
            limit=self._serving,
            retry_after_s=retry_after_s,
        )


class _Placed:
    """A line with a place before it."""

    __slots__ = ("_line", "_places")

    def __init__(self, places: Places, line: Line) -> None:
        self._places = places
        self._line = line

    def serve(
        self, context: RequestContext, inquiry: Inquiry, client: Client, story: Story
    ) -> Coroutine[Any, Any, None]:
        if self._places.room.passes(Priority.NORMAL):  # a place is a place, whoever takes it
            return self._placed(context, inquiry, client, story)
        return self._waited(context, inquiry, client, story)

    async def _waited(self, context: RequestContext, inquiry: Inquiry, client: Client, story: Story) -> None:
        await self._places.wait(context, story)
        await self._placed(context, inquiry, client, story)

    def _placed(
        self, context: RequestContext, inquiry: Inquiry, client: Client, story: Story
    ) -> Coroutine[Any, Any, None]:
        """Take a place, which the story gives back when it has been told."""
        places = self._places
        places.taken += 1
        story.place = places
        try:
            return self._line.serve(context, inquiry, client, story)
        except BaseException:  # because what fails before its story begins has nobody to give its place back
            places.leave()
            raise
