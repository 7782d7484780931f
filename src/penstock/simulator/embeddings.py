"""What the simulated provider answers to `POST /v1/embeddings`.

Promise: the same input has the same vector (of length 1) whatever stands beside it; tokens are counted as a chat's are,
by the runs of non-blank bytes of the raw input, and numbers of tokens one by one.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from typing import Final

from penstock.dialects.embeddings import parse_request, render_reply
from penstock.kernel.embed import EmbedReply, EmbedRequest
from penstock.simulator.asked import Asked

__all__ = ["answer", "counted", "input_tokens", "parse_request"]

DIMENSIONS: Final = 8


def input_tokens(request: EmbedRequest) -> int:
    """Count the inputs."""
    return sum(len(text.split()) for text in request.texts) + sum(map(len, request.tokens))


def counted(request: EmbedRequest) -> Asked:
    """Return the request as one that a refusal can be written to."""
    return Asked(model=request.model, stream=False, seed=0, input_tokens=input_tokens(request))


def answer(request: EmbedRequest) -> bytes:
    """Return the reply's bytes."""
    size = request.dimensions or DIMENSIONS
    vectors = tuple([_vector(repr(each).encode(), size) for each in request.texts or request.tokens])
    reply = EmbedReply(model=request.model, vectors=vectors, input_tokens=input_tokens(request))
    return render_reply(reply, request.encoding)


def _vector(text: bytes, size: int) -> bytes:
    drawn = hashlib.shake_256(text).digest(size)
    length = math.sqrt(sum((byte + 1) ** 2 for byte in drawn))
    return array("f", [(byte + 1) / length for byte in drawn]).tobytes()
