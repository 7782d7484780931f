"""The columns of the table `audit`: a request event's fields as SQL, each with its type and the default it has.

Promise: made from the fields of `RequestEvent` themselves, so that a new one is a column from its first record on.
"""

from __future__ import annotations

from typing import Final

import msgspec

from penstock.kernel.events import Call, RequestEvent

_TYPES: Final[dict[type[msgspec.inspect.Type], str]] = {
    msgspec.inspect.StrType: "VARCHAR",
    msgspec.inspect.IntType: "BIGINT",
    msgspec.inspect.FloatType: "DOUBLE",
    msgspec.inspect.BoolType: "BOOLEAN",
}


class Column(msgspec.Struct, frozen=True):
    """A column: its SQL type, the type its JSON is read as, and the SQL of its value and of its default."""

    name: str
    type: str
    json_type: str
    value: str
    default: str


def _plain(kind: msgspec.inspect.Type) -> str:
    """Return the SQL type of a plain field; one that may be null is of its other type."""
    if isinstance(kind, msgspec.inspect.UnionType):
        (kind,) = (each for each in kind.types if not isinstance(each, msgspec.inspect.NoneType))
    return _TYPES[type(kind)]


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def _call_fields() -> dict[str, str]:
    info = msgspec.inspect.type_info(Call)
    fields = info.fields if isinstance(info, msgspec.inspect.StructType) else ()
    return {field.name: _plain(field.type) for field in fields}


def _column(field: msgspec.inspect.Field) -> Column:
    name = f'"{field.name}"'
    if field.name == "calls":
        fields = _call_fields()
        members = (
            f"{call}: CAST(c->>{place} AS {kind})" for place, (call, kind) in enumerate(fields.items())
        )
        shape = "STRUCT(" + ", ".join(f"{call} {kind}" for call, kind in fields.items()) + ")[]"
        value = f"coalesce(list_transform(CAST(calls AS JSON[]), lambda c: {{{', '.join(members)}}}), [])"
        return Column(field.name, shape, "JSON", f"CAST({value} AS {shape}) AS calls", "[]")
    if isinstance(field.type, msgspec.inspect.VarTupleType):
        return Column(field.name, "VARCHAR[]", "VARCHAR[]", f"coalesce({name}, []) AS {name}", "[]")
    default = "''" if field.required else _literal(field.default)
    kind = _plain(field.type)
    value = name if default == "NULL" else f"coalesce({name}, {default}) AS {name}"
    return Column(field.name, kind, kind, value, default)


def _columns() -> tuple[Column, ...]:
    info = msgspec.inspect.type_info(RequestEvent)
    return tuple(map(_column, info.fields)) if isinstance(info, msgspec.inspect.StructType) else ()


COLUMNS: Final = _columns()
DERIVED: Final = (
    "make_timestamp(CAST(at_s * 1000000 AS BIGINT)) AS ended_at",
    "CAST(make_timestamp(CAST(at_s * 1000000 AS BIGINT)) AS DATE) AS day",
    "CASE WHEN status < 400 THEN 'ok' WHEN status < 500 THEN 'refused' ELSE 'failed' END AS outcome",
    "CASE WHEN model_used = '' THEN model ELSE model_used END AS model_served",
)
"""Columns that follow from others: `ended_at` and its `day` (UTC), `outcome` and `model_served`."""
