"""The suite finds bugs: they are seeded into each ledger, one at a time, and every one is caught."""

from __future__ import annotations

import math

import msgspec
import pytest

from penstock.adapters.ledger import books, commits, postgres_reads, watch
from penstock.adapters.ledger.books import Books
from penstock.adapters.ledger.ended import Ended
from penstock.adapters.ledger.journal import HOLD
from penstock.adapters.ledger.postgres import PostgresLedger
from penstock.adapters.ledger.sqlite import SqliteLedger
from penstock.contracts.case import NotTried
from penstock.contracts.ledger import CASES
from tests.contracts.ledger_engines import postgres_ledger, sqlite_ledger
from tests.support import run

honest_room = books._require_room
honest_settle = Books.settle
honest_link = commits.link


# ------------------------------------------------------------------------------------------------------- SQLite


def skips_the_check_for_room(patch):
    patch.setattr(books, "_require_room", lambda accounts, limits, amount_nanos: None)


def checks_the_first_line_only(patch):
    def lazy(accounts, limits, amount_nanos):
        honest_room(accounts[:1], limits[:1], amount_nanos)

    patch.setattr(books, "_require_room", lazy)


def refuses_the_last_nano(patch):
    def stingy(accounts, limits, amount_nanos):
        honest_room(accounts, limits, amount_nanos + (amount_nanos > 0))

    patch.setattr(books, "_require_room", stingy)


def keeps_what_a_void_should_release(patch):
    def hoarding(self, operation, outcome, amount_nanos, *, estimated=False):
        pending = self.pending[operation]
        settled = honest_settle(self, operation, outcome, amount_nanos, estimated=estimated)
        for account in pending.accounts if outcome == "voided" else ():
            account.held_nanos += pending.held_nanos
        return settled

    patch.setattr(Books, "settle", hoarding)


def settles_twice(patch):
    def forgetful(self, operation, outcome, amount_nanos, *, estimated=False):
        pending = self.pending[operation]
        settled = honest_settle(self, operation, outcome, amount_nanos, estimated=estimated)
        self.pending[operation] = pending
        return settled

    patch.setattr(Books, "settle", forgetful)


def hides_an_overrun(patch):
    def discreet(self, operation, outcome, amount_nanos, *, estimated=False):
        amount_nanos = min(amount_nanos, self.pending[operation].held_nanos)
        return honest_settle(self, operation, outcome, amount_nanos, estimated=estimated)

    patch.setattr(Books, "settle", discreet)


def says_held_before_it_is_written(patch):
    async def hasty(self, hold):
        pending = self._books.pending.get(hold.operation)
        if pending is not None and hold.sequence in pending.amounts:
            await self._repeat(hold, pending)
            return
        self._commits.admit()
        pending, entry = self._take(hold, pending)
        pending.receipt = self._commits.add(entry)

    patch.setattr(SqliteLedger, "hold", hasty)


def holds_again_when_asked_again(patch):
    honest = SqliteLedger._take

    async def generous(self, hold, pending):
        again = msgspec.structs.replace(hold, sequence=max(pending.amounts) + 1)
        self._commits.add(honest(self, again, pending)[1])

    patch.setattr(SqliteLedger, "_repeat", generous)


def expires_the_living(patch):
    honest = SqliteLedger.expire

    async def hasty(self):
        now, self._now_s = self._now_s, lambda: math.inf
        try:
            return await honest(self)
        finally:
            self._now_s = now

    patch.setattr(SqliteLedger, "expire", hasty)


def takes_no_checkpoint(patch):
    patch.setattr(SqliteLedger, "checkpoint", lambda self, operation, amount_nanos, *, dispatched=True: None)


def forgets_what_has_ended(patch):
    patch.setattr(Ended, "__contains__", lambda self, operation: False)


def links_no_group_to_the_last(patch):
    def unlinked(previous, writer, seq, body):
        return honest_link(b"", writer, seq, body)

    for module in ("commits", "replay", "journal"):
        patch.setattr(f"penstock.adapters.ledger.{module}.link", unlinked)


SQLITE_BUGS = (
    skips_the_check_for_room,
    checks_the_first_line_only,
    refuses_the_last_nano,
    keeps_what_a_void_should_release,
    settles_twice,
    hides_an_overrun,
    says_held_before_it_is_written,
    holds_again_when_asked_again,
    expires_the_living,
    takes_no_checkpoint,
    forgets_what_has_ended,
    links_no_group_to_the_last,
)


