"""The control of S1: a ledger as most gateways keep one. It holds nothing and logs the spend after the call.

Promise: it writes through the very ledger it wraps, by the same `hold` and `post`, so that a drill that reads the
books finds them in the same place and in good order; only the order of things is wrong. Spend waits in memory for the
next batch, as spend logs do, for at most `BATCH_S` seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from penstock.ports.ledger import Hold, Posting, Settled

BATCH_S = 0.1


class PosthocLedger:
    """Answers every hold with yes, and remembers the lines until the reply has left."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._holds: dict[str, Hold] = {}
        self._log: list[Posting] = []
        self._task = asyncio.create_task(self._write())

    def __getattr__(self, name: str) -> Any:
        """Everything else is the wrapped ledger's."""
        return getattr(self._inner, name)

    async def hold(self, hold: Hold) -> None:
        """Nothing is reserved."""
        self._holds.setdefault(hold.operation, hold)

    def checkpoint(self, operation: str, amount_nanos: int, *, dispatched: bool = True) -> None:
        """Nothing is noted on the way."""

    def post_soon(self, posting: Posting) -> None:
        """Log the spend, some time."""
        self._log.append(posting)

    async def void(self, operation: str) -> Settled:
        """There is nothing to release."""
        self._holds.pop(operation, None)
        return Settled(operation, "voided", 0)

    async def close(self) -> None:
        """Write what is logged, as an orderly stop does."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self._flush()
        await self._inner.close()

    async def _write(self) -> None:
        while True:
            await asyncio.sleep(BATCH_S)
            await asyncio.shield(self._flush())

    async def _flush(self) -> None:
        batch, self._log = self._log, []
        await asyncio.gather(*[self._post(posting) for posting in batch])

    async def _post(self, posting: Posting) -> None:
        held = self._holds.pop(posting.operation)
        lines = tuple(type(line)(line.account) for line in held.lines)
        await self._inner.hold(Hold(posting.operation, posting.amount_nanos, lines))
        await self._inner.post(posting)


def logged_after(opener: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[PosthocLedger]]:
    """Return an opener whose ledgers are kept the wrong way."""

    async def open_posthoc(*arguments: Any) -> PosthocLedger:
        return PosthocLedger(await opener(*arguments))

    return open_posthoc
