"""What every state must keep about limits: promises 1 to 5 of `ports/state.py` as cases.

Periods are long enough (a minute) that the milliseconds a case takes on a real engine cannot matter, and every edge is
met from both sides: a moment before, a moment after.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from penstock.contracts.case import Contract, Harness, expect
from penstock.ports.state import Ask, State

LIMITS: Contract[State] = Contract("state")

PERIOD_S = 60
MOMENT_S = 0.5
"""More than a case takes between two steps on a real engine, less than any edge it looks at."""


@dataclass(slots=True)
class StateHarness(Harness[State]):
    """A harness that may also set the store's wall clock back, and give a handle on a store that cannot be reached.

    `cut_off` of an engine inside the process gives a closed one; None where nobody can: the case then raises NotTried.
    """

    set_back: Callable[[float], Awaitable[None]] | None = None
    cut_off: Callable[[], Awaitable[State]] | None = None


def bucket(h: Harness[State], limit: int, amount: int = 1, stem: str = "rpm") -> Ask:
    """Return an ask of a bucket that belongs to this case alone."""
    return Ask(f"{h.name('acme')}|team|{stem}", "bucket", limit, PERIOD_S, amount)


def window(h: Harness[State], limit: int, amount: int = 1) -> Ask:
    """Return an ask of a sliding window that belongs to this case alone."""
    return Ask(f"{h.name('acme')}|team|window", "window", limit, PERIOD_S, amount)


def slots(h: Harness[State], limit: int, stem: str = "slots") -> Ask:
    """Return an ask of a slot that belongs to this case alone."""
    return Ask(f"{h.name('acme')}|team|{stem}", "slots", limit, PERIOD_S)


async def took(state: State, *asks: Ask, holder: str = "req") -> bool:
    """Take; tell whether there was room."""
    return (await state.take(asks, holder)).refused == -1


async def left(state: State, ask: Ask) -> int:
    """Return what is left of one ask."""
    return (await state.peek([ask])).remaining[0]


# --------------------------------------------------------------------------------- promise 1: all or none


@LIMITS.case(1)
async def a_refused_ask_leaves_the_others_untouched(h: Harness[State]) -> None:
    """Asks before and after the refused one, of every kind, stay as they were; the index is that of the first."""
    before, after = bucket(h, 10, stem="before"), bucket(h, 10, stem="after")
    full = bucket(h, 1, stem="full")
    around = [before, window(h, 10), slots(h, 10), full, after, full]
    expect(await took(h.port, full), "a whole bucket admits")
    taken = await h.port.take(around, "req")
    expect(taken.refused == 3, "the first ask without room is named", refused=taken.refused)
    expect(taken.remaining == (10, 10, 10, 0, 10, 0), "nothing was taken", remaining=taken.remaining)
    again = await h.port.peek(around)
    expect(again.remaining == (10, 10, 10, 0, 10, 0), "and nothing is later", remaining=again.remaining)
    expect(await took(h.port, slots(h, 1)), "the refused request holds no slot")


@LIMITS.case(1)
async def a_refusal_keeps_what_was_taken_before(h: Harness[State]) -> None:
    """Undoing a refused request undoes that request only: earlier takes, and the lease of a slot, stay."""
    some, events, one = bucket(h, 10, 4), window(h, 10, 4), slots(h, 1)
    full = bucket(h, 1, stem="full")
    expect(await took(h.port, some, events, one, full, holder="first"), "there is room for one")
    taken = await h.port.take([some, events, one, full], "first")
    expect(taken.refused == 3, "the full bucket refuses", refused=taken.refused)
    expect(
        taken.remaining == (6, 6, 0, 0), "what the first request took is still taken", left=taken.remaining
    )
    expect(not await took(h.port, one, holder="second"), "its slot is still held")


@LIMITS.case(1)
async def a_key_asked_twice_counts_twice(h: Harness[State]) -> None:
    """Two asks of one key in one request need room for both."""
    three = bucket(h, 5, 3)
    taken = await h.port.take([three, three], "req")
    expect(taken.refused == 1, "3 + 3 does not fit 5", refused=taken.refused)
    expect(await left(h.port, three) == 5, "nothing was taken")
    expect(await took(h.port, three, bucket(h, 5, 2)), "3 + 2 fits 5")
    expect(await left(h.port, three) == 0, "both were taken")


@LIMITS.case(1)
async def concurrent_requests_never_share_a_unit(h: Harness[State]) -> None:
    """64 takes from two handles at one moment: exactly the limit is admitted, of every kind."""
    other = await h.peer()
    limits = (bucket(h, 20), window(h, 30), slots(h, 25))
    for ask in limits:
        answers = await asyncio.gather(
            *(took((h.port, other)[i % 2], ask, holder=f"req{i}") for i in range(64))
        )
        expect(
            sum(answers) == ask.limit,
            "as many are admitted as the limit says",
            kind=ask.kind,
            admitted=sum(answers),
        )


# ------------------------------------------------------------------------------------- promise 2: buckets


@LIMITS.case(2)
async def a_bucket_admits_its_limit_and_not_one_more(h: Harness[State]) -> None:
    """Under, at and over the bound, in one take and in many."""
    ask = bucket(h, 5)
    for i in range(5):
        taken = await h.port.take([ask], "req")
        expect(taken.refused == -1, "under and at the bound it admits", taken=i)
        expect(taken.remaining == (4 - i,), "what is left counts down", remaining=taken.remaining)
    expect(not await took(h.port, ask), "one over the bound it refuses")
    at, over = bucket(h, 7, 7, "at"), bucket(h, 7, 1, "at")
    expect(await took(h.port, at), "the whole limit fits at once")
    expect(not await took(h.port, over), "and then nothing more")


@LIMITS.case(2)
async def a_refusal_says_exactly_when_there_is_room(h: Harness[State]) -> None:
    """A moment before `retry_after_s` it still refuses; after it, it admits."""
    small, large = bucket(h, 6), bucket(h, 6, 4)
    expect(await took(h.port, bucket(h, 6, 6)), "a whole bucket admits")
    for ask, wait_s in ((small, 10.0), (large, 40.0)):
        retry_s = (await h.port.take([ask], "req")).retry_after_s
        expect(
            wait_s - MOMENT_S < retry_s <= wait_s, "the rest is a matter of arithmetic", retry_after_s=retry_s
        )
        await h.advance(retry_s - MOMENT_S)
        expect(not await took(h.port, ask), "a moment before it still refuses", retry_after_s=retry_s)
        await h.advance(MOMENT_S)
        expect(await took(h.port, ask), "after it, it admits", retry_after_s=retry_s)


@LIMITS.case(2)
async def a_bucket_refills_continuously_to_its_limit_and_no_further(h: Harness[State]) -> None:
    """A tenth of the period brings a tenth of the limit; a year brings no more than the limit."""
    ask = bucket(h, 1_000, 1_000)
    expect(await took(h.port, ask), "a whole bucket admits")
    await h.advance(PERIOD_S / 10)
    part = await left(h.port, ask)
    expect(100 <= part <= 100 + 1_000 * MOMENT_S / PERIOD_S, "a tenth came back", remaining=part)
    await h.advance(PERIOD_S * 10)
    expect(await left(h.port, ask) == 1_000, "the limit is the most")
    expect(await took(h.port, ask), "it is whole")
    expect(not await took(h.port, bucket(h, 1_000)), "and not more than whole")


@LIMITS.case(2)
async def the_reset_time_is_when_it_is_whole(h: Harness[State]) -> None:
    """`reset_s` after a take of half the limit is half the period."""
    taken = await h.port.take([bucket(h, 10, 5)], "req")
    half_s = PERIOD_S / 2
    expect(
        abs(taken.reset_s[0] - half_s) < MOMENT_S,
        "half the limit takes half the period",
        reset_s=taken.reset_s,
    )
    await h.advance(taken.reset_s[0])
    expect(await left(h.port, bucket(h, 10)) == 10, "then it is whole")


@LIMITS.case(2)
async def a_changed_limit_counts_at_once(h: Harness[State]) -> None:
    """What was taken stays taken when the operator raises, lowers or re-times a limit."""
    expect(await took(h.port, bucket(h, 10, 8)), "a whole bucket admits")
    expect(
        await left(h.port, bucket(h, 20)) == 12 or await took(h.port, bucket(h, 20, 12)),
        "raised: the rest is free",
    )
    ask = bucket(h, 10, 8, "lowered")
    expect(await took(h.port, ask), "a whole bucket admits")
    expect(not await took(h.port, bucket(h, 5, 1, "lowered")), "lowered: 8 of 5 are taken")
    slower = Ask(ask.key, "bucket", 10, PERIOD_S * 10, 3)
    expect(not await took(h.port, slower), "re-timed: 8 of 10 are still taken")


@LIMITS.case(2)
async def large_limits_are_as_exact_as_small_ones(h: Harness[State]) -> None:
    """A thousand million a minute: a take of what is left fits, one more does not."""
    limit = 1_000_000_000
    expect(await took(h.port, bucket(h, limit, limit)), "the whole limit fits")
    taken = await h.port.take([bucket(h, limit, limit)], "req")
    expect(taken.refused == 0, "twice the limit does not")
    await h.advance(PERIOD_S / 2)
    rest = await left(h.port, bucket(h, limit))
    expect(abs(rest - limit // 2) <= limit * MOMENT_S / PERIOD_S, "half came back", remaining=rest)


# ------------------------------------------------------------------------------------- promise 3: windows


@LIMITS.case(3)
async def a_window_admits_its_limit_and_not_one_more(h: Harness[State]) -> None:
    """A burst at the bound fits; one over does not until the burst is a whole period old."""
    expect(await took(h.port, window(h, 5, 2)), "under the bound")
    expect(await took(h.port, window(h, 5, 3)), "at the bound")
    taken = await h.port.take([window(h, 5)], "req")
    expect(taken.refused == 0, "over the bound")
    expect(
        PERIOD_S - MOMENT_S < taken.retry_after_s <= PERIOD_S,
        "a burst leaves together",
        s=taken.retry_after_s,
    )
    await h.advance(taken.retry_after_s - MOMENT_S)
    expect(not await took(h.port, window(h, 5)), "a moment before it is a period old")
    await h.advance(MOMENT_S)
    expect(await took(h.port, window(h, 5)), "after that")


@LIMITS.case(3)
async def no_period_ever_holds_more_than_the_limit(h: Harness[State]) -> None:
    """Greedy arrivals at uneven times: every interval of one period, wherever it starts, stays within the limit."""
    admitted: list[float] = []
    now_s = 0.0
    for step in range(400):
        if await took(h.port, window(h, 10), holder=f"req{step}"):
            admitted.append(now_s)
        pause_s = (0.3, 0.7, 0.2, 0.5, 0.9)[step % 5]
        await h.advance(pause_s)
        now_s += pause_s
    for start_s in admitted:
        within = sum(start_s <= at_s <= start_s + PERIOD_S - MOMENT_S for at_s in admitted)
        expect(within <= 10, "at most the limit in any period", start_s=start_s, admitted=within)
    least = 10 * int(now_s / (PERIOD_S * 1.1))
    expect(len(admitted) >= least, "and it does let the limit through", admitted=len(admitted), least=least)


@LIMITS.case(3)
async def what_comes_soon_after_the_first_stays_as_long(h: Harness[State]) -> None:
    """One event, and a burst a fortieth of a period later: the burst is not forgotten together with the first."""
    expect(await took(h.port, window(h, 10, 1)), "the first")
    await h.advance(PERIOD_S / 40)
    expect(await took(h.port, window(h, 10, 9)), "the burst")
    await h.advance(PERIOD_S - MOMENT_S)
    expect(not await took(h.port, window(h, 10, 2)), "the burst is not a period old yet")
    await h.advance(MOMENT_S)
    expect(await took(h.port, window(h, 10, 9)), "now it is")


@LIMITS.case(3)
async def an_edge_of_the_period_gives_no_second_limit(h: Harness[State]) -> None:
    """The trick that defeats a fixed window: all of the limit just before an edge, all of it again just after."""
    for _ in range(5):
        await h.advance(PERIOD_S / 5)
        expect(await took(h.port, window(h, 50, 10)), "ten in each fifth of a period")
    await h.advance(PERIOD_S / 10)
    expect(not await took(h.port, window(h, 50, 1)), "the last five are less than a period old")
    await h.advance(PERIOD_S / 10)
    expect(await took(h.port, window(h, 50, 10)), "now the first is a period old")
    expect(not await took(h.port, window(h, 50, 1)), "and only the first")


# --------------------------------------------------------------------------------------- promise 4: slots


@LIMITS.case(4)
async def slots_admit_as_many_holders_as_there_are(h: Harness[State]) -> None:
    """Under and at the bound a slot is given, over it not; a returned slot goes to the next."""
    ask = slots(h, 2)
    expect(await took(h.port, ask, holder="a"), "the first slot")
    expect(await took(h.port, ask, holder="b"), "the last slot")
    taken = await h.port.take([ask], "c")
    expect(taken.refused == 0 and taken.remaining == (0,), "no slot for a third", taken=taken)
    expect(
        PERIOD_S - MOMENT_S < taken.retry_after_s <= PERIOD_S, "the first lapses then", s=taken.retry_after_s
    )
    await h.port.give_back([ask], "a")
    expect(await left(h.port, ask) == 1, "a returned slot is free")
    expect(await took(h.port, ask, holder="c"), "and goes to the next")


@LIMITS.case(4)
async def a_slot_lapses_after_its_period(h: Harness[State]) -> None:
    """A holder that vanished blocks for a period: held a moment before, free after."""
    ask = slots(h, 1)
    expect(await took(h.port, ask, holder="gone"), "the slot is free")
    await h.advance(PERIOD_S - MOMENT_S)
    expect(not await took(h.port, ask, holder="next"), "a moment before the period is over")
    await h.advance(MOMENT_S)
    expect(await took(h.port, ask, holder="next"), "after it")
    await h.port.give_back([ask], "gone")
    expect(not await took(h.port, ask, holder="third"), "who lost its slot cannot give back another's")


@LIMITS.case(4)
async def taking_ones_own_slot_renews_it(h: Harness[State]) -> None:
    """A holder that takes again keeps its one slot for another period, even when all are taken."""
    ask = slots(h, 1)
    expect(await took(h.port, ask, holder="a"), "the slot is free")
    await h.advance(PERIOD_S * 0.75)
    expect(await took(h.port, ask, holder="a"), "the holder renews")
    await h.advance(PERIOD_S * 0.75)
    expect(not await took(h.port, ask, holder="b"), "it is held by renewal")
    await h.advance(PERIOD_S * 0.25 + MOMENT_S)
    expect(await took(h.port, ask, holder="b"), "a period after the renewal it is free")


# -------------------------------------------------------------------------------------- promise 5: returns


@LIMITS.case(5)
async def what_is_given_back_can_be_taken_again(h: Harness[State]) -> None:
    """Part of a bucket returns at once; a window is history."""
    expect(await took(h.port, bucket(h, 10, 10), window(h, 10, 10)), "there is room")
    await h.port.give_back([bucket(h, 10, 4), window(h, 10, 4)], "req")
    expect(not await took(h.port, bucket(h, 10, 5)), "not more than was given back")
    expect(await took(h.port, bucket(h, 10, 4)), "as much as was given back")
    expect(not await took(h.port, window(h, 10)), "windows do not return")


@LIMITS.case(5)
async def giving_back_too_much_never_exceeds_the_limit(h: Harness[State]) -> None:
    """Twice, or without having taken, the bucket is whole and no more."""
    expect(await took(h.port, bucket(h, 10, 3)), "there is room")
    for _ in range(3):
        await h.port.give_back([bucket(h, 10, 9), bucket(h, 10, 9, "never")], "req")
    for stem in ("rpm", "never"):
        expect(await left(h.port, bucket(h, 10, stem=stem)) == 10, "whole", stem=stem)
        expect(await took(h.port, bucket(h, 10, 10, stem)), "whole", stem=stem)
        expect(not await took(h.port, bucket(h, 10, 1, stem)), "and not more than whole", stem=stem)
