"""One call to one back end, up to the point where its answer is certain to have begun.

Promise: until the first content byte a failure is invisible to the caller, because nothing has left yet: a
whole reply is read to its end here, and of a stream the frames before the first content (roles, comments,
keep-alives) are kept back. So "200 and then an error" is a failed attempt like any other, and may be tried
elsewhere.
"""

from __future__ import annotations

import asyncio

from penstock.dialects.codec import DONE, ERROR, MALFORMED, USAGE, EventRenderer, ReplyFacts
from penstock.gateway.load import Deaf, Loads
from penstock.gateway.targets import Target
from penstock.gateway.wording import Passage, StreamPassage
from penstock.kernel.errors import Invalid, PolicyRefused, Unavailable, Upstream
from penstock.net.sse import SseSplitter
from penstock.ports.providers import ChatCall, ChatReplyStream, ProviderFailure

BEFORE_CONTENT = {
    "cut": "connection_reset",
    "error_mid_stream": "server_error",
    "stalled": "first_byte_timeout",
}
"""What a failure that belongs mid-stream is while nothing has left yet: one of those that may be tried again."""
REPLY_BYTES_MAX = 32 * 1024 * 1024
HELD_BACK_BYTES_MAX = 256 * 1024
LATE_S = 0.5
DEAF = Deaf()


class _Answer:
    """What came of the vendor's `reply`. A rule may not let it leave: `refusal`, if it does not."""

    __slots__ = ("refusal", "reply")

    refusal: PolicyRefused | None
    reply: ChatReplyStream

    def check(self) -> None:
        """Raise PolicyRefused for an answer that must not leave."""
        if self.refusal is not None:
            raise self.refusal


class WholeAnswer(_Answer):
    """A complete reply."""

    __slots__ = ("body", "facts")

    def __init__(
        self, reply: ChatReplyStream, body: bytes, facts: ReplyFacts, refusal: PolicyRefused | None = None
    ) -> None:
        """Keep the answer in the caller's dialect, what it means, and the rule that does not let it leave, if any."""
        self.reply = reply
        self.body = body
        self.facts = facts
        self.refusal = refusal


