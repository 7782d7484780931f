"""Routes and canaries: the table in force, its versions with what each changed, going back, and why a request would go
where it would.

Promises: shares are those of the document in force; a canary's figures are live, and what speaks against it is shown
with the bound that convicts; nothing is changed without a reason, or over somebody else's change; explaining calls
nobody.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final, cast

import msgspec
from starlette.responses import Response

from penstock.console.inputs import COUNT_MOST, FORM_ERRORS, Reading
from penstock.console.routing import EVERYBODY, changed_routes, label_of, requests_of, route_lines
from penstock.console.streams import Show, stream
from penstock.console.visits import Page, Visit
from penstock.kernel.errors import Invalid, NotFound, PenstockError
from penstock.sdk.routing import Canaries, RouteAnswer, RouteQuestion, RoutingConfig

VERSIONS: Final = 50
WHY_CHARS: Final = 500
JUDGE: Final = "canary judgement"
"""Who is named in the history when a canary was taken out by itself."""
EXAMPLE: Final = """[[routes]]
model = "smart"
targets = [
  { provider = "openai", model = "gpt-4o", weight = 90 },
  { provider = "azure", model = "gpt-4o", weight = 10 },
]
canary = { targets = [{ provider = "openai", model = "gpt-4.1" }], percent = 5 }"""
APPLY: Final = 'penstock config routes apply routes.toml --why "a newcomer beside gpt-4o"'
METRICS: Final = {
    "errors": "Errors",
    "first_token": "First token",
    "latency": "Whole answer",
    "quality": "Quality",
}
STATES: Final = {
    "on trial": ("on trial", "accent", "Judged by every call of both sides."),
    "beginning": ("beginning", "", "Its trial begins within seconds; then every call of both sides counts."),
    "alike": (
        "not judged",
        "warn",
        "It has no back end that production has not, so nobody can tell whose call it was.",
    ),
    "off": ("off", "", "It gets no traffic."),
    "all": ("has all traffic", "warn", "Production gets none, so there is nothing to compare it with."),
    "rolled back": ("taken out", "bad", ""),
    "promoted": ("promoted", "ok", ""),
}
"""A canary's state: the word, its kind, and what it means."""


async def index(visit: Visit) -> Response:
    """Show the routes in force and the canaries, or stream the canaries as they change."""
    if visit.query("live"):
        show = Show(
            listen=lambda client: client.routing.watch_canaries(),
            draw=lambda came: visit.fragment("parts/canaries.html", **_canaries(visit, came[-1])),
        )
        return stream(visit, show)
    config = await visit.client.routing.get()
    routes = cast("list[dict[str, Any]]", config.document.get("routes", []))
    return visit.render(
        "pages/routes.html",
        version=config.version,
        refused=config.refused,
        rows=route_lines(routes, await _traffic(visit)),
        residency=config.document.get("residency", []),
        apply=APPLY,
        **_canaries(visit, await visit.client.routing.canaries()),
    )


def _canaries(visit: Visit, found: Canaries) -> dict[str, Any]:
    """Return what the part of a page that shows canaries takes."""
    return {
        "found": found,
        "metrics": METRICS,
        "states": STATES,
        "requests_of": partial(requests_of, org=EVERYBODY),
        "may_write": visit.may("change routes"),
        "example": EXAMPLE,
    }


async def _traffic(visit: Visit) -> dict[tuple[str, str], int]:
    """Return how many requests each back end answered in the last day; nothing where requests are not kept."""
    since_s = visit.console.clock.wall_s() - 86_400
    try:
        costs = await visit.client.costs.get("provider", "model", org=EVERYBODY, since_s=since_s)
    except PenstockError:  # the routes are there all the same
        return {}
    return {(row.group[0], row.group[1]): row.requests for row in costs.rows}


async def stopping(visit: Visit) -> Response:
    """Ask why a canary is to be taken out by hand."""
    return await _stopping(visit, visit.query("route"))


async def stop(visit: Visit) -> Response:
    """Take a canary out: a new version, based on the one that was looked at."""
    form = await visit.form()
    route = form.get("route", "")
    config = await visit.client.routing.get()
    _canary_of(config, route)["percent"] = 0.0
    try:
        why = _why(form.get("why", ""))
        await visit.client.routing.apply(config.document, why=why, based_on=_number(form.get("seen", "")))
    except FORM_ERRORS as problem:
        return await _stopping(visit, route, problem=problem, why=form.get("why", "")[:WHY_CHARS])
    return visit.go("/routes", notice=f"The canary of {route} gets no more traffic.")


async def _stopping(
    visit: Visit, route: str, *, problem: PenstockError | None = None, why: str = ""
) -> Response:
    config = await visit.client.routing.get()
    canary = _canary_of(config, route)
    return visit.render(
        "pages/routes_stop.html",
        status=problem.status if problem else 200,
        route=route,
        canary=canary,
        labels=[label_of(each) for each in canary["targets"]],
        seen=config.version.number,
        problem=problem,
        wrong={},
        why=why,
    )


