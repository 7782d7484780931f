"""One request in the words of each provider it may go to, and each provider's answer in the words of the caller.

    same dialect at both ends, nothing to look into    bytes pass; only the model, the limit and usage are put in
    otherwise                                          through `kernel.chat`, both ways (thoughts: `gateway/thoughts`)

Promises: what a provider cannot be told is never dropped in silence: a target that cannot be told everything is not
tried while another can, and when none can the caller is refused with the field's name; what cannot change an answer is
left out and named in `x-penstock-left-out`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from penstock.dialects.border import word_of
from penstock.dialects.codec import Codec, EventParser, EventRenderer, StreamHead
from penstock.dialects.envelope import Envelope, Opened, redirected
from penstock.gateway.cadence import Holding
from penstock.gateway.faces import Face
from penstock.gateway.metering import Meter
from penstock.gateway.output_filters import StopAt
from penstock.gateway.routing import Target
from penstock.gateway.story import Story
from penstock.gateway.structured import Failed, Outcome, ReAsk
from penstock.gateway.thoughts import MARK, Signing, returned
from penstock.kernel.chat import ChatEvent, ChatReply, ChatRequest, Extras
from penstock.kernel.clock import Clock
from penstock.kernel.context import RequestContext
from penstock.kernel.errors import Invalid, Upstream
from penstock.kernel.settings_output import Cadence

LEFT_OUT_CHARS_MAX = 512
DEFAULT_LIMIT_NAME = "max_completion_tokens"


class AnswerFilter(Protocol):
    """Looks into an answer on its way to the caller, and may change it. One per answer."""

    def event(self, event: ChatEvent) -> list[ChatEvent]:
        """Return what is passed on for `event`."""
        ...

    def end(self) -> list[ChatEvent]:
        """Return what was held back, now that the answer is whole."""
        ...

    def reply(self, reply: ChatReply) -> ChatReply:
        """Return what is passed on for a whole answer."""
        ...


class AnswerCheck(Protocol):
    """Decides whether a whole answer is what was asked for."""

    def judge(self, reply: ChatReply, reasks: int) -> Outcome:
        """Judge the answer that came after so many re-asks."""
        ...

    def failure(self, outcome: ReAsk | Failed, reasks: int) -> Upstream:
        """Return the error of an answer that is not asked for again."""
        ...


class Shortening(Protocol):
    """Makes one conversation fit its model's window. Calls to vendors it needs are on the request's own meter."""

    async def begin(self, context: RequestContext, meter: Meter, story: Story, /) -> ChatRequest | None:
        """Return what is said now that money is held; None: what was said when it was. Raises `Invalid`."""
        ...

    async def shorter(self, context: RequestContext, meter: Meter, story: Story, /) -> ChatRequest | None:
        """Return what is said now that the vendor found the conversation too long; None: its refusal stands."""
        ...


class Passage:
    """How one answer of one provider gets through to the caller. `whole` and `stream` are None where bytes pass."""

    __slots__ = ("codec", "stream", "whole")

    def __init__(
        self, codec: Codec, whole: Callable[[bytes], bytes] | None = None, stream: StreamPassage | None = None
    ) -> None:
        """Read the provider's `codec`."""
        self.codec = codec
        self.whole = whole
        self.stream = stream


class StreamPassage:
    """A stream, event by event, from one dialect into another."""

    __slots__ = ("_filters", "_holding", "_parser", "renderer")

    def __init__(
        self,
        parser: EventParser,
        renderer: EventRenderer,
        filters: Sequence[AnswerFilter],
        holding: Holding | None = None,
    ) -> None:
        """Read with `parser`, hold back by `holding`, pass through `filters` in order, write with `renderer`."""
        self._parser = parser
        self.renderer = renderer
        self._filters = filters
        self._holding = holding

    @property
    def holds(self) -> bool:
        """Tell whether anything is held back until it is released."""
        return bool(self._holding)

    def feed(self, block: bytes) -> bytes:
        """Return what one event of the provider is to the caller; maybe b"". Raises `Upstream`."""
        events = self._parser.feed(block)
        return self._written(events if self._holding is None else self._holding.add(events), self._filters)

    def release(self) -> bytes:
        """Return what is held back until now."""
        return b"" if self._holding is None else self._written(self._holding.release(), self._filters)

    def end(self) -> bytes:
        """Return what ends a good answer: what was held back, and the success mark."""
        out = self.release()
        for place, each in enumerate(self._filters):
            out += self._written(each.end(), self._filters[place + 1 :])
        return out + self.renderer.done()

    def _written(self, events: list[ChatEvent], filters: Sequence[AnswerFilter]) -> bytes:
        for each in filters:
            events = [passed for event in events for passed in each.event(event)]
        return b"".join([self.renderer.event(event) for event in events])


