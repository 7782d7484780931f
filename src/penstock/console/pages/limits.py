"""Limits and budgets of organisations, teams, projects and users: chosen by name, then set.

Promises: a form replaces what it showed and nothing it did not; what somebody else set meanwhile is not overwritten
unseen; a level a role may not set is not offered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from penstock.console.inputs import FORM_ERRORS, Reading, fingerprint, must_be_seen
from penstock.console.limits import place_problem, read_caps, read_rate, typed_limits
from penstock.console.pages.keys import editable_levels, fills_of, org_query
from penstock.console.roles import fixed_for
from penstock.console.tree import LEVELS, path_of
from penstock.console.visits import Page, Visit
from penstock.kernel.context import Rate
from penstock.kernel.errors import Forbidden, NotFound, PenstockError
from penstock.sdk.replies import ScopeLimits, ScopeRequest

NAMES: Final = {
    "org": ("org",),
    "team": ("org", "team"),
    "project": ("org", "team", "project"),
    "user": ("org", "user"),
}
"""The names that say which organisation, team, project or user is meant."""
USERS: Final = "user_"
FIELDS: Final = ("name", *typed_limits(Rate(), ()), *typed_limits(Rate(), (), USERS))


async def edit(visit: Visit) -> Response:
    """Ask whose limits to set, or show them."""
    reading = Reading(visit.request.query_params)
    level, names = _where(visit, reading)
    if not level or reading.wrong:
        return _ask(visit, reading if level else Reading(visit.request.query_params))
    scope = await _scope(visit, level, names)
    return await _form(visit, level, names, _typed(scope), seen=fingerprint(scope))


async def put(visit: Visit) -> Response:
    """Set the limits that a form holds."""
    form = await visit.form()
    reading = Reading(form)
    level, names = _where(visit, reading)
    if not level or reading.wrong:
        return _ask(visit, reading)
    request = ScopeRequest(
        level=level,
        **names,
        name=reading.text("name"),
        rate=read_rate(reading),
        caps=read_caps(reading),
        user_rate=Rate() if level == "user" else read_rate(reading, USERS),
        user_caps=() if level == "user" else read_caps(reading, USERS),
    )
    seen = form.get("seen", "")
    if reading.wrong:
        return await _form(visit, level, names, form, seen=seen, wrong=reading.wrong)
    now = fingerprint(await _scope(visit, level, names))
    try:
        must_be_seen(form, now)
        set_to = await visit.client.scopes.put(request)
    except FORM_ERRORS as problem:
        wrong = place_problem(problem, FIELDS, request.caps, request.user_caps)
        return await _form(visit, level, names, form, seen=now, wrong=wrong, problem=problem)
    org = org_query(visit, names["org"])
    whose = f"{LEVELS[level]} {names[level]}"
    return visit.go(
        f"/keys{org}#{set_to.path}", notice=f"The limits of {whose} are set, everywhere within a second."
    )


def _where(visit: Visit, reading: Reading) -> tuple[str, dict[str, str]]:
    """Return the level a form means ("" for none yet) and the names it takes."""
    level = reading.form.get("level", "")
    if level not in LEVELS:
        return "", {}
    if level not in editable_levels(visit):
        raise Forbidden(
            f"Your role may not set the limits of a {LEVELS[level]}.",
            field="role",
            value=visit.me.role,
            remedy="Ask an admin or an owner.",
        )
    given = dict(reading.form)
    given.setdefault("org", visit.me.org)
    named = Reading(given, reading.wrong)
    return level, {name: named.name(name) for name in NAMES[level]}


async def _scope(visit: Visit, level: str, names: Mapping[str, str]) -> ScopeLimits | None:
    """Return what limits somebody set there."""
    try:
        return await visit.client.scopes.get(level, **names)
    except NotFound:
        return None


def _typed(scope: ScopeLimits | None) -> dict[str, str]:
    """Return the form that holds limits as they are."""
    if scope is None:
        return {"name": "", **typed_limits(Rate(), ()), **typed_limits(Rate(), (), USERS)}
    return {
        "name": scope.name,
        **typed_limits(scope.rate, scope.caps),
        **typed_limits(scope.user_rate, scope.user_caps, USERS),
    }


def _ask(visit: Visit, reading: Reading) -> Response:
    """Ask whose limits to set."""
    levels = [(level, name) for level, name in LEVELS.items() if level in editable_levels(visit)]
    if not levels:
        raise Forbidden(
            "Your role sets no limits.", field="role", value=visit.me.role, remedy="Ask an admin."
        )
    level = reading.form.get("level", "")
    typed = {"org": visit.me.org, "team": visit.me.team} | dict(reading.form)
    return visit.render(
        "pages/limits_where.html",
        status=400 if reading.wrong else 200,
        levels=levels,
        level=level if level in dict(levels) else levels[-1][0] if len(levels) == 1 else "team",
        typed=typed,
        wrong=reading.wrong,
        fixed=fixed_for(visit.me.role),
    )


async def _form(
    visit: Visit,
    level: str,
    names: Mapping[str, str],
    typed: Mapping[str, str],
    *,
    seen: str,
    wrong: Mapping[str, str] | None = None,
    problem: PenstockError | None = None,
) -> Response:
    """Show the form of the limits of one level."""
    path = path_of(level, names)
    filled = await fills_of(visit, names["org"])
    return visit.render(
        "pages/limits.html",
        status=problem.status if problem else 400 if wrong else 200,
        level=level,
        level_name=LEVELS[level],
        names=names,
        path=path,
        typed=typed,
        seen=seen,
        fills=filled.get(path, []),
        wrong=wrong or {},
        problem=problem,
        users=USERS,
    )


PAGES: Final = (
    Page(path="/keys/limits", serve=edit, needs="write limits of projects"),
    Page(path="/keys/limits", serve=put, needs="write limits of projects", method="POST"),
)
