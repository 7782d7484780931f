"""Verification of a ledger file, by whoever can read it: also while a server writes to it, also without one.

Promise: the verdict's `problems` name every group whose bytes, number, order or digest were changed, every entry that
does not add up, and every balance, pending operation or remembered ending that is not what the journal says. A file
that is not a database any more is a problem, not an exception.
"""

from __future__ import annotations

from pathlib import Path

import apsw

from penstock.adapters.ledger.journal import decode_group
from penstock.adapters.ledger.replay import Replay
from penstock.adapters.ledger.store import WRITER, PendingRow, Reading, Snapshot
from penstock.ports.ledger import Verdict


def verify_file(path: Path, *, at_least: int = 0) -> Verdict:
    """Walk the journal of the file at `path` from its first group; `at_least` is a group number that must be there.

    Blocks (about 4 µs per entry): call it on a thread. Raises Unavailable if the file cannot be opened.
    """
    reading = Reading(path)
    replay = Replay()
    try:
        _walk(reading, replay, at_least)
    except (apsw.Error, UnicodeDecodeError) as error:
        replay.problem(f"the file is damaged: {error}")
    finally:
        reading.close()
    return replay.verdict()


def _walk(reading: Reading, replay: Replay, at_least: int) -> None:
    snapshot = reading.snapshot()
    for seq, writer, body, digest in reading.groups():
        replay.chain(writer, seq, body, digest)
        try:
            replay.group(writer, seq, decode_group(body))
        except ValueError as error:
            replay.problem(f"{writer}:{seq} cannot be read: {error}")
        replay.settled_now.clear()
        if snapshot is not None and seq == snapshot.seq:
            _compare(reading, replay, snapshot)
    last = replay.seqs.get(WRITER, 0)
    wanted = max(at_least, snapshot.seq if snapshot else 0)
    if last < wanted:
        replay.problem(f"the journal ends at {WRITER}:{last}; groups up to {wanted} were written")


def _compare(reading: Reading, replay: Replay, snapshot: Snapshot) -> None:
    """Check the tables that make opening fast against what the journal says at the snapshot's group."""
    told = {number: (number, *figures) for number, *figures in reading.accounts()}
    for number, account in replay.accounts.items():
        seen = (number, account.name, account.posted_nanos, account.held_nanos, account.postings)
        if told.pop(int(str(number)), None) != seen:
            replay.problem(f"the balance of {account.name} is not what the journal says")
    for number in told:
        replay.problem(f"account {number} is in no journal entry")
    pending = [
        PendingRow(
            operation,
            [account.id for account in one.accounts],
            one.amounts,
            one.checkpoint_nanos,
            one.dispatched,
        )
        for operation, one in replay.books.pending.items()
    ]
    if sorted(pending, key=_operation) != sorted(snapshot.pending, key=_operation):
        replay.problem(
            f"the snapshot at {WRITER}:{snapshot.seq} has other pending operations than the journal"
        )
    if replay.heads[WRITER] != snapshot.head:
        replay.problem(f"the snapshot was taken of another group {WRITER}:{snapshot.seq}")
    if not replay.settled == snapshot.settled == reading.settled():
        replay.problem(
            f"{replay.settled} operations ended by {WRITER}:{snapshot.seq}, but {reading.settled()} are kept"
        )


def _operation(row: PendingRow) -> str:
    return row.operation
