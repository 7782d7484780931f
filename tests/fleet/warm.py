"""Import every adapter and driver a drill may ask for, ahead of time; wiring imports them when first needed."""

from __future__ import annotations

import importlib
import pkgutil

from penstock import adapters


def import_adapters() -> None:
    """Import all modules below `penstock.adapters`."""
    for module in pkgutil.walk_packages(adapters.__path__, f"{adapters.__name__}."):
        # Workers run in processes of their own, with drivers of their own.
        if not module.name.endswith(".worker"):
            importlib.import_module(module.name)
