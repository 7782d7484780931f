"""The shared ledger beyond its port: lost answers, lost servers, lost neighbours, and many processes at once."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from penstock.adapters.ledger import courier, rules
from penstock.adapters.ledger.postgres import PostgresLedger
from penstock.adapters.ledger.postgres_link import Link
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Invalid, OverBudget, Overloaded, Unavailable
from penstock.ports.ledger import Attempt, Hold, Line, Posting
from tests.contracts.ledger_engines import Fleet
from tests.services import PostgresServer
from tests.support import run

pytestmark = pytest.mark.postgres

ORG = (Line("org", 1_000),)


async def figures(ledger: PostgresLedger, account: str = "org") -> tuple[int, int]:
    (found,) = await ledger.balance(accounts=[account])
    return found.posted_nanos, found.held_nanos


async def healthy(ledger: PostgresLedger) -> None:
    async with asyncio.timeout(20):
        while not ledger.healthy():
            await asyncio.sleep(0.01)


def staged(dsn: str, drill) -> None:
    """Run `drill(fleet)` and close whatever it opened."""

    async def play() -> None:
        fleet = Fleet(dsn)
        try:
            await drill(fleet)
        finally:
            await fleet.stop()

    run(play(), ceiling_s=60.0)


@pytest.mark.parametrize("answer", ["lost after the commit", "never asked"])
def test_a_batch_whose_answer_is_lost_counts_once(answer, fresh_postgres, monkeypatch):
    """The settlement in it is in force exactly once, the hold in it leaves nothing held, whichever way it went."""
    monkeypatch.setattr(courier, "FIRST_PAUSE_S", 0.01)
    honest, lose = Link.fetch, [0]

    async def lossy(self, sql, *arguments):
        if sql == courier.APPLY and lose[0]:
            lose[0] -= 1
            if answer == "lost after the commit":
                await honest(self, sql, *arguments)
            raise Unavailable("drill: the line broke")
        return await honest(self, sql, *arguments)

    async def drill(fleet: Fleet) -> None:
        ledger = await fleet.start()
        await ledger.hold(Hold("paid", 100, ORG))
        await ledger.hold(Hold("topped", 100, ORG))
        monkeypatch.setattr(Link, "fetch", lossy)
        lose[0] = 2
        answers = await asyncio.gather(
            ledger.hold(Hold("refused", 100, ORG)),
            ledger.hold(Hold("topped", 50, ORG, sequence=1)),
            ledger.post(Posting("paid", 60, (Attempt(1, "vendor", "model", 60),))),
            return_exceptions=True,
        )
        assert [type(one) for one in answers[:2]] == [Unavailable, Unavailable]
        assert answers[2].released_nanos == 40
        await healthy(ledger)
        await ledger.void("topped")
        assert await figures(ledger) == (60, 0)
        verdict = await ledger.verify()
        assert (verdict.posted_nanos, verdict.pending, verdict.problems) == (60, 0, ())

    staged(fresh_postgres(), drill)


def test_while_the_database_is_gone_holds_are_refused_and_settlements_wait():
    server = PostgresServer(durable=True)
    server.start()

    async def drill(fleet: Fleet) -> None:
        ledger = await fleet.start(timeout_s=2.0)
        for i in range(5):
            await ledger.hold(Hold(f"op-{i}", 100, ORG))
        server.kill()
        with pytest.raises(Unavailable):
            await ledger.hold(Hold("x", 1, ORG))
        assert not ledger.healthy()
        for i in range(4):
            ledger.post_soon(Posting(f"op-{i}", 10))
        for verb in (ledger.balance(accounts=["org"]), ledger.expire()):
            with pytest.raises(Unavailable):
                await verb
        await asyncio.to_thread(server.start)
        await healthy(ledger)
        await ledger.hold(Hold("y", 1, ORG))
        assert await figures(ledger) == (40, 101)
        assert not (await ledger.verify()).problems

    try:
        staged(server.dsn, drill)
    finally:
        server.close()


def test_a_dead_neighbour_is_settled_after_three_seconds_of_silence(fresh_postgres):
    async def drill(fleet: Fleet) -> None:
        mine, its = await fleet.start("mine"), await fleet.start("its")
        await its.hold(Hold("op", 100, ORG, timeout_s=86_400))
        its.checkpoint("op", 30)
        await its.balance(accounts=["org"])
        await fleet.advance(10)
        assert await mine.expire() == []
        fleet.living.remove(its)
        await its.abandon()
        await fleet.advance(3)
        assert await mine.expire() == []
        await fleet.advance(1)
        (told,) = await mine.expire()
        assert (told.operation, told.amount_nanos, told.accounts) == ("op", 30, ("org",))
        assert await mine.expire() == []
        assert await figures(mine) == (30, 0)

    staged(fresh_postgres(), drill)


def test_what_expired_and_could_not_be_told_is_told_once_by_a_later_call(fresh_postgres, monkeypatch):
    """The settlement is made, but who was charged cannot be read just then."""

    async def drill(fleet: Fleet) -> None:
        mine = await fleet.start("mine")
        await mine.hold(Hold("op", 100, ORG, timeout_s=1))
        await fleet.advance(2)

        async def unread(_operations: object) -> dict[str, tuple[str, ...]]:
            raise Unavailable("The database is busy.")

        with monkeypatch.context() as for_now:
            for_now.setattr(mine._reads, "charged", unread)
            with pytest.raises(Unavailable):
                await mine.expire()
        assert await figures(mine) == (100, 0)
        (told,) = await mine.expire()
        assert (told.operation, told.amount_nanos, told.accounts) == ("op", 100, ("org",))
        assert await mine.expire() == []

    staged(fresh_postgres(), drill)


def test_a_neighbour_that_comes_back_is_not_robbed(fresh_postgres):
    """It was silent long enough, but beats before the settlement arrives."""

    async def drill(fleet: Fleet) -> None:
        mine, its = await fleet.start("mine"), await fleet.start("its")
        await its.hold(Hold("op", 100, ORG, timeout_s=86_400))
        fleet.living.remove(its)
        await mine.beat()
        await fleet.advance(10)
        honest = mine._watch.left_behind

        async def late(limit: int) -> list[tuple[str, str, int]]:
            left = await honest(limit)
            assert [row[0] for row in left] == ["op"]
            await its.beat()
            return left

        mine._watch.left_behind = late
        assert await mine.expire() == []
        fleet.living.append(its)
        assert (await its.post(Posting("op", 5))).outcome == "posted"

    staged(fresh_postgres(), drill)


def test_processes_that_start_together_migrate_once(fresh_postgres):
    async def drill(fleet: Fleet) -> None:
        await asyncio.gather(*(fleet.start(f"node-{i}") for i in range(6)))
        granted = await asyncio.gather(
            *(
                ledger.hold(Hold(f"op-{i}-{j}", 30, ORG))
                for i, ledger in enumerate(fleet.living)
                for j in range(8)
            ),
            return_exceptions=True,
        )
        assert [type(one) for one in granted if one is not None] == [OverBudget] * 15
        assert await figures(fleet.living[0]) == (0, 990)
        verdict = await fleet.living[1].verify()
        assert (verdict.held_nanos, verdict.problems) == (990, ())

    staged(fresh_postgres(), drill)


def test_crossing_batches_of_two_processes_all_pass(fresh_postgres):
    """Same accounts in opposite orders, operations of each other: no circle of locks, no loss."""

    async def drill(fleet: Fleet) -> None:
        one, two = await fleet.start("one"), await fleet.start("two")
        accounts = tuple(Line(f"account-{i}") for i in range(8))

        async def both(i: int) -> None:
            await one.hold(Hold(f"a-{i}", 1, accounts))
            await two.hold(Hold(f"b-{i}", 1, accounts[::-1]))
            await asyncio.gather(two.post(Posting(f"a-{i}", 1)), one.post(Posting(f"b-{i}", 1)))

        await asyncio.gather(*(both(i) for i in range(100)))
        assert {await figures(one, line.account) for line in accounts} == {(200, 0)}
        assert not (await one.verify()).problems

    staged(fresh_postgres(), drill)


def test_a_process_whose_name_was_taken_over_writes_no_more(fresh_postgres):
    async def drill(fleet: Fleet) -> None:
        old = await fleet.start("same")
        await old.hold(Hold("op", 1, ORG))
        new = await fleet.start("same")
        with pytest.raises(Unavailable) as refusal:
            await old.hold(Hold("late", 1, ORG))
        assert refusal.value.reason == "writer_superseded"
        assert [one.operation for one in await new.expire()] == ["op"]
        fleet.living.remove(old)
        await old.abandon()

    staged(fresh_postgres(), drill)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE ledger_journal SET body = ''", "DELETE FROM ledger_journal", "TRUNCATE ledger_journal"],
)
def test_the_journal_is_append_only(statement, fresh_postgres):
    dsn = fresh_postgres()

    async def drill(fleet: Fleet) -> None:
        await (await fleet.start()).hold(Hold("op", 1, ORG))
        connection = await asyncpg.connect(dsn)
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            await connection.execute(statement)
        await connection.close()

    staged(dsn, drill)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE ledger_accounts SET posted_nanos = posted_nanos + 1",
        "INSERT INTO ledger_accounts VALUES ('ghost', 1, 0, 1)",
        "UPDATE ledger_operations SET state = 'posted' WHERE state = 'pending'",
        "UPDATE ledger_writers SET head = ''",
    ],
)
def test_a_table_that_does_not_say_what_the_journal_says_is_a_problem(change, fresh_postgres):
    dsn = fresh_postgres()

    async def drill(fleet: Fleet) -> None:
        ledger = await fleet.start()
        await ledger.hold(Hold("op", 1, ORG))
        connection = await asyncpg.connect(dsn)
        await connection.execute(change)
        await connection.close()
        assert (await ledger.verify()).problems

    staged(dsn, drill)


@pytest.mark.parametrize("text", ["nul \x00", "half \ud800"])
def test_text_that_postgres_cannot_store_is_refused_before_it_can_poison_a_batch(text, fresh_postgres):
    async def drill(fleet: Fleet) -> None:
        ledger = await fleet.start()
        for hold in (Hold(text, 1, ORG), Hold("a", 1, (Line(text),)), Hold("b", 1, ORG, facts=text)):
            with pytest.raises(Invalid):
                await ledger.hold(hold)
        await ledger.hold(Hold("op ünï", 1, ORG))
        ledger.post_soon(Posting("op ünï", 1, (Attempt(1, text, "model", 1),)))
        assert ledger.stats()["failures"] == 1
        assert (await ledger.post(Posting("op ünï", 1))).amount_nanos == 1

    staged(fresh_postgres(), drill)


def test_what_waits_for_the_database_is_bounded(fresh_postgres, monkeypatch):
    monkeypatch.setattr(courier, "MAX_QUEUE", 3)

    async def drill(fleet: Fleet) -> None:
        ledger = await fleet.start()
        await ledger.hold(Hold("op", 1, ORG))
        answers = await asyncio.gather(
            *(ledger.hold(Hold(f"x{i}", 1, ORG)) for i in range(5)), return_exceptions=True
        )
        assert [getattr(one, "reason", "") for one in answers] == ["", "", "", "overloaded", "overloaded"]
        ledger.post_soon(Posting("op", 1))
        assert await figures(ledger) == (1, 3)

    staged(fresh_postgres(), drill)


def test_background_settlements_are_counted_when_refused(fresh_postgres):
    async def drill(fleet: Fleet) -> None:
        ledger = await fleet.start()
        await ledger.hold(Hold("op", 1, ORG))
        ledger.post_soon(Posting("op", 5))
        ledger.post_soon(Posting("op", 5))
        ledger.post_soon(Posting("never", 5))
        assert await figures(ledger) == (5, 0)
        assert (ledger.stats()["failures"], ledger.stats()["overruns"], ledger.stats()["pending"]) == (
            2,
            1,
            0,
        )

    staged(fresh_postgres(), drill)


def test_an_unreachable_server_does_not_open():
    with pytest.raises(Unavailable):
        run(
            PostgresLedger.open(
                "postgresql://nobody@127.0.0.1:1/none", ManualClock(), writer="one", timeout_s=0.2
            )
        )


def test_a_connection_that_died_while_idle_costs_no_request(fresh_postgres):
    dsn = fresh_postgres()

    async def drill(fleet: Fleet) -> None:
        ledger = await fleet.start()
        await ledger.hold(Hold("before", 1, ORG))
        connection = await asyncpg.connect(dsn)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await connection.close()
        await ledger.hold(Hold("after", 1, ORG))
        assert await figures(ledger) == (0, 2)

    staged(dsn, drill)


def test_a_hold_beyond_the_pending_bound_is_refused(fresh_postgres, monkeypatch):
    monkeypatch.setattr(rules, "MAX_PENDING", 2)

    async def drill(fleet: Fleet) -> None:
        ledger = await fleet.start()
        await ledger.hold(Hold("a", 1, ORG))
        await ledger.hold(Hold("b", 1, ORG))
        with pytest.raises(Overloaded):
            await ledger.hold(Hold("c", 1, ORG))
        await ledger.void("a")
        await ledger.hold(Hold("c", 1, ORG))

    staged(fresh_postgres(), drill)
