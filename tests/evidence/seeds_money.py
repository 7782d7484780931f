"""Seeded bugs that lose, double or misplace money: reserving, metering, relaying, the books."""

from __future__ import annotations

from tests.evidence.seed import Seed

BOOKS = ("tests/contracts/test_ledger.py",)
ADMISSION = ("tests/unit/gateway/test_admission.py", "tests/journeys/test_faults_and_books.py")
GATEWAY = (
    "tests/unit/gateway",
    "tests/journeys/test_faults_and_books.py",
    "tests/journeys/test_openai_python.py",
)

BOOK_SEEDS = (
    Seed(
        "the room forgets what is held",
        "posted + held never exceeds a limit: without the holds, the check is check-then-act",
        "adapters/ledger/books.py",
        " - account.posted_nanos - account.held_nanos\n",
        " - account.posted_nanos\n",
        BOOKS,
    ),
    Seed(
        "only the first line is held",
        "a hold takes every line or none",
        "adapters/ledger/books.py",
        "for account in accounts:\n            account.held_nanos += amount_nanos",
        "for account in accounts[:1]:\n            account.held_nanos += amount_nanos",
        BOOKS,
    ),
    Seed(
        "a hold is granted before it is on disk",
        "what was granted survives a crash; a disk that fails grants nothing",
        "adapters/ledger/commits.py",
        "        self._flying = group\n",
        "        self._flying = group\n        group.finish()\n",
        BOOKS,
    ),
    Seed(
        "in doubt after dispatch is void",
        "expire settles a dispatched operation at its last checkpoint, never at nothing",
        "adapters/ledger/sqlite.py",
        "pending.dispatched = pending.dispatched or dispatched",
        "pending.dispatched = pending.dispatched and dispatched",
        BOOKS,
    ),
    Seed(
        "the chain does not link",
        "each digest covers the one before it, so that a rewritten group breaks the next",
        "adapters/ledger/journal.py",
        "% (previous, writer.encode(), seq, body)",
        '% (b"", writer.encode(), seq, body)',
        BOOKS,
    ),
    Seed(
        "a snapshot forgets what is pending",
        "a hold survives a restart from a snapshot",
        "adapters/ledger/snapshots.py",
        "highs=dict(ended.highs), pending=pending",
        "highs=dict(ended.highs), pending=[]",
        BOOKS,
    ),
    Seed(
        "accounts are not locked between processes",
        "two processes on one PostgreSQL never overspend",
        "adapters/ledger/postgres_001.sql",
        "ORDER BY name FOR UPDATE;",
        "ORDER BY name;",
        (*BOOKS, "tests/unit/adapters/ledger/test_postgres_locks.py"),
        chosen="postgres",
    ),
)

GATEWAY_SEEDS = (
    Seed(
        "a refusal keeps its limits",
        "a refused request leaves nothing taken",
        "gateway/admission.py",
        "            await self.give_back(seat, seat.asks_tokens)\n            raise\n",
        "            raise\n",
        ADMISSION,
    ),
    Seed(
        "the answer is not clamped to what is held",
        "an answer cannot cost more than was held for it",
        "gateway/calling.py",
        "body=wording.body(target, seat.output_tokens)",
        "body=wording.body(target, envelope.output_limit or 1)",
        GATEWAY,
    ),
    Seed(
        "a second top-up repeats the first",
        "each top-up is a hold of its own sequence",
        "gateway/admission.py",
        "        seat.topups += 1\n",
        "",
        ADMISSION,
    ),
    Seed(
        "an operation is settled twice",
        "every seat is settled exactly once",
        "gateway/metering.py",
        "        self.settled = True\n",
        "",
        GATEWAY,
    ),
    Seed(
        "an attempt that timed out is free",
        "an attempt that the vendor may have billed is billed, even if it failed",
        "gateway/metering.py",
        '        "first_byte_timeout",\n',
        "",
        GATEWAY,
    ),
    Seed(
        "cached tokens are billed twice",
        "the bill is the vendor's usage to the nano-dollar",
        "kernel/money.py",
        "fresh = usage.input_tokens - cached - written",
        "fresh = usage.input_tokens - written",
        ("tests/unit/kernel/test_money.py", *GATEWAY),
    ),
    Seed(
        "a model without a price is free",
        "zero is never a default: free is declared, or the model is refused",
        "mechanisms/prices.py",
        "        if entry is None:\n            return None\n",
        "        if entry is None:\n"
        "            return self._of_free(FreeRule(provider=provider, model=name), provider, name)\n",
        ("tests/unit/mechanisms/test_prices.py", *GATEWAY),
    ),
    Seed(
        "a stream that was cut costs nothing",
        "what was generated is billed, even if the answer broke off",
        "gateway/metering.py",
        "self.estimated(target, self.seat.input_tokens, tokens, outcome)",
        "self.estimated(target, 0, 0, outcome)",
        GATEWAY,
    ),
    Seed(
        "a long stream is never checkpointed",
        "a crash leaves an estimate at most one checkpoint away from the truth",
        "gateway/relay.py",
        "                self._checkpoint(turn.meter, target, answer)\n",
        "",
        GATEWAY,
    ),
)

MONEY_SEEDS = (*BOOK_SEEDS, *GATEWAY_SEEDS)
