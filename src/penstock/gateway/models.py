"""The models a key may use, listed and one by one, in the words of whoever asks.

    GET /v1/models[/{model}]       OpenAI's; Anthropic's where `anthropic-version` is sent, Google's with its key header
    GET /v1beta/models[/{model}]   Google's

Promises: a model is told exactly when the key may use it and the table serves it; one that the key may not use does not
exist; pages follow one another without a gap or a repetition as long as the table is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, unquote

import msgspec

from penstock.dialects import anthropic, gemini, openai
from penstock.dialects.codec import Codec
from penstock.gateway.faces import ANTHROPIC_ID, JSON_TYPE
from penstock.gateway.headers import id_lines
from penstock.gateway.routing import RouteTable
from penstock.kernel.context import Principal
from penstock.kernel.errors import Invalid, NotFound, PenstockError
from penstock.kernel.ids import new_id
from penstock.net.request import Request
from penstock.net.responder import Responder

BELOW = ("/v1/models/", "/v1beta/models/")
"""Where a path ends in a model's name, which may hold slashes."""
PAGE_MAX = 1_000
ANTHROPIC_PAGE = 20
GEMINI_PAGE = 50
"""Models on one page where the caller does not say, as at each vendor."""

Listed = list[tuple[str, str]]
"""Models and their owners, in the table's order."""


class _Words(msgspec.Struct, frozen=True, kw_only=True):
    """How one vendor's SDK is told of models."""

    codec: Codec
    id_header: bytes = b""
    """Where its SDK looks for the request's id, when that is not in `x-request-id`."""
    many: Callable[[Listed, bytes], bytes]
    """All models and the query, to one page of them."""
    one: Callable[[str, str], bytes]


class Models:
    """Serves the lists of models. One per process."""

    def __init__(self, routes: Callable[[], RouteTable]) -> None:
        """`routes()` returns the table in force now."""
        self._routes = routes

    async def list(self, request: Request, responder: Responder, principal: Principal) -> None:
        """Serve what this key may use."""
        words = _words(request)
        _serve(words, responder, lambda: words.many(self._listed(principal), request.query))

    async def one(self, request: Request, responder: Responder, principal: Principal) -> None:
        """Serve one model, which the path names last."""
        words = _words(request)
        _serve(words, responder, lambda: words.one(*self._found(request.path, principal)))

    def _listed(self, principal: Principal) -> Listed:
        return [
            (route.model, route.targets[0].price.provider)
            for route in self._routes().models()
            if principal.may_use(route.model)
        ]

    def _found(self, path: str, principal: Principal) -> tuple[str, str]:
        name = unquote(path.partition("/models/")[2])
        if not principal.may_use(name):
            raise NotFound(
                f"The model {name!r} does not exist here, or this key may not use it.",
                code="model_not_found",
                field="model",
                value=name,
            )
        return name, self._routes().find(name, principal).targets[0].price.provider


def _serve(words: _Words, responder: Responder, told: Callable[[], bytes]) -> None:
    """Send what is `told`, or its refusal in the same words."""
    ids = JSON_TYPE + id_lines(words.id_header, new_id("req_"))
    try:
        responder.send(200, ids, told())
    except PenstockError as error:
        status, body = words.codec.render_error(error)
        responder.send(status, ids + words.codec.retry_headers(error), body)


def _words(request: Request) -> _Words:
    if request.path.startswith("/v1beta/") or request.header(b"x-goog-api-key") is not None:
        return _GEMINI
    return _OPENAI if request.header(b"anthropic-version") is None else _ANTHROPIC


def _openai_page(models: Listed, _query: bytes) -> bytes:
    return openai.render_models(models)


def _anthropic_page(models: Listed, query: bytes) -> bytes:
    """Return a page after `after_id`, or that before `before_id`, of `limit` models."""
    asked = parse_qs(query.decode("ascii"))
    size = _size(asked, "limit", ANTHROPIC_PAGE)
    if "before_id" in asked:
        models = models[: _place(models, asked["before_id"][0], "before_id")]
        return anthropic.render_models(models[-size:], has_more=len(models) > size)
    if "after_id" in asked:
        models = models[_place(models, asked["after_id"][0], "after_id") + 1 :]
    return anthropic.render_models(models[:size], has_more=len(models) > size)


def _gemini_page(models: Listed, query: bytes) -> bytes:
    """Return a page of `pageSize` models; a page's token is the last model before it."""
    asked = parse_qs(query.decode("ascii"))
    size = _size(asked, "pageSize", GEMINI_PAGE)
    if "pageToken" in asked:
        models = models[_place(models, asked["pageToken"][0], "pageToken") + 1 :]
    return gemini.render_models(models[:size], next_page=models[size - 1][0] if len(models) > size else "")


def _size(asked: dict[str, list[str]], name: str, default: int) -> int:
    given = asked.get(name, [str(default)])[0]
    size = int(given) if given.isascii() and given.isdigit() and len(given) < 10 else 0
    if not 1 <= size <= PAGE_MAX:
        raise Invalid("This is no size of a page.", field=name, value=given[:20], limit=f"1 to {PAGE_MAX}")
    return size


def _place(models: Listed, name: str, field: str) -> int:
    for place, (model, _) in enumerate(models):
        if model == name:
            return place
    raise Invalid("There is no such model on the list.", field=field, value=name[:200])


_OPENAI = _Words(codec=openai.CODEC, many=_openai_page, one=openai.render_model)
_ANTHROPIC = _Words(
    codec=anthropic.CODEC, id_header=ANTHROPIC_ID, many=_anthropic_page, one=anthropic.render_model
)
_GEMINI = _Words(codec=gemini.CODEC, many=_gemini_page, one=gemini.render_model)
