"""The doors: signing in by password, one-time link or OpenID provider.

Promises: the session's token goes into a cookie that no script can read, and nowhere else; a link's token is in the
address once and then only in the form; a failed try says what to do and never which half was wrong; afterwards one
is where one wanted to go, inside the console.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, unquote, urlencode

from starlette.responses import RedirectResponse, Response

from penstock.console import security
from penstock.console.security import PREFIX
from penstock.console.visits import Door, Guest
from penstock.kernel.errors import Conflict, Invalid, NotFound, PenstockError, Rejected
from penstock.sdk.people import LinkSignIn, OidcSignIn, OidcView, SessionMade, SignIn

OIDC_S: Final = 600
"""How long somebody may take at the OpenID provider."""
OWNER_LINK: Final = "penl-owner-"
_BACK: Final = "/sign-in/oidc/back"


async def show(guest: Guest) -> Response:
    """Show the form."""
    return await _form(guest, next_path=guest.query("next"))


async def enter(guest: Guest) -> Response:
    """Sign in with an email address and a password."""
    form = await guest.form()
    email, wanted = form.get("email", ""), form.get("next", "")
    try:
        given = SignIn(email=email, password=form.get("password", ""), agent=guest.agent)
        made = await guest.client.sessions.sign_in(given)
    except Rejected as problem:
        return await _form(guest, next_path=wanted, email=email, problem=problem)
    return _welcome(guest, made, wanted)


async def show_link(guest: Guest) -> Response:
    """Show the form behind a one-time link."""
    return _link_form(guest, guest.query("token"))


async def accept(guest: Guest) -> Response:
    """Use a one-time link: set a password and be signed in."""
    form = await guest.form()
    token = form.get("token", "")
    try:
        if form.get("password", "") != form.get("again", ""):
            raise Invalid("The two passwords differ.", field="password", remedy="Type the same one twice.")
        given = LinkSignIn(
            token=token,
            password=form.get("password", ""),
            email=form.get("email", ""),
            name=form.get("name", ""),
            agent=guest.agent,
        )
        made = await guest.client.sessions.accept(given)
    except (Rejected, Conflict) as problem:
        return _link_form(
            guest, token, email=form.get("email", ""), name=form.get("name", ""), problem=problem
        )
    return _welcome(guest, made, "")


async def begin_oidc(guest: Guest) -> Response:
    """Send the browser to the OpenID provider; what must be known when it comes back it keeps itself, sealed."""
    started = await guest.client.sessions.begin_oidc(_redirect_uri(guest))
    response = RedirectResponse(started.url, status_code=303)
    secure = guest.console.secure
    security.set_cookie(response, "oidc", started.kept, secure=secure, max_age_s=OIDC_S)
    wanted = quote(security.local_path(guest.query("next")))
    security.set_cookie(response, "next", wanted, secure=secure, max_age_s=OIDC_S)
    return response


async def finish_oidc(guest: Guest) -> Response:
    """Take the browser back from the OpenID provider."""
    kept = _cookie(guest, "oidc")
    try:
        if not kept or not guest.query("code"):
            raise Invalid(
                guest.query("error_description")[:200] or "The provider did not confirm who you are.",
                code=guest.query("error")[:50] or "oidc_unfinished",
                remedy="Try again.",
            )
        given = OidcSignIn(
            code=guest.query("code"),
            state=guest.query("state"),
            kept=kept,
            redirect_uri=_redirect_uri(guest),
            agent=guest.agent,
        )
        made = await guest.client.sessions.finish_oidc(given)
    except Rejected as problem:
        response = await _form(guest, problem=problem)
    else:
        response = _welcome(guest, made, unquote(_cookie(guest, "next")))
    for name in ("oidc", "next"):
        security.drop_cookie(response, name, secure=guest.console.secure)
    return response


async def _form(
    guest: Guest, *, next_path: str = "", email: str = "", problem: PenstockError | None = None
) -> Response:
    try:
        oidc = await guest.client.sessions.oidc()
    except NotFound:
        oidc = OidcView(enabled=False)
    wanted = security.local_path(next_path)
    return guest.render(
        "pages/signin.html",
        status=problem.status if problem else 200,
        oidc=oidc,
        oidc_path=f"{PREFIX}/sign-in/oidc?{urlencode({'next': wanted})}",
        wanted=wanted,
        email=email[:200],
        problem=problem,
    )


def _link_form(
    guest: Guest, token: str, *, email: str = "", name: str = "", problem: PenstockError | None = None
) -> Response:
    response = guest.render(
        "pages/link.html",
        status=problem.status if problem else 200,
        token=token[: security.TOKEN_BYTES_MAX],
        is_owner=token.startswith(OWNER_LINK),
        email=email[:200],
        name=name[:200],
        problem=problem,
    )
    response.headers["referrer-policy"] = "no-referrer"
    return response


def _welcome(guest: Guest, made: SessionMade, wanted: str) -> Response:
    """Let somebody in, to where they wanted to go."""
    response = guest.go(security.local_path(wanted))
    secure = guest.console.secure
    security.set_cookie(response, "session", made.token, secure=secure, max_age_s=security.COOKIE_S)
    return response


def _redirect_uri(guest: Guest) -> str:
    return f"{guest.origin}{PREFIX}{_BACK}"


def _cookie(guest: Guest, name: str) -> str:
    return guest.request.cookies.get(security.cookie_name(name, secure=guest.console.secure), "")


DOORS: Final = (
    Door(path="/sign-in", serve=show),
    Door(path="/sign-in", serve=enter, method="POST"),
    Door(path="/link", serve=show_link),
    Door(path="/link", serve=accept, method="POST"),
    Door(path="/sign-in/oidc", serve=begin_oidc),
    Door(path=_BACK, serve=finish_oidc),
)
