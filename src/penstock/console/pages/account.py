"""One's own account: who one is, the sessions one has, the theme; signing out.

Promises: one sees and ends one's own sessions only; signing out ends the session at the platform, not just the cookie.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from penstock.console import held_key, security
from penstock.console.navigation import SIGNED_IN
from penstock.console.visits import THEMES, Page, Visit
from penstock.kernel.errors import Invalid, NotFound, Unauthenticated

OWN_SESSIONS: Final = "see and end one's own sessions"
THEME_S: Final = 365 * 86_400


async def show(visit: Visit) -> Response:
    """Show the account."""
    sessions = await visit.client.sessions.list() if visit.may(OWN_SESSIONS) else ()
    ordered = sorted(sessions, key=lambda each: (not each.current, -each.seen_s))
    return visit.render("pages/account.html", sessions=ordered)


async def end(visit: Visit) -> Response:
    """End one of one's sessions."""
    session_id = (await visit.form()).get("id", "")
    if not session_id:
        raise Invalid("Which session?", field="id")
    try:
        await visit.client.sessions.end(session_id)
    except NotFound:
        return visit.go("/account", notice="That session had ended already.")
    return visit.go("/account", notice="The session has ended. That browser is signed out.")


async def choose_theme(visit: Visit) -> Response:
    """Keep a theme: what the page's script does by itself, for a browser without it."""
    theme = (await visit.form()).get("theme", "")
    if theme not in THEMES:
        raise Invalid("There is no such theme.", field="theme", value=theme[:20], limit=", ".join(THEMES))
    response = visit.go("/account", notice="The theme is kept.")
    response.set_cookie(
        "penstock_theme", theme, max_age=THEME_S, path="/", secure=visit.console.secure, samesite="lax"
    )
    return response


async def leave(visit: Visit) -> Response:
    """Sign out."""
    try:
        await visit.client.sessions.sign_out()
    except (NotFound, Unauthenticated):  # it ended meanwhile: what was wanted
        pass
    response = visit.go("/sign-in", notice="You are signed out.")
    security.drop_cookie(response, "session", secure=visit.console.secure)
    held_key.let_go(response, visit)
    return response


PAGES: Final = (
    Page(path="/account", serve=show, needs=SIGNED_IN),
    Page(path="/account/sessions/end", serve=end, needs=OWN_SESSIONS, method="POST"),
    Page(path="/account/theme", serve=choose_theme, needs=SIGNED_IN, method="POST"),
    Page(path="/sign-out", serve=leave, needs=SIGNED_IN, method="POST"),
)
