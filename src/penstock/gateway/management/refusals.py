"""Every refusal of the management API in the house's form: our errors, the framework's, and what nobody foresaw.

Promises: the body is ``{"error": {"message", "type", "param", "code", …}}`` whatever went wrong; all the mistakes of a
request are told at once; what nobody foresaw is told without its message, which may quote a secret; whatever text a
caller sent, the reply is valid UTF-8.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match

from penstock.dialects.openai_errors import render_error, retry_headers
from penstock.kernel.errors import Broken, Invalid, NotFound, PenstockError, TooLarge

MISTAKES_MOST = 20
SHOWN_MOST = 80
SECRETS = ("password", "token", "kept", "code", "state")


class ErrorView(BaseModel):
    """What went wrong: `param` is the input at fault, `value` what it held, `limit` the bound, `remedy` what to do."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None
    value: str | int | float | bool | None = None
    limit: str | int | float | bool | None = None
    remedy: str | None = None


class ErrorReply(BaseModel):
    """A refusal."""

    error: ErrorView


def render_refusals(app: FastAPI) -> None:
    """Have every error of the application rendered here."""
    app.add_exception_handler(PenstockError, _render)
    app.add_exception_handler(RequestValidationError, _render_validation)
    app.add_exception_handler(HTTPException, _render_http)
    app.add_exception_handler(Exception, _render)


async def _render(_request: Request, error: Exception) -> Response:
    """Render our own errors as they are; of what else went wrong, that it did."""
    return _told(error if isinstance(error, PenstockError) else Broken("A request could not be handled."))


async def _render_http(request: Request, error: Exception) -> Response:
    """Render the framework's own refusals: unknown paths, methods, bodies that are not what they say."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    ours: dict[int, PenstockError] = {
        404: NotFound("There is nothing at this path.", field="path"),
        405: Invalid("This method is not served at this path.", code="method_not_allowed", field="method"),
        413: TooLarge(),
    }
    answer = _told(ours.get(status, Invalid("The body could not be read.", field="body")))
    answer.status_code = status
    answer.headers.update(getattr(error, "headers", None) or {})
    if status == 405:
        answer.headers["allow"] = ", ".join(_served(request))
    return answer


def _served(request: Request) -> list[str]:
    """Return every method of a path (RFC 9110, 10.2.1); the framework names those of one route."""
    found = [each for each in request.app.routes if each.matches(request.scope)[0] is not Match.NONE]
    alike = [each for each in request.app.routes if found and each.path == found[0].path]
    return sorted({method for each in alike for method in each.methods})


async def _render_validation(_request: Request, error: Exception) -> Response:
    """Report every mistake of a request at once, at most `MISTAKES_MOST`."""
    found: list[dict[str, Any]] = list(error.errors()) if isinstance(error, RequestValidationError) else []
    first = found[0] if found else {}
    where = [_path(each) for each in found[:MISTAKES_MOST]]
    told = "; ".join(f"{path}: {each['msg']}" for path, each in zip(where, found, strict=False))
    return _told(
        Invalid(
            f"The request has mistakes: {_clean(told)}.",
            field=where[0] if where else "body",
            value=_shown(where[0] if where else "", first),
            remedy="See /api/v1/openapi.json.",
        )
    )


def _path(mistake: dict[str, Any]) -> str:
    """Return where a mistake is, e.g. ``caps.0.window``; the body as a whole is ``body``."""
    parts = [str(part) for part in mistake["loc"]]
    inner = parts[1:] if parts and parts[0] in {"body", "query", "path"} else parts
    return _clean(".".join(inner)) or "body"


def _shown(path: str, mistake: dict[str, Any]) -> str:
    """Return what was given, but for what may be a secret: the whole body, a password, a token, a misspelt one."""
    given = mistake.get("input", "")
    is_unknown = mistake.get("type") == "extra_forbidden"
    if is_unknown or isinstance(given, dict | list) or any(word in path for word in SECRETS):
        return ""
    return _clean(str(given)[:SHOWN_MOST])


def _clean(text: str) -> str:
    """Return text that UTF-8 can hold."""
    return text.encode(errors="replace").decode()


def _told(error: PenstockError) -> Response:
    status, body = render_error(error)
    lines = [line.partition(b": ") for line in retry_headers(error).split(b"\r\n") if line]
    headers = {name.decode(): value.decode() for name, _, value in lines}
    if status == 401:
        headers["www-authenticate"] = "Bearer"  # RFC 9110 section 11.6.1 demands it
    return Response(body, status, headers=headers, media_type="application/json")
