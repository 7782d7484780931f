"""The list of models on the OpenAI wire (`GET /v1/models`, `GET /v1/models/{model}`).

Promise: every model is one object with the members its SDKs read; `created` is 0 because nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec


def render_models(models: Iterable[tuple[str, str]]) -> bytes:
    """Render (model name, owner) pairs."""
    return msgspec.json.encode({"object": "list", "data": [_model(name, owner) for name, owner in models]})


def render_model(name: str, owner: str) -> bytes:
    """Render one model."""
    return msgspec.json.encode(_model(name, owner))


def _model(name: str, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": owner}
