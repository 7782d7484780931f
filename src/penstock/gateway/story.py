"""What happened to one request, gathered on its way and told once, as the audit event.

Promise: the story has an end whatever ended the request; it holds figures and names, never prompts, answers or keys.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol, Self

from penstock.dialects.envelope import Envelope
from penstock.gateway.metering import Meter
from penstock.gateway.routing import Target
from penstock.kernel.clock import Clock
from penstock.kernel.context import RequestContext
from penstock.kernel.errors import PenstockError
from penstock.kernel.events import FLAGGED, Call, RequestEvent
from penstock.kernel.money import Usage
from penstock.mechanisms.audit import AuditPipe
from penstock.mechanisms.prompt_marks import saved_nanos
from penstock.ports.providers import ProviderFailure

NS_PER_MS = 1_000_000
MS_PER_S = 1_000.0
NOTHING: Final = Usage(requests=0)
"""What a request used that never came to an answer."""


class Witness(Protocol):
    """Sees what passes between caller and line; see `gateway/contents`."""

    is_flagged: bool

    def hashes(self) -> tuple[str, str]:
        """Return the hashes of prompt and answer; once, at the end."""
        ...

    def let_go(self) -> None:
        """Hold nothing of the answer any more; the request has ended."""
        ...


class Place(Protocol):
    """What a request takes up while it is served; see `gateway/places`."""

    def leave(self) -> None:
        """Give it back."""
        ...


class Asked(Protocol):
    """What the story tells of an envelope (`dialects/envelope`)."""

    @property
    def model(self) -> str:
        """The model as the caller names it."""
        ...

    @property
    def stream(self) -> bool:
        """Whether a stream is asked for."""
        ...

    @property
    def temperature(self) -> float | None:
        """The sampling temperature asked for."""
        ...

    @property
    def output_limit(self) -> int | None:
        """The answer's bound asked for, in tokens."""
        ...


class _Unread:
    """What was asked by a request that nobody could read."""

    model = ""
    stream = False
    temperature = output_limit = None


UNREAD: Final = _Unread()
NOBODY: Final = ("", "", "", "")
"""The provider, model, route and price version of a request that nobody served."""