@pytest.mark.parametrize("bug", SQLITE_BUGS, ids=lambda bug: bug.__name__)
def test_a_bug_in_the_embedded_ledger_is_caught(bug, tmp_path, monkeypatch):
    bug(monkeypatch)

    async def kept(case, folder) -> None:
        async with sqlite_ledger(folder) as harness:
            await case(harness)

    def broken() -> str:
        for name, _, case in CASES.cases:
            try:
                run(kept(case, tmp_path / name), ceiling_s=20.0)
            except NotTried:
                continue  # it looked at nothing, so it caught nothing
            except Exception as error:  # because a seeded bug may show itself in any way
                return f"{name}: {error!r}"
        return ""

    caught = broken()
    print(caught)
    assert caught


# --------------------------------------------------------------------------------------------------- PostgreSQL


def in_sql(old: str, new: str):
    """Return a bug that is another text in the migration."""

    def seed(patch) -> None:
        honest = postgres_reads.migration

        def mutated(name: str) -> str:
            sql = honest(name)
            assert old in sql
            return sql.replace(old, new)

        patch.setattr(postgres_reads, "migration", mutated)

    return seed


def hastily(patch):
    async def hold(self, hold):
        names, limits = zip(*[(line.account, line.limit_nanos) for line in hold.lines], strict=True)
        self._courier.admit()
        entry = (
            HOLD,
            hold.operation,
            hold.sequence,
            hold.amount_nanos,
            hold.timeout_s,
            hold.facts,
            names,
            limits,
        )
        self._courier.ask(entry)

    patch.setattr(PostgresLedger, "hold", hold)


POSTGRES_BUGS = {
    "skips the check for room": in_sql("WHERE v_amount > CASE", "WHERE false AND v_amount > CASE"),
    "refuses the last nano": in_sql("WHERE v_amount > CASE", "WHERE v_amount > 0 AND v_amount >= CASE"),
    "checks the first line only": in_sql("ORDER BY l.place LIMIT 1;", "AND l.place = 1 LIMIT 1;"),
    "keeps what a void should release": in_sql(
        "held_nanos = held_nanos - v_found.held_nanos,",
        "held_nanos = held_nanos - CASE WHEN v_outcome = 'voided' THEN 0 ELSE v_found.held_nanos END,",
    ),
    "settles twice": in_sql(
        "IF v_found.state <> 'pending' THEN RETURN '[\"settled\"]'; END IF;\n    IF v_expire", "IF v_expire"
    ),
    "hides an overrun": in_sql(
        "v_amount := (entry->>3)::bigint;\n        v_estimated",
        "v_amount := least((entry->>3)::bigint, v_found.held_nanos);\n        v_estimated",
    ),
    "says held before it is": hastily,
    "expires the living": lambda patch: patch.setattr(watch, "LOST_S", -1.0),
    "takes no checkpoint": in_sql("WHERE operation = v_entry->>1 AND state = 'pending'", "WHERE false"),
    "lets a checkpoint decrease": in_sql(
        "greatest(checkpoint_nanos, (v_entry->>2)::bigint)", "(v_entry->>2)::bigint"
    ),
    "forgets the amount of a repeat": in_sql("IF v_found.amounts[v_place] = v_amount THEN", "IF true THEN"),
    "links no group to the last": in_sql("sha256(v_self.head || convert_to", "sha256(convert_to"),
}


@pytest.mark.postgres
@pytest.mark.parametrize("bug", POSTGRES_BUGS.values(), ids=POSTGRES_BUGS)
def test_a_bug_in_the_shared_ledger_is_caught(bug, fresh_postgres, monkeypatch):
    bug(monkeypatch)
    dsn = fresh_postgres()

    async def kept(case) -> None:
        async with postgres_ledger(dsn) as harness:
            await case(harness)

    def broken() -> str:
        for name, _, case in CASES.cases:
            try:
                run(kept(case), ceiling_s=20.0)
            except NotTried:
                continue
            except Exception as error:  # because a seeded bug may show itself in any way
                return f"{name}: {error!r}"
        return ""

    caught = broken()
    print(caught)
    assert caught


def test_at_least_seven_bugs_are_seeded_in_each():
    assert len(SQLITE_BUGS) >= 7
    assert len(POSTGRES_BUGS) >= 7
