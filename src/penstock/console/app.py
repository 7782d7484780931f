"""The console as an ASGI application: every door and page, and what happens to a call before it gets there.

    call → headers (security.Hardened) → session → who (client.me) → may they? → CSRF of a form → the page

Promises: nothing is served that is not listed here; whoever is signed out is sent to sign in and back; the start is
the first page that one's role opens; the application needs no state of its own, so any process can serve any call.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from penstock.console import navigation, security
from penstock.console.assets import Assets
from penstock.console.navigation import SIGNED_IN
from penstock.console.pages import (
    account,
    alerts,
    audit,
    cache,
    changes,
    costs,
    key_forms,
    keys,
    knowledge,
    limits,
    overview,
    people,
    playground,
    reconciliation,
    requests,
    routes,
    settings,
    signin,
)
from penstock.console.render import Renderer
from penstock.console.security import PREFIX
from penstock.console.visits import Console, Door, Guest, Page, Visit, peer_of, sign_in_path
from penstock.kernel.allowance import Allowance
from penstock.kernel.clock import Clock
from penstock.kernel.errors import Broken, Forbidden, NotFound, PenstockError, Unauthenticated
from penstock.sdk.client import Client

_log = logging.getLogger("penstock.console")

DOORS: Final[tuple[Door, ...]] = signin.DOORS
PAGES: Final[tuple[Page, ...]] = (
    *overview.PAGES,
    *requests.PAGES,
    *costs.PAGES,
    *alerts.PAGES,
    *routes.PAGES,
    *key_forms.PAGES,
    *limits.PAGES,
    *keys.PAGES,
    *people.PAGES,
    *playground.PAGES,
    *knowledge.PAGES,
    *cache.PAGES,
    *audit.PAGES,
    *reconciliation.PAGES,
    *changes.PAGES,
    *settings.PAGES,
    *account.PAGES,
)

Endpoint = Callable[[Request], Awaitable[Response]]
DRAWING_SHARE: Final = 0.01
"""So much of the event loop's time live pages may take; the platform draws their figures within a share of its own."""


def application(
    connect: Callable[[str, str], Client],
    clock: Clock,
    *,
    secure: bool,
    urls: tuple[str, ...] = (),
    draining: Callable[[], bool] = lambda: False,
) -> ASGIApp:
    """Build the console. `connect(token, peer)` opens a client under a session's token ("" for none); `secure`
    tells that browsers come over TLS; `urls` where people reach it (none: wherever they say); `draining` that live
    pages should let go.
    """
    assets = Assets()
    if assets.missing:
        _log.warning("the console's browser libraries are not built: run `make console` and start again")
    console = Console(
        connect,
        Renderer(assets, clock),
        clock,
        secure=secure,
        urls=urls,
        drawing=Allowance(clock, DRAWING_SHARE),
        draining=draining,
    )

    async def file(request: Request) -> Response:
        return assets.serve(request)

    async def nowhere(request: Request, _: Exception) -> Response:
        missing = NotFound("There is no such page.", field="path", value=request.url.path[:200])
        return _failed(_guest(console, request), missing)

    app = Starlette(
        routes=[
            Route(f"{PREFIX}/static/{{digest}}/{{name:path}}", _answering(console, file)),
            *(_door(console, door) for door in DOORS),
            *(_page(console, page) for page in PAGES),
        ],
        exception_handlers={HTTPException: nowhere},
    )
    app.router.redirect_slashes = False
    return security.Hardened(app, secure=secure)


def _door(console: Console, door: Door) -> Route:
    async def serve(request: Request) -> Response:
        if request.method not in security.SAFE_METHODS:
            security.must_be_ours(request)
        guest = _guest(console, request)
        async with guest.client:
            return await door.serve(guest)

    return Route(PREFIX + door.path, _answering(console, serve), methods=[door.method])


def _page(console: Console, page: Page) -> Route:
    async def serve(request: Request) -> Response:
        token = security.session_token(request, secure=console.secure)
        if not token:
            return _sign_in(_guest(console, request))
        client = console.connect(token, peer_of(request))
        async with client:
            try:
                me = await client.me()
            except Unauthenticated:
                return _sign_in(_guest(console, request))
            visit = Visit(console=console, request=request, client=client, me=me, files_most=page.files_most)
            if page.path == "/" and not visit.may(page.needs):
                return visit.go(navigation.home(me.may))
            try:
                await _admit(visit, page)
                return await page.serve(visit)
            except PenstockError as error:
                return _failed(visit, error)

    return Route(PREFIX + page.path, _answering(console, serve), methods=[page.method])


async def _admit(visit: Visit, page: Page) -> None:
    """Raise Forbidden unless this person may open the page, and the form they sent is their own."""
    if page.needs != SIGNED_IN and not visit.may(page.needs):
        raise Forbidden(
            f"Your role may not {page.needs}.",
            field="role",
            value=visit.me.role,
            remedy="Ask an owner or an admin of your organisation.",
        )
    if visit.request.method not in security.SAFE_METHODS:
        security.must_be_ours(visit.request)
        given = visit.request.headers.get(security.CSRF_HEADER) or (await visit.form()).get(
            security.CSRF_FIELD, ""
        )
        security.must_match(given, visit.me.csrf)


def _answering(console: Console, serve: Endpoint) -> Endpoint:
    """Wrap an endpoint so that whatever it raises is answered with a page."""

    async def answered(request: Request) -> Response:
        try:
            return await serve(request)
        except PenstockError as error:
            return _failed(_guest(console, request), error)
        except Exception:  # because a person is owed a page with the request's id, whatever broke
            _log.exception("a page failed: %s", request.url.path)
            return _failed(_guest(console, request), Broken("The page could not be made. This is a bug."))

    return answered


def _guest(console: Console, request: Request) -> Guest:
    return Guest(console=console, request=request, client=console.connect("", peer_of(request)))


def _sign_in(guest: Guest) -> Response:
    """Send somebody who is signed out to the door; a live stream just ends with 401, and its page asks again."""
    if guest.request.headers.get("accept", "").find("text/event-stream") >= 0 and guest.query("live"):
        return Response(status_code=401)
    response = guest.go(sign_in_path(guest.request))
    security.drop_cookie(response, "session", secure=guest.console.secure)
    return response


def _failed(guest: Guest, error: PenstockError) -> Response:
    """Answer an error: a page of its own, or for htmx a word above the page that stays."""
    if error.status >= 500:
        _log.warning("%s failed (%s): %s", guest.request.url.path, guest.request_id, error)
    template = "parts/problem.html" if guest.is_htmx else "pages/problem.html"
    back = navigation.home(guest.me.may) if isinstance(guest, Visit) else "/"
    response = guest.render(template, status=error.status, problem=error, back=back)
    if guest.is_htmx:
        response.headers["hx-retarget"] = "#problems"
        response.headers["hx-reswap"] = "innerHTML"
        response.headers["hx-reselect"] = ".problem"
        response.headers["hx-push-url"] = "false"
    return response
