"""A request's spans as a drawing, and its way in words. Pure.

    0 ms                                  240 ms
    chat gpt-4o      ██████████████████████████
      admit          █
      chat gpt-4o      ▌ 503
      chat gpt-4o-mini    █████████████████████   ┊ first token

Promise: a bar lies where its span lay in time, is never outside of the lane, and is wide enough to be seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from penstock.console import formats
from penstock.sdk.people import JsonValue
from penstock.sdk.requests import CallView, RequestView, SpanView

LEAST_WIDTH: Final = 0.4
"""Percent of the lane: about two pixels."""
NOTHING_MS: Final = 1e-6
"""A request that took no longer than this has no scale."""
TICKS: Final = 5
ATTRIBUTES_MAX: Final = 60
ATTRIBUTE_CHARS_MAX: Final = 1_000
DEPTH_MAX: Final = 3
_OUTCOMES: Final = {"ok": "answered"}


@dataclass(frozen=True, slots=True)
class Bar:
    """A span as it is drawn: `x` and `width` are percent of the lane."""

    name: str
    kind: str
    depth: int
    x: float
    width: float
    began_ms: float
    took_ms: float
    error: str
    attributes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Waterfall:
    """The bars, how long the lane is, where its ticks are, where the first token came (percent, 0 for never)."""

    bars: tuple[Bar, ...]
    total_ms: float
    ticks: tuple[float, ...]
    first_token: float


def waterfall(request: RequestView, spans: Sequence[SpanView]) -> Waterfall:
    """Lay the spans out, the root first; of a request without spans, its own time is the only bar."""
    shown = spans or (SpanView(name=request.model or "request", kind="server", ended_ms=request.latency_ms),)
    total_ms = max((request.latency_ms, *(_finite(span.ended_ms) for span in shown)))
    scale = 100 / total_ms if total_ms > NOTHING_MS else 0.0
    return Waterfall(
        bars=tuple(_bar(span, scale) for span in shown),
        total_ms=total_ms,
        ticks=tuple(total_ms * step / (TICKS - 1) for step in range(TICKS)),
        first_token=min(100.0, _finite(request.first_token_ms) * scale),
    )


def path_taken(request: RequestView) -> tuple[tuple[str, str, str], ...]:
    """Return the way of a request, step by step: what it was, what became of it, and how that is: ok, warn or bad."""
    steps = [(f"asked for {request.model or 'a model'}", "", "")]
    if request.cache:
        steps.append((f"{request.cache} cache", "hit", "ok"))
    for call in request.calls:
        kind = "ok" if call.outcome == "ok" else "bad"
        steps.append((_where(call), _OUTCOMES.get(call.outcome, call.outcome), kind))
    if not request.calls and request.provider:
        kind = "ok" if request.outcome == "ok" else "bad"
        steps.append((f"{request.provider}/{request.model_used}", request.error or "answered", kind))
    if request.outcome != "ok" and not request.calls and not request.provider:
        steps.append(
            (
                "Penstock",
                request.error or f"status {request.status}",
                "bad" if request.status >= 500 else "warn",
            )
        )
    return tuple(steps)


def story(request: RequestView) -> tuple[str, ...]:
    """Return in sentences why a request went where it went."""
    lines: list[str] = []
    if request.model:
        lines.append(f"The caller asked for {request.model}.")
    if request.cache:
        lines.append(f"The {request.cache} cache had the answer, so no model was called.")
    failed = [call for call in request.calls if call.outcome != "ok"]
    lines += [f"{_where(call)} was tried and gave {call.outcome} after {_took(call)}." for call in failed]
    if request.outcome == "ok" and request.provider:
        again = " then" if failed else ""
        route = f", by the route {request.route}" if request.route else ""
        lines.append(f"{request.provider}/{request.model_used or request.model}{again} answered{route}.")
    if request.outcome == "refused" and not request.calls:
        lines.append(
            f"Penstock refused it ({request.error or request.status}) before any back end was called: it cost nothing."
        )
    elif request.outcome == "failed":
        lines.append(f"In the end it failed: {request.error or request.status}.")
    if request.estimated:
        lines.append(
            "The provider did not say what was used, so tokens and cost are estimated, on the high side."
        )
    return tuple(lines)


def _bar(span: SpanView, scale: float) -> Bar:
    began_ms = max(0.0, _finite(span.began_ms))
    ended_ms = max(began_ms, _finite(span.ended_ms))
    width = min(100.0, max(LEAST_WIDTH, (ended_ms - began_ms) * scale))
    kind = "relay" if span.name == "relay" else span.kind if span.kind in ("server", "client") else "internal"
    return Bar(
        name=span.name,
        kind=kind,
        depth=min(max(span.depth, 0), DEPTH_MAX),
        x=round(min(began_ms * scale, 100.0 - width), 3),
        width=round(width, 3),
        began_ms=began_ms,
        took_ms=ended_ms - began_ms,
        error=span.error,
        attributes=tuple(_shown(span)),
    )


def _shown(span: SpanView) -> list[tuple[str, str]]:
    """Return the attributes for people: money as money, lists as words."""
    rows = [(name, _text(name, value)) for name, value in span.attributes.items()]
    return [(name, text) for name, text in rows if text][:ATTRIBUTES_MAX]


def _text(name: str, value: JsonValue) -> str:
    if name.endswith("cost_nanos") and isinstance(value, int):
        return formats.exact_money(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(str(each) for each in value)[:ATTRIBUTE_CHARS_MAX]
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    return "" if value is None else str(value)[:ATTRIBUTE_CHARS_MAX]


def _where(call: CallView) -> str:
    return f"{call.provider}/{call.model}"


def _took(call: CallView) -> str:
    return formats.duration(max(call.ended_ms - call.began_ms, 0.0))


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0
