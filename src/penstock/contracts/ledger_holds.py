"""What every ledger must keep about taking money: promises 1 to 4, 6, 12 and 13 of `ports/ledger.py` as cases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from penstock.contracts.case import CUT_OFF, SET_CLOCK, Contract, Harness, expect, expect_error, needs
from penstock.kernel.errors import Conflict, Invalid, NotFound, OverBudget, Unavailable
from penstock.ports.ledger import NO_LIMIT, Hold, Ledger, Line, Posting

HOLDS: Contract[Ledger] = Contract("ledger")

DOLLAR = 1_000_000_000
CENT = DOLLAR // 100
HANG_S = 5.0
DAY_S = 86_400


@dataclass(slots=True)
class LedgerHarness(Harness[Ledger]):
    """A harness that can also set the wall clock (`jump_wall`), hand out a ledger whose store does not answer
    (`cut_off`) and damage the journal behind the ledger's back (`tamper`, which returns a ledger on it): "flip" a byte,
    "drop" a group, "swap" two, or "forge" one with a digest that fits it.

    None where nobody can: the case then raises NotTried.
    """

    jump_wall: Callable[[float], Awaitable[None]] | None = None
    cut_off: Callable[[], Awaitable[Ledger]] | None = None
    tamper: Callable[[str], Awaitable[Ledger]] | None = None


def lines(h: Harness[Ledger], *limits: int) -> tuple[Line, ...]:
    """Return one line per limit, on accounts of this case's own, in the order of their names."""
    return tuple(Line(h.name(chr(ord("a") + i)), limit) for i, limit in enumerate(limits))


async def balances(ledger: Ledger, on: Sequence[Line]) -> list[tuple[int, int]]:
    """Return (posted, held) of each line's account."""
    found = await ledger.balance(accounts=[line.account for line in on])
    return [(balance.posted_nanos, balance.held_nanos) for balance in found]


async def granted(ledger: Ledger, hold: Hold) -> bool:
    """Try a hold; False when the budget has no room."""
    try:
        await ledger.hold(hold)
    except OverBudget:
        return False
    return True


@HOLDS.case(1)
async def a_hold_takes_every_line_or_none(h: Harness[Ledger]) -> None:
    """The one account without room is named with the figures; the others are untouched, wherever it stands."""
    for place in range(3):
        limits = [DOLLAR, DOLLAR, DOLLAR]
        limits[place] = CENT - 1
        on = tuple(Line(h.name(f"{place}-{i}"), limit) for i, limit in enumerate(limits))
        work = h.port.hold(Hold(h.name(f"op-{place}"), CENT, on))
        error = await expect_error(OverBudget, work, "a hold without room is refused")
        seen = (getattr(error, "field", ""), getattr(error, "value", 0), getattr(error, "limit", 0))
        expect(
            seen == (on[place].account, CENT, CENT - 1), "the refusal names account, amount, room", seen=seen
        )
        left = await balances(h.port, on)
        expect(left == [(0, 0)] * 3, "a refused hold changes nothing", left=left)


@HOLDS.case(1, 6)
async def a_top_up_takes_every_line_or_none(h: Harness[Ledger]) -> None:
    """A refused top-up leaves the operation as it was; a granted one adds to it."""
    on = lines(h, DOLLAR, 3 * CENT)
    await h.port.hold(Hold(h.name("op"), CENT, on))
    work = h.port.hold(Hold(h.name("op"), 2 * CENT + 1, on, sequence=1))
    await expect_error(OverBudget, work, "a top-up without room is refused")
    left = await balances(h.port, on)
    expect(left == [(0, CENT)] * 2, "a refused top-up changes nothing", left=left)
    await h.port.hold(Hold(h.name("op"), 2 * CENT, on, sequence=1))
    left = await balances(h.port, on)
    expect(left == [(0, 3 * CENT)] * 2, "a granted top-up adds", left=left)
    work = h.port.hold(Hold(h.name("never"), 1, on, sequence=1))
    await expect_error(NotFound, work, "there is nothing to top up without a first hold")
    work = h.port.hold(Hold(h.name("op"), 0, on[:1], sequence=2))
    await expect_error(Conflict, work, "a top-up names the lines of the first hold")


@HOLDS.case(1)
async def an_impossible_hold_is_refused_and_changes_nothing(h: Harness[Ledger]) -> None:
    """Negative amounts and limits, an account named twice, no timeout, no name."""
    (line,) = on = lines(h, DOLLAR)
    wrong = (
        Hold(h.name("a"), -1, on),
        Hold(h.name("b"), 1, (Line(line.account, -2),)),
        Hold(h.name("c"), CENT, (line, line)),
        Hold(h.name("d"), CENT, on, timeout_s=0),
        Hold("", CENT, on),
        Hold(h.name("e"), CENT, (Line("", DOLLAR),)),
        Hold(h.name("f"), 1 << 63, (Line(line.account, NO_LIMIT),)),
    )
    for hold in wrong:
        await expect_error(Invalid, h.port.hold(hold), "an impossible hold is refused")
    left = await balances(h.port, on)
    expect(left == [(0, 0)], "and changes nothing", left=left)


