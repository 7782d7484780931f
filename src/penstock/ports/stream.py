"""An append-only log of messages per topic, read by cursor, shared by consumer groups.

Promises
1. `append` is durable against a crash of the process when it returns, in order, and returns the offset of the last
   message; offsets grow by one.
2. `read` from an offset returns every message from it on, in order, none twice, none missed.
3. A group delivers each message to one member at a time; an unacknowledged message comes again after `visible_s`.
4. `commit` is durable: after a restart a group goes on after what it committed.
5. `lag` is the exact number of messages a group has not committed.
6. `trim` removes only whole messages older than the bound; a reader behind it is told the first offset that is left.
7. A torn tail (crash in mid-append) is cut at open: whole messages before it stay, none after it appears.
8. `wait` returns when there is something to read, or after `timeout_s`.
9. A full disk raises Unavailable and leaves the log readable.

Errors: Unavailable, Invalid (message over 1 MiB, unknown topic name), NotFound (offset trimmed away).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message with its place in the topic."""

    offset: int
    value: bytes
    appended_s: float


class Stream(Protocol):
    """A durable log. See the promises above."""

    async def append(self, topic: str, values: Sequence[bytes]) -> int:
        """Append 1 to 10,000 messages in order; returns the offset of the last."""
        ...

    async def read(self, topic: str, offset: int, limit: int = 1000) -> Sequence[Message]:
        """Return up to `limit` messages from `offset` on."""
        ...

    async def poll(
        self, topic: str, group: str, member: str, limit: int = 100, visible_s: float = 30.0
    ) -> Sequence[Message]:
        """Return up to `limit` messages for this member of the group, hidden from the others for `visible_s`."""
        ...

    async def commit(self, topic: str, group: str, offsets: Sequence[int]) -> None:
        """Acknowledge messages of a group."""
        ...

    async def lag(self, topic: str, group: str) -> int:
        """Return how many messages the group has not committed."""
        ...

    async def trim(self, topic: str, before_s: float) -> int:
        """Drop messages appended before the wall time `before_s`; returns the first offset that is left."""
        ...

    async def wait(self, topic: str, offset: int, timeout_s: float) -> bool:
        """Return True once a message at `offset` or later exists, False after `timeout_s`."""
        ...
