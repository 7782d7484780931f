"""The playground: the same question to two models side by side, or to one, with what each answer took and cost.

Promises: every question is asked under the person's own session, so that limits, budgets and the audit apply to it;
what a model says reaches the browser as text, never as HTML; nothing is kept here: the conversation lives in the page.
"""

from __future__ import annotations

import asyncio
from itertools import groupby
from typing import Final
from urllib.parse import quote

from starlette.responses import JSONResponse, Response

from penstock.console import duel, formats, security
from penstock.console.filters import Sought
from penstock.console.security import PREFIX
from penstock.console.visits import Page, Visit
from penstock.kernel.errors import NotFound
from penstock.sdk.replies import Model
from penstock.sdk.requests import RequestView

LOOKS: Final = 16
LOOK_S: Final = 0.25
"""A request is written down about a second after its end."""
MODELS_MOST: Final = 1_000


async def show(visit: Visit) -> Response:
    """Show the playground."""
    models = (await visit.client.models.list())[:MODELS_MOST]
    first = visit.query("model") or (models[0].id if models else "")
    second = visit.query("against") or next((each.id for each in models if each.id != first), "")
    return visit.render(
        "pages/playground.html",
        groups=groups(models),
        chosen=(first, second),
        example="export OPENAI_API_KEY=sk-…\npenstock up",
        tokens_most=duel.TOKENS_MOST,
        mine=Sought({"feature": duel.FEATURE}).requests(),
        costs=f"{PREFIX}/costs?{Sought({'feature': duel.FEATURE}).query(by='model')}",
        may_requests=visit.may("read requests"),
        may_usage=visit.may("read usage"),
    )


async def ask(visit: Visit) -> Response:
    """Ask; the answers come as they are written."""
    asked = duel.read(await visit.request.body())
    token = security.session_token(visit.request, secure=visit.console.secure)
    return duel.Answers(visit.console.connect(token, visit.peer), asked, visit.console.clock)


async def figures(visit: Visit) -> Response:
    """Tell what a request cost and where it went, once that is written down."""
    request_id = visit.request.path_params["id"]
    for look in range(LOOKS):
        if look:
            await asyncio.sleep(LOOK_S)
        try:
            found = await visit.client.requests.get(request_id)
        except NotFound:
            continue
        return JSONResponse(told(found.request))
    return JSONResponse({"is_known": False})


def groups(models: tuple[Model, ...]) -> list[tuple[str, list[str]]]:
    """Return the models by whose they are, both in the order of names."""
    ordered = sorted(models, key=lambda model: (model.owned_by, model.id))
    return [
        (owner or "other", [model.id for model in of])
        for owner, of in groupby(ordered, key=lambda model: model.owned_by)
    ]


def told(request: RequestView) -> dict[str, object]:
    """Return the figures of a request as its pane shows them."""
    return {
        "is_known": True,
        "cost": formats.money(request.cost_nanos),
        "exact": formats.exact_money(request.cost_nanos) + (", estimated" if request.estimated else ""),
        "cost_nanos": request.cost_nanos,
        "is_estimated": request.estimated,
        "route": request.route,
        "link": f"{PREFIX}/requests/{quote(request.request_id, safe='')}",
    }


PAGES: Final = (
    Page(path="/playground", serve=show, needs="use models"),
    Page(path="/playground/ask", serve=ask, needs="use models", method="POST"),
    Page(path="/playground/requests/{id}", serve=figures, needs="read requests"),
)