@HOLDS.case(1)
async def a_caller_that_leaves_during_its_hold_leaves_nothing_held(h: Harness[Ledger]) -> None:
    """Cancelled at any moment of the hold: sooner or later nothing is held."""
    on = lines(h, DOLLAR)
    for turns in range(4):
        task = asyncio.ensure_future(h.port.hold(Hold(h.name(f"op-{turns}"), CENT, on)))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled():
            await h.port.void(h.name(f"op-{turns}"))
    await h.port.hold(Hold(h.name("last"), 1, lines(h, NO_LIMIT)))
    await h.port.void(h.name("last"))
    left = await balances(h.port, on)
    expect(left == [(0, 0)], "nothing stays held for a caller that left", left=left)


@HOLDS.case(2, 4)
async def a_rush_on_nested_budgets_spends_to_the_last_cent(h: Harness[Ledger]) -> None:
    """96 holds at one moment, on both handles, over five accounts: as many pass as have room, at every sample."""
    other = await h.peer()
    on = lines(h, NO_LIMIT, DOLLAR, 40 * CENT, DOLLAR, 50 * CENT)
    highest = [0]

    async def sample() -> None:
        for _ in range(20):
            left = await balances(h.port, on)
            highest[0] = max(highest[0], *(posted + held for posted, held in left))
            await asyncio.sleep(0)

    rush = [granted((h.port, other)[i % 2], Hold(h.name(f"op-{i}"), CENT, on)) for i in range(96)]
    passed = await asyncio.gather(*rush, sample())
    expect(
        sum(map(bool, passed[:-1])) == 40, "as many pass as there is room", passed=sum(map(bool, passed[:-1]))
    )
    left = await balances(h.port, on)
    expect(left == [(0, 40 * CENT)] * 5, "every account holds them all", left=left)
    expect(highest[0] <= 40 * CENT, "never more at any sample", highest=highest[0])


@HOLDS.case(2, 10)
async def money_that_comes_and_goes_never_exceeds_the_limit(h: Harness[Ledger]) -> None:
    """32 callers hold, post less or all, or void, on both handles: at no sample is the limit exceeded."""
    other = await h.peer()
    on = lines(h, 100 * CENT, 30 * CENT)
    spent, over, running = [0], [0], [True]

    async def caller(number: int) -> None:
        ledger = (h.port, other)[number % 2]
        for turn in range(4):
            operation = h.name(f"op-{number}-{turn}")
            if not await granted(ledger, Hold(operation, (1 + number % 5) * CENT, on)):
                continue
            if turn % 2:
                await ledger.void(operation)
            else:
                await ledger.post(Posting(operation, (number % 2) * CENT))
                spent[0] += (number % 2) * CENT

    async def sample() -> None:
        while running[0]:
            for line, (posted, held) in zip(on, await balances(other, on), strict=True):
                over[0] = max(over[0], posted + held - line.limit_nanos)
            await asyncio.sleep(0)

    sampler = asyncio.ensure_future(sample())
    await asyncio.gather(*(caller(number) for number in range(32)))
    running[0] = False
    await sampler
    expect(over[0] <= 0, "the limit is never exceeded", over=over[0])
    left = await balances(h.port, on)
    expect(
        left == [(spent[0], 0)] * 2, "what was posted is there, nothing is held", left=left, spent=spent[0]
    )


@HOLDS.case(3)
async def a_granted_hold_survives_a_crash(h: Harness[Ledger]) -> None:
    """The first hold and its top-up are there when the store is opened again."""
    on = lines(h, DOLLAR, NO_LIMIT)
    await asyncio.gather(*(h.port.hold(Hold(h.name(f"op-{i}"), CENT, on)) for i in range(8)))
    await h.port.hold(Hold(h.name("op-0"), CENT, on, sequence=1))
    ledger = await h.reopen()
    left = await balances(ledger, on)
    expect(left == [(0, 9 * CENT)] * 2, "every hold that returned is held after a crash", left=left)


@HOLDS.case(3, 7)
async def a_settlement_survives_a_crash(h: Harness[Ledger]) -> None:
    """What `post` and `void` returned is so when the store is opened again."""
    on = lines(h, DOLLAR)
    for name in ("posted", "voided"):
        await h.port.hold(Hold(h.name(name), CENT, on))
    await h.port.post(Posting(h.name("posted"), CENT - 1))
    await h.port.void(h.name("voided"))
    ledger = await h.reopen()
    left = await balances(ledger, on)
    expect(left == [(CENT - 1, 0)], "settlements survive a crash", left=left)


