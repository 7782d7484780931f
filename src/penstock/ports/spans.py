"""Spans on their way out: where the traces of requests go, for people's own tools to show.

Promises
1. When `export` returns, the collector has taken the batch: every span once, with its name, kind, ids, parent, times
   and attributes, and the error of each that failed. It returns how many of them the collector does not want.
2. A batch the collector will never take raises Rejected: sending it again is of no use.
3. A collector that cannot be reached, is busy or answers too late raises Unavailable, with `retry_after_s` when it said
   when to come back; nothing hangs, and the next batch goes through when it is back. A batch that was answered too
   late may have arrived: who sends it again may have it there twice, under the same ids.
4. After `close` every `export` raises Unavailable.

Errors: Rejected, Unavailable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from penstock.kernel.spans import Span


class SpanSink(Protocol):
    """Takes spans. See the promises above."""

    async def export(self, spans: Sequence[Span]) -> int:
        """Send a batch; return how many spans of it the collector did not want."""
        ...

    async def close(self) -> None:
        """Let every connection go."""
        ...
