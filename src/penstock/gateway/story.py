"""What happened to one request, gathered on its way and told once, as the audit event.

Promise: the story has an end whatever ended the request; it holds figures and names, never prompts, answers or keys.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from penstock.dialects.envelope import Envelope
from penstock.gateway.metering import Meter
from penstock.gateway.routing import Target
from penstock.kernel.clock import Clock
from penstock.kernel.context import RequestContext
from penstock.kernel.errors import PenstockError
from penstock.kernel.events import FLAGGED, Call, RequestEvent
from penstock.mechanisms.audit import AuditPipe
from penstock.mechanisms.prompt_marks import saved_nanos
from penstock.ports.providers import ProviderFailure

NS_PER_MS = 1_000_000
MS_PER_S = 1_000.0


class Witness(Protocol):
    """Sees what passes between caller and line; see `gateway/contents`."""

    is_flagged: bool

    def hashes(self) -> tuple[str, str]:
        """Return the hashes of prompt and answer; once, at the end."""
        ...


class Story:
    """One request's facts. Marks are taken in seconds of the monotonic clock, and told as milliseconds since the first
    byte.
    """

    __slots__ = ("_admitted_s", "_cache", "_clock", "_context", "_ended", "_envelope", "_error", "_face",
                 "_finish", "_first_s", "_flags", "_meter", "_routed_s", "_status", "_target",
                 "_tool_calls", "_under_way", "witness")  # fmt: skip

    def __init__(self, context: RequestContext, clock: Clock, face: str = "openai") -> None:
        """Begin with who asks, and in whose dialect (`face`)."""
        self._context = context
        self._clock = clock
        self._face = face
        self._envelope: Envelope | None = None
        self._target: Target | None = None
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

    def told_to(self, audit: AuditPipe) -> Telling:
        """Return what tells this story to `audit` at the end of a ``with``, whatever ends it."""
        return Telling(self, audit)

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
        for target, _ in tuple(self._under_way):
            self.called(target)

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

    def _calls(self, meter: Meter, from_ms: float) -> tuple[Call, ...]:
        """Tell of each call, as they began: when it was, and what the meter says became of it."""
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
                for (target, began_s, ended_s), attempt in sorted(
                    zip(self._ended, meter.attempts, strict=False), key=lambda told: told[0][1]
                )
            ]
        )

    def event(self) -> RequestEvent:
        """Tell the story; once."""
        prompt_hash, answer_hash = ("", "") if self.witness is None else self.witness.hashes()
        context, envelope, meter, target = self._context, self._envelope, self._meter, self._target
        principal = context.principal
        usage = meter.usage if meter is not None else None
        from_ms = context.received_ns / NS_PER_MS
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
            model=envelope.model if envelope else "",
            provider=target.provider.name if target else "",
            model_used=target.model if target else "",
            route=target.route if target else "",
            price_version=target.price.version if target else "",
            status=self._status,
            error=self._error,
            finish=self._finish,
            stream=envelope.stream if envelope else False,
            temperature=envelope.temperature if envelope else None,
            max_tokens=(envelope.output_limit or 0) if envelope else 0,
            input_tokens=usage.input_tokens if usage else 0,
            cached_tokens=usage.cached_input_tokens if usage else 0,
            output_tokens=usage.output_tokens if usage else 0,
            reasoning_tokens=usage.reasoning_tokens if usage else 0,
            cost_nanos=meter.spent_nanos if meter else 0,
            estimated=meter.is_estimate if meter else False,
            attempts=self.attempts,
            tools_called=self._tool_calls,
            prompt_hash=prompt_hash,
            answer_hash=answer_hash,
            flags=self._flags,
            cache=self._cache[0],
            saved_nanos=self._cache[1] + (saved_nanos(target.price, usage) if usage and target else 0),
            calls=self._calls(meter, from_ms) if meter else (),
            trace_id=context.trace_id,
            parent_span=context.parent_span,
            parent_sampled=context.parent_sampled,
            routed_ms=self._routed_s * MS_PER_S - from_ms if self._routed_s else 0.0,
            admitted_ms=self._admitted_s * MS_PER_S - from_ms if self._admitted_s else 0.0,
            first_token_ms=self._first_s * MS_PER_S - from_ms if self._first_s else 0.0,
            latency_ms=self._clock.monotonic_s() * MS_PER_S - from_ms,
        )


class Telling:
    """Tells a story once it has ended."""

    __slots__ = ("_audit", "_story")

    def __init__(self, story: Story, audit: AuditPipe) -> None:
        """Tell `story` to `audit`."""
        self._story = story
        self._audit = audit

    def __enter__(self) -> None:
        """Wait for the end."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Tell it."""
        if error is not None:
            self._story.failed(error)
        self._audit.offer(self._story.event())
