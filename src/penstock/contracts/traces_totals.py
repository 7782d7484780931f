"""What every trace store must keep about totals and trimming: promises 5 and 6 of `ports/traces.py` as cases.

Organisations, ids and batches carry the case's own name, so suites may share one store. Only the cases of trimming use
times before `TRIMMED_S`, because what they forget is everybody's.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from msgspec.structs import replace

from penstock.contracts.case import Contract, Harness, expect, expect_error
from penstock.kernel.errors import Invalid
from penstock.kernel.events import RequestEvent
from penstock.ports.traces import (
    DAY_S,
    DELTAS_MOST,
    DIMENSIONS,
    EVENTS_MOST,
    FIGURE_MOST,
    HOUR_S,
    TOTALS_MOST,
    TRIM_MOST,
    Batch,
    Delta,
    Total,
    TraceFilter,
    Traces,
)

TOTALS: Contract[Traces] = Contract("traces")

NAMES = DIMENSIONS[2:]
BASE_S = 20_000 * DAY_S
TRIMMED_S = 10_000 * DAY_S

SUMMED = Delta.__struct_fields__[1 + len(NAMES) :]
_ONE = Delta(
    hour_s=BASE_S,
    org="",
    team="",
    project="",
    user="",
    key_id="",
    feature="",
    model="",
    provider="",
    outcome="ok",
    requests=1,
    estimated=0,
    input_tokens=0,
    cached_tokens=0,
    output_tokens=0,
    cost_nanos=0,
    latency_ms=0,
)

ODD = (
    "a",
    "A",
    "ä",
    "e\u0301",
    "%",
    "_",
    "/",
    "\\",
    "'",
    '"',
    "*",
    "--",
    "a\x00b",
    " a",
    "a ",
    "\n",
    "ß",
    "🜁",
)
"""Texts that a careless collation, pattern or quotation would confuse."""


@dataclass(slots=True)
class TracesHarness(Harness[Traces]):
    """A harness that may also give a handle on a store that cannot be reached (a file: a closed one)."""

    cut_off: Callable[[], Awaitable[Traces]] | None = None


def event(h: Harness[Traces], id_: str, *, at_s: float = BASE_S, **fields: object) -> RequestEvent:
    """Return an event of this case's own."""
    return replace(RequestEvent(request_id=h.name(id_), at_s=at_s), **fields)


def delta(org: str, **fields: object) -> Delta:
    """Return a total of one request; names that are not given are "", the hour is `BASE_S`, figures are 0."""
    return replace(_ONE, org=org, **fields)


def batch(
    h: Harness[Traces],
    id_: str,
    *,
    at_s: float = BASE_S,
    events: Sequence[RequestEvent] = (),
    deltas: Sequence[Delta] = (),
) -> Batch:
    """Return a batch of this case's own."""
    return Batch(id=h.name(id_), at_s=at_s, events=events, deltas=deltas)


async def requests(port: Traces, wanted: TraceFilter) -> tuple[int, int]:
    """Return how many events match (up to a page), and how many requests the totals tell."""
    (total,) = await port.totals(wanted, ())
    return len((await port.find(wanted, limit=EVENTS_MOST)).events), total.requests


# ------------------------------------------------------------------------------------------- promise 5: totals


