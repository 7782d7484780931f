"""Answers that are ready before they are sent, and refusals made in this process: shared by `local` and `scripted`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from penstock.dialects.openai_errors import render_error
from penstock.kernel.errors import PenstockError
from penstock.ports.providers import ProviderFailure

BLOCKS_PER_TURN: Final = 16
"""Blocks handed out before other tasks get their turn."""


class BytesReply:
    """A `ChatReplyStream` over blocks that exist already."""

    __slots__ = ("_blocks", "_given", "status", "streamed")

    def __init__(self, blocks: Iterable[bytes], *, streamed: bool) -> None:
        """Hand out `blocks`, one per `chunk`."""
        self.status = 200
        self.streamed = streamed
        self._blocks = iter(blocks)
        self._given = 0

    async def read(self, max_bytes: int) -> bytes:
        """Return everything. Raises `ProviderFailure` ("reply_too_large") past `max_bytes`."""
        body = b"".join(self._blocks)
        if len(body) > max_bytes:
            raise ProviderFailure(
                f"The answer has {len(body)} bytes, more than {max_bytes}.",
                kind="reply_too_large",
                status=200,
            )
        return body

    async def chunk(self) -> bytes:
        """Return the next block, b"" at the end."""
        self._given += 1
        if self._given % BLOCKS_PER_TURN == 0:
            await asyncio.sleep(0)
        return next(self._blocks, b"")

    def close(self) -> None:
        """Forget what was not read. Idempotent."""
        self._blocks = iter(())


def refused(error: PenstockError, kind: str = "invalid") -> ProviderFailure:
    """Return the failure a vendor's 400 would have been; nothing was dispatched, nothing is owed."""
    status, body = render_error(error)
    return ProviderFailure(
        str(error), kind=kind, status=status, dispatched=False, body=body, content_type="application/json"
    )