class Story:
    """One request's facts. Marks are taken in seconds of the monotonic clock, and told as milliseconds since the first
    byte. Around the request (``with story.told_to(audit)``) it tells itself when that has ended.
    """

    __slots__ = ("_admitted_s", "_audit", "_cache", "_clock", "_context", "_ended", "_envelope", "_error", "_face",
                 "_finish", "_first_s", "_flags", "_meter", "_routed_s", "_served", "_status", "_target",
                 "_tool_calls", "_under_way", "place", "witness")  # fmt: skip

    def __init__(self, context: RequestContext, clock: Clock, face: str = "openai") -> None:
        """Begin with who asks, and in whose dialect (`face`)."""
        self._context = context
        self._clock = clock
        self._face = face
        self._audit: AuditPipe | None = None
        self._envelope: Asked = UNREAD
        self._target: Target | None = None
        self._served = NOBODY
        self._meter: Meter | None = None
        self._routed_s = self._admitted_s = self._first_s = 0.0
        self._under_way: list[tuple[Target, float]] = []
        self._ended: list[tuple[Target, float, float]] = []
        self._finish = ""
        self._tool_calls = 0
        self._status = 200
        self._error = ""
        self._flags: tuple[str, ...] = ()
        self._cache = ("", 0)
        self.witness: Witness | None = None
        """Who saw the contents; None where nobody looks."""
        self.place: Place | None = None
        """What is given back once this is told."""

    def told_to(self, audit: AuditPipe) -> Self:
        """Have this story told to `audit` at the end of a ``with``, whatever ends it."""
        self._audit = audit
        return self

    def __enter__(self) -> None:
        """Wait for the end."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Tell it."""
        if error is not None:
            self.failed(error)
        try:
            if self._audit is not None:
                self._audit.offer(self.event())
        finally:
            if self.witness is not None:
                self.witness.let_go()
            if self.place is not None:
                self.place.leave()

    def asked(self, envelope: Envelope) -> Envelope:
        """Note what was asked; returns it."""
        self._envelope = envelope
        return envelope

    def routed(self) -> None:
        """Note that the request is understood and its back ends are chosen."""
        self._routed_s = self._clock.monotonic_s()

    def admitted(self) -> None:
        """Note that limits are taken and money is held."""
        self._admitted_s = self._clock.monotonic_s()

    def flag(self, *flags: str) -> None:
        """Note what somebody who looked into the request wants known of it."""
        self._flags += flags
        if self.witness is not None and FLAGGED in flags:
            self.witness.is_flagged = True

    def cached(self, how: str, saved_nanos: int) -> None:
        """Note that the answer was a kept one ("exact", "stale"), and what it had cost when it was fresh."""
        self._cache = (how, saved_nanos)

    def calling(self, target: Target) -> None:
        """Note that a call to a back end begins; no two under way are of one and the same `target`."""
        self._under_way.append((target, self._clock.monotonic_s()))

    def waited_ms(self) -> float:
        """Return the milliseconds since the call under way began."""
        return (self._clock.monotonic_s() - self._under_way[-1][1]) * MS_PER_S

    def called(self, target: Target) -> None:
        """Note that a call under way has ended without an answer that is used; it is the meter's latest attempt."""
        for index, (each, began_s) in enumerate(self._under_way):
            if each is target:
                del self._under_way[index]
                self._ended.append((target, began_s, self._clock.monotonic_s()))
                return

    def stopped(self) -> None:
        """Note that no call is under way any more, whatever became of the last."""
        if self._under_way:
            now_s = self._clock.monotonic_s()
            self._ended += [(target, began_s, now_s) for target, began_s in self._under_way]
            self._under_way.clear()

    @property
    def attempts(self) -> int:
        """Return how many calls to vendors were made."""
        return len(self._meter.attempts) if self._meter is not None else 0

    @property
    def spent_nanos(self) -> int:
        """Return what those cost, in nano-dollars."""
        return self._meter.spent_nanos if self._meter is not None else 0

    def first_token(self, target: Target) -> None:
        """Note that the answer begins, and whose it is."""
        self._target = target
        self._served = (target.provider.name, target.model, target.route, target.price.version)
        self._first_s = self._clock.monotonic_s()

    def answered_here(self, provider: str, model: str) -> None:
        """Note that the answer begins, of a model in this machine that no route leads to."""
        self._served = (provider, model, "", "")
        self._first_s = self._clock.monotonic_s()

    def finished(self, finish: str, tool_calls: int) -> None:
        """Note why the answer ended."""
        self._finish = finish
        self._tool_calls = tool_calls

    def accepted(self) -> None:
        """Note that the caller was promised an answer for later."""
        self._status = 202

    def settled(self, meter: Meter) -> None:
        """Note what it cost; the last call has ended."""
        self._meter = meter
        self.stopped()

    def failed(self, error: BaseException) -> None:
        """Note what went wrong."""
        if isinstance(error, ProviderFailure):
            self._status, self._error = error.vendor_status or error.status, error.kind
        elif isinstance(error, PenstockError):
            self._status, self._error = error.status, error.reason
        elif isinstance(error, asyncio.CancelledError):
            left = self._context.caller_left
            self._status, self._error = (499, "client_gone") if left else (503, "draining")
        else:
            self._status, self._error = 500, "internal_error"

    def event(self) -> RequestEvent:
        """Tell the story; once."""
        prompt_hash, answer_hash = ("", "") if self.witness is None else self.witness.hashes()
        context, envelope, meter, target = self._context, self._envelope, self._meter, self._target
        principal = context.principal
        provider, model_used, route, price_version = self._served
        from_ms = context.received_ns / NS_PER_MS
        if meter is None:
            usage, spent_nanos, estimated, calls, attempts = NOTHING, 0, False, (), 0
        else:
            usage = meter.usage or NOTHING
            spent_nanos, estimated, attempts = meter.spent_nanos, meter.is_estimate, len(meter.attempts)
            calls = _calls(self._ended, meter, from_ms)
        cache, saved = self._cache
        if target is not None:
            saved += saved_nanos(target.price, usage)
        return RequestEvent(
            request_id=context.request_id,
            at_s=self._clock.wall_s(),
            org=principal.org,
            team=principal.team,
            project=principal.project,
            user=principal.user,
            key_id=principal.key_id,
            feature=context.feature,
            face=self._face,
            model=envelope.model,
            provider=provider,
            model_used=model_used,
            route=route,
            price_version=price_version,
            status=self._status,
            error=self._error,
            finish=self._finish,
            stream=envelope.stream,
            temperature=envelope.temperature,
            max_tokens=envelope.output_limit or 0,
            input_tokens=usage.input_tokens,
            cached_tokens=usage.cached_input_tokens,
            output_tokens=usage.output_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            cost_nanos=spent_nanos,
            estimated=estimated,
            attempts=attempts,
            tools_called=self._tool_calls,
            prompt_hash=prompt_hash,
            answer_hash=answer_hash,
            flags=self._flags,
            cache=cache,
            saved_nanos=saved,
            calls=calls,
            trace_id=context.trace_id,
            parent_span=context.parent_span,
            parent_sampled=context.parent_sampled,
            routed_ms=self._routed_s * MS_PER_S - from_ms if self._routed_s else 0.0,
            admitted_ms=self._admitted_s * MS_PER_S - from_ms if self._admitted_s else 0.0,
            first_token_ms=self._first_s * MS_PER_S - from_ms if self._first_s else 0.0,
            latency_ms=self._clock.monotonic_s() * MS_PER_S - from_ms,
        )


def _calls(ended: list[tuple[Target, float, float]], meter: Meter, from_ms: float) -> tuple[Call, ...]:
    """Tell of each call, as they began: when it was, and what the meter says became of it."""
    told = list(zip(ended, meter.attempts, strict=False))
    if len(told) > 1:
        told.sort(key=lambda each: each[0][1])
    return tuple(
        [
            Call(
                target.provider.name,
                target.model,
                began_s * MS_PER_S - from_ms,
                ended_s * MS_PER_S - from_ms,
                attempt.outcome,
                attempt.cost_nanos,
                attempt.input_tokens,
                attempt.output_tokens,
            )
            for (target, began_s, ended_s), attempt in told
        ]
    )
