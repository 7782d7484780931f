"""Requests: what became of each, with its spans, and live as they end.

Promises: a caller sees the requests inside its reach and no others, on pages as full as there are such; a request out
of reach looks absent; one that has just ended is found before it is stored; a live view shows at most `SHOWN_PER_S`
requests in any second, and what it showed and what it says it skipped add up to what ended; it looks for news at most
every `LOOK_S` seconds, so that a flood of requests is not one of wakings.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from penstock.gateway.management.filters import Which, WhichPage, admitting, within_reach
from penstock.gateway.management.live import EventStream, Pace, Source, View, frame
from penstock.gateway.management.parts import Api, Management
from penstock.gateway.management.policy import By, Routes
from penstock.gateway.management.reach import Id
from penstock.gateway.management.request_models import (
    RequestDetail,
    RequestPage,
    Skipped,
    request_view,
    span_view,
)
from penstock.gateway.management.standing import still_may
from penstock.kernel.clock import Clock
from penstock.kernel.errors import NotFound, Unavailable
from penstock.kernel.events import RequestEvent
from penstock.mechanisms.recent import Admits, Recent, Watch
from penstock.mechanisms.roles import Action, reach_of
from penstock.mechanisms.spans import spans_of
from penstock.ports.traces import Traces

ROUTES: Final = Routes("requests")
SHOWN_PER_S: Final = 20
LOOK_S: Final = 0.2
WAITING_MOST: Final = 200
"""Requests that wait for a reader who is behind."""


@ROUTES.add("GET", "/requests", needs=Action.READ_REQUESTS)
async def list_requests(by: By, api: Api, asked: WhichPage) -> RequestPage:
    """List requests, the latest first."""
    wanted = within_reach(by.principal, asked)
    if wanted is None:
        return RequestPage(requests=[], after="")
    page = await traces_of(api).find(wanted, after=asked.after, limit=asked.limit)
    return RequestPage(requests=[request_view(event) for event in page.events], after=page.after)


@ROUTES.add(
    "GET",
    "/requests/live",
    needs=Action.READ_REQUESTS,
    response_class=EventStream,
    status_code=200,
    responses={200: {"description": "Events `request` (RequestView) and `skipped` (`count`), as they end."}},
)
async def watch_requests(by: By, api: Api, asked: Which) -> EventStream:
    """Show requests as they end, at most 20 a second; `skipped` counts the others."""
    wanted = within_reach(by.principal, asked)
    recent = recent_of(api)
    admits = _nothing if wanted is None else admitting(wanted)
    return EventStream(
        View(
            who=by.principal,
            seats=api.sight.seats,
            clock=api.clock,
            opened=lambda: _watching(recent, admits, api.clock),
            still_may=lambda: still_may(api, by, Action.READ_REQUESTS),
            draining=lambda: api.status().draining,
        )
    )


@ROUTES.add("GET", "/requests/{request_id}", needs=Action.READ_REQUESTS)
async def read_request(request_id: Id, by: By, api: Api) -> RequestDetail:
    """Show one request with its spans."""
    reach = reach_of(by.principal)
    event = await found_event(api, request_id, lambda event: reach.holds(event.org, event.team, event.user))
    scored = await api.feedback.of(request_id)
    return RequestDetail(
        request=request_view(event),
        spans=[span_view(span) for span in spans_of(event)],
        score=None if scored is None else scored.score,
    )


async def found_event(api: Management, request_id: str, admits: Admits) -> RequestEvent:
    """Return an event that was kept, or that has just ended; NotFound for one that `admits` does not.

    That one is looked for in the same places as one that does not exist, so that a clock tells neither.
    """

    def wanted(event: RequestEvent) -> bool:
        return event.request_id == request_id and admits(event)

    if api.recent is not None and (just_ended := api.recent.latest(wanted, 1)):
        return just_ended[0]
    kept = await traces_of(api).get(request_id)
    if kept is None or not wanted(kept):
        raise NotFound(
            "There is no such request.",
            field="request_id",
            value=request_id,
            remedy="Requests are kept for a while only, and of many that went well only some.",
        )
    return kept


def traces_of(api: Management) -> Traces:
    """Return where requests are kept; Unavailable where they are not."""
    if api.traces is None:
        raise Unavailable(
            "This deployment keeps no traces.", code="no_traces", remedy="Set traces.store = true."
        )
    return api.traces


def recent_of(api: Management) -> Recent:
    """Return what happened lately; Unavailable where nobody listens."""
    if api.recent is None:
        raise Unavailable("This deployment does not follow its requests.", code="no_traces")
    return api.recent


def _nothing(_event: RequestEvent) -> bool:
    return False


@asynccontextmanager
async def _watching(recent: Recent, admits: Admits, clock: Clock) -> AsyncGenerator[Source]:
    watch = recent.watch(admits, WAITING_MOST)
    try:
        yield Ending(watch, clock)
    finally:
        watch.close()


class Ending:
    """Requests as they end, as the source of a live view."""

    def __init__(self, watch: Watch, clock: Clock) -> None:
        """Show what `watch` collects."""
        self._watch = watch
        self._clock = clock
        self._pace = Pace(SHOWN_PER_S)
        self._told = Pace(1)
        self._skipped = 0
        self._looks_s = 0.0
        """When to look again."""

    @property
    def ended(self) -> bool:
        """Whether nothing will come any more."""
        return self._watch.closed

    async def next(self, within_s: float) -> list[bytes]:
        """Return the requests that ended, and how many more there were."""
        events: list[RequestEvent] = []
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(within_s):
                await asyncio.sleep(self._looks_s - loop.time())
                events, skipped = await self._watch.next()
                self._skipped += skipped
        except TimeoutError:
            pass
        if events:
            self._looks_s = loop.time() + LOOK_S
        now_s = self._clock.monotonic_s()
        showing = self._pace.admits(len(events), now_s)
        self._skipped += len(events) - showing
        due = [self._shown(event) for event in events[:showing]]
        return due + (self.last() if self._skipped and self._told.admits(1, now_s) else [])

    def last(self) -> list[bytes]:
        """Return how many were skipped since that was last told."""
        skipped, self._skipped = self._skipped, 0
        return [frame("skipped", Skipped(count=skipped).model_dump_json().encode())] if skipped else []

    def _shown(self, event: RequestEvent) -> bytes:
        return frame("request", request_view(event).model_dump_json().encode())