@HOLDS.case(4)
async def the_last_room_is_granted_and_not_a_nano_more(h: Harness[Ledger]) -> None:
    """Under, at and over the room: of an empty account, of one partly held, of one partly posted, of a zero limit."""
    on = lines(h, DOLLAR)
    await h.port.hold(Hold(h.name("under"), DOLLAR - CENT, on))
    expect(not await granted(h.port, Hold(h.name("over"), CENT + 1, on)), "one nano over the room is refused")
    expect(await granted(h.port, Hold(h.name("at"), CENT, on)), "the room itself is granted")
    expect(await granted(h.port, Hold(h.name("nothing"), 0, on)), "nothing always fits a full account")
    expect(not await granted(h.port, Hold(h.name("more"), 1, on)), "a full account has no room")
    await h.port.post(Posting(h.name("under"), CENT))
    expect(
        not await granted(h.port, Hold(h.name("over2"), DOLLAR - 2 * CENT + 1, on)), "posted money takes room"
    )
    expect(
        await granted(h.port, Hold(h.name("at2"), DOLLAR - 2 * CENT, on)), "what was released is room again"
    )
    closed = (Line(h.name("closed"), 0),)
    expect(not await granted(h.port, Hold(h.name("one"), 1, closed)), "a zero limit has no room")
    expect(await granted(h.port, Hold(h.name("zero"), 0, closed)), "except for nothing")


@HOLDS.case(4)
async def a_voided_hold_gives_its_room_back(h: Harness[Ledger]) -> None:
    """A full budget that is voided takes the same amount again, many times over."""
    on = lines(h, DOLLAR, DOLLAR)
    for turn in range(5):
        expect(
            await granted(h.port, Hold(h.name(f"op-{turn}"), DOLLAR, on)), "the whole budget fits", turn=turn
        )
        await h.port.void(h.name(f"op-{turn}"))


@HOLDS.case(6)
async def a_repeated_hold_takes_nothing_more(h: Harness[Ledger]) -> None:
    """Repeated at one moment, later, on the other handle and after a crash; another amount is a Conflict."""
    other, on = await h.peer(), lines(h, DOLLAR)
    hold = Hold(h.name("op"), CENT, on)
    await asyncio.gather(*((h.port, other)[i % 2].hold(hold) for i in range(16)))
    await h.port.hold(hold)
    await expect_error(
        Conflict, h.port.hold(Hold(h.name("op"), CENT + 1, on)), "a repeat with another amount is a Conflict"
    )
    left = await balances(h.port, on)
    expect(left == [(0, CENT)], "a repeat takes nothing more", left=left)
    top_up = Hold(h.name("op"), CENT, on, sequence=1)
    await asyncio.gather(*(h.port.hold(top_up) for _ in range(4)))
    ledger = await h.reopen()
    await ledger.hold(hold)
    await ledger.hold(top_up)
    left = await balances(ledger, on)
    expect(left == [(0, 2 * CENT)], "nor after a crash", left=left)


@HOLDS.case(12)
async def an_unreachable_store_is_said_so_in_time_and_grants_nothing(h: Harness[Ledger]) -> None:
    """Every hold at one moment raises Unavailable within seconds, and later ones do at once."""
    cut_off = needs(h.cut_off if isinstance(h, LedgerHarness) else None, CUT_OFF)
    ledger, on = await cut_off(), lines(h, DOLLAR)
    async with asyncio.timeout(HANG_S):
        holds = [ledger.hold(Hold(h.name(f"op-{i}"), CENT, on)) for i in range(8)]
        answers = await asyncio.gather(*holds, return_exceptions=True)
        wrong = [answer for answer in answers if not isinstance(answer, Unavailable)]
        expect(not wrong, "holds on a store that does not answer raise Unavailable", wrong=wrong)
        work = ledger.hold(Hold(h.name("later"), CENT, on))
        await expect_error(Unavailable, work, "and go on raising it")
    left = await balances(h.port, on)
    expect(left == [(0, 0)], "nothing was granted", left=left)


@HOLDS.case(13, 9)
async def a_jumping_wall_clock_moves_no_timeout(h: Harness[Ledger]) -> None:
    """Forward or back by an hour or a day: a hold expires neither early nor late."""
    jump_wall = needs(h.jump_wall if isinstance(h, LedgerHarness) else None, SET_CLOCK)
    for number, jump_s in enumerate((3_600, -3_600, DAY_S, -DAY_S)):
        operation = h.name(f"op-{number}")
        await h.port.hold(Hold(operation, CENT, lines(h, NO_LIMIT), timeout_s=60))
        await jump_wall(jump_s)
        await h.advance(59)
        settled = [one.operation for one in await h.port.expire()]
        expect(operation not in settled, "a wall clock that jumps expires nothing early", jump_s=jump_s)
        await h.advance(2)
        settled = [one.operation for one in await h.port.expire()]
        expect(operation in settled, "and keeps nothing longer", jump_s=jump_s, settled=settled)
