"""`penstock config routes` and `penstock config rollback`: the routes of a running platform as numbered versions.

A file is TOML (or JSON, by its name) with the tables `routes`, `residency` and `features` of the settings file.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter

from penstock.cli.output import line, table
from penstock.cli.server import HERE, Server
from penstock.console.formats import moment
from penstock.kernel.errors import Invalid
from penstock.sdk.routing import RoutingVersion

routes = App(name="routes", help="Apply, check, show and compare versions of the routes.")
Why = Annotated[str, Parameter(help="Why, for the history.", show_default=False)]


@routes.command(name="apply")
def apply_file(file: Path, /, *, why: Why = "", based_on: int | None = None, server: Server = HERE) -> None:
    """Route by FILE, on every node within a second; refused whole, with every mistake, if it has one.

    Parameters
    ----------
    based_on
        Refuse if another version than this is in force.
    """
    document = read(file)
    made = server.ask(lambda client: client.routing.apply(document, why=why, based_on=based_on))
    server.show(made, line(f"version {made.number} is in force"))


@routes.command
def validate(file: Path, /, *, server: Server = HERE) -> None:
    """Check FILE against the running platform (its providers, models and prices); every mistake at once."""
    document = read(file)
    found = server.ask(lambda client: client.routing.check(document))
    server.show(found, line(f"{file}: sound, {found.routes} routes"))


@routes.command
def show(version: int = -1, /, *, server: Server = HERE) -> None:
    """Show a version, without a number the one in force, as JSON that `apply` takes.

    Parameters
    ----------
    version
        Its number; 0 is the settings file's.
    """
    found = server.ask(lambda client: client.routing.get(version))
    bad = [
        line(f"version {number} cannot be used here: {why}", "bad") for number, why in found.refused.items()
    ]
    server.show(found, *map(line, _lines(found.document)), *bad)


@routes.command
def history(*, limit: int = 20, server: Server = HERE) -> None:
    """List versions, newest first: who, when and why.

    Parameters
    ----------
    limit
        How many at most.
    """
    found = server.ask(lambda client: client.routing.history(limit))
    heads = ("version", "when (UTC)", "who", "why", "")
    server.show(found, table(heads, [_row(each) for each in found], empty="No version."))


@routes.command
def diff(before: int, after: int = -1, /, *, server: Server = HERE) -> None:
    """Show what another version says differently.

    Parameters
    ----------
    before
        The number of a version.
    after
        Another one; the one in force by default.
    """
    old = server.ask(lambda client: client.routing.get(before))
    new = server.ask(lambda client: client.routing.get(after))
    names = (f"version {old.version.number}", f"version {new.version.number}")
    told = list(difflib.unified_diff(_lines(old.document), _lines(new.document), *names, lineterm=""))
    server.show({"diff": told}, *map(line, told or ["no difference"]))


def rollback(*, to: int | None = None, why: Why = "", server: Server = HERE) -> None:
    """Go back to the version of the routes that was in force before, on every node within a second.

    Parameters
    ----------
    to
        Go back to this version instead; 0 is the settings file's.
    """
    made = server.ask(lambda client: client.routing.rollback(to, why=why))
    server.show(made, line(f"version {made.number} is in force; it repeats version {made.again}"))


def read(file: Path) -> dict[str, Any]:
    """Return the document in a file. Raises Invalid for one that is not there, or is neither TOML nor JSON."""
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".json":
            return msgspec.json.decode(text, type=dict[str, Any])
        return tomllib.loads(text)
    except FileNotFoundError:
        raise Invalid("There is no such file.", field="file", value=str(file)) from None
    except (tomllib.TOMLDecodeError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"The file cannot be read: {error}.", field="file", value=str(file)) from None


def _lines(document: dict[str, Any]) -> list[str]:
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode().splitlines()


def _row(version: RoutingVersion) -> tuple[str, str, str, str, str]:
    repeats = f"repeats {version.again}" if version.again >= 0 else ""
    when = moment(version.at_s) if version.at_s else ""
    return str(version.number), when, version.author, version.why, repeats
