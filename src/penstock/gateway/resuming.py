"""An answer whose stream broke off, gone on with by another back end: the caller reads one answer from end to end.

    said so far ──▶ the same conversation + what was said + "go on" ──▶ the next target ──(without what it repeats)──▶

Only where the route says so (`resume`), and only plain text: with tools, several choices, a schema or logprobs there is
no place where a second author could go on, and the answer ends with an error in-band as without this.

Promises: an answer whose end was told, or that an operator's `stop` has ended, is not gone on with;
nothing is said twice that the second author repeats from what was said last (`Seam`); each part is billed as its vendor
bills and the caller is told the sum; money for the second part is held before it is asked for; the whole has the length
the caller allowed; it counts as a retry in the retry budget; after `RESUMES_MOST` breaks the answer ends.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET

from penstock.gateway.attempt import StreamedAnswer
from penstock.gateway.calling import Calling
from penstock.gateway.targets import Target
from penstock.gateway.turn import Turn
from penstock.gateway.wording import Wording
from penstock.kernel.chat import ChatEvent, ChatReply, ChatRequest, Message, Text
from penstock.kernel.errors import Invalid, PenstockError
from penstock.kernel.money import Usage
from penstock.mechanisms.tokens import estimate_output_tokens
from penstock.ports.providers import ProviderFailure

RESUMES_MOST: Final = 2
OVERLAP_LEAST: Final = 12
"""Characters that must agree to be a repetition: fewer agree by chance, and a word would lose its beginning."""
SAID_MOST: Final = 1_000_000
"""Characters that are kept to go on from; a longer answer is none to go on with."""
BREAKS: Final = frozenset({"cut", "stalled", "error_mid_stream", "malformed_reply"})
GO_ON: Final = (
    "Your answer above broke off after its last character. Go on exactly there: repeat nothing of it, greet nobody, "
    "and do not mention the interruption."
)


class Seam:
    """Keeps what a vendor says and, after a break, joins what the next one says to it. The first of the filters, so
    that stand-ins go back as stand-ins. Implements `AnswerFilter`.
    """

    __slots__ = ("_held", "_is_joined", "_said", "_size", "_used", "is_plain")

    def __init__(self) -> None:
        """Begin with nothing said."""
        self._said: list[str] = []
        self._size = 0
        self._held = ""
        self._used: Usage | None = None
        self._is_joined = True
        self.is_plain = True
        """Whether nothing but text was said, and all of it is kept."""

    @property
    def said(self) -> str:
        """Return all the text so far."""
        return "".join(self._said)

    def broke(self, used: Usage | None) -> None:
        """Note that the answer broke off; `used` is what all of its parts came to so far."""
        self._used = used or Usage()
        self._said = [self.said]
        self._held, self._is_joined = "", False

    def event(self, event: ChatEvent) -> list[ChatEvent]:
        """Return what is passed on for `event`."""
        if event.tool_calls or event.refusal or event.index:
            self.is_plain = False
        if self._used is not None:
            event = self._continued(event, self._used)
        if event.text and self.is_plain:
            self._keep(event.text)
        return [event]

    def _keep(self, text: str) -> None:
        self._size += len(text)
        self._said.append(text)
        if self._size > SAID_MOST and self._is_joined:
            self.is_plain = False
            self._said.clear()

    def end(self) -> list[ChatEvent]:
        """Return what was held back."""
        held, self._held = self._held, ""
        return [ChatEvent(text=held)] if held else []

    def reply(self, reply: ChatReply) -> ChatReply:
        """Return a whole answer as it is."""
        return reply

    def _continued(self, event: ChatEvent, used: Usage) -> ChatEvent:
        """Return what the second author adds to the answer by `event`: its text, its end, the sum of what was used."""
        text = event.text if self._is_joined else self._joined(event.text, is_last=bool(event.finish))
        return ChatEvent(
            text=text,
            finish=event.finish,
            usage=None if event.usage is None else used.plus(event.usage),
        )

    def _joined(self, text: str, *, is_last: bool) -> str:
        """Return what of the beginning is new; "" while it may still turn out to be a repetition."""
        begun, said = self._held + text, self._said[0]
        if not is_last and _may_repeat(said, begun):
            self._held = begun
            return ""
        self._held, self._is_joined = "", True
        return begun[_overlap(said, begun) :]


def _may_repeat(said: str, begun: str) -> bool:
    """Tell whether `begun` can grow into a repetition of the end of `said`."""
    if len(begun) < OVERLAP_LEAST:
        return len(begun) < len(said)
    at = said.find(begun[:OVERLAP_LEAST])
    while at >= 0:
        if len(said) - at > len(begun) and said.startswith(begun, at):
            return True
        at = said.find(begun[:OVERLAP_LEAST], at + 1)
    return False


def _overlap(said: str, begun: str) -> int:
    """Return how many characters `begun` repeats of the end of `said`; 0 for what may be chance."""
    at = said.find(begun[:OVERLAP_LEAST]) if len(begun) >= OVERLAP_LEAST else -1
    while at >= 0:
        if begun.startswith(said[at:]):
            return len(said) - at
        at = said.find(begun[:OVERLAP_LEAST], at + 1)
    return 0


class Resuming:
    """What may be done when the stream of one request breaks off."""

    __slots__ = ("_calling", "_seam", "_times", "_turn", "targets")

    def __init__(self, calling: Calling, turn: Turn, targets: tuple[Target, ...], seam: Seam) -> None:
        """Go on for `turn` at `targets`; `seam` is among the filters of its answer."""
        self._calling = calling
        self._turn = turn
        self._seam = seam
        self._times = 0
        self.targets = targets

    async def go_on(
        self, target: Target, answer: StreamedAnswer, failure: ProviderFailure
    ) -> tuple[Target, StreamedAnswer]:
        """Return who goes on where `target` broke off, and its answer that has begun. The broken part is on the meter.
        Raises `failure` when nobody can.
        """
        turn, calling = self._turn, self._calling
        said, seat = self._seam.said, turn.meter.seat
        left = (
            seat.output_tokens - estimate_output_tokens(answer.facts.text_bytes, answer.facts.deltas).tokens
        )
        may = failure.kind in BREAKS and self._seam.is_plain and bool(said) and left > 0
        if not may or answer.facts.finish or self._times == RESUMES_MOST or not calling.may_retry():
            raise failure
        self._times += 1
        turn.story.called(target)
        seat.output_tokens = left
        others = tuple(each for each in self.targets if each.label != target.label) or (target,)
        if not await calling.may_say(turn, others, _going_on(turn.wording.request, said)):
            raise failure
        turn.wording.begun = answer.renderer
        turn.meter.earlier = turn.meter.usage
        self._seam.broke(turn.meter.usage)
        try:
            broken, (target, resumed) = target, await calling.answer(turn, others)
        except PenstockError:
            raise failure from None
        if not isinstance(resumed, StreamedAnswer):
            calling.thrown_away(turn, target, resumed)
            raise failure
        calling.ended(turn.resumed_by or broken)
        turn.resumed_by = target
        turn.story.flag("resumed")
        return target, resumed


def resume(turn: Turn, targets: tuple[Target, ...], calling: Calling) -> None:
    """Have a streamed answer gone on with where it breaks off, if somebody else can."""
    wording = turn.wording
    if turn.resuming is not None:
        turn.resuming.targets = targets
    elif wording.envelope.stream and _is_plain(wording):
        seam = Seam()
        wording.filters = (seam, *wording.filters)
        turn.resuming = Resuming(calling, turn, targets, seam)


def _is_plain(wording: Wording) -> bool:
    """Tell whether nothing but text is asked for."""
    try:
        request = wording.request
    except Invalid:  # what passes as bytes, and only its vendor understands, passes as ever
        return False
    is_special = request.tools or request.n != 1 or request.logprobs or wording.check is not None
    return not is_special and request.response_format is UNSET


def _going_on(request: ChatRequest, said: str) -> ChatRequest:
    """Return the request that asks for the rest. What was said is part of it once, however often it broke off."""
    messages = request.messages
    if len(messages) > 1 and messages[-1].content == (Text(GO_ON),):
        messages = messages[:-2]
    answered = Message(role="assistant", content=(Text(said),))
    return msgspec.structs.replace(
        request, messages=(*messages, answered, Message(role="user", content=(Text(GO_ON),)))
    )
