"""One recorded stream through the gateway's reader of streams, cut wherever a test says, without a socket or
a loop.

Promise: what `relay` returns is everything a caller and the books would see: the bytes passed on, the facts,
the failure.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from penstock.dialects.openai import CODEC
from penstock.gateway.attempt import StreamedAnswer
from penstock.gateway.wording import Passage
from penstock.ports.providers import ProviderFailure

T = TypeVar("T")
FACTS = (
    *("id", "model", "deltas", "text_bytes", "tool_calls", "usage", "finish", "done", "error"),
    *("usage_repeated", "usage_decreased"),
)
Outcome = tuple[bytes, tuple[object, ...], str]


class Pieces:
    """A provider's reply that comes in given pieces."""

    streamed = True
    status = 200

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._left = [piece for piece in reversed(pieces) if piece]

    async def chunk(self) -> bytes:
        """The next piece, b"" at the end."""
        return self._left.pop() if self._left else b""

    def close(self) -> None:
        """Nothing to release."""


def relay(pieces: Sequence[bytes], *, keep_usage: bool = True) -> Outcome:
    """Pass a stream on; returns what the caller got, what accounting knows, and how it failed ("" if not)."""
    reply: Any = Pieces(pieces)
    answer = StreamedAnswer(reply, Passage(CODEC), keep_usage=keep_usage)
    out: list[bytes] = []
    failure = ""
    try:
        at_once(_read(answer, out))
    except ProviderFailure as error:
        failure = error.kind
    return b"".join(out), tuple(getattr(answer.facts, name) for name in FACTS), failure


async def _read(answer: StreamedAnswer, out: list[bytes]) -> None:
    """Read as `gateway.relay` does."""
    await answer.open()
    out.append(answer.pending)
    while not answer.ended and not answer.facts.done:
        out.append(await answer.next())


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never has to wait."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("it waited")
