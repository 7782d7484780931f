"""What a route with rules is asked of one request: who, how urgent, how much, and what its headers wish."""

from __future__ import annotations

from penstock.gateway.choosing import RouteAsk
from penstock.gateway.complexity import last_words
from penstock.gateway.wording import Wording
from penstock.kernel.context import RequestContext

HEADER_CHARS_MOST = 64


def route_ask(context: RequestContext, wording: Wording, draw: int) -> RouteAsk:
    """Return the question; `draw` is the request's own number."""
    envelope = wording.envelope
    return RouteAsk(
        draw,
        context.principal,
        task=_told(context, b"x-penstock-task"),
        region=_told(context, b"x-penstock-region"),
        urgent=_told(context, b"x-penstock-priority") == "urgent",
        input_tokens=envelope.prompt_bytes,
        output_tokens=envelope.output_limit or 0,
        text=lambda: last_words(wording.request),
    )


def _told(context: RequestContext, name: bytes) -> str:
    value = context.header(name)
    return "" if value is None else value[:HEADER_CHARS_MOST].decode("latin-1").strip()
