"""A request as it came in, before anything was understood of it."""

from __future__ import annotations

from typing import NamedTuple

from penstock.gateway.faces import Face


class Inquiry(NamedTuple):
    """A request as it came in: the dialect it is in, its path and its bytes."""

    face: Face
    path: str
    body: bytes