class Wording:
    """What one request says, to whom, and how its answers come back."""

    __slots__ = ("_asked", "_clock", "_codecs", "_echo", "_request", "_request_id", "begun", "cadence", "check",
                 "envelope", "face", "filters", "left_out", "notes", "output_cap", "replays", "shortening")  # fmt: skip

    def __init__(
        self, face: Face, envelope: Envelope, codecs: Mapping[str, Codec], request_id: str, clock: Clock
    ) -> None:
        """Word the request of `envelope`, which `face` opened; `codecs` are the providers' by name."""
        self.face = face
        self.envelope = envelope
        self.filters: tuple[AnswerFilter, ...] = ()
        """What looks into the answer; any of them takes it off the raw path."""
        self.cadence: Cadence = "token"
        """In which pieces a stream is passed on; any but "token" takes it off the raw path."""
        self.output_cap = 0
        """Answer tokens that the operator's rules allow; 0: no limit of theirs."""
        self.check: AnswerCheck | None = None
        """Judges a whole answer before it leaves."""
        self.shortening: Shortening | None = None
        """What is done about a conversation that may be too long."""
        self.begun: EventRenderer | None = None
        """What wrote the part of the answer that has left, when another goes on with it."""
        self.replays = False
        """Whether a whole answer goes to its caller as a stream."""
        self.notes = b""
        """Header lines about what was done to the request."""
        self.left_out: tuple[str, ...] = ()
        """What the provider called last was not told."""
        self._codecs = codecs
        self._asked = envelope
        self._echo: Extras | None = None
        self._request: ChatRequest | None = None
        self._request_id = request_id
        self._clock = clock

    @property
    def request(self) -> ChatRequest:
        """Return the request in canonical form, parsed once. Raises `Invalid`."""
        if self._request is None:
            self._request = self.face.canonical(self.envelope)
        return self._request

    @property
    def is_over(self) -> bool:
        """Whether an operator's stops have ended every choice: nobody will read what is said from there on."""
        return any(isinstance(each, StopAt) and each.has_ended(self.request.n) for each in self.filters)

    def rewrite(self, request: ChatRequest) -> None:
        """Say `request` instead of what the caller wrote; admission counts what is said."""
        body = self.face.codec.render_request(request, DEFAULT_LIMIT_NAME).body
        self.envelope = Opened(self.face.codec, request, body)
        self._request = request

    def sayable(self, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        """Return the targets that can be told all of the request. Raises `Invalid` when there is none."""
        spoken = self.face.codec.name
        if not [target for target in targets if target.provider.dialect != spoken]:
            return targets  # the usual case
        refusals: list[Invalid] = []
        fit: list[Target] = []
        for target in targets:
            try:
                self.body(target, target.price.max_output_tokens or 1)
            except Invalid as refusal:
                refusals.append(refusal)
            else:
                fit.append(target)
        if not fit:
            raise refusals[0]
        return tuple(fit)

    def body(self, target: Target, output_tokens: int) -> bytes:
        """Return the request as `target` must hear it. Raises `Invalid` when it cannot."""
        dialect = target.provider.dialect
        if dialect == self.face.codec.name and MARK not in self.envelope.body:
            self.left_out = ()
            return self.envelope.redirected(target.model, output_tokens, target.limit_name)
        request, left = returned(redirected(self.request, target.model, output_tokens), dialect)
        rendered = self._codecs[dialect].render_request(request, target.limit_name)
        thoughts = (f"{word_of(self.face.name, 'messages')}.reasoning",) if left else ()
        self.left_out = tuple(dict.fromkeys((*rendered.left_out, *thoughts)))
        return rendered.body

    def passage(self, target: Target) -> Passage:
        """Return how an answer of `target` gets to the caller."""
        codec = self._codecs[target.provider.dialect]
        if codec is self.face.codec and not self.filters and self.cadence == "token":
            return Passage(codec)
        filters = self.filters if codec is self.face.codec else (Signing(codec.name), *self.filters)
        holding = None if self.cadence == "token" else Holding(self.cadence)
        stream = StreamPassage(codec.parser(), self.renderer(), filters, holding)
        return Passage(codec, self._whole(codec, filters), stream)

    def now_s(self) -> int:
        """Return the wall time in whole seconds, as answers tell when they were made."""
        return int(self._clock.wall_s())

    def renderer(self) -> EventRenderer:
        """Return what writes an answer as a stream in the caller's dialect, or goes on writing one that has begun."""
        if self.begun is not None:
            return copy.deepcopy(self.begun)  # an attempt that fails before its first word leaves no trace
        return self.face.codec.renderer(
            StreamHead(
                id=self._request_id,
                model=self.envelope.model,
                created_s=self.now_s(),
                include_usage=self.envelope.include_usage,
                echo=self._echoed(),
            )
        )

    def written(self, reply: ChatReply) -> bytes:
        """Return a whole answer in the caller's dialect."""
        if self.face.codec.echo is not None:
            extras = {**reply.extras, **self._echoed()}
            reply = msgspec.structs.replace(reply, id=reply.id or self._request_id, extras=extras)
        return self.face.codec.render_reply(reply)

    def _echoed(self) -> Extras:
        """Return what answers repeat of the request, as its caller wrote it: what was made of it is not said."""
        if self._echo is None:
            echo = self.face.codec.echo
            self._echo = {} if echo is None else echo(self._asked.body)
        return self._echo

    def headers(self) -> bytes:
        """Return the header line that names what the provider was not told; b"" when it was told everything."""
        return self.notes + left_out_line(self.left_out) if self.left_out else self.notes

    def _whole(self, codec: Codec, filters: Sequence[AnswerFilter]) -> Callable[[bytes], bytes]:
        def translated(body: bytes) -> bytes:
            reply = codec.parse_reply(body)
            for each in filters:
                reply = each.reply(reply)
            return self.written(reply)

        return translated


def left_out_line(left_out: tuple[str, ...]) -> bytes:
    """Return the header line that names what a provider was not told; b"" when it was told everything."""
    if not left_out:
        return b""
    names = ", ".join(left_out).encode("ascii", "replace")
    return b"x-penstock-left-out: %b\r\n" % names[:LEFT_OUT_CHARS_MAX]


class Wordings:
    """Words requests. One per process."""

    __slots__ = ("_clock", "_codecs")

    def __init__(self, codecs: Mapping[str, Codec], clock: Clock) -> None:
        """`codecs` are the providers' dialects by name."""
        self._codecs = codecs
        self._clock = clock

    def of(self, face: Face, envelope: Envelope, request_id: str) -> Wording:
        """Return the wording of a request that `face` opened."""
        return Wording(face, envelope, self._codecs, request_id, self._clock)