def added_up(deltas: Sequence[Delta], by: Sequence[str]) -> dict[tuple[str, ...], Total]:
    """Return what a store must answer, by group."""
    groups: defaultdict[tuple[str, ...], list[Delta]] = defaultdict(list)
    for each in deltas:
        days = {"hour": str(each.hour_s), "day": str(each.hour_s // DAY_S * DAY_S)}
        groups[tuple(days.get(dimension) or getattr(each, dimension, "") for dimension in by)].append(each)
    return {
        group: Total(
            group=group,
            failed=sum(each.requests for each in members if each.outcome == "failed"),
            refused=sum(each.requests for each in members if each.outcome == "refused"),
            **{name: sum(getattr(each, name) for each in members) for name in SUMMED},
        )
        for group, members in groups.items()
    }


def _varied(org: str) -> list[Delta]:
    """Return totals that differ in every dimension, with figures that a float would round."""
    return [
        delta(
            org,
            hour_s=BASE_S + i % 5 * 7 * HOUR_S,
            outcome=("ok", "refused", "failed")[i % 3],
            **{name: f"{name}{i // (n + 1) % 3}" for n, name in enumerate(NAMES[1:-1])},
            **{name: (i + 1) * (2**45 + n) for n, name in enumerate(SUMMED)},
        )
        for i in range(60)
    ]


@TOTALS.case(5)
async def totals_are_exact_in_every_grouping(h: Harness[Traces]) -> None:
    """By none, each, each pair and some threes of the dimensions: added over batches, without one event kept."""
    org, port = h.name("acme"), h.port
    deltas = _varied(org) * 3
    for n in range(4):
        await port.add(batch(h, f"b{n}", deltas=deltas[n::4]))
    threes = [("hour", "user", "outcome"), ("model", "day", "team"), ("outcome", "hour", "day")]
    for by in ((), *((d,) for d in DIMENSIONS), *combinations(DIMENSIONS, 2), *threes):
        found = await port.totals(TraceFilter(org=org), by)
        expect(
            {total.group: total for total in found} == added_up(deltas, by)
            and len(found) == len(added_up(deltas, by)),
            "each group once, with its own sums",
            by=by,
            found=found,
        )
        costs = [total.cost_nanos for total in found]
        expect(costs == sorted(costs, reverse=True), "dearest first", by=by, costs=costs)
    expect(not (await port.find(TraceFilter(org=org))).events, "no event is needed")


@TOTALS.case(5)
async def totals_are_of_what_matches(h: Harness[Traces]) -> None:
    """Each name, pairs of them, and the hours at the bounds of a period; nothing is one row of zeroes, or no group."""
    org, port = h.name("acme"), h.port
    deltas = _varied(org)
    await port.add(batch(h, "b", deltas=deltas))
    third_s = BASE_S + 14 * HOUR_S
    asked = [
        *({name: getattr(deltas[i], name)} for name in NAMES for i in (0, 1, 10)),
        *(
            {one: getattr(deltas[7], one), other: getattr(deltas[7], other)}
            for one, other in combinations(NAMES, 2)
        ),
        {"user": "nobody"},
        *({bound: third_s + off} for bound in ("since_s", "until_s") for off in (-0.5, 0.0, 0.5)),
        {"since_s": third_s, "until_s": third_s + 1},
        {"since_s": third_s, "until_s": third_s},
        {"since_s": -0.5},
        {"until_s": -0.5},
    ]
    for fields in asked:
        wanted = replace(TraceFilter(org=org), **fields)
        names = {name: value for name, value in fields.items() if isinstance(value, str)}
        until_s = wanted.until_s or third_s * 2
        matching = [
            each
            for each in deltas
            if all(getattr(each, name) == value for name, value in names.items())
            and wanted.since_s <= each.hour_s < until_s
        ]
        grouped = {total.group: total for total in await port.totals(wanted, ("user", "hour"))}
        expect(
            grouped == added_up(matching, ("user", "hour")), "what matches, and nothing else", wanted=wanted
        )
        (whole,) = await port.totals(wanted, ())
        nothing = Total(group=(), failed=0, refused=0, **dict.fromkeys(SUMMED, 0))
        expect(whole == added_up(matching, ()).get((), nothing), "and in one row", wanted=wanted, whole=whole)


@TOTALS.case(5)
async def totals_lose_and_round_nothing(h: Harness[Traces]) -> None:
    """Added from two handles at one moment, to the same row; figures as large as they may be."""
    org, other = h.name("acme"), await h.peer()
    most = dict.fromkeys(SUMMED[1:], FIGURE_MOST - 1)
    shared = [replace(delta(org, user=f"u{i}"), **most) for i in range(20)]

    async def add(port: Traces, side: str, deltas: Sequence[Delta]) -> None:
        for n in range(5):
            await port.add(batch(h, f"{side}{n}", deltas=deltas))

    await asyncio.gather(add(h.port, "here", shared), add(other, "there", shared[::-1]))
    found = await h.port.totals(TraceFilter(org=org), ("user",))
    expected = added_up(shared * 10, ("user",))
    expect(
        {total.group: total for total in found} == expected,
        "every batch counts, to the last digit",
        found=found,
    )


@TOTALS.case(5)
async def totals_are_bounded_and_dearest_first(h: Harness[Traces]) -> None:
    """More groups than are told: the cheapest are left out."""
    org, port = h.name("acme"), h.port
    costs = [(i * 7_919) % 10_007 for i in range(TOTALS_MOST + 1)]  # each another, in no order
    deltas = [delta(org, user=f"u{i}", cost_nanos=cost + 1) for i, cost in enumerate(costs)]
    for n, start in enumerate(range(0, len(deltas), DELTAS_MOST)):
        await port.add(batch(h, f"b{n}", deltas=deltas[start : start + DELTAS_MOST]))
    found = await port.totals(TraceFilter(org=org), ("user",))
    expected = sorted((each.cost_nanos for each in deltas), reverse=True)[:TOTALS_MOST]
    expect([total.cost_nanos for total in found] == expected, "the dearest, in order", rows=len(found))


@TOTALS.case(5)
async def unknown_dimensions_are_invalid(h: Harness[Traces]) -> None:
    """A dimension that is none, and a fourth one."""
    wanted = TraceFilter(org=h.name("acme"))
    for by in (
        ("colour",),
        ("user", "cost_nanos"),
        ("",),
        ("hour", "day", "org", "team"),
        ("user; --",),
        ("User",),
    ):
        await expect_error(Invalid, h.port.totals(wanted, by), f"grouping by {by!r} is refused")
    await expect_error(Invalid, h.port.totals(TraceFilter(since_s=float("nan")), ()), "nor is it a time")


# --------------------------------------------------------------------------------------------- promise 6: trimming


async def _emptied(port: Traces) -> None:
    """Forget what former cases of trimming may have left."""
    while await port.trim(TRIMMED_S):
        continue


@TOTALS.case(2, 6)
async def trim_forgets_what_is_before_and_nothing_later(h: Harness[Traces]) -> None:
    """Events and batch ids at the time itself stay, totals of an hour that lasts beyond it too; each has its time."""
    org, port = h.name("acme"), h.port
    await _emptied(port)
    at_s = TRIMMED_S - 10 * DAY_S
    for i in range(4):
        mine = [event(h, f"e{i}", org=org, at_s=at_s + i)]
        await port.add(
            batch(h, f"b{i}", at_s=at_s + i, events=mine, deltas=[delta(org, hour_s=at_s + i * HOUR_S)])
        )
    await port.add(batch(h, "later", events=[event(h, "later", org=org)], deltas=[delta(org)]))

    async def left() -> tuple[list[str], list[str]]:
        events = (await port.find(TraceFilter(org=org))).events
        totals = await port.totals(TraceFilter(org=org), ("hour",))
        hours = sorted(int(total.group[0]) for total in totals)
        return [each.request_id for each in events], [f"{(hour - at_s) // HOUR_S}" for hour in hours[:-1]]

    every = [h.name(id_) for id_ in ("later", "e3", "e2", "e1", "e0")]
    expect(await port.trim(at_s, totals_before_s=at_s) == 0, "nothing is from before")
    expect(await left() == (every, ["0", "1", "2", "3"]), "and all is there", left=await left())
    expect(await port.trim(at_s + 2, totals_before_s=at_s + HOUR_S - 0.5) == 2, "as many events as went")
    expect(await left() == (every[:3], ["0", "1", "2", "3"]), "an hour that lasts stays", left=await left())
    for i in (1, 2):
        mine = event(h, f"again{i}", org=org, at_s=at_s + 2)
        await port.add(batch(h, f"b{i}", at_s=at_s + 2, events=[mine]))
    expect(await port.get(h.name("again1")), "a batch id from before is forgotten")
    expect(await port.get(h.name("again2")) is None, "one from the time itself is not")
    expect(await port.trim(at_s, totals_before_s=at_s + 2 * HOUR_S) == 0, "totals go by their own time")
    expect((await left())[1] == ["2", "3"], "hours that ended by then are forgotten", left=await left())
    expect(await port.trim(at_s + 3 * HOUR_S) == 3, "which is that of the events if none is given")
    expect(await left() == (every[:1], ["3"]), "and nothing later ever goes", left=await left())
    expect(await port.get(every[1]) is None, "a forgotten event is none")
    await expect_error(Invalid, port.trim(float("nan")), "not a time")


@TOTALS.case(6)
async def trim_takes_so_many_at_a_time(h: Harness[Traces]) -> None:
    """One more event than one call forgets, from two handles at one moment: the oldest go first, all in the end."""
    org, port, other = h.name("acme"), h.port, await h.peer()
    await _emptied(port)
    at_s = TRIMMED_S - 5 * DAY_S
    for n in range(TRIM_MOST // EVENTS_MOST):
        many = [event(h, f"{n}-{i}", org=org, at_s=at_s - n) for i in range(EVENTS_MOST)]
        await port.add(batch(h, f"b{n}", at_s=at_s - n, events=many))
    await port.add(batch(h, "last", at_s=at_s, events=[event(h, "last", org=org, at_s=at_s + 0.5)]))
    expect(await port.trim(at_s + 1) == TRIM_MOST, "no more than the bound")
    left = (await port.find(TraceFilter(org=org))).events
    expect([each.request_id for each in left] == [h.name("last")], "the oldest went first", left=len(left))
    went = await asyncio.gather(*(side.trim(at_s + 1) for side in (port, other, port)))
    expect(sum(went) == 1, "each event goes once", went=went)
