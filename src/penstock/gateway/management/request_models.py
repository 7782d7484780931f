"""Requests as they are shown: one by one, with their spans, live.

Promise: a request shows every field of its event under the event's own name, and its outcome; no prompt, no answer.
"""

from __future__ import annotations

import msgspec
from pydantic import BaseModel

from penstock.kernel.events import RequestEvent
from penstock.kernel.spans import Span


class CallView(BaseModel):
    """One call to a back end, made for a request. Times are milliseconds since the request's first byte."""

    provider: str
    model: str
    began_ms: float
    ended_ms: float
    outcome: str
    cost_nanos: int
    input_tokens: int
    output_tokens: int


class RequestView(BaseModel):
    """One request. `at_s` is when it ended (seconds since 1970), `_ms` are milliseconds since its first byte."""

    request_id: str
    at_s: float
    outcome: str
    org: str
    team: str
    project: str
    user: str
    key_id: str
    feature: str
    face: str
    model: str
    provider: str
    model_used: str
    route: str
    status: int
    error: str
    stream: bool
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost_nanos: int
    saved_nanos: int
    price_version: str
    estimated: bool
    routed_ms: float
    admitted_ms: float
    latency_ms: float
    first_token_ms: float
    attempts: int
    calls: list[CallView]
    cache: str
    finish: str
    temperature: float | None
    max_tokens: int
    tools_called: int
    prompt_hash: str
    answer_hash: str
    flags: list[str]
    trace_id: str
    parent_span: str
    parent_sampled: bool | None


class RequestPage(BaseModel):
    """Some requests, the latest first; `after` asks for the next page, "" when there is none."""

    requests: list[RequestView]
    after: str


class SpanView(BaseModel):
    """One step of a request, named as OpenTelemetry names it for generative AI. `depth` is 0 for the root."""

    name: str
    kind: str
    began_ms: float
    ended_ms: float
    depth: int
    attributes: dict[str, str | int | float | bool | list[str]]
    error: str


class RequestDetail(BaseModel):
    """A request with its spans, the root first, and how good its answer was said to be, 0 to 1."""

    request: RequestView
    spans: list[SpanView]
    score: float | None


class Skipped(BaseModel):
    """How many requests a live view left out, since more ended than it shows."""

    count: int


_CALL_FIELDS = tuple(CallView.model_fields)
_FIELDS = tuple(name for name in RequestView.model_fields if name not in {"calls", "flags"})


def request_view(event: RequestEvent) -> RequestView:
    """Return a request as it is shown."""
    calls = [{name: _sound(getattr(call, name)) for name in _CALL_FIELDS} for call in event.calls]
    shown = {name: _sound(getattr(event, name)) for name in _FIELDS}
    return RequestView.model_validate(
        {**shown, "calls": calls, "flags": [_sound(flag) for flag in event.flags]}
    )


def span_view(span: Span) -> SpanView:
    """Return a step as it is shown."""
    told = msgspec.structs.asdict(span)
    return SpanView.model_validate({name: told[name] for name in SpanView.model_fields})


def _sound(value: object) -> object:
    """Return text that UTF-8 can hold, anything else as it is: one bad text must not break the page it is on."""
    if isinstance(value, str) and not value.isascii():
        return value.encode(errors="replace").decode()
    return value
