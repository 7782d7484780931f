"""`penstock config`: check the configuration, show what it comes to, and its routes as versions."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec
from cyclopts import App

from penstock.cli.config_routes import rollback, routes
from penstock.cli.deployment import DEFAULTS, Deployment
from penstock.cli.output import line, table
from penstock.wiring import safety

Value: TypeAlias = "dict[str, Value] | list[Value] | str | int | float | bool | None"
"""JSON."""

config = App(
    name="config", help="Check the configuration; apply, look at and take back versions of its routes."
)
config.command(routes)
config.command(rollback)


@config.command
def check(*, workers: int = 1, deployment: Deployment = DEFAULTS) -> None:
    """Check settings and safety as `penstock serve` would; every mistake at once.

    Parameters
    ----------
    workers
        Processes it is meant for.
    """
    settings = deployment.settings()
    safety.check(settings, workers=workers, admin_key=deployment.environment().get("PENSTOCK_ADMIN_KEY", ""))
    file = deployment.file()
    source = "the defaults" if file is None else str(file)
    deployment.show({"sound": True, "file": None if file is None else str(file)}, line(f"{source}: sound"))


@config.command
def show(*, deployment: Deployment = DEFAULTS) -> None:
    """Show every setting in force: file, environment and defaults together. Passwords inside URLs are hidden."""
    values = msgspec.json.decode(msgspec.json.encode(deployment.settings()), type=dict[str, Any])
    shown = {name: hidden(value) for name, value in values.items()}
    deployment.show(shown, table(("setting", "value"), _flat(shown, ""), empty="No setting."))


def hidden(value: Value) -> Value:
    """Return a copy in which no URL holds a password."""
    if isinstance(value, dict):
        return {name: hidden(each) for name, each in value.items()}
    if isinstance(value, list):
        return [hidden(each) for each in value]
    if isinstance(value, str) and "://" in value and "@" in value:
        scheme, _, rest = value.partition("://")
        return f"{scheme}://***@{rest.rpartition('@')[2]}"
    return value


def _flat(value: Value, path: str) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [row for name, each in value.items() for row in _flat(each, f"{path}.{name}".strip("."))]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [row for index, each in enumerate(value) for row in _flat(each, f"{path}[{index}]")]
    return [(path, msgspec.json.encode(value).decode())]
