"""One request in the words of each provider it may go to, and each provider's answer in the words of the caller.

    same dialect at both ends, nothing to look into    bytes pass; only the model, the limit and usage are put in
    otherwise                                          through `kernel.chat`, both ways

Promises: what a provider cannot be told is never dropped in silence: a target that cannot be told everything is not
tried while another can, and when none can the caller is refused with the field's name; what cannot change an answer is
left out and named in `x-penstock-left-out`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from penstock.dialects.codec import Codec, EventParser, EventRenderer, StreamHead
from penstock.dialects.envelope import Envelope, Opened, redirected
from penstock.gateway.faces import Face
from penstock.gateway.routing import Target
from penstock.gateway.structured import Failed, Outcome, ReAsk
from penstock.kernel.chat import ChatEvent, ChatReply, ChatRequest
from penstock.kernel.clock import Clock
from penstock.kernel.errors import Invalid, Upstream

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

    __slots__ = ("_filters", "_parser", "_renderer")

    def __init__(self, parser: EventParser, renderer: EventRenderer, filters: Sequence[AnswerFilter]) -> None:
        """Read with `parser`, pass through `filters` in order, write with `renderer`."""
        self._parser = parser
        self._renderer = renderer
        self._filters = filters

    def feed(self, block: bytes) -> bytes:
        """Return what one event of the provider is to the caller; maybe b"". Raises `Upstream`."""
        return self._written(self._parser.feed(block), self._filters)

    def end(self) -> bytes:
        """Return what ends a good answer: what filters held back, and the success mark."""
        out = b""
        for place, each in enumerate(self._filters):
            out += self._written(each.end(), self._filters[place + 1 :])
        return out + self._renderer.done()

    def _written(self, events: list[ChatEvent], filters: Sequence[AnswerFilter]) -> bytes:
        for each in filters:
            events = [passed for event in events for passed in each.event(event)]
        return b"".join([self._renderer.event(event) for event in events])


class Wording:
    """What one request says, to whom, and how its answers come back."""

    __slots__ = ("_clock", "_codecs", "_request", "_request_id", "check", "envelope", "face", "filters",
                 "left_out", "notes", "replays")  # fmt: skip

    def __init__(
        self, face: Face, envelope: Envelope, codecs: Mapping[str, Codec], request_id: str, clock: Clock
    ) -> None:
        """Word the request of `envelope`, which `face` opened; `codecs` are the providers' by name."""
        self.face = face
        self.envelope = envelope
        self.filters: tuple[AnswerFilter, ...] = ()
        """What looks into the answer; any of them takes it off the raw path."""
        self.check: AnswerCheck | None = None
        """Judges a whole answer before it leaves."""
        self.replays = False
        """Whether a whole answer goes to its caller as a stream."""
        self.notes = b""
        """Header lines about what was done to the request."""
        self.left_out: tuple[str, ...] = ()
        """What the provider called last was not told."""
        self._codecs = codecs
        self._request: ChatRequest | None = None
        self._request_id = request_id
        self._clock = clock

    @property
    def request(self) -> ChatRequest:
        """Return the request in canonical form, parsed once. Raises `Invalid`."""
        if self._request is None:
            self._request = self.face.canonical(self.envelope)
        return self._request

    def rewrite(self, request: ChatRequest) -> None:
        """Say `request` instead of what the caller wrote; admission counts what is said."""
        body = self.face.codec.render_request(request, DEFAULT_LIMIT_NAME).body
        self.envelope = Opened(self.face.codec, request, body)
        self._request = request

    def sayable(self, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        """Return the targets that can be told all of the request. Raises `Invalid` when there is none."""
        if all(target.provider.dialect == self.face.name for target in targets):
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
        if dialect == self.face.name:
            self.left_out = ()
            return self.envelope.redirected(target.model, output_tokens, target.limit_name)
        request = redirected(self.request, target.model, output_tokens)
        rendered = self._codecs[dialect].render_request(request, target.limit_name)
        self.left_out = rendered.left_out
        return rendered.body

    def passage(self, target: Target) -> Passage:
        """Return how an answer of `target` gets to the caller."""
        codec = self._codecs[target.provider.dialect]
        if codec is self.face.codec and not self.filters:
            return Passage(codec)
        return Passage(
            codec, self._whole(codec), StreamPassage(codec.parser(), self.renderer(), self.filters)
        )

    def renderer(self) -> EventRenderer:
        """Return what writes an answer as a stream in the caller's dialect."""
        return self.face.codec.renderer(
            StreamHead(
                id=self._request_id,
                model=self.envelope.model,
                created_s=int(self._clock.wall_s()),
                include_usage=self.envelope.include_usage,
            )
        )

    def headers(self) -> bytes:
        """Return the header line that names what the provider was not told; b"" when it was told everything."""
        if not self.left_out:
            return self.notes
        return (
            self.notes
            + b"x-penstock-left-out: %b\r\n"
            % ", ".join(self.left_out).encode("ascii", "replace")[:LEFT_OUT_CHARS_MAX]
        )

    def _whole(self, codec: Codec) -> Callable[[bytes], bytes]:
        def translated(body: bytes) -> bytes:
            reply = codec.parse_reply(body)
            for each in self.filters:
                reply = each.reply(reply)
            return self.face.codec.render_reply(reply)

        return translated


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
