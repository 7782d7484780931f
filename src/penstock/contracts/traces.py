"""What every trace store must keep: the promises of `ports/traces.py` about batches, events and pages as cases; those
about totals and trimming are in traces_totals.py.

Organisations, ids and batches carry the case's own name, so suites may share one store.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from msgspec.structs import replace

from penstock.contracts.case import CUT_OFF, BrokenPromise, Contract, Harness, expect, expect_error, needs
from penstock.contracts.traces_totals import (
    BASE_S,
    NAMES,
    ODD,
    TOTALS,
    TracesHarness,
    batch,
    delta,
    event,
    requests,
)
from penstock.kernel.errors import Invalid, Unavailable
from penstock.kernel.events import Call, RequestEvent
from penstock.ports.traces import (
    DELTAS_MOST,
    EVENTS_MOST,
    FIGURE_MOST,
    HOUR_S,
    PAGE_MOST,
    TEXT_BYTES,
    Batch,
    TraceFilter,
    Traces,
)

CASES: Contract[Traces] = Contract("traces", list(TOTALS.cases))

HANG_S = 30.0
LONG = "ä" * (TEXT_BYTES // 2)
"""As long as a name may be."""


def ids(events: Sequence[RequestEvent]) -> list[str]:
    """Return the ids alone."""
    return [each.request_id for each in events]


async def walked(port: Traces, wanted: TraceFilter, limit: int) -> list[RequestEvent]:
    """Follow the pages to the end; each but the last is full."""
    found: list[RequestEvent] = []
    after = ""
    while True:
        page = await port.find(wanted, after=after, limit=limit)
        found += page.events
        if not page.after:
            expect(len(page.events) <= limit, "a page is as long as asked for", limit=limit)
            return found
        expect(
            len(page.events) == limit, "a page with a next one is full", length=len(page.events), limit=limit
        )
        after = page.after


# ------------------------------------------------------------------------- promises 1 and 2: all or none, and once


@CASES.case(1)
async def a_batch_out_of_bounds_leaves_nothing(h: Harness[Traces]) -> None:
    """One over each bound, wherever it stands among what is good: Invalid, nothing is added, and its id is free."""
    org, port = h.name("acme"), h.port
    good, more = event(h, "good", org=org), delta(org)
    wrong_events = [
        event(h, "x", org=f"{LONG}x"),
        event(h, "x", org=org, model="asked", model_used=f"{LONG}x"),
        event(h, "x", org=org, error="\ud800"),
        event(h, "x", org=org, at_s=math.nan),
        event(h, "x", org=org, at_s=-1.0),
        replace(good, request_id=""),
        replace(good, request_id=f"{LONG}x"),
    ]
    wrong_deltas = [
        delta(org, hour_s=BASE_S + 1),
        delta(org, hour_s=-HOUR_S),
        delta(org, requests=-1),
        delta(org, cost_nanos=FIGURE_MOST + 1),
        *(replace(more, **{name: f"{LONG}x"}) for name in NAMES),
        delta(org, user="\ud800"),
    ]
    name = h.name("batch")
    refused = [
        *(Batch(id=name, at_s=BASE_S, events=[good, wrong], deltas=[more]) for wrong in wrong_events),
        *(Batch(id=name, at_s=BASE_S, events=[good], deltas=[more, wrong]) for wrong in wrong_deltas),
        Batch(
            id=name,
            at_s=BASE_S,
            events=[good],
            deltas=[delta(org, cost_nanos=FIGURE_MOST), delta(org, cost_nanos=1)],
        ),
        Batch(id=name, at_s=BASE_S, events=[event(h, f"{i}", org=org) for i in range(EVENTS_MOST + 1)]),
        Batch(id=name, at_s=BASE_S, events=[good], deltas=[more] * (DELTAS_MOST + 1)),
        Batch(id=name, at_s=math.nan, events=[good], deltas=[more]),
        Batch(id="", at_s=BASE_S, events=[good], deltas=[more]),
        Batch(id=f"{LONG}x", at_s=BASE_S, events=[good], deltas=[more]),
    ]
    for each in refused:
        await expect_error(Invalid, port.add(each), "what is out of bounds is refused")
    expect(await requests(port, TraceFilter(org=org)) == (0, 0), "and leaves nothing")
    await port.add(Batch(id=name, at_s=BASE_S, events=[good], deltas=[more]))
    expect(await requests(port, TraceFilter(org=org)) == (1, 1), "the id of a refused batch is free")


@CASES.case(1)
async def a_batch_at_its_bounds_is_added(h: Harness[Traces]) -> None:
    """As many events and totals as there may be, with ids and names as long as they may be; and none at all."""
    org, port = h.name("acme"), h.port
    await port.add(batch(h, "none"))
    many = [event(h, f"{i}", org=org) for i in range(EVENTS_MOST)]
    await port.add(
        batch(h, "many", events=many, deltas=[delta(org, user=f"{i}") for i in range(DELTAS_MOST)])
    )
    expect(await requests(port, TraceFilter(org=org)) == (EVENTS_MOST, DELTAS_MOST), "every one is there")
    stem = h.name("long-")
    long = stem + "ä" * ((TEXT_BYTES - len(stem)) // 2)
    names = dict.fromkeys(set(NAMES) - {"outcome"}, long)
    told = RequestEvent(request_id=long, at_s=BASE_S, **names)
    await port.add(Batch(id=long, at_s=BASE_S, events=[told], deltas=[delta(outcome=LONG, **names)]))
    expect(await port.get(long) == told, "an id of that length is found")
    expect(await requests(port, TraceFilter(**names)) == (1, 1), "and so are names")
    expect(await port.get(f"{long}ä") is None, "a longer one is nobody's")


@CASES.case(1, 2)
async def readers_see_the_whole_of_a_batch_or_nothing(h: Harness[Traces]) -> None:
    """While batches are added from two handles, every look finds whole ones; in the end all are there."""
    org, other = h.name("acme"), await h.peer()
    batches = [
        batch(
            h,
            f"b{n}",
            events=[event(h, f"{n}-{i}", org=org) for i in range(40)],
            deltas=[delta(org, user=f"u{i}") for i in range(40)],
        )
        for n in range(16)
    ]

    async def add(port: Traces, mine: Sequence[Batch]) -> None:
        for each in mine:
            await port.add(each)

    adding = asyncio.gather(add(h.port, batches[::2]), add(other, batches[1::2]))
    try:
        while not adding.done():
            (before,) = await h.port.totals(TraceFilter(org=org), ())
            events = len((await other.find(TraceFilter(org=org), limit=PAGE_MOST)).events)
            (after,) = await h.port.totals(TraceFilter(org=org), ())
            expect(events % 40 == 0, "no part of a batch's events is seen", events=events)
            expect(before.requests % 40 == 0, "nor of its totals", requests=before.requests)
            expect(before.requests <= events <= after.requests, "nor one without the other", events=events)
    finally:
        await asyncio.gather(adding, return_exceptions=True)
    await adding
    expect(await requests(other, TraceFilter(org=org)) == (640, 640), "none is lost")


@CASES.case(1, 2)
async def a_batch_is_added_once(h: Harness[Traces]) -> None:
    """Offered again, at one moment from two handles, with other contents, and after a crash: it changes nothing."""
    org, other = h.name("acme"), await h.peer()
    offered = batch(h, "b", events=[event(h, "e", org=org)], deltas=[delta(org, requests=7)])
    await asyncio.gather(*((h.port, other)[i % 2].add(offered) for i in range(10)))
    await h.port.add(offered)
    await h.port.add(batch(h, "b", events=[event(h, "f", org=org)], deltas=[delta(org)]))
    expect(await requests(h.port, TraceFilter(org=org)) == (1, 7), "it is there once")
    port = await h.reopen()
    expect(await requests(port, TraceFilter(org=org)) == (1, 7), "and after a crash")
    await port.add(offered)
    expect(await requests(port, TraceFilter(org=org)) == (1, 7), "still once")
    await port.add(batch(h, "c", deltas=[delta(org, requests=7)]))
    expect(await requests(port, TraceFilter(org=org)) == (1, 14), "another of the same contents is another")


# ------------------------------------------------------------------------------------------ promise 3: one event


@CASES.case(3)
async def an_event_returns_as_it_was(h: Harness[Traces]) -> None:
    """Every field, or none but the two that are needed; odd texts; what was never added is None."""
    call = Call("openai", "gpt", 0.1, 12.000000001, "timeout", 2**60, 1, 2)
    full = RequestEvent(
        request_id=h.name("full"),
        at_s=BASE_S + 0.1234567,
        **dict.fromkeys(
            (*NAMES[:-1], "face", "model_used", "route", "error", "price_version"), h.name("ä\x00🜁")
        ),
        status=599,
        stream=True,
        **dict.fromkeys(("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"), 2**40),
        cost_nanos=2**62,
        estimated=True,
        **dict.fromkeys(("routed_ms", "admitted_ms", "latency_ms", "first_token_ms"), 0.1),
        calls=(call, call),
        temperature=0.0,
        flags=("a", ""),
        trace_id="0" * 32,
    )
    bare = RequestEvent(request_id=h.name("bare"), at_s=float(BASE_S))
    odd = [event(h, f"odd {text}") for text in ODD]
    await h.port.add(batch(h, "b", events=[full, bare, *odd]))
    for each in (full, bare, *odd):
        expect(await h.port.get(each.request_id) == each, "field for field", event=each)
    for absent in ("", h.name("nobody"), full.request_id[:-1], f"{full.request_id}x", "%", "\ud800"):
        expect(await h.port.get(absent) is None, "nobody's id", id=absent)


@CASES.case(3)
async def an_event_is_kept_once(h: Harness[Traces]) -> None:
    """In two batches, or twice in one, at one moment from two handles: one event."""
    org, other = h.name("acme"), await h.peer()
    same = [event(h, f"e{i}", org=org, at_s=BASE_S + i) for i in range(20)]
    await asyncio.gather(
        *(
            port.add(batch(h, f"b{i}", events=[*mine, mine[0]], deltas=[delta(org)]))
            for i, (port, mine) in enumerate([(h.port, same), (other, same[::-1])] * 3)
        )
    )
    found = await walked(h.port, TraceFilter(org=org), 7)
    expect(ids(found) == ids(same[::-1]), "each once", found=ids(found))
    expect(await requests(h.port, TraceFilter(org=org)) == (20, 6), "and every total counts")


# --------------------------------------------------------------------------------- promises 4 and 7: finding events


@CASES.case(4)
async def find_returns_what_matches_and_nothing_else(h: Harness[Traces]) -> None:
    """Each name alone and each pair, statuses at the bounds of outcomes, the times at the bounds of a period."""
    org = h.name("acme")
    events = [
        event(
            h,
            f"{i}",
            org=org,
            at_s=BASE_S + i // 2 / 4,
            status=(200, 399, 400, 499, 500, 599, 302)[i % 7],
            model_used=("", "served", "m0")[i % 3],
            **{name: f"{name[0]}{i // (n + 1) % 2}" for n, name in enumerate(NAMES[1:-1])},
        )
        for i in range(60)
    ]
    await h.port.add(batch(h, "b", events=events))
    asked = [
        {},
        *({name: value} for name in NAMES[1:] for value in sorted({_named(each, name) for each in events})),
        *({one: _named(events[7], one), other: _named(events[7], other)} for one in NAMES for other in NAMES),
        {name: _named(events[11], name) for name in NAMES},
        {"user": "nobody"},
        *({"since_s": since_s} for since_s in (BASE_S + 2.0, BASE_S + 2.1, -1.0)),
        *({"until_s": until_s} for until_s in (BASE_S + 2.0, BASE_S + 2.1, -1.0)),
        {"since_s": BASE_S + 2.0, "until_s": BASE_S + 2.25, "outcome": "ok"},
        {"since_s": BASE_S + 3.0, "until_s": BASE_S + 3.0},
    ]
    for fields in asked:
        wanted = replace(TraceFilter(org=org), **fields)
        found = (await h.port.find(wanted, limit=PAGE_MOST)).events
        expected = sorted(ids([each for each in events if wanted.admits(each)]))
        expect(
            sorted(ids(found)) == expected, "what matches, and nothing else", wanted=wanted, found=ids(found)
        )
        times = [each.at_s for each in found]
        expect(times == sorted(times, reverse=True), "latest first", times=times)


def _named(told: RequestEvent, name: str) -> str:
    return told.model_served if name == "model" else getattr(told, name)


@CASES.case(4)
async def pages_meet_without_gap_or_repeat(h: Harness[Traces]) -> None:
    """Every page size, one time for many events, ids that sort oddly, and later events that come between two pages."""
    org, port = h.name("acme"), h.port
    events = [event(h, f"{text}{i}", org=org, at_s=BASE_S + i // 4) for text in ODD for i in range(8)]
    await port.add(batch(h, "b", events=events))
    wanted, total = TraceFilter(org=org), len(events)
    for limit in (1, 7, total - 1, total, total + 1, PAGE_MOST):
        found = await walked(port, wanted, limit)
        expect(sorted(ids(found)) == sorted(ids(events)), "each once", limit=limit, found=len(found))
    whole = ids(await walked(port, wanted, PAGE_MOST))
    seen: list[str] = []
    after, turn = "", 0
    while len(seen) < total:
        page = await port.find(wanted, after=after, limit=11)
        seen += ids(page.events)
        after, turn = page.after, turn + 1
        late = event(h, f"late{turn}", org=org, at_s=BASE_S + 100.0 + turn)
        await port.add(batch(h, f"late{turn}", events=[late]))
    expect(seen == whole, "what comes later changes no page that follows", seen=len(seen), total=total)
    expect(after == "", "and the last page says so", after=after)


@CASES.case(4)
async def pages_out_of_bounds_are_invalid(h: Harness[Traces]) -> None:
    """A limit of none or too many, an `after` that was never given, names and times that cannot be."""
    org, port = h.name("acme"), h.port
    await port.add(batch(h, "b", events=[event(h, f"{i}", org=org) for i in range(3)]))
    ours = (await port.find(TraceFilter(org=org), limit=1)).after
    expect(
        len((await port.find(TraceFilter(org=org), after=ours, limit=PAGE_MOST)).events) == 2, "ours is good"
    )
    foreign = [
        "x",
        "0",
        "!",
        "ä",
        "\ud800",
        ours[:-1],
        f"{ours}A",
        f"{ours}=",
        f" {ours}",
        ours * 500,
        h.name("e"),
    ]
    for wrong in (
        port.find(TraceFilter(org=org), limit=0),
        port.find(TraceFilter(org=org), limit=-1),
        port.find(TraceFilter(org=org), limit=PAGE_MOST + 1),
        port.find(TraceFilter(org=f"{LONG}x")),
        port.find(TraceFilter(org="\ud800")),
        port.find(TraceFilter(since_s=math.nan)),
        port.find(TraceFilter(until_s=math.inf)),
        *(port.find(TraceFilter(org=org), after=after) for after in foreign),
    ):
        await expect_error(Invalid, wrong, "a page out of bounds is refused")


@CASES.case(7)
async def organisations_never_meet(h: Harness[Traces]) -> None:
    """Names that begin alike, differ in case or hold what a pattern or quotation would take for its own."""
    stem = h.name("acme")
    orgs = [f"{stem}{text}" for text in ("", *ODD)]
    for i, org in enumerate(orgs):
        mine = [event(h, f"{i}-{n}", org=org, at_s=BASE_S + n) for n in range(3)]
        await h.port.add(batch(h, f"b{i}", events=mine, deltas=[delta(org, requests=i + 1)]))
    for i, org in enumerate(orgs):
        for limit in (1, PAGE_MOST):
            found = ids(await walked(h.port, TraceFilter(org=org), limit))
            expect(found == [h.name(f"{i}-{n}") for n in (2, 1, 0)], "its own alone", org=org, found=found)
        (total,) = await h.port.totals(TraceFilter(org=org), ("org",))
        expect((total.group, total.requests) == ((org,), i + 1), "its own sums alone", org=org, total=total)
    for nobody in (stem[:-1], f"{stem}\uffff", f"{stem}%%", "%", "_", "*"):
        expect(await requests(h.port, TraceFilter(org=nobody)) == (0, 0), "nobody's", org=nobody)


# ---------------------------------------------------------------------------------------------------------- errors


@CASES.case()
async def an_unreachable_store_says_so(h: Harness[Traces]) -> None:
    """Every verb raises Unavailable; none hangs."""
    cut_off = needs(h.cut_off if isinstance(h, TracesHarness) else None, CUT_OFF)
    org, port = h.name("acme"), await cut_off()
    for verb in (
        port.add(batch(h, "b", events=[event(h, "e", org=org)])),
        port.get("e"),
        port.find(TraceFilter(org=org)),
        port.totals(TraceFilter(org=org), ("day",)),
        port.trim(0.0),
    ):
        try:
            async with asyncio.timeout(HANG_S):
                await expect_error(Unavailable, verb, "an unreachable store raises Unavailable")
        except TimeoutError:
            raise BrokenPromise("nothing hangs") from None
