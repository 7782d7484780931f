"""Who may call which route: declared with the route itself, checked before a byte of its body is read.

Promises: a route is declared with the `Action` it needs (or as open to everybody, or to everybody signed in) or the
application does not start; the declaration is what is enforced *and* what the OpenAPI document shows
(``x-penstock-action``, ``x-penstock-public``, ``x-penstock-authenticated``); who may not is refused before anything is
parsed, looked up or changed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, FastAPI, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from penstock.edge.caller import Caller
from penstock.gateway.management.refusals import ErrorReply
from penstock.kernel.errors import Broken, Forbidden, NotFound, Unauthenticated
from penstock.mechanisms.roles import ALLOWED, Action, may

PREFIX: Final = "/api/v1"
ACTION: Final = "x-penstock-action"
BESIDES: Final = "x-penstock-besides"
LEVEL_S: Final = 0.005
"""How long "there is no such thing" waits on average, by lot between half and one and a half of it: the microseconds by
which finding others' things takes longer than finding nothing drown in it, for hundreds of thousands of tries."""
_LOTS: Final = random.SystemRandom()
Handler = TypeVar("Handler", bound=Callable[..., Any])


class Open(Enum):
    """What a route may need instead of an action; the value is how OpenAPI shows it."""

    PUBLIC = "x-penstock-public"
    AUTHENTICATED = "x-penstock-authenticated"


Needs = Action | Open


def caller_of(request: Request) -> Caller:
    """Return who acts, as the edge told it."""
    return request.state.caller


By = Annotated[Caller, Depends(caller_of)]


def check(caller: Caller, needs: Needs) -> None:
    """Raise Unauthenticated or Forbidden unless the caller may do what a route needs."""
    if needs is Open.PUBLIC:
        return
    if caller.kind == "anyone":
        raise Unauthenticated(code="missing_api_key")
    if needs is not Open.AUTHENTICATED:
        must_may(caller, needs)


def must_may(caller: Caller, action: Needs) -> None:
    """Raise Forbidden, naming who may, unless the caller's role may do this."""
    role = caller.principal.role
    if not isinstance(action, Action) or not may(role, action):
        allowed = ALLOWED.get(action, frozenset()) if isinstance(action, Action) else frozenset[str]()
        raise Forbidden(
            f"Your role may not {action.value}.", field="role", value=role, limit=", ".join(sorted(allowed))
        )


class Guarded(APIRoute):
    """A route that checks what it was declared to need before it does anything else."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the framework's handler in the check; raise Broken for a route that declares nothing."""
        needs = needs_of(self)
        serve = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            check(caller_of(request), needs)
            try:
                return await serve(request)
            except NotFound:
                await asyncio.sleep(LEVEL_S * (0.5 + _LOTS.random()))
                raise

        return guarded


def needs_of(route: BaseRoute) -> Needs:
    """Return what a route was declared to need; raise Broken when it declares nothing that can be enforced."""
    told = (route.openapi_extra or {}) if isinstance(route, Guarded) else {}
    found: list[Needs] = [each for each in Open if told.get(each.value) is True]
    found += [each for each in ALLOWED if told.get(ACTION) == each.value]
    if len(found) != 1:
        raise Broken(f"The route {getattr(route, 'path', route)!r} does not declare who may call it.")
    return found[0]


@dataclass(frozen=True, slots=True)
class Declared:
    """One route as its module declares it."""

    method: str
    path: str
    needs: Needs
    serve: Callable[..., Any]
    more: dict[str, Any]

    def add_to(self, app: FastAPI) -> None:
        """Make it a route of the application."""
        app.router.add_api_route(
            PREFIX + self.path,
            self.serve,
            methods=[self.method],
            route_class_override=Guarded,
            **self.more,
        )


@dataclass(frozen=True, slots=True)
class Routes:
    """The routes of one noun. The only way to declare one; `needs` cannot be left out."""

    noun: str
    declared: list[Declared] = field(default_factory=list[Declared])

    def add(
        self,
        method: str,
        path: str,
        *,
        needs: Needs,
        besides: Iterable[Action] = (),
        refuses: Iterable[int] = (),
        **more: Any,
    ) -> Callable[[Handler], Handler]:
        """Declare a route below ``/api/v1``.

        `besides` are actions that some of its uses need on top (the handler checks them), `refuses` the statuses of
        its own refusals; `more` goes to the framework.
        """

        def declare(serve: Handler) -> Handler:
            told = {ACTION: needs.value} if isinstance(needs, Action) else {needs.value: True}
            extra = {**told, BESIDES: [each.value for each in besides]} if besides else told
            statuses = {400, 500, 503, *refuses, *(() if needs is Open.PUBLIC else (401,))}
            statuses |= {403} if isinstance(needs, Action) else set()
            statuses |= {404} if "{" in path else set()
            statuses |= {409, 413} if method != "GET" else set()
            kept = {
                "tags": [self.noun],
                "openapi_extra": extra | more.pop("openapi_extra", {}),
                "responses": {status: {"model": ErrorReply} for status in sorted(statuses)}
                | more.pop("responses", {}),
            }
            self.declared.append(Declared(method, path, needs, serve, kept | more))
            return serve

        return declare


def must_be_declared(routes: Iterable[BaseRoute]) -> None:
    """Raise Broken unless every route declares who may call it: what is not declared does not boot."""
    for route in routes:
        needs_of(route)
