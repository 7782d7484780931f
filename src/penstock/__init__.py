"""Penstock: the self-hosted platform that keeps language models honest, fast and billed correctly.

    from penstock import Client, BlockingClient

Promise: importing the package loads nothing but this file; a client is loaded when its name is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.sdk.blocking import BlockingClient
    from penstock.sdk.client import Client

__all__ = ["BlockingClient", "Client"]

_HOMES = {"BlockingClient": "penstock.sdk.blocking", "Client": "penstock.sdk.client"}


def __getattr__(name: str) -> object:
    """Load a name of `__all__` (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
