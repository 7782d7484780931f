"""Which Penstock this is."""

from __future__ import annotations

from functools import cache
from importlib import metadata


@cache
def version() -> str:
    """Return the version of Penstock that is installed; it is read from the disk once."""
    return metadata.version("penstock")
