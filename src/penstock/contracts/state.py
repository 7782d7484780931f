"""What every state must keep: the promises of `ports/state.py` as cases; those about limits are in state_limits.py."""

from __future__ import annotations

import asyncio

from penstock.contracts.case import (
    CUT_OFF,
    SET_CLOCK,
    BrokenPromise,
    Contract,
    Harness,
    expect,
    expect_error,
    needs,
)
from penstock.contracts.state_limits import (
    LIMITS,
    MOMENT_S,
    PERIOD_S,
    StateHarness,
    bucket,
    left,
    slots,
    took,
    window,
)
from penstock.kernel.errors import Invalid, Unavailable
from penstock.ports.state import Ask, Claim, Kind, State

CASES: Contract[State] = Contract("state", list(LIMITS.cases))

HANG_S = 5.0


async def leased(state: State, key: str, owner: str, ttl_s: float, promise: str) -> Claim:
    """Claim `key`, which must succeed."""
    claim = await state.claim(key, owner, ttl_s)
    if claim is None:
        raise BrokenPromise(promise)
    return claim


@CASES.case(6)
async def a_lease_has_one_owner(h: Harness[State]) -> None:
    """Of many claims at one moment one wins, on both handles alike."""
    other, key = await h.peer(), h.name("acme") + "|job"
    claims = await asyncio.gather(*((h.port, other)[i % 2].claim(key, f"node{i}", 30) for i in range(32)))
    won = [claim for claim in claims if claim]
    expect(len(won) == 1, "one claim wins", won=won)
    again = await other.claim(key, won[0].owner, 30)
    expect(
        again == won[0], "claiming one's own lease renews it under the same fence", first=won[0], again=again
    )


@CASES.case(6)
async def a_lease_lapses_unless_renewed(h: Harness[State]) -> None:
    """Held a moment before its end, free after; a renewal counts from when it was made."""
    key = h.name("acme") + "|job"
    first = await leased(h.port, key, "a", 20, "a free key is leased")
    await h.advance(20 - MOMENT_S)
    expect(await h.port.claim(key, "b", 20) is None, "held a moment before its end")
    expect(await h.port.renew(first, 20), "the owner renews in time")
    await h.advance(20 - MOMENT_S)
    expect(await h.port.claim(key, "b", 20) is None, "held by renewal")
    await h.advance(MOMENT_S * 2)
    second = await leased(h.port, key, "b", 20, "free after its end")
    expect(
        second.fence > first.fence, "the fence grows with the owner", first=first.fence, second=second.fence
    )


@CASES.case(6)
async def a_former_owner_changes_nothing(h: Harness[State]) -> None:
    """Late renewals and releases return False, whether or not somebody else came, and even if it came back itself."""
    key = h.name("acme") + "|job"
    first = await leased(h.port, key, "a", 10, "a free key is leased")
    await h.advance(10 + MOMENT_S)
    expect(not await h.port.renew(first, 10), "a lapsed lease cannot be renewed")
    expect(not await h.port.release(first), "nor released")
    second = await leased(h.port, key, "b", 10, "a lapsed key is leased")
    expect(not await h.port.renew(first, 100), "the former owner cannot renew")
    expect(not await h.port.release(first), "nor release")
    expect(await h.port.claim(key, "c", 10) is None, "the lease is where it was")
    expect(await h.port.release(second), "the owner releases")
    expect(not await h.port.release(second), "once")
    third = await leased(h.port, key, "a", 10, "a released key is leased")
    expect(
        third.fence > second.fence > first.fence,
        "fences grow",
        fences=(first.fence, second.fence, third.fence),
    )
    expect(not await h.port.release(first), "an old claim of the same owner is an old claim")


@CASES.case(6)
async def a_fence_grows_across_a_crash(h: Harness[State]) -> None:
    """After the state was opened again, an owner's fence is not below its predecessor's."""
    key = h.name("acme") + "|job"
    first = await leased(h.port, key, "a", 5, "a free key is leased")
    await h.advance(6)
    port = await h.reopen()
    second = await leased(port, key, "b", 5, "a lapsed key is leased")
    expect(second.fence > first.fence, "the fence grows", first=first.fence, second=second.fence)


# ----------------------------------------------------------------------------- promises 7 to 10, and errors


@CASES.case(7)
async def peeking_takes_nothing(h: Harness[State]) -> None:
    """However often, whatever the amount, on fresh keys and on used ones."""
    asks = [bucket(h, 10, 3), window(h, 10, 3), slots(h, 3)]
    for _ in range(5):
        seen = await h.port.peek([Ask(a.key, a.kind, a.limit, a.period_s, 9) for a in asks])
        expect(seen.remaining == (10, 10, 3), "a fresh key has its limit left", remaining=seen.remaining)
        expect(seen.reset_s == (0.0, 0.0, 0.0), "and is whole", reset_s=seen.reset_s)
    taken = await h.port.take(asks, "req")
    expect(taken.remaining == (7, 7, 2), "taking tells what is left", remaining=taken.remaining)
    for _ in range(5):
        seen = await h.port.peek(asks)
        expect(seen.remaining == (7, 7, 2), "peeking tells the same", remaining=seen.remaining)
        expect(all(0 < s <= PERIOD_S for s in seen.reset_s), "and when it is whole", reset_s=seen.reset_s)
        expect(seen.refused == -1 and not seen.retry_after_s, "peeking is never refused", seen=seen)


