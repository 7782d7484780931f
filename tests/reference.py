"""The reference pages, written from the code: settings, errors, ports with their promises, commands.

Promise: `pages` is a pure function of the package as imported; `make docs` writes what it returns below
docs/reference/, and tests/test_docs.py fails when a page differs from it.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import cyclopts
import msgspec

from penstock.contracts.case import Contract
from penstock.kernel import errors, settings
from tests.evidence.report import markdown_table

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "penstock"
PAGES = ROOT / "docs" / "reference"
GENERATED = "<!-- Written by `make docs` from the code. Edit nothing here. -->"


@dataclass(frozen=True)
class Port:
    """A port as its page shows it: its summary, its numbered promises, and the cases that check each."""

    name: str
    summary: str
    promises: dict[int, str]
    cases: dict[str, tuple[int, ...]]


def pages() -> dict[str, str]:
    """Return every reference page by its file name."""
    return {
        "settings.md": settings_page(),
        "errors.md": errors_page(),
        "ports.md": ports_page(ports()),
        "cli.md": commands_page(),
    }


def modules(folder: str) -> Iterator[ModuleType]:
    """Import and yield the modules of one folder of the package, in order."""
    for file in sorted((PACKAGE / folder).glob("*.py")):
        if file.stem != "__init__":
            yield importlib.import_module(f"penstock.{folder}.{file.stem}")


# -------------------------------------------------------------------------------------------------- settings


Group = type[msgspec.Struct]
COLUMNS = ("setting", "type", "default", "meaning")


def setting_groups(group: Group = settings.Settings, path: str = "") -> Iterator[tuple[str, Group]]:
    """Yield every table of the settings file as it is headed there, the whole first, and its type."""
    yield path or "top level", group
    for field in msgspec.inspect.type_info(group).fields:
        inner, listed = unwrapped(field.type)
        if isinstance(inner, msgspec.inspect.StructType):
            name = f"{path.strip('[]')}.{field.encode_name}".strip(".")
            yield from setting_groups(inner.cls, f"[[{name}]]" if listed else f"[{name}]")


def unwrapped(of: msgspec.inspect.Type) -> tuple[msgspec.inspect.Type, bool]:
    """Return a type without its notes and, of a list, the type of its items; and whether it was a list."""
    while isinstance(of, msgspec.inspect.Metadata):
        of = of.type
    if isinstance(of, msgspec.inspect.VarTupleType | msgspec.inspect.ListType):
        return unwrapped(of.item_type)[0], True
    return of, False


def described(field: msgspec.inspect.Field) -> str:
    """Return a setting's description (of a table, what it holds), or nothing."""
    inner, listed = unwrapped(field.type)
    if isinstance(inner, msgspec.inspect.StructType) and not listed:
        return first_line(inner.cls)
    schema = getattr(field.type, "extra_json_schema", None) or {}
    return str(schema.get("description", ""))


def settings_page() -> str:
    """Return the page of every setting: name, type, default, meaning."""
    parts = [
        GENERATED,
        "# Settings",
        "Every setting, table by table as in the TOML file. Units are last in the names.",
    ]
    for heading, group in setting_groups():
        fields = msgspec.inspect.type_info(group).fields
        rows = [(f"`{f.encode_name}`", kind(f.type), default(f), described(f)) for f in fields]
        parts += [f"## {heading}", first_line(group), markdown_table(COLUMNS, rows)]
    return "\n\n".join(parts) + "\n"


def default(field: msgspec.inspect.Field) -> str:
    """Return a setting's default as one writes it in TOML, or `required`."""
    if field.required:
        return "required"
    if isinstance(unwrapped(field.type)[0], msgspec.inspect.StructType):
        return ""
    if field.default is msgspec.NODEFAULT:  # made anew for each: an empty table or list
        return "none"
    return "none" if field.default in ((), "") else f"`{json.dumps(field.default)}`"


