"""A request's event → its spans: what happened when, as OpenTelemetry draws it. Pure.

    chat gpt-4o        ├────────────────────────────────────────────────┤   server    depth 0, the whole request
    parse and route    ├──┤                                                 internal  0 → routed
    admit                 ├────┤                                            internal  routed → admitted: limits, money
    chat gpt-4o                ├───────┤ 503                                client    a call to a back end that failed
                                          (a pause before the next)
    chat gpt-4o-mini                        ├──────────────────────────┤    client    the call that answered
    relay                                           ├──────────────────┤    internal  first token → end

Promises: the first span is the root, the others follow by time; a request has the spans of what it came to and no
others, and the step in which it ended carries the error; ids are derived from the request's id, so that whoever makes
the spans of an event makes the same ones; tokens under the conventions' names are told on the calls that used them and
nowhere else, so that sums over spans are right. Nothing here raises: times out of order are put in order, figures
that no wire can carry are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from types import MappingProxyType

import msgspec

from penstock.kernel.events import Call, RequestEvent
from penstock.kernel.spans import NS_PER_MS, Attribute, Kind, Span
from penstock.mechanisms.genai import CHAT, CURRENT, Names


class BackEnd(msgspec.Struct, frozen=True):
    """Whose API a provider of ours speaks to: the vendor as the price table calls it, and the server."""

    vendor: str = ""
    address: str = ""
    port: int = 0


BackEnds = Mapping[str, BackEnd]
"""Each provider's by its name."""
NO_BACK_ENDS: BackEnds = MappingProxyType({})
_UNKNOWN = BackEnd()
MAX_MS = 1e12
"""Later than this (30 years into a request) is not a time."""
MAX_AT_S = 9e9
"""Later than this (the year 2255) does not fit into 64 bits of nanoseconds."""
MAX_TEXT = 1_024
MAX_INT = 2**63 - 1
_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
_SPAN_ID = re.compile(r"(?!0{16})[0-9a-f]{16}")


def trace_of(event: RequestEvent) -> str:
    """Return the request's trace: its caller's (W3C Trace Context), or one derived from the request's id."""
    if _TRACE_ID.fullmatch(event.trace_id):
        return event.trace_id
    return _digest(event.request_id, "trace", 16)


def spans_of(event: RequestEvent, names: Names = CURRENT, back_ends: BackEnds = NO_BACK_ENDS) -> list[Span]:
    """Return the spans of a request, the root first. `back_ends` adds where each call went."""
    return list(_Drawing(event, names, back_ends).spans())