def _canary_of(config: RoutingConfig, route: str) -> dict[str, Any]:
    """Return the canary of a route in a document. Raises NotFound."""
    for each in config.document.get("routes", []):
        if each.get("model") == route and each.get("canary", {}).get("targets"):
            return each["canary"]
    raise NotFound("The route has no canary.", field="route", value=route[:200])


# ---------------------------------------------------------------------------------------------------------- versions


async def versions(visit: Visit) -> Response:
    """Show the versions, newest first."""
    found = await visit.client.routing.history(VERSIONS)
    current = await visit.client.routing.get()
    return visit.render(
        "pages/routes_versions.html",
        versions=found,
        current=current.version.number,
        refused=current.refused,
        judge=JUDGE,
        most=VERSIONS,
    )


async def version(visit: Visit) -> Response:
    """Show what one version changed, against the one before or another."""
    return await _version(visit, _number(visit.request.path_params["number"]))


async def _version(
    visit: Visit, number: int, *, problem: PenstockError | None = None, why: str = ""
) -> Response:
    routing = visit.client.routing
    shown, current = await routing.get(number), await routing.get()
    against = _number(visit.query("against") or str(max(number - 1, 0)))
    other = await routing.get(against)
    return visit.render(
        "pages/routes_version.html",
        status=problem.status if problem else 200,
        shown=shown.version,
        current=current.version.number,
        against=against,
        changes=changed_routes(other.document, shown.document),
        document=msgspec.json.format(msgspec.json.encode(shown.document), indent=2).decode(),
        judge=JUDGE,
        may_write=visit.may("change routes"),
        problem=problem,
        wrong={},
        why=why,
    )


async def rollback(visit: Visit) -> Response:
    """Go back to a version, by hand, with a reason."""
    form = await visit.form()
    number = _number(form.get("to", ""))
    try:
        made = await visit.client.routing.rollback(number, why=_why(form.get("why", "")))
    except FORM_ERRORS as problem:
        return await _version(visit, number, problem=problem, why=form.get("why", "")[:WHY_CHARS])
    notice = f"Version {made.number} is in force: it repeats version {number}."
    return visit.go("/routes/versions", notice=notice)


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise Invalid("That is no version.", field="version", value=text[:20])
    return int(text)


def _why(text: str) -> str:
    if not text.strip():
        raise Invalid("Say why: it stands in the history.", field="why")
    return text[:WHY_CHARS]


# ------------------------------------------------------------------------------------------------------- explaining


async def explain(visit: Visit) -> Response:
    """Show who would answer a request, in order, and why; nobody is called."""
    typed = {name: value[:20_000] for name, value in visit.request.query_params.items()}
    reading, answer, problem = Reading(typed), None, None
    question = RouteQuestion(
        model=reading.text("model", most=256),
        org=reading.text("org"),
        user=reading.text("user"),
        tier=reading.text("tier") or "standard",
        task=reading.text("task"),
        region=reading.text("region"),
        urgent=typed.get("urgent") == "on",
        input_tokens=reading.count("input_tokens"),
        output_tokens=reading.count("output_tokens"),
        text=typed.get("text", ""),
        draw=reading.count("draw", most=COUNT_MOST),
    )
    if question.model and not reading.wrong:
        try:
            answer = await visit.client.routing.explain(question)
        except FORM_ERRORS as error:
            problem = error
    config = await visit.client.routing.get()
    return visit.render(
        "pages/routes_explain.html",
        status=400 if reading.wrong else problem.status if problem else 200,
        typed=typed,
        wrong=reading.wrong,
        problem=problem,
        answer=answer,
        steps=_steps(answer),
        names=[each["model"] for each in config.document.get("routes", [])],
    )


def _steps(answer: RouteAnswer | None) -> list[tuple[str, str, str, str]]:
    """Return each back end in the order of trying: its name, when it is asked, its price, its requests."""
    if answer is None:
        return []
    told = [
        *(
            (each, "asked first" if not place else "when that failed")
            for place, each in enumerate(answer.targets)
        ),
        *((each, "after a weak answer") for each in answer.larger),
    ]
    return [
        (
            each.route,
            when + (", the canary" if each.arm else ""),
            "free" if each.free else f"prices of {each.price_version}" if each.price_version else "",
            requests_of(f"{each.provider}/{each.model}", EVERYBODY),
        )
        for each, when in told
    ]


READS: Final = "read routes"
PAGES: Final = (
    Page(path="/routes", serve=index, needs=READS),
    Page(path="/routes/versions", serve=versions, needs=READS),
    Page(path="/routes/versions/{number}", serve=version, needs=READS),
    Page(path="/routes/explain", serve=explain, needs=READS),
    Page(path="/routes/stop", serve=stopping, needs="change routes"),
    Page(path="/routes/stop", serve=stop, needs="change routes", method="POST"),
    Page(path="/routes/rollback", serve=rollback, needs="change routes", method="POST"),
)
