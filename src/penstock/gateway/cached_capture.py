"""What a provider says, copied as it passes, so that it can be kept once it is whole.

Promise: a copy changes nothing and costs a reference per piece; past its bound it is let go; whatever is not a whole
and good answer gives no reply.
"""

from __future__ import annotations

from penstock.dialects.codec import Codec
from penstock.kernel.chat import ChatEvent, ChatReply
from penstock.kernel.errors import PenstockError
from penstock.mechanisms.answer_joining import joined
from penstock.net.sse import SseSplitter
from penstock.ports.providers import ChatCall, ChatProvider, ChatReplyStream, RateHint

NO_RATES = RateHint()


class Tapped:
    """A provider whose answers are copied. It is the copied one's owner who closes that."""

    def __init__(self, provider: ChatProvider, bytes_most: int) -> None:
        """Make each of its answers a capture of at most `bytes_most` bytes."""
        self._provider = provider
        self._bytes_most = bytes_most
        self.name = provider.name
        self.vendor = provider.vendor
        self.dialect = provider.dialect
        self.limit_name = provider.limit_name

    async def chat(self, call: ChatCall) -> Capture:
        """Start one attempt."""
        return Capture(await self._provider.chat(call), self._bytes_most)

    async def close(self) -> None:
        """Do nothing."""


class Capture:
    """One answer on its way, and what of it has passed."""

    def __init__(self, reply: ChatReplyStream, bytes_most: int) -> None:
        """Copy at most `bytes_most` bytes of `reply`."""
        self._reply = reply
        self._left = bytes_most
        self._pieces: list[bytes] = []
        self.status = reply.status
        self.streamed = reply.streamed
        self.key: str = getattr(reply, "key", "")

    @property
    def rates(self) -> RateHint:
        """Return the vendor's limits as it told them with the answer."""
        return getattr(self._reply, "rates", NO_RATES)

    async def read(self, max_bytes: int) -> bytes:
        """Return the whole body."""
        return self._taken(await self._reply.read(max_bytes))

    async def chunk(self) -> bytes:
        """Return the next bytes, b"" at the end."""
        return self._taken(await self._reply.chunk())

    def close(self) -> None:
        """Let the vendor go."""
        self._reply.close()

    def reply(self, codec: Codec) -> ChatReply | None:
        """Return the answer that passed, in canonical form; None unless all of a good one did."""
        if self._left < 0 or not self._pieces:
            return None
        try:
            return self._joined(codec) if self.streamed else codec.parse_reply(b"".join(self._pieces))
        except PenstockError:  # what the relay could pass on as bytes may still be nothing to keep
            return None

    def _joined(self, codec: Codec) -> ChatReply | None:
        splitter, parser = SseSplitter(), codec.parser()
        events: list[ChatEvent] = []
        for piece in self._pieces:
            for block in splitter.feed(piece):
                events += parser.feed(block)
        facts = _head(parser)
        return joined(events, id=facts[0], model=facts[1], created_s=facts[2])

    def _taken(self, piece: bytes) -> bytes:
        self._left -= len(piece)
        if self._left >= 0:
            self._pieces.append(piece)
        else:
            self._pieces.clear()
        return piece


def _head(parser: object) -> tuple[str, str, int]:
    """Return what a stream said of itself: id, model, and when it began (seconds since 1970)."""
    return getattr(parser, "id", ""), getattr(parser, "model", ""), getattr(parser, "created_s", 0)
