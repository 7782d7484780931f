"""Requests, one by one: found by a filter that is in the address, followed live, and each with its waterfall.

Promises: an address shows the same to everybody who may see it; what is shown of a request is figures and names, never
a prompt or an answer; a request out of reach looks like one that is not there.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from penstock.console.filters import FIELDS, PERIODS, sought
from penstock.console.pages.overview import first_call
from penstock.console.security import PREFIX
from penstock.console.streams import Show, stream
from penstock.console.visits import Page, Visit
from penstock.console.waterfall import path_taken, story, waterfall

ROWS: Final = 50
LIVE_ROWS: Final = 200
OUTCOMES: Final = (("", "All"), ("ok", "Ok"), ("refused", "Refused"), ("failed", "Failed"))


async def index(visit: Visit) -> Response:
    """Show the requests that the address's filter means, or stream them as they end."""
    wanted = sought(visit.request.query_params)
    now_s = visit.console.clock.wall_s()
    if visit.query("live"):
        which = wanted.where(now_s)
        which.pop("since_s", None)
        which.pop("until_s", None)
        rows = Show(
            listen=lambda client: client.requests.live(**which),
            draw=lambda came: visit.fragment("parts/request_rows.html", requests=came[::-1]),
            most=LIVE_ROWS,
            misses=True,
        )
        return stream(visit, rows)
    page = await visit.client.requests.list(after=visit.query("after"), limit=ROWS, **wanted.where(now_s))
    can_follow = not (visit.query("after") or wanted.until_s)
    return visit.render(
        "pages/requests.html",
        requests=page.requests,
        wanted=wanted,
        fields=tuple((name, label) for name, label in FIELDS.items() if name != "outcome"),
        periods=[("", "Any time"), *((name, label) for name, (label, _) in PERIODS.items())],
        outcomes=OUTCOMES,
        next_page=wanted.requests(after=page.after) if page.after else "",
        first_page=wanted.requests() if visit.query("after") else "",
        live=f"{PREFIX}/requests?{wanted.query()}" if can_follow else "",
        live_rows=LIVE_ROWS,
        curl=first_call(visit),
    )


async def detail(visit: Visit) -> Response:
    """Show one request."""
    found = await visit.client.requests.get(visit.request.path_params["id"])
    request = found.request
    return visit.render(
        "pages/request.html",
        request=request,
        fall=waterfall(request, found.spans),
        path_taken=path_taken(request),
        story=story(request),
    )


PAGES: Final = (
    Page(path="/requests", serve=index, needs="read requests"),
    Page(path="/requests/{id}", serve=detail, needs="read requests"),
)
