"""Choosing the back ends of one request: what a route with rules is asked of it, and what its feature may not use."""

from __future__ import annotations

from collections.abc import Callable

from penstock.dialects.envelope import Envelope
from penstock.gateway.choosing import Choice, RouteAsk
from penstock.gateway.complexity import last_words
from penstock.gateway.features import Feature
from penstock.gateway.places import priority_in
from penstock.gateway.routing import RouteTable
from penstock.gateway.wording import Wording
from penstock.kernel.context import RequestContext
from penstock.mechanisms.priorities import HEADER, Priority

HEADER_CHARS_MOST = 64


class Chooser:
    """Chooses by the table in force. One per process: each choice is a draw of its own."""

    __slots__ = ("_draws", "_routes")

    def __init__(self, routes: Callable[[], RouteTable]) -> None:
        """`routes()` returns the table in force now."""
        self._routes = routes
        self._draws = 0

    def feature(self, context: RequestContext) -> Feature | None:
        """Return the rules of a request's feature, None when there are none."""
        features = self._routes().features
        return None if features is None else features.of(context.principal, context.feature)

    def choose(self, context: RequestContext, wording: Wording, model: str) -> Choice:
        """Return who may answer under the public name `model`, and what else its route says of the request. Raises
        Rejected when nobody may.
        """
        self._draws += 1
        table = self._routes()
        route = table.find(model, context.principal)
        if route.rules is None:  # the usual route
            choice = route.draw(self._draws)
        else:
            ask = route_ask(context, wording.envelope, self._draws, text=lambda: last_words(wording.request))
            choice = route.choose(ask)
        if wording.envelope.service_tier:
            priced = table.in_service(choice.targets, wording.envelope.service_tier, context.principal.org)
            choice = choice._replace(targets=priced)
        if table.features is None:
            return choice
        return table.narrow(choice, model, context.principal, context.feature)


def route_ask(context: RequestContext, envelope: Envelope, draw: int, *, text: Callable[[], str]) -> RouteAsk:
    """Return the question; `draw` is the request's own number, `text()` what a judge of its difficulty looks at."""
    return RouteAsk(
        draw,
        context.principal,
        task=_told(context, b"x-penstock-task"),
        region=_told(context, b"x-penstock-region"),
        urgent=_is_urgent(context),
        input_tokens=envelope.prompt_bytes,
        output_tokens=envelope.output_limit or 0,
        text=text,
    )


def _is_urgent(context: RequestContext) -> bool:
    """Tell whether a request says that it is urgent, and its key is one for more than background work."""
    says_so = _told(context, HEADER).lower() in ("urgent", "critical")
    return says_so and priority_in(context) < Priority.NORMAL


def _told(context: RequestContext, name: bytes) -> str:
    value = context.header(name)
    return "" if value is None else value[:HEADER_CHARS_MOST].decode("latin-1").strip()
