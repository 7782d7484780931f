"""Which Penstock this is."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """Return the version of Penstock that is installed."""
    return metadata.version("penstock")
