"""The application: every noun's routes below ``/api/v1``, each behind the action it declares.

    policy      who may call what            reach      how far that goes
    parts       what the routes work with    refusals   errors in the house's form
    me sessions people changes · keys scopes money status · requests contents feedback costs overview settings cache
    oversight telling (who is told of alerts) routing canaries

Promises: where a route declares nothing, none is served; the OpenAPI document tells of every route what it needs.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI, Request

from penstock.gateway.management import (
    cache,
    canaries,
    changes,
    contents,
    costs,
    feedback,
    keys,
    me,
    money,
    oversight,
    overview,
    people,
    requests,
    routing,
    scopes,
    sessions,
    settings,
    status,
    telling,
)
from penstock.gateway.management.parts import Management
from penstock.gateway.management.policy import Open, Routes, must_be_declared
from penstock.gateway.management.refusals import render_refusals

DOCUMENT: Final = Routes("document")
STREAM: Final = "text/event-stream"
NOUNS: Final = (
    me.ROUTES,
    sessions.ROUTES,
    people.ROUTES,
    changes.ROUTES,
    keys.ROUTES,
    scopes.ROUTES,
    money.ROUTES,
    status.ROUTES,
    requests.ROUTES,
    contents.ROUTES,
    feedback.ROUTES,
    costs.ROUTES,
    overview.ROUTES,
    settings.ROUTES,
    cache.ROUTES,
    oversight.ROUTES,
    telling.ROUTES,
    routing.ROUTES,
    canaries.ROUTES,
    DOCUMENT,
)


def application(management: Management) -> FastAPI:
    """Build the ASGI application; raises Broken for a route that does not declare who may call it."""
    app = FastAPI(
        title="Penstock management",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.management = management
    for noun in NOUNS:
        for declared in noun.declared:
            declared.add_to(app)
    must_be_declared(app.routes)
    render_refusals(app)
    return app


@DOCUMENT.add("GET", "/openapi.json", needs=Open.AUTHENTICATED)
async def document(request: Request) -> dict[str, Any]:
    """Return this document (OpenAPI 3.1)."""
    return openapi(request.app)


def openapi(app: FastAPI) -> dict[str, Any]:
    """Return what the application's routes say of themselves, made once."""
    if not app.openapi_schema:
        told = app.openapi()
        told["components"].setdefault("securitySchemes", {})["bearer"] = {
            "type": "http",
            "scheme": "bearer",
            "description": "A key (pen-…), a person's session (pens-…) or a machine's JWT.",
        }
        for path in told["paths"].values():
            for operation in path.values():
                # Mistakes are told as 400 here; the framework would document its own 422.
                operation["responses"].pop("422", None)
                operation["security"] = [] if operation.get(Open.PUBLIC.value) else [{"bearer": []}]
                _tell_streams(operation["responses"])
        for name in ("HTTPValidationError", "ValidationError"):
            told["components"]["schemas"].pop(name, None)
    return app.openapi_schema or {}


def _tell_streams(replies: dict[str, Any]) -> None:
    """Have a live view's replies say what they are: events without one schema; refusals are JSON as everywhere."""
    for code, reply in replies.items():
        content = reply.get("content", {})
        if STREAM in content:
            told = content.pop(STREAM)
            content.update({STREAM: {}} if code == "200" else {"application/json": told})
