"""Reads the settings: one TOML file and the environment, once. The only file that reads the environment.

Promises: an unknown key is a mistake, never ignored; all mistakes are reported at once, each with its path,
what was found and what is expected; the environment overrides the file (``PENSTOCK_SERVER_PORT=8800`` is
``server.port``, ``PENSTOCK_AUTH_OIDC_ISSUER`` is ``auth.oidc.issuer``, lists of tables are written as TOML's
``[{…}]``); secrets are not settings: they stay in the snapshot handed to the `secrets` adapter.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import msgspec

from penstock.kernel.errors import Invalid
from penstock.kernel.settings import Settings

ENV_START = "PENSTOCK_"
NOT_SETTINGS = ("PENSTOCK_SECRET_", "PENSTOCK_ADMIN_KEY", "PENSTOCK_URL", "PENSTOCK_KEY", "PENSTOCK_CONFIG")
_PASSWORD = re.compile(r"(?<=://)[^/\s]*@")
LISTS = frozenset({"providers", "routes", "prices"})


def environment() -> dict[str, str]:
    """Return a snapshot of the environment."""
    return dict(os.environ)


def load(path: Path | None, env: Mapping[str, str]) -> Settings:
    """Read `path` (None: no file) and `env` into Settings; raises Invalid that lists every mistake."""
    mistakes: list[str] = []
    document: dict[str, object] = {}
    if path is not None:
        document = _read(path)
    _overlay(document, env, mistakes)
    values: dict[str, object] = {}
    fields = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    for name, value in document.items():
        if name not in fields:
            mistakes.append(f"{name}: unknown key (known: {', '.join(fields)})")
        elif name in LISTS:
            values[name] = _items(name, value, fields[name], mistakes)
        elif isinstance(value, dict):
            values[name] = _section(name, cast("dict[str, object]", value), fields[name], mistakes)
        else:
            values[name] = _one(name, value, fields[name], mistakes)
    if not mistakes:
        _check_unique(values, mistakes)
    if mistakes:
        raise Invalid(
            "The configuration has mistakes:\n  - " + "\n  - ".join(mistakes),
            code="invalid_configuration",
            field="configuration",
            value=len(mistakes),
        )
    return msgspec.convert(values, Settings, from_attributes=True)


def _read(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Invalid("There is no such configuration file.", field="config", value=str(path)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid(
            f"The configuration file is not TOML: {error}.", field="config", value=str(path)
        ) from None


def _overlay(document: dict[str, object], env: Mapping[str, str], mistakes: list[str]) -> None:
    """Put ``PENSTOCK_SECTION_FIELD`` values over the file's."""
    sections = {
        field.name: field.type for field in msgspec.structs.fields(Settings) if field.name not in LISTS
    }
    for key, text in env.items():
        if not key.startswith(ENV_START) or key.startswith(NOT_SETTINGS):
            continue
        name = key[len(ENV_START) :].lower()
        section, _, field = name.partition("_")
        if name in sections:
            document[name] = _plain(text)
        elif section not in sections or not _overlaid(document, (section, field), sections[section], text):
            mistakes.append(f"{key}: no such setting")


def _overlaid(document: dict[str, object], path: tuple[str, str], kind: object, text: str) -> bool:
    """Put a value at (section, field), or into a section within; False when there is no such setting."""
    section, field = path
    types = {each.name: each.type for each in _fields(kind)} if isinstance(kind, type) else {}
    outer, _, inner = field.partition("_")
    group = _plain_type(types[outer]) if outer in types else None
    if field not in types and not isinstance(group, msgspec.inspect.StructType):
        return False
    table = document.setdefault(section, {})
    if not isinstance(table, dict):
        return True  # it is the file's mistake, told when the section is read
    values = cast("dict[str, object]", table)
    if field not in types and isinstance(group, msgspec.inspect.StructType):
        return _overlaid(values, (outer, inner), group.cls, text)
    values[field] = _plain(text)
    return True


def _plain(text: str) -> object:
    """Read an environment value as TOML would: numbers and booleans as such, comma lists in brackets, else
    text.
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _fields(kind: object) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(cast("type[msgspec.Struct]", kind))


def _section(path: str, table: dict[str, object], kind: object, mistakes: list[str]) -> object:
    """Convert one table field by field, so that each mistake is found."""
    fields = {field.name: field for field in _fields(kind)}
    values: dict[str, object] = {}
    for name, value in table.items():
        if name not in fields:
            mistakes.append(f"{path}.{name}: unknown key (known: {', '.join(fields)})")
        else:
            values[name] = _value(f"{path}.{name}", value, fields[name].type, mistakes)
    missing = [name for name, field in fields.items() if field.required and name not in table]
    mistakes.extend(f"{path}.{name}: missing" for name in missing)
    if missing or mistakes:
        return None
    return cast("type[msgspec.Struct]", kind)(**values)


def _value(path: str, value: object, kind: object, mistakes: list[str]) -> object:
    """Convert a field: a table or a list of tables mistake by mistake, anything else at once."""
    inner = _plain_type(kind)
    if isinstance(inner, msgspec.inspect.VarTupleType) and isinstance(
        _plain_type(inner.item_type), msgspec.inspect.StructType
    ):
        return _items(path, value, kind, mistakes)
    if isinstance(inner, msgspec.inspect.StructType) and isinstance(value, dict):
        return _section(path, cast("dict[str, object]", value), inner.cls, mistakes)
    return _one(path, value, kind, mistakes)


def _items(path: str, value: object, kind: object, mistakes: list[str]) -> object:
    if not isinstance(value, list):
        mistakes.append(f"{path}: expected a list of tables")
        return ()
    item_kind = _item_kind(kind)
    tables = cast("list[object]", value)
    items: list[object] = []
    for index, table in enumerate(tables):
        if isinstance(table, dict):
            items.append(_section(f"{path}[{index}]", cast("dict[str, object]", table), item_kind, mistakes))
        else:
            mistakes.append(f"{path}[{index}]: expected a table")
    if not items and path.endswith(".targets"):
        mistakes.append(f"{path}: expected at least one target")
    return tuple(items)


def _check_unique(values: Mapping[str, object], mistakes: list[str]) -> None:
    """Two providers of one name, or two routes of one model, would hide each other."""
    for table, key in (("providers", "name"), ("routes", "model")):
        names = [str(getattr(item, key)) for item in cast("tuple[object, ...]", values.get(table, ()))]
        repeated = sorted({name for name in names if names.count(name) > 1})
        mistakes.extend(f"{table}: {key} {name!r} is there more than once" for name in repeated)


def _item_kind(kind: object) -> object:
    info = _plain_type(kind)
    if isinstance(info, msgspec.inspect.VarTupleType):
        inner = _plain_type(info.item_type)
        if isinstance(inner, msgspec.inspect.StructType):
            return inner.cls
    raise TypeError(f"not a tuple of structs: {kind!r}")


def _plain_type(kind: object) -> msgspec.inspect.Type:
    """Return a type without its notes."""
    info = kind if isinstance(kind, msgspec.inspect.Type) else msgspec.inspect.type_info(kind)
    while isinstance(info, msgspec.inspect.Metadata):
        info = info.type
    return info


def _one(path: str, value: object, kind: object, mistakes: list[str]) -> object:
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        mistakes.append(f"{path}: {error} (found {_PASSWORD.sub('***@', repr(value)):.60})")
        return None