@CASES.case(8)
async def tenants_never_meet(h: Harness[State]) -> None:
    """Same names under two tenants, also where a careless join of the parts would make one key of two."""
    one, two = h.name("acme"), h.name("bravo")
    pairs = (
        (f"{one}|team|rpm", f"{two}|team|rpm"),
        (f"{one}|a", f"{one}a|"),
        (f"{one}}}|a", f"{one}|}}a"),
        (f"{one}|x:y", f"{one}:x|y"),
    )
    kinds: tuple[Kind, ...] = ("bucket", "window", "slots")
    for first, second in pairs:
        for kind in kinds:
            mine, theirs = (Ask(f"{key}{kind}", kind, 1, PERIOD_S) for key in (first, second))
            expect(await took(h.port, mine), "a fresh key admits", key=mine.key, kind=kind)
            expect(await took(h.port, theirs), "and so does the other tenant's", key=theirs.key, kind=kind)
        expect(await h.port.claim(first, "a", 5), "a fresh key is leased", key=first)
        expect(await h.port.claim(second, "b", 5), "and so is the other tenant's", key=second)


@CASES.case(9)
async def an_unreachable_store_says_so(h: Harness[State]) -> None:
    """Every verb raises Unavailable; none hangs."""
    cut_off = needs(h.cut_off if isinstance(h, StateHarness) else None, CUT_OFF)
    port = await cut_off()
    ask = bucket(h, 10)
    for verb in (
        port.take([ask], "r"),
        port.give_back([ask], "r"),
        port.peek([ask]),
        port.claim(ask.key, "a", 5),
    ):
        try:
            async with asyncio.timeout(HANG_S):
                await expect_error(Unavailable, verb, "an unreachable store raises Unavailable")
        except TimeoutError:
            raise BrokenPromise("nothing hangs") from None


@CASES.case(10)
async def a_wall_clock_set_back_changes_nothing(h: Harness[State]) -> None:
    """An hour back: nothing refills, nothing drains, and from there on time counts as usual."""
    set_back = needs(h.set_back if isinstance(h, StateHarness) else None, SET_CLOCK)
    asks = [bucket(h, 6, 6), window(h, 6, 6), slots(h, 1)]
    lease_key = h.name("acme") + "|job"
    expect(await took(h.port, *asks, holder="a"), "there is room")
    claim = await leased(h.port, lease_key, "a", PERIOD_S, "a free key is leased")
    await set_back(3_600)
    for ask in (bucket(h, 6), window(h, 6), slots(h, 1)):
        expect(not await took(h.port, ask, holder="b"), "nothing refilled", kind=ask.kind)
    expect(await h.port.claim(lease_key, "b", 5) is None, "the lease is held")
    await h.advance(PERIOD_S + MOMENT_S)
    for ask in asks:
        expect(await took(h.port, ask, holder="b"), "a period later it is whole", kind=ask.kind)
    second = await leased(h.port, lease_key, "b", 5, "a period later the lease has lapsed")
    expect(second.fence > claim.fence, "the fence grew", first=claim, second=second)


@CASES.case(2, 3)
async def what_can_never_be_admitted_is_invalid(h: Harness[State]) -> None:
    """At the limit an ask is fine; over it, below zero or malformed, it is Invalid and nothing is taken."""
    fine = bucket(h, 10, stem="fine")
    wrong = (
        bucket(h, 5, 6),
        bucket(h, 5, -1),
        window(h, 5, 6),
        window(h, 5, -1),
        bucket(h, 0, 0),
        slots(h, 0),
        Ask(fine.key, "bucket", 5, 0),
        Ask("", "bucket", 5, PERIOD_S),
        Ask("|no tenant", "bucket", 5, PERIOD_S),
        Ask(f"{fine.key}{'x' * 600}", "bucket", 5, PERIOD_S),
    )
    for ask in wrong:
        await expect_error(Invalid, h.port.take([fine, ask], "req"), f"{ask} can never be admitted")
    await expect_error(Invalid, h.port.give_back([bucket(h, 5, -1)], "req"), "giving back is not taking")
    expect(await left(h.port, fine) == 10, "nothing was taken along the way")
    expect(await took(h.port, bucket(h, 5, 5, "at"), window(h, 5, 5)), "the limit itself fits")
    for ttl_s in (0, -1, float("nan"), float("inf")):
        await expect_error(Invalid, h.port.claim(fine.key, "a", ttl_s), "a lease lasts a while, and ends")
