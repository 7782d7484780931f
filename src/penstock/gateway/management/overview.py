"""The overview: spending against budgets, what breaks first, latency, errors, the latest requests; once or live.

Promises: a store that is down does not take the overview away, it is on it; the stores are read at most every
`BOOKS_S` seconds for an organisation, and an overview is made at most every `LIVE_S`, however many look on; seldomer
when all those looked at would take more of the event loop than they are allowed, and then they say so; a live view is
sent only what changed; figures of the whole platform are for those who reach all of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from penstock.gateway.management.live import EventStream, Source, View, frame
from penstock.gateway.management.money import budgets_in_reach
from penstock.gateway.management.overview_models import Errors, Latency, Moment, Overview, SpendRow
from penstock.gateway.management.pace import (
    PACE_S,
    eta_s,
    left_s,
    pace,
    pace_of,
    path_of,
    percent,
    shares,
    window_of,
)
from penstock.gateway.management.parts import Api, Management
from penstock.gateway.management.policy import By, Routes
from penstock.gateway.management.pressures import Figures, Platform, Queue, fullest, ranked
from penstock.gateway.management.reach import Org, breadth_of, must_reach
from penstock.gateway.management.request_models import request_view
from penstock.gateway.management.requests import recent_of
from penstock.gateway.management.sight import Picture, Slow
from penstock.gateway.management.standing import still_may
from penstock.kernel.context import Principal
from penstock.kernel.errors import Unavailable
from penstock.mechanisms.headroom import Fill
from penstock.mechanisms.limits import account_name
from penstock.mechanisms.roles import Action, Breadth
from penstock.mechanisms.windows import Window
from penstock.ports.traces import TraceFilter
from penstock.sdk.replies import Status

ROUTES: Final = Routes("overview")
LIVE_S: Final = 0.5
BOOKS_S: Final = 2.0
LATEST: Final = 12
SPEND_MOST: Final = 100
SHARED_OF: Final = 500
"""Of so many of the latest requests the shares below an organisation are told."""


@ROUTES.add("GET", "/overview", needs=Action.READ_STATUS)
async def read_overview(by: By, api: Api, org: Org = "") -> Overview:
    """Show how things are now. Figures of the whole platform are shown to owners."""
    own = must_reach(by.principal, org)
    return drawn(api, by.principal, own, await slow_of(api, by.principal, own, 0.0))


@ROUTES.add(
    "GET",
    "/overview/live",
    needs=Action.READ_STATUS,
    response_class=EventStream,
    status_code=200,
    responses={200: {"description": "Events `overview` (Overview), when something changed."}},
)
async def watch_overview(by: By, api: Api, org: Org = "") -> EventStream:
    """Show how things are, each time they change, at most twice a second; `every_s` says how often."""
    own = must_reach(by.principal, org)
    recent_of(api)
    return EventStream(
        View(
            who=by.principal,
            seats=api.sight.seats,
            clock=api.clock,
            opened=lambda: _changing(api, by.principal, own),
            still_may=lambda: still_may(api, by, Action.READ_STATUS),
            draining=lambda: api.status().draining,
        )
    )


@asynccontextmanager
async def _changing(api: Management, principal: Principal, org: str) -> AsyncGenerator[Source]:
    yield Changing(api, principal, org)


class Changing:
    """The overview each time it changed, as the source of a live view."""

    ended = False

    def __init__(self, api: Management, principal: Principal, org: str) -> None:
        """Show an organisation's overview as `principal` may see it."""
        self._api = api
        self._principal = principal
        self._org = org
        self._left_s = 0.0
        """How long to wait still."""
        self._sent = b""

    async def next(self, within_s: float) -> list[bytes]:
        """Return the overview if it is another than the last one sent."""
        await asyncio.sleep(min(self._left_s, within_s))
        if self._left_s > within_s:
            self._left_s -= within_s
            return []
        name = f"{breadth_of(self._principal).name} {self._org}"
        shown = await self._api.sight.shown.get(name, _lives_s, self._api.clock, self._made)
        self._left_s = shown.every_s
        if shown.changing == self._sent:
            return []
        self._sent = shown.changing
        return [frame("overview", shown.data)]

    def last(self) -> list[bytes]:
        """Return nothing: an overview is never owed."""
        return []

    async def _made(self) -> Picture:
        """Draw the overview. What the stores are waited for is no work of the event loop's, and not paid."""
        api, asking = self._api, (self._api, self._principal, self._org)
        slow = await slow_of(*asking, BOOKS_S)
        began_s = api.clock.monotonic_s()
        now = drawn(*asking, slow)
        changing = now.model_dump_json(exclude={"at_s", "every_s"}).encode()
        every_s = max(LIVE_S, api.sight.drawing.rest_s(api.clock.monotonic_s() - began_s))
        told = now.model_copy(update={"every_s": round(every_s, 1)})
        return Picture(told.model_dump_json().encode(), changing, every_s)


def _lives_s(picture: Picture) -> float:
    """Return for how long (seconds) a picture is everybody's: a bit less than they wait, or each would wait twice."""
    return 0.9 * picture.every_s


