"""Structured output on the request path: whoever asks for JSON gets JSON that fits, or is told why not.

    a whole reply        validated: mended, asked again with what is wrong, at most twice, under the same hold
    a stream, validated  the same, held until it fits, then told as a stream
    a stream, raw        mended as it flows; once bytes have left nothing is asked again

``x-penstock-structured: validated | raw | off`` chooses; a stream is ``raw`` unless it says otherwise, ``off`` leaves
an answer as the vendor wrote it. ``x-penstock-field: /answer`` streams one string of the JSON alone, as it arrives.

Promise: an answer that was right as it came passes byte for byte.
"""

from __future__ import annotations

import msgspec

from penstock.gateway.routing import Target
from penstock.gateway.story import Story
from penstock.gateway.structured import (
    Accepted,
    Failed,
    Outcome,
    ReAsk,
    Tally,
    Wanted,
    asked,
    failure,
    judge,
    mode,
)
from penstock.gateway.structured_stream import StructuredStream
from penstock.gateway.wording import Wording
from penstock.kernel.chat import ChatEvent, ChatReply, ChatRequest
from penstock.kernel.context import RequestContext
from penstock.kernel.errors import Invalid, Upstream
from penstock.mechanisms.schemas import Schemas


class StructuredCare:
    """An `Inspection` that has answers checked. One per process; `tally` counts how they came out."""

    def __init__(self) -> None:
        """Start without any schema."""
        self._schemas = Schemas()
        self.tally = Tally()

    def inspect(
        self, context: RequestContext, wording: Wording, _targets: tuple[Target, ...], _story: Story
    ) -> None:
        """Have the answer checked when the request asks for JSON. Raises `Invalid` for a bad schema or header."""
        if not wording.envelope.has_format:
            return
        header = (context.header(b"x-penstock-structured") or b"").decode("latin-1")
        if header.strip().lower() == "off":
            return
        streams = wording.envelope.stream
        chosen = mode(header) if streams else "validated"
        wanted = asked(wording.request, self._schemas)
        if wanted is None:
            return
        if chosen == "raw":
            wording.filters += (_Mending(wanted, self.tally, _field(context)),)
            return
        if streams:
            wording.rewrite(msgspec.structs.replace(wording.request, stream=False))
            wording.replays = True
        wording.check = _Checking(wanted, wording, self.tally)


def _field(context: RequestContext) -> str | None:
    pointer = context.header(b"x-penstock-field")
    if pointer is None:
        return None
    text = pointer.decode("latin-1")
    if not text.startswith("/") or len(text) > 256:
        raise Invalid(
            "This is no JSON pointer.", code="invalid_header", field="x-penstock-field", value=text[:256],
            remedy="Name one string of the answer, e.g. /answer (RFC 6901).",
        )  # fmt: skip
    return text


class _Checking:
    """An `AnswerCheck` of one request."""

    __slots__ = ("_request", "_tally", "_wanted", "_wording")

    def __init__(self, wanted: Wanted, wording: Wording, tally: Tally) -> None:
        self._wanted = wanted
        self._wording = wording
        self._request: ChatRequest | None = None
        """What was answered first: a re-ask is this and its own words, so that it does not grow."""
        self._tally = tally

    def judge(self, reply: ChatReply, reasks: int) -> Outcome:
        """Judge the answer that came after so many re-asks."""
        if self._request is None or not reasks:
            self._request = self._wording.request
        outcome = judge(self._wanted, self._request, reply, reasks=reasks)
        self._tally.count(outcome, reasks)
        return outcome

    def failure(self, outcome: ReAsk | Failed, reasks: int) -> Upstream:
        """Return the error of an answer that is not asked for again; a re-ask there was no money for is one."""
        if isinstance(outcome, Failed):
            return outcome.error
        self._tally.failed += 1
        return failure(outcome.mismatches, attempts=reasks + 1, cut=False)


class _Mending:
    """An `AnswerFilter` that mends one stream as it flows; a vendor that answers whole has its answer mended once."""

    __slots__ = ("_field", "_stream", "_tally", "_wanted")

    def __init__(self, wanted: Wanted, tally: Tally, field: str | None) -> None:
        self._wanted = wanted
        self._tally = tally
        self._field = field
        self._stream: StructuredStream | None = None

    def event(self, event: ChatEvent) -> list[ChatEvent]:
        """Return what is passed on for `event`."""
        if self._stream is None:
            self._stream = StructuredStream(self._wanted, self._tally, self._field)
        out = self._stream.feed(event)
        return [] if out is None else [out]

    def end(self) -> list[ChatEvent]:
        """Return nothing: what is held back goes out with the finish."""
        return []

    def reply(self, reply: ChatReply) -> ChatReply:
        """Return a whole answer, mended where that is enough."""
        nothing = ChatRequest(model="", messages=(), n=2)  # of several choices none is asked for again
        outcome = judge(self._wanted, nothing, reply, reasks=0)
        self._tally.count(outcome, 0)
        return outcome.reply if isinstance(outcome, Accepted) else reply
