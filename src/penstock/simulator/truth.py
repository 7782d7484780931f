"""What really happened at the simulated provider: its own books, against which a gateway's are checked.

Promises
- Every chat request whose head was understood gets exactly one row, closed when nothing more will be sent for it,
  whatever the client did; `summary` adds up all rows since the last reset, the forgotten ones included.
- Money is integer nano-dollars. What the provider *generated* is billed, delivered or not; a refusal is not.
- With a file, each row is appended as one JSON line at the moment it is closed, so that the truth survives the process.
- Memory is bounded: the oldest rows are forgotten past `max_rows`, and counted in `dropped`.
"""

from __future__ import annotations

import os
from collections import deque
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

MAX_ROWS: Final = 250_000
"""Rows kept in memory by default, about 500 bytes each."""
PAGE_ROWS: Final = 10_000


class TruthRow(msgspec.Struct, kw_only=True, gc=False):
    """One request. `sequence` counts from 1 in the order of closing and is 0 while the request runs."""

    id: str
    """The provider's own id, as in its reply."""
    operation: str
    """The caller's ``x-request-id``."""
    model: str
    stream: bool
    received_s: float
    """Seconds since 1970."""
    behaviour: str = "none"
    outcome: str = "running"
    """"ok", the misbehaviour that showed, "refused" (the request was wrong) or "client_gone"."""
    status: int = 0
    input_tokens: int = 0
    searches: int = 0
    """Search units of a reranking that is billed by them, and not by tokens."""
    output_tokens: int = 0
    """Generated, whether or not they left."""
    sent_tokens: int = 0
    """Written to the client's socket."""
    sent_bytes: int = 0
    """Handed to the client's socket; at most its buffer (64 KiB) of them may never have arrived."""
    billed: bool = False
    cost_nanos: int = 0
    reported: str = "usage"
    """What the client was told of its usage: "usage", "missing", "twice", "late" or "wrong"."""
    sequence: int = 0


class Summary(msgspec.Struct, kw_only=True):
    """All closed rows added up."""

    requests: int = 0
    in_flight: int = 0
    billed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    billed_input_tokens: int = 0
    billed_output_tokens: int = 0
    cost_nanos: int = 0
    dropped: int = 0
    outcomes: dict[str, int] = {}


class Truth:
    """The provider's books."""

    def __init__(self, path: Path | None = None, max_rows: int = MAX_ROWS) -> None:
        """Start empty; append closed rows to `path` when one is given."""
        self._rows: deque[TruthRow] = deque()
        self._max_rows = max_rows
        self._sequence = 0
        self._sums = Summary()
        self._encode = msgspec.json.Encoder().encode
        self._file = -1
        if path is not None:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def open(self, row: TruthRow) -> TruthRow:
        """A request has begun."""
        self._sums.in_flight += 1
        return row

    def close_row(self, row: TruthRow) -> None:
        """A request is over: `row` holds its final figures. Must be called once per opened row."""
        self._sequence = row.sequence = self._sequence + 1
        sums = self._sums
        sums.in_flight -= 1
        sums.requests += 1
        sums.input_tokens += row.input_tokens
        sums.output_tokens += row.output_tokens
        if row.billed:
            sums.billed += 1
            sums.billed_input_tokens += row.input_tokens
            sums.billed_output_tokens += row.output_tokens
            sums.cost_nanos += row.cost_nanos
        sums.outcomes[row.outcome] = sums.outcomes.get(row.outcome, 0) + 1
        self._rows.append(row)
        if len(self._rows) > self._max_rows:
            self._rows.popleft()
            sums.dropped += 1
        if self._file >= 0:
            os.write(self._file, self._encode(row) + b"\n")

    def rows(self, after: int = 0, limit: int = PAGE_ROWS) -> list[TruthRow]:
        """Return closed rows with a sequence above `after`, oldest first, at most `limit`."""
        if not self._rows:
            return []
        skip = max(0, after - self._rows[0].sequence + 1)
        return list(islice(self._rows, skip, skip + max(0, limit)))

    def summary(self) -> Summary:
        """Return the totals since the last reset."""
        return msgspec.structs.replace(self._sums, outcomes=dict(self._sums.outcomes))

    def reset(self) -> None:
        """Forget all closed rows and totals; running requests stay counted. The file is left as it is."""
        self._rows.clear()
        self._sums = Summary(in_flight=self._sums.in_flight)

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
