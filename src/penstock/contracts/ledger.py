"""What every ledger must keep: the promises of `ports/ledger.py` as cases; those about holds are in ledger_holds.py."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from random import Random

import msgspec

from penstock.contracts.case import Contract, Harness, expect, expect_error, needs
from penstock.contracts.ledger_holds import CENT, DOLLAR, HOLDS, LedgerHarness, balances, lines
from penstock.kernel.errors import Conflict, Invalid, NotFound
from penstock.ports.ledger import NO_LIMIT, Attempt, Hold, Ledger, Line, Posting, Settled

CASES: Contract[Ledger] = Contract("ledger", list(HOLDS.cases))


async def held(
    h: Harness[Ledger], name: str, on: Sequence[Line], amount_nanos: int = CENT, timeout_s: int = 60
) -> str:
    """Hold a new operation; returns it."""
    operation = h.name(name)
    await h.port.hold(Hold(operation, amount_nanos, tuple(on), timeout_s=timeout_s))
    return operation


async def expired(ledger: Ledger, *operations: str) -> dict[str, Settled]:
    """Call `expire`, twice so that it must be idempotent; returns what became of `operations`, but for the accounts,
    which each must name.
    """
    settled = [one for one in (*await ledger.expire(), *await ledger.expire()) if one.operation in operations]
    expect(
        all(one.accounts for one in settled), "what expired names the accounts it charged", settled=settled
    )
    return {one.operation: msgspec.structs.replace(one, accounts=()) for one in settled}


@CASES.case(5)
async def an_operation_settles_exactly_once(h: Harness[Ledger]) -> None:
    """A second post or void, on either handle and after a crash, is a Conflict and changes nothing."""
    other, on = await h.peer(), lines(h, DOLLAR)
    posted, voided = await held(h, "posted", on), await held(h, "voided", on)
    await h.port.post(Posting(posted, CENT))
    await h.port.void(voided)

    async def nothing_more(ledger: Ledger) -> None:
        for operation in (posted, voided):
            for settle in (partial(ledger.post, Posting(operation, CENT)), partial(ledger.void, operation)):
                error = await expect_error(Conflict, settle(), "a second settlement is a Conflict")
                reason = getattr(error, "reason", "")
                expect(reason == "already_settled", "and its code says why", reason=reason)
            await expect_error(
                Conflict, ledger.hold(Hold(operation, CENT, on)), "a settled operation is not held again"
            )
            ledger.checkpoint(operation, 50 * CENT)
        left = await balances(ledger, on)
        expect(left == [(CENT, 0)], "nothing changed", left=left)

    await nothing_more(h.port)
    await nothing_more(other)
    await nothing_more(await h.reopen())


@CASES.case(5)
async def of_many_settlements_at_one_moment_one_counts(h: Harness[Ledger]) -> None:
    """Sixteen posts and voids race on both handles: one succeeds and the balance is its."""
    other, on = await h.peer(), lines(h, DOLLAR)
    for turn in range(4):
        operation = await held(h, f"op-{turn}", on)
        before = (await balances(h.port, on))[0][0]
        race = [
            (h.port, other)[i % 2].void(operation)
            if i % 4 > 1
            else (h.port, other)[i % 2].post(Posting(operation, i))
            for i in range(16)
        ]
        answers = await asyncio.gather(*race, return_exceptions=True)
        won = [answer for answer in answers if isinstance(answer, Settled)]
        lost = [answer for answer in answers if isinstance(answer, Conflict)]
        expect(len(won) == 1 and len(lost) == 15, "one of them counts", won=won, answers=answers)
        left = await balances(h.port, on)
        expect(left == [(before + won[0].amount_nanos, 0)], "and the balance is its", left=left, won=won)


@CASES.case(5)
async def an_operation_that_was_never_held_is_not_found(h: Harness[Ledger]) -> None:
    """Nothing is posted to nowhere."""
    await expect_error(NotFound, h.port.post(Posting(h.name("never"), CENT)), "an unknown post is refused")
    await expect_error(NotFound, h.port.void(h.name("never")), "an unknown void is refused")


@CASES.case(7)
async def a_post_releases_the_rest(h: Harness[Ledger]) -> None:
    """Nothing, less, exactly and more than was held: the figures add up, an overrun is recorded in full."""
    on = lines(h, 10 * CENT, NO_LIMIT)
    total_nanos = 0
    for amount_nanos in (0, CENT - 1, CENT, CENT + 1, 12 * CENT):
        operation = await held(h, f"op-{amount_nanos}", on)
        settled = await h.port.post(Posting(operation, amount_nanos, estimated=amount_nanos == CENT))
        total_nanos += amount_nanos
        want = Settled(
            operation,
            "posted",
            amount_nanos,
            max(0, CENT - amount_nanos),
            max(0, amount_nanos - CENT),
            amount_nanos == CENT,
        )
        expect(settled == want, "a settlement says what it did", settled=settled, want=want)
        left = await balances(h.port, on)
        expect(left == [(total_nanos, 0)] * 2, "all of it is posted, nothing stays held", left=left)
    found = await h.port.balance(accounts=[on[0].account])
    expect(found[0].postings == 5, "every posting is counted", found=found)


@CASES.case(7, 8)
async def a_settlement_covers_the_top_ups(h: Harness[Ledger]) -> None:
    """The hold is the sum of its sequences, for post and for void."""
    on = lines(h, DOLLAR)
    for verb in ("post", "void"):
        operation = await held(h, verb, on)
        await h.port.hold(Hold(operation, 2 * CENT, on, sequence=1))
        await h.port.hold(Hold(operation, 4 * CENT, on, sequence=2))
        done = await (h.port.post(Posting(operation, CENT)) if verb == "post" else h.port.void(operation))
        released = 6 * CENT if verb == "post" else 7 * CENT
        expect(done.released_nanos == released, "the rest of all holds is released", done=done)
    left = await balances(h.port, on)
    expect(left == [(CENT, 0)], "nothing stays held", left=left)


@CASES.case(8)
async def a_void_releases_everything(h: Harness[Ledger]) -> None:
    """On every line, and it counts as no posting."""
    on = lines(h, CENT, CENT, NO_LIMIT)
    operation = await held(h, "op", on)
    settled = await h.port.void(operation)
    expect(settled == Settled(operation, "voided", 0, CENT), "a void says what it released", settled=settled)
    found = await h.port.balance(accounts=[line.account for line in on])
    seen = [(one.posted_nanos, one.held_nanos, one.postings) for one in found]
    expect(seen == [(0, 0, 0)] * 3, "nothing is left of it", seen=seen)


@CASES.case(9, 13)
async def a_timeout_settles_at_the_last_checkpoint(h: Harness[Ledger]) -> None:
    """Before the timeout nothing happens; after it: the checkpoint, nothing if nothing was dispatched, else all."""
    on = lines(h, DOLLAR)
    names = ("checkpointed", "undispatched", "silent", "later", "overrun")
    one, two, three, later, overrun = [
        await held(h, name, on, timeout_s=90 if name == "later" else 60) for name in names
    ]
    h.port.checkpoint(one, CENT // 4)
    h.port.checkpoint(one, CENT // 2)
    h.port.checkpoint(one, CENT // 3)  # a late one: checkpoints never decrease
    h.port.checkpoint(two, CENT // 2, dispatched=False)
    h.port.checkpoint(overrun, 0, dispatched=False)
    h.port.checkpoint(overrun, 3 * CENT)
    await h.advance(59)
    early = await expired(h.port, one, two, three, later, overrun)
    expect(not early, "a live operation is left alone", early=early)
    await h.advance(2)
    seen = await expired(h.port, one, two, three, later, overrun)
    want = {
        one: Settled(one, "expired", CENT // 2, CENT // 2, estimated=True),
        two: Settled(two, "expired", 0, CENT, estimated=True),
        three: Settled(three, "expired", CENT, 0, estimated=True),
        overrun: Settled(overrun, "expired", 3 * CENT, 0, 2 * CENT, estimated=True),
    }
    expect(seen == want, "what is in doubt is settled once, at its checkpoint, flagged", seen=seen, want=want)
    left = await balances(h.port, on)
    expect(left == [(CENT // 2 + CENT + 3 * CENT, CENT)], "the balance says so", left=left)
    await expect_error(Conflict, h.port.post(Posting(one, CENT)), "an expired operation is settled")
    settled = await h.port.post(Posting(later, CENT))
    expect(settled.outcome == "posted", "the live one is still its owner's", settled=settled)


@CASES.case(9, 3)
async def what_a_dead_writer_left_is_settled(h: Harness[Ledger]) -> None:
    """After a crash every hold of the dead process is settled by `expire`, whatever its timeout, as it stood."""
    on = lines(h, DOLLAR)
    one, two, three = [await held(h, name, on, timeout_s=86_400) for name in ("one", "two", "three")]
    h.port.checkpoint(one, CENT // 2)
    h.port.checkpoint(two, 0, dispatched=False)
    await h.port.void(await held(h, "carrier", on))  # a durable group behind the checkpoints
    ledger = await h.reopen()
    await ledger.hold(Hold(h.name("live"), CENT, on))
    seen = await expired(ledger, one, two, three, h.name("live"))
    want = {
        one: Settled(one, "expired", CENT // 2, CENT // 2, estimated=True),
        two: Settled(two, "expired", 0, CENT, estimated=True),
        three: Settled(three, "expired", CENT, 0, estimated=True),
    }
    expect(seen == want, "the dead writer's holds are settled, the living one's are not", seen=seen)
    left = await balances(ledger, on)
    expect(left == [(CENT // 2 + CENT, CENT)], "the balance says so", left=left)


@CASES.case(9)
async def an_operation_that_is_topped_up_lives(h: Harness[Ledger]) -> None:
    """A top-up starts the timeout anew, also of what a dead writer left: somebody is at work on it."""
    on = lines(h, DOLLAR)
    one, two = await held(h, "one", on), await held(h, "two", on)
    ledger = await h.reopen()
    await ledger.hold(Hold(one, CENT, on, timeout_s=60, sequence=1))
    seen = await expired(ledger, one, two)
    expect(set(seen) == {two}, "only the other one is in doubt", seen=seen)
    await h.advance(59)
    seen = await expired(ledger, one)
    expect(not seen, "it lives for its timeout", seen=seen)
    await h.advance(2)
    seen = await expired(ledger, one)
    expect(seen.get(one) == Settled(one, "expired", 2 * CENT, 0, estimated=True), "and no longer", seen=seen)


@CASES.case(9)
async def a_living_peer_is_left_alone(h: Harness[Ledger]) -> None:
    """Long after its last word but within its timeout, an operation of a living writer is not in doubt."""
    other, on = await h.peer(), lines(h, DOLLAR)
    mine = await held(h, "mine", on, timeout_s=600)
    await other.hold(Hold(h.name("its"), CENT, on, timeout_s=600))
    await other.expire()
    await h.port.expire()
    await h.advance(30)
    seen = {**await expired(other, mine), **await expired(h.port, h.name("its"))}
    expect(not seen, "live operations are left alone", seen=seen)
    left = await balances(other, on)
    expect(left == [(0, 2 * CENT)], "and stay held", left=left)


@CASES.case(10)
async def the_books_balance_after_a_mixed_day(h: Harness[Ledger]) -> None:
    """200 operations of every ending, against arithmetic done beside them; the verdict moves by the same figures."""
    before = await h.port.verify()
    random, on = Random(10), lines(h, NO_LIMIT, NO_LIMIT)  # noqa: S311 - a repeatable day, not a secret
    posted = still = 0

    async def operation(number: int) -> tuple[int, int]:
        amount, name = random.randrange(DOLLAR), h.name(f"op-{number}")
        await h.port.hold(Hold(name, amount, on))
        if number % 3 == 0:
            spent = random.randrange(DOLLAR)
            cost = spent // 3
            attempts = (Attempt(1, "one", "m", cost, outcome="error"), Attempt(2, "two", "m", spent - cost))
            await h.port.post(Posting(name, spent, attempts))
            return spent, 0
        if number % 3 == 1:
            await h.port.void(name)
            return 0, 0
        return 0, amount

    for spent, left in await asyncio.gather(*(operation(number) for number in range(200))):
        posted, still = posted + spent, still + left
    seen = await balances(h.port, on)
    expect(
        seen == [(posted, still)] * 2,
        "every account has what was posted and is held",
        seen=seen,
        posted=posted,
    )
    after = await h.port.verify()
    moved = (
        after.operations - before.operations,
        after.posted_nanos - before.posted_nanos,
        after.held_nanos - before.held_nanos,
        after.pending - before.pending,
    )
    expect(moved == (200, posted, still, 66), "the verdict moves by the same figures", moved=moved)
    expect(not after.problems, "and finds nothing wrong", problems=after.problems)


@CASES.case(10)
async def a_posting_has_two_equal_sides(h: Harness[Ledger]) -> None:
    """An amount that is not the sum of what the vendors are owed is refused and the hold stays."""
    on = lines(h, DOLLAR)
    operation = await held(h, "op", on)
    attempts = (Attempt(1, "one", "m", CENT // 2), Attempt(2, "two", "m", CENT // 4))
    for amount in (CENT, CENT // 2, 0):
        await expect_error(Invalid, h.port.post(Posting(operation, amount, attempts)), "both sides are equal")
    await expect_error(Invalid, h.port.post(Posting(operation, -1)), "money is not earned here")
    left = await balances(h.port, on)
    expect(left == [(0, CENT)], "a refused posting changes nothing", left=left)
    await h.port.post(Posting(operation, CENT // 2 + CENT // 4, attempts))


@CASES.case(10)
async def balances_are_listed_in_order_by_prefix(h: Harness[Ledger]) -> None:
    """Pages of a prefix, after a name, none twice, none missed; an account never used is zero by name, not listed."""
    names = [h.name("p") + f"/{i:02}" for i in (3, 1, 4, 0, 2)]
    for name in names:
        await h.port.hold(Hold(name, CENT, (Line(name), Line(h.name("other")))))
    pages: list[str] = []
    while page := await h.port.balance(prefix=h.name("p") + "/", after=pages[-1] if pages else "", limit=2):
        expect(len(page) <= 2, "a page keeps its limit", page=page)
        pages += [one.account for one in page]
    expect(pages == sorted(names), "each account once, in order", pages=pages)
    found = await h.port.balance(accounts=[h.name("unused"), names[0]])
    seen = [(one.account, one.held_nanos) for one in found]
    expect(
        seen == [(h.name("unused"), 0), (names[0], CENT)], "named accounts come in the order asked", seen=seen
    )


@CASES.case(11)
async def every_group_extends_its_writers_chain(h: Harness[Ledger]) -> None:
    """A settlement moves exactly one head of the verdict to a digest never seen; a crash keeps the chain whole."""
    on, seen = lines(h, DOLLAR), set[str]()
    before = await h.port.verify()
    for turn in range(3):
        await h.port.void(await held(h, f"op-{turn}", on))
        after = await h.port.verify()
        moved = {writer: head for writer, head in after.heads.items() if before.heads.get(writer) != head}
        fresh = set(moved.values()) - seen
        expect(len(moved) == len(fresh) == 1, "one chain grew", moved=moved)
        expect(after.entries >= before.entries + 2, "by the entries of the operation", entries=after.entries)
        seen, before = seen | fresh, after
    reopened = await (await h.reopen()).verify()
    expect(not reopened.problems, "the chain is whole after a crash", problems=reopened.problems)


async def found(h: Harness[Ledger], damage: str) -> None:
    """Damage the journal of a few operations: the verdict must name a problem, where it named none before."""
    tamper = needs(h.tamper if isinstance(h, LedgerHarness) else None, "change the journal behind its back")
    for turn in range(5):
        operation = await held(h, f"op-{turn}", lines(h, DOLLAR))
        await h.port.post(Posting(operation, CENT, (Attempt(1, "vendor", "model", CENT),)))
    before = await h.port.verify()
    expect(not before.problems, "an undamaged journal has no problems", problems=before.problems)
    verdict = await (await tamper(damage)).verify()
    expect(verdict.problems, f"the damage is found: {damage}", entries=verdict.entries)


@CASES.case(11)
async def a_changed_byte_is_found(h: Harness[Ledger]) -> None:
    """Anywhere in a body."""
    await found(h, "flip")


@CASES.case(11)
async def a_missing_group_is_found(h: Harness[Ledger]) -> None:
    """Taken from the middle, the others as they were."""
    await found(h, "drop")


@CASES.case(11)
async def a_reordered_group_is_found(h: Harness[Ledger]) -> None:
    """Two groups in each other's place, with their digests."""
    await found(h, "swap")


@CASES.case(11)
async def a_forged_group_is_found(h: Harness[Ledger]) -> None:
    """Another vendor's name in a group, with the digest that this group would have had: the next one tells."""
    await found(h, "forge")
