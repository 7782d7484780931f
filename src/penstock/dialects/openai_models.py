"""The list of models on the OpenAI wire (`GET /v1/models`).

Promise: every model is one object with the members its SDKs read; `created` is 0 because nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


def render_models(models: Iterable[tuple[str, str]]) -> bytes:
    """Render (model name, owner) pairs."""
    data = [{"id": name, "object": "model", "created": 0, "owned_by": owner} for name, owner in models]
    return msgspec.json.encode({"object": "list", "data": data})