class _Drawing:
    """The spans of one event on their way: numbers them, and keeps their times inside the request's."""

    __slots__ = ("_back_ends", "_count", "_end_ms", "_event", "_names", "_origin_ns", "_root_id", "_trace_id")

    def __init__(self, event: RequestEvent, names: Names, back_ends: BackEnds) -> None:
        self._event = event
        self._names = names
        self._back_ends = back_ends
        known_ms = (event.latency_ms, event.first_token_ms, event.admitted_ms, event.routed_ms)
        self._end_ms = next((_ms(each) for each in known_ms if _ms(each)), 0.0)
        at_s = event.at_s if 0.0 <= event.at_s <= MAX_AT_S else 0.0
        self._origin_ns = max(0, round(at_s * 1e9) - round(self._end_ms * NS_PER_MS))
        self._trace_id = trace_of(event)
        self._root_id = _digest(event.request_id, "0", 8)
        self._count = 0

    def spans(self) -> Iterator[Span]:
        """Yield the root, the steps before the calls, the calls, the relay."""
        yield self._root()
        calls = self._calls()
        yield from self._steps(reached_calls=bool(calls))
        last = len(calls) - 1
        for position, call in enumerate(calls):
            yield self._call(call, answered=position == last and call.outcome == "ok")
        if _ms(self._event.first_token_ms):
            yield self._relay()

    def _root(self) -> Span:
        event, names = self._event, self._names
        belongs = self._trace_id == event.trace_id and _SPAN_ID.fullmatch(event.parent_span) is not None
        error = event.error if event.status >= 400 or event.error else ""
        attributes: dict[str, Attribute] = {
            names.http_status: event.status,
            names.error_type: error or (str(event.status) if event.status >= 400 else ""),
            "penstock.request_id": event.request_id,
            "penstock.org": event.org,
            "penstock.team": event.team,
            "penstock.project": event.project,
            "penstock.user": event.user,
            "penstock.key_id": event.key_id,
            "penstock.feature": event.feature,
            "penstock.face": event.face,
            "penstock.model": event.model,
            "penstock.route": event.route,
            "penstock.outcome": event.outcome,
            "penstock.attempts": event.attempts,
            "penstock.cache": event.cache,
            "penstock.cost_nanos": event.cost_nanos,
            "penstock.price_version": event.price_version,
            "penstock.estimated": event.estimated,
            "penstock.tools_called": event.tools_called or "",
            "penstock.flags": event.flags,
        }
        return self._span(
            names.span(event.model), "server", 0.0, self._end_ms, attributes,
            error=error, failed=event.status >= 500, parent_id=event.parent_span if belongs else "",
        )  # fmt: skip

    def _steps(self, *, reached_calls: bool) -> Iterator[Span]:
        """Yield the steps before the first call that the request came to; the one it ended in carries the error."""
        event = self._event
        error = event.error or (str(event.status) if event.status >= 400 else "")
        routed_ms, admitted_ms = _ms(event.routed_ms), _ms(event.admitted_ms)
        went_on = reached_calls or bool(_ms(event.first_token_ms)) or bool(event.cache)
        if routed_ms:
            yield self._span("parse and route", "internal", 0.0, routed_ms, {"penstock.route": event.route})
        elif admitted_ms or went_on or not error:
            return  # an event of a time when steps were not told
        else:
            yield self._ended("parse and route", 0.0, error)
            return
        if admitted_ms:
            held = {"penstock.price_version": event.price_version}
            yield self._span("admit", "internal", routed_ms, admitted_ms, held)
        elif not went_on and error:
            yield self._ended("admit", routed_ms, error)

    def _ended(self, name: str, began_ms: float, error: str) -> Span:
        """Return the step in which the request ended."""
        told: dict[str, Attribute] = {self._names.error_type: error}
        failed = self._event.status >= 500
        return self._span(name, "internal", began_ms, self._end_ms, told, error=error, failed=failed)

    def _calls(self) -> list[Call]:
        """Return the calls by time; of an event that does not list them, the one that answered."""
        event = self._event
        if event.calls:
            return sorted(event.calls, key=lambda call: _ms(call.began_ms))
        if not event.provider or event.cache:
            return []
        began_ms = _ms(event.admitted_ms) or _ms(event.routed_ms)
        outcome = event.error or "ok"
        return [Call(event.provider, event.model_used, began_ms, self._end_ms, outcome, event.cost_nanos)]

    def _call(self, call: Call, *, answered: bool) -> Span:
        names, event = self._names, self._event
        error = "" if call.outcome == "ok" else call.outcome or "unknown"
        back_end = self._back_ends.get(call.provider, _UNKNOWN)
        attributes: dict[str, Attribute] = {
            names.operation: CHAT,
            names.provider: names.vendor(back_end.vendor or call.provider),
            names.request_model: call.model,
            names.request_stream: event.stream or "",
            names.request_temperature: "" if event.temperature is None else event.temperature,
            names.request_max_tokens: event.max_tokens or "",
            names.input_tokens: call.input_tokens or "",
            names.output_tokens: call.output_tokens or "",
            names.error_type: error,
            names.server_address: back_end.address,
            names.server_port: back_end.port or "",
            "penstock.provider": call.provider,
            "penstock.outcome": call.outcome,
            "penstock.cost_nanos": call.cost_nanos,
        }
        if answered:
            waited_ms = max(0.0, _ms(event.first_token_ms) - _ms(call.began_ms))
            attributes |= {
                names.input_tokens: call.input_tokens or event.input_tokens,
                names.output_tokens: call.output_tokens or event.output_tokens,
                names.cached_tokens: event.cached_tokens or "",
                names.reasoning_tokens: event.reasoning_tokens or "",
                names.response_model: event.model_used,
                names.finish_reasons: (event.finish,) if event.finish else (),
                names.first_chunk_s: waited_ms / 1e3 if event.stream and waited_ms else "",
            }
        return self._span(
            names.span(call.model), "client", call.began_ms, call.ended_ms, attributes,
            error=error, failed=bool(error),
        )  # fmt: skip

    def _relay(self) -> Span:
        event = self._event
        error = event.error
        told: dict[str, Attribute] = {
            self._names.error_type: error,
            "penstock.time_to_first_token_ms": event.first_token_ms,
            "penstock.finish": event.finish,
        }
        failed = bool(error) and event.status >= 500
        return self._span(
            "relay", "internal", event.first_token_ms, self._end_ms, told, error=error, failed=failed
        )

    def _span(
        self, name: str, kind: Kind, began_ms: float, ended_ms: float, attributes: Mapping[str, Attribute],
        *, error: str = "", failed: bool = False, parent_id: str = "",
    ) -> Span:  # fmt: skip
        """Make the next span: a child of the root but for the first, within the root's time."""
        number = self._count
        self._count += 1
        began_ms = min(_ms(began_ms), self._end_ms)
        return Span(
            name=_text(name),
            kind=kind,
            began_ms=began_ms,
            ended_ms=max(began_ms, min(_ms(ended_ms), self._end_ms)),
            depth=1 if number else 0,
            attributes=dict(_told(attributes)),
            error=_text(error),
            failed=failed,
            trace_id=self._trace_id,
            span_id=_digest(self._event.request_id, str(number), 8) if number else self._root_id,
            parent_id=self._root_id if number else parent_id,
            remote_parent=bool(parent_id),
            origin_ns=self._origin_ns,
        )


def _ms(value: float) -> float:
    """Return a time that is one, else 0."""
    return float(value) if 0.0 <= value <= MAX_MS else 0.0


def _text(text: str) -> str:
    """Return valid Unicode of at most 1,024 characters."""
    return (
        text
        if text.isascii() and len(text) <= MAX_TEXT
        else text[:MAX_TEXT].encode(errors="replace").decode()
    )


def _told(attributes: Mapping[str, Attribute]) -> Iterator[tuple[str, Attribute]]:
    """Yield the attributes that say something, as every wire can carry them."""
    for name, value in attributes.items():
        if isinstance(value, str):
            if value:
                yield name, _text(value)
        elif isinstance(value, int):  # bool among them
            yield name, max(-MAX_INT, min(value, MAX_INT))
        elif isinstance(value, float):
            if abs(value) <= MAX_INT:
                yield name, value
        elif value:
            yield name, tuple(map(_text, value[:32]))


def _digest(request_id: str, part: str, size: int) -> str:
    """Return an id of `size` bytes in hexadecimal that is never all zeros."""
    digest = blake2b(f"{request_id}\n{part}".encode(errors="replace"), digest_size=size).hexdigest()
    return digest if digest.strip("0") else f"{1:0{2 * size}x}"
