"""The list of models and the counting of tokens on the Gemini wire (``models``, ``models/{m}``, ``:countTokens``).

Promise: every model is one object with the members its SDKs read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from penstock.dialects.gemini_requests import parse_request
from penstock.dialects.gemini_words import camel_cased, open_object
from penstock.dialects.strict_json import decode_object
from penstock.kernel.chat import ChatRequest

_PREFIX: Final = "models/"
_METHODS: Final = ["generateContent", "streamGenerateContent", "countTokens"]
_WHOLE_REQUEST: Final = "generateContentRequest"


def render_models(models: Iterable[tuple[str, str]], *, next_page: str = "") -> bytes:
    """Render one page of (model name, owner) pairs; `next_page` is the token of the page after it, "" for none."""
    page: dict[str, Any] = {"models": [_model(name, owner) for name, owner in models]}
    if next_page:
        page["nextPageToken"] = next_page
    return msgspec.json.encode(page)


def render_model(name: str, owner: str) -> bytes:
    """Render one model."""
    return msgspec.json.encode(_model(name, owner))


def _model(name: str, owner: str) -> dict[str, Any]:
    return {
        "name": f"{_PREFIX}{name}",
        "baseModelId": name,
        "version": "",
        "displayName": name,
        "description": f"Served by {owner}.",
        "supportedGenerationMethods": _METHODS,
    }


def parse_count_request(body: bytes, model: str = "") -> ChatRequest:
    """Read a ``:countTokens`` request: contents alone, or a whole request inside. Raises `Invalid`."""
    inside = camel_cased(decode_object(body), "").get(_WHOLE_REQUEST)
    if inside is None:
        return parse_request(body, model)
    members = open_object(inside, _WHOLE_REQUEST)
    members.take_text("model")
    return parse_request(msgspec.json.encode(members.rest()), model)


def render_count(tokens: int) -> bytes:
    """Render the answer to ``:countTokens``."""
    return msgspec.json.encode({"totalTokens": tokens})
