"""Plain tables → a typed value, with every mistake found: what settings and stored configurations are read by.

Promises: an unknown key is a mistake, never ignored; all mistakes are told, each with its path, what was found and what
is expected; a password inside a URL is in no mistake's text.
"""

from __future__ import annotations

import re
from typing import cast

import msgspec

_PASSWORD = re.compile(r"(?<=://)[^/\s]*@")


def table_of(path: str, table: dict[str, object], kind: object, mistakes: list[str]) -> object:
    """Convert one table field by field, so that each mistake is found."""
    fields = {field.name: field for field in fields_of(kind)}
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
    inner = plain_type(kind)
    if isinstance(inner, msgspec.inspect.VarTupleType) and isinstance(
        plain_type(inner.item_type), msgspec.inspect.StructType
    ):
        return tables_of(path, value, kind, mistakes)
    if isinstance(inner, msgspec.inspect.StructType) and isinstance(value, dict):
        return table_of(path, cast("dict[str, object]", value), inner.cls, mistakes)
    return value_of(path, value, kind, mistakes)


def tables_of(path: str, value: object, kind: object, mistakes: list[str]) -> object:
    """Convert a list of tables to a tuple; `kind` is the tuple's type."""
    if not isinstance(value, list):
        mistakes.append(f"{path}: expected a list of tables")
        return ()
    item_kind = _item_kind(kind)
    tables = cast("list[object]", value)
    items: list[object] = []
    for index, table in enumerate(tables):
        if isinstance(table, dict):
            items.append(table_of(f"{path}[{index}]", cast("dict[str, object]", table), item_kind, mistakes))
        else:
            mistakes.append(f"{path}[{index}]: expected a table")
    if not items and getattr(plain_type(kind), "min_length", None):
        mistakes.append(f"{path}: expected at least one")
    return tuple(items)


def fields_of(kind: object) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Return what a struct type is made of."""
    return msgspec.structs.fields(cast("type[msgspec.Struct]", kind))


def _item_kind(kind: object) -> object:
    info = plain_type(kind)
    if isinstance(info, msgspec.inspect.VarTupleType):
        inner = plain_type(info.item_type)
        if isinstance(inner, msgspec.inspect.StructType):
            return inner.cls
    raise TypeError(f"not a tuple of structs: {kind!r}")


def plain_type(kind: object) -> msgspec.inspect.Type:
    """Return a type without its notes."""
    info = kind if isinstance(kind, msgspec.inspect.Type) else msgspec.inspect.type_info(kind)
    while isinstance(info, msgspec.inspect.Metadata):
        info = info.type
    return info


def value_of(path: str, value: object, kind: object, mistakes: list[str]) -> object:
    """Convert one plain value; None when it is a mistake."""
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        mistakes.append(f"{path}: {error} (found {_PASSWORD.sub('***@', repr(value)):.60})")
        return None