async def slow_of(api: Management, principal: Principal, org: str, age_s: float) -> Slow:
    """Return what the stores say, at most `age_s` seconds old."""
    return await api.sight.slow.get(org, lambda _: age_s, api.clock, lambda: _read(api, principal, org))


def drawn(api: Management, principal: Principal, org: str, slow: Slow) -> Overview:
    """Return an organisation's overview as the caller may see it; 1 ms, and more with many budgets."""
    recent, now_s = recent_of(api), api.clock.wall_s()
    is_platform = breadth_of(principal) is Breadth.PLATFORM
    window = recent.window(org)
    status = api.status()
    dropped = api.dropped()
    spend = _spend(api, slow, org, window, is_platform=is_platform)
    figures = Figures(
        now_s=now_s,
        window=window,
        deadline_s=api.settings.admission.deadline_s,
        budgets=spend,
        meters=slow.meters,
        platform=_platform(api, status, dropped, books=slow.books) if is_platform else None,
    )
    # Budgets of others are ranked for an owner, and listed where they belong.
    own = [row for row in spend if path_of(row.account).partition("/")[0] == f"org:{org}"]
    return Overview(
        at_s=now_s,
        org=org,
        spend=fullest(own, SPEND_MOST),
        today_nanos=slow.today_nanos,
        month_nanos=slow.month_nanos,
        pressures=ranked(figures),
        latency=Latency.model_validate(window, from_attributes=True),
        errors=Errors.model_validate(window, from_attributes=True),
        series=[Moment(**msgspec.structs.asdict(bucket)) for bucket in window.series],
        in_flight=status.in_flight if is_platform else 0,
        live=[request_view(event) for event in recent.latest(TraceFilter(org=org).admits, LATEST)],
        dependencies=status.dependencies if is_platform else {},
        breakers=status.breakers if is_platform else {},
        dropped=dropped if is_platform else {},
    )


async def _read(api: Management, principal: Principal, org: str) -> Slow:
    """Read what the stores say; a ledger that does not answer says nothing, and that."""
    meters = await api.sight.meters(org)
    today = api.today()
    days = [account_name(f"org:{org}", "day", today.replace(day=day)) for day in range(1, today.day + 1)]
    try:
        spent = [each.posted_nanos for each in await api.ledger.balance(accounts=days)]
    except Unavailable:
        return Slow((), 0, 0, meters, books=False)
    try:
        budgets = await budgets_in_reach(api, principal, org)
    except Unavailable:  # the records are down: what was spent is known all the same
        budgets = []
    return Slow(budgets, spent[-1], sum(spent), meters)


def _spend(api: Management, slow: Slow, org: str, window: Window, *, is_platform: bool) -> list[SpendRow]:
    """Return the budgets, those of users who got theirs by default too, with their pace; an owner's of everybody."""
    now_s = api.clock.wall_s()
    nanos_per_s = pace(window.series, now_s)
    latest = TraceFilter(org=org, since_s=now_s - PACE_S)
    share_of = shares(recent_of(api).latest(latest.admits, SHARED_OF)) if nanos_per_s else {}
    listed = {row.account: row.model_dump() for row in slow.budgets}
    for fill in api.headroom.fills:
        is_own = path_of(fill.account).partition("/")[0] == f"org:{org}"
        if slow.books and (is_own or is_platform) and fill.account not in listed:
            listed[fill.account] = _of_fill(fill)
    rows: list[SpendRow] = []
    for account, row in listed.items():
        window_name = window_of(account)
        used_nanos = row["posted_nanos"] + row["held_nanos"]
        fast = pace_of(path_of(account), org, nanos_per_s, share_of)
        rows.append(
            SpendRow(
                **row,
                percent=percent(used_nanos, row["limit_nanos"]),
                eta_s=eta_s(row["room_nanos"], fast, left_s(window_name, now_s)),
            )
        )
    return rows


def _of_fill(fill: Fill) -> dict[str, object]:
    """Return a budget that is in force without being configured by name."""
    path = path_of(fill.account)
    return {
        "account": fill.account,
        "level": path.rpartition("/")[2].partition(":")[0],
        "window": window_of(fill.account),
        "limit_nanos": fill.limit_nanos,
        "posted_nanos": fill.posted_nanos,
        "held_nanos": fill.held_nanos,
        "room_nanos": max(fill.limit_nanos - fill.posted_nanos - fill.held_nanos, 0),
        "hard": fill.hard,
    }


def _platform(api: Management, status: Status, dropped: dict[str, int], *, books: bool) -> Platform:
    server, audit = api.settings.server, api.settings.audit
    records = Queue(
        name="audit records",
        waiting=status.audit_waiting,
        capacity=audit.buffer_records,
        setting="audit.buffer_records",
    )
    return Platform(
        in_flight=status.in_flight,
        in_flight_most=server.in_flight,
        connections=status.connections,
        connections_most=server.connections,
        queues=(records, *api.sight.queues()),
        dependencies={**status.dependencies, **({} if books else {"ledger": False})},
        breakers=status.breakers,
        dropping=api.sight.drops.recent(dropped, api.clock.monotonic_s()),
        disk=api.sight.disk(),
    )