class StreamedAnswer(_Answer):
    """A stream that has begun. `pending` is what may be sent on, in the caller's dialect; `facts` what was seen so
    far. One that must not leave is not read on.
    """

    __slots__ = ("_failure", "_keep_usage", "_passage", "_splitter", "ended", "facts", "pending")

    def __init__(self, reply: ChatReplyStream, passage: Passage, *, keep_usage: bool) -> None:
        """Read `reply`; an event of nothing but usage is passed on only if `keep_usage`."""
        self.reply = reply
        self._splitter = SseSplitter()
        self._passage = passage
        self._keep_usage = keep_usage
        self._failure: ProviderFailure | None = None
        self.facts = passage.codec.facts()
        self.pending = b""
        self.ended = False
        self.refusal = None

    async def next(self) -> bytes:
        """Return the next bytes to send on, b"" if there are none right now or `ended`. The end mark is held
        back.

        Raises ProviderFailure when the stream stalls, is cut, turns into nonsense or carries an error; what came
        before the trouble is returned first.
        """
        if self._failure is not None:
            raise self._failure
        data = await self.reply.chunk()
        if not data:
            self.ended = True
            if not self.facts.done and not self.facts.finish:
                raise ProviderFailure("The provider's stream ended before its answer did.", kind="cut")
            return b""
        return self._pass_on(data)

    async def open(self) -> None:
        """Read until the first content (or a complete answer) has arrived, or a rule refuses what came."""
        facts = self.facts
        held: list[bytes] = []
        size = 0
        while not facts.deltas and not facts.finish and not facts.done and not self.ended:
            try:
                out = await self.next()
            except PolicyRefused as refusal:  # the vendor has answered well, and bills what it said
                self.refusal = refusal
                await self.bill()
                return
            if self._failure is not None:
                raise self._failure  # nothing has left: another back end may answer from the beginning
            held.append(out)
            size += len(out)
            if size > HELD_BACK_BYTES_MAX:
                raise ProviderFailure("The provider sent no content.", kind="malformed_reply")
        self.pending = b"".join(held)

    async def rest(self) -> None:
        """Read what follows the end mark (a late usage, the end of the body), so that the connection can be kept."""
        try:
            async with asyncio.timeout(LATE_S):
                while not self.ended:
                    await self.next()
        except (TimeoutError, ProviderFailure):
            return  # the answer was whole; whatever comes after it is not worth failing for

    async def bill(self) -> None:
        """Read the usage that follows an end which was told, for an answer that will not leave and is billed. One
        without its end is not waited for: what its vendor has not generated yet need not be paid for.
        """
        facts = self.facts
        try:
            async with asyncio.timeout(LATE_S):
                while facts.finish and facts.usage is None and not facts.done:
                    data = await self.reply.chunk()
                    if not data:
                        return
                    for block in self._splitter.feed(data):
                        facts.feed(block)
        except (TimeoutError, Unavailable):
            return  # then the bill is an estimate

    @property
    def holds(self) -> bool:
        """Tell whether anything is held back until it is released."""
        stream = self._passage.stream
        return stream is not None and stream.holds

    def release(self) -> bytes:
        """Return what is held back until now."""
        stream = self._passage.stream
        return b"" if stream is None else stream.release()

    def end(self) -> bytes:
        """Return what ends the answer once it is whole: the success mark of the caller's dialect."""
        passage = self._passage
        return passage.codec.end if passage.stream is None else passage.stream.end()

    @property
    def renderer(self) -> EventRenderer | None:
        """What writes the answer; None where its bytes pass."""
        stream = self._passage.stream
        return None if stream is None else stream.renderer

    def close(self) -> None:
        """Let the vendor go."""
        self.reply.close()

    def _pass_on(self, data: bytes) -> bytes:
        try:
            blocks = self._splitter.feed(data)
        except Upstream as error:
            raise ProviderFailure(error.message, kind="malformed_reply") from None
        translate = self._passage.stream
        if translate is not None:
            return self._translated(blocks, translate)
        feed = self.facts.feed
        for index, block in enumerate(blocks):
            kind = feed(block)
            if kind >= USAGE:
                return self._unusual(blocks, index, kind)
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def _translated(self, blocks: list[bytes], translate: StreamPassage) -> bytes:
        """Return `blocks` in the caller's dialect."""
        out: list[bytes] = []
        for place, block in enumerate(blocks, 1):
            kind = self.facts.feed(block)
            if kind in (ERROR, MALFORMED):
                return self._fail_after(out, self._failure_of(kind))
            if kind == DONE:
                continue
            try:
                out.append(translate.feed(block))
            except (Invalid, Upstream) as error:
                return self._fail_after(out, ProviderFailure(error.message, kind="malformed_reply"))
            except PolicyRefused:
                for unsaid in blocks[place:]:  # it came all the same, and its vendor bills it
                    self.facts.feed(unsaid)
                raise
        return b"".join(out)

    def _fail_after(self, out: list[bytes], failure: ProviderFailure) -> bytes:
        """Return what came before `failure`, which the next call then raises; raise it now when nothing did."""
        told = b"".join(out)
        if not told:
            raise failure
        self._failure = failure
        return told

    def _unusual(self, blocks: list[bytes], index: int, kind: int) -> bytes:
        """Go on through the blocks from `index`, where something else than content came."""
        out = blocks[:index]
        while True:
            if kind >= ERROR:
                return self._fail_after(out, self._failure_of(kind))
            if kind != DONE and (kind != USAGE or self._keep_usage):
                out.append(blocks[index])
            index += 1
            if index == len(blocks):
                return b"".join(out)
            kind = self.facts.feed(blocks[index])

    def _failure_of(self, kind: int) -> ProviderFailure:
        if kind == MALFORMED:
            return ProviderFailure("The provider sent an event that is not JSON.", kind="malformed_reply")
        return ProviderFailure(
            "The provider reported an error inside its stream.",
            kind="error_mid_stream",
            body=self.facts.error,
        )


Answer = WholeAnswer | StreamedAnswer


async def attempt(
    target: Target, call: ChatCall, passage: Passage, *, keep_usage: bool, loads: Loads | Deaf = DEAF
) -> Answer:
    """Make one attempt; returns an answer that has begun, or raises ProviderFailure with the vendor let
    go. What the vendor tells of its limits is told to `loads`.
    """
    reply = await target.provider.chat(call)
    loads.answered(target.label, reply)
    answer: StreamedAnswer | None = None
    try:
        if not reply.streamed:
            body = await reply.read(REPLY_BYTES_MAX)
            reply.close()
            return _whole(reply, body, passage)
        answer = StreamedAnswer(reply, passage, keep_usage=keep_usage)
        await answer.open()
    except ProviderFailure as failure:
        reply.close()
        kind = BEFORE_CONTENT.get(failure.kind, failure.kind)
        if failure.kind == "error_mid_stream" and answer is not None and answer.facts.deltas:
            kind = "connection_reset"  # what the vendor has generated it will bill, so the kind must be one that counts
        failure.kind = failure.reason = kind
        raise
    except BaseException:  # because a cancelled attempt must not leave the vendor's connection behind
        reply.close()
        raise
    return answer


def _whole(reply: ChatReplyStream, body: bytes, passage: Passage) -> WholeAnswer:
    try:
        facts = passage.codec.read_facts(body)
    except Upstream as error:
        raise ProviderFailure(error.message, kind="malformed_reply") from None
    if facts.error:
        raise ProviderFailure(
            "The provider sent an error with status 200.",
            kind="server_error",
            status=200,
            body=body,
            content_type="application/json",
        )
    if passage.whole is not None:
        try:
            body = passage.whole(body)
        except PolicyRefused as refusal:  # the vendor has answered well, and bills what it says
            return WholeAnswer(reply, body, facts, refusal)
        except (Invalid, Upstream) as error:
            raise ProviderFailure(error.message, kind="malformed_reply") from None
    return WholeAnswer(reply, body, facts)
