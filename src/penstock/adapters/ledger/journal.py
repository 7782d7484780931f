"""The journal: what is written down about each operation, as compact entries in hash-chained groups.

A group is what one commit carries. Its digest covers the writer, its number, its bytes and the digest before it, so a
changed, missing or reordered byte breaks the chain from there on. Entries are positional (no field names on disk);
their first item is the kind:

    (HOLD, operation, sequence, amount, timeout_s, facts, [account, …], [limit, …])
    (CHECKPOINT, operation, amount, dispatched)
    (SETTLE, operation, outcome, amount, released, overrun, estimated, [attempt, …])
    (ACCOUNT, number, name)            SQLite only: names an account once, later entries say its number

Amounts are nano-dollars. An attempt is `ports.ledger.Attempt` field by field.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import msgspec
from msgspec.structs import astuple

from penstock.kernel.errors import Invalid
from penstock.ports.ledger import Attempt, Settled

FORMAT = 1
HOLD, CHECKPOINT, SETTLE, ACCOUNT = 1, 2, 3, 4

Entry = tuple[object, ...]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, int, list[list[object]]]).decode


def encode_group(wall_ms: int, entries: Sequence[Entry]) -> bytes:
    """Return the bytes of one group: the format, when it was written (ms since 1970, for people only), the entries."""
    return _encode((FORMAT, wall_ms, entries))


def decode_group(body: bytes) -> list[list[object]]:
    """Return a group's entries; raises msgspec.DecodeError (a ValueError) on foreign bytes."""
    return _decode(body)[2]


def link(previous: bytes, writer: str, seq: int, body: bytes) -> bytes:
    """Return the chain digest of group `seq`, given the digest of the group before it."""
    return sha256(b"%b%b:%d:%b" % (previous, writer.encode(), seq, body)).digest()


def genesis(writer: str) -> bytes:
    """Return the digest that stands before a writer's first group."""
    return sha256(f"penstock ledger {writer}".encode()).digest()


def attempt_rows(attempts: Sequence[Attempt]) -> list[tuple[object, ...]]:
    """Return the attempts field by field."""
    return [astuple(attempt) for attempt in attempts]


NO_ATTEMPTS = msgspec.Raw(_encode(()))


def encode_attempts(attempts: Sequence[Attempt]) -> msgspec.Raw:
    """Return the attempts as they are written down; raises Invalid for half characters and huge numbers."""
    if not attempts:
        return NO_ATTEMPTS
    try:
        return msgspec.Raw(_encode(attempt_rows(attempts)))
    except (UnicodeEncodeError, OverflowError, TypeError) as error:
        raise Invalid(f"The attempts cannot be written down: {error}.", field="attempts") from error


def settle_entry(settled: Settled, attempts: msgspec.Raw = NO_ATTEMPTS) -> Entry:
    """Return the entry of a settlement."""
    return (
        SETTLE,
        settled.operation,
        settled.outcome,
        settled.amount_nanos,
        settled.released_nanos,
        settled.overrun_nanos,
        settled.estimated,
        attempts,
    )