def kind(of: msgspec.inspect.Type) -> str:
    """Return a type in plain words, with its bounds."""
    of, listed = unwrapped(of)
    if listed:
        return f"list of {'tables' if isinstance(of, msgspec.inspect.StructType) else kind(of)}"
    if isinstance(of, msgspec.inspect.StructType):
        return "table"
    if isinstance(of, msgspec.inspect.LiteralType):
        return " or ".join(f"`{json.dumps(value)}`" for value in of.values)
    words = {"IntType": "whole number", "FloatType": "number", "StrType": "text", "BoolType": "true or false"}
    bounds = [("from", "ge"), ("above", "gt"), ("to", "le"), ("below", "lt"), ("at most", "max_length")]
    said = [f"{word} {getattr(of, name)}" for word, name in bounds if getattr(of, name, None) is not None]
    return ", ".join([words.get(type(of).__name__, type(of).__name__), *said])


# ---------------------------------------------------------------------------------------------------- errors


def error_classes() -> list[type[errors.PenstockError]]:
    """Return every error, in the order of the module."""
    return [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.PenstockError)
    ]


def errors_page() -> str:
    """Return the page of every error: code, HTTP status, exit code, message."""
    tree = (errors.__doc__ or "").split("\n\n")[1]
    rows = [(e.__name__, f"`{e.code}`", e.status, e.exit_code, first_line(e)) for e in error_classes()]
    columns = ("error", "code", "HTTP status", "exit code", "message and remedy")
    return "\n\n".join([GENERATED, "# Errors", f"```text\n{tree}\n```", markdown_table(columns, rows)]) + "\n"


# ----------------------------------------------------------------------------------------------------- ports


def promises(doc: str) -> dict[int, str]:
    """Return the numbered promises of a port's docstring; a line that starts with blanks goes on the one before."""
    found = re.findall(r"^(\d+)\. (.+(?:\n[ ]{2,}\S.*)*)", inspect.cleandoc(doc), re.MULTILINE)
    return {int(number): " ".join(text.split()) for number, text in found}


def ports() -> list[Port]:
    """Return every port with its promises and the contract's cases that name them."""
    found = [v for module in modules("contracts") for v in vars(module).values() if isinstance(v, Contract)]
    # A port may have several contracts (in several files, or for what only some adapters can show): all count.
    cases: dict[str, dict[str, tuple[int, ...]]] = {}
    for contract in found:
        cases.setdefault(contract.port, {}).update({name: numbers for name, numbers, _ in contract.cases})
    result = []
    for module in modules("ports"):
        name = module.__name__.rpartition(".")[2]
        result.append(Port(name, first_line(module), promises(module.__doc__ or ""), cases.get(name, {})))
    return result


def ports_page(found: list[Port]) -> str:
    """Return the page of every port: its promises, each with the cases that check it."""
    parts = [GENERATED, "# Ports and their promises"]
    parts.append(
        "Each promise is checked on every adapter by `make test`. On the stores of a live deployment `penstock doctor`"
        " runs the same cases, and tells apart those that it could not try there."
    )
    for port in found:
        parts += [f"## {port.name}", port.summary]
        lines = []
        for number, text in port.promises.items():
            cases = [f"`{case}`" for case, numbers in port.cases.items() if number in numbers]
            lines.append(f"{number}. {text}" + (f"  \n   Checked by {', '.join(cases)}." if cases else ""))
        parts.append("\n".join(lines))
    return "\n\n".join(part for part in parts if part) + "\n"


# -------------------------------------------------------------------------------------------------- commands


def command_line() -> cyclopts.App:
    """Return the command line's root; `penstock.cli.main` keeps it as `app`."""
    return importlib.import_module("penstock.cli.main").app


def commands_page() -> str:
    """Return the page of every command with its options."""
    running, sys.argv = sys.argv, ["penstock"]  # what is written names the program that runs
    try:
        body = command_line().generate_docs(usage_name="penstock").rstrip()
    finally:
        sys.argv = running
    return f"{GENERATED}\n\n{body}\n"


def first_line(of: object) -> str:
    """Return the first sentence block of a docstring."""
    return (inspect.getdoc(of) or "").split("\n\n")[0].replace("\n", " ")


def main() -> int:
    """Write the pages; return the exit status."""
    PAGES.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (PAGES / name).write_text(text)
        print((PAGES / name).relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
