"""Settings: every one in force, with its default and its meaning; secrets and passwords inside URLs as three stars.

Promises: what the settings type knows is here, nothing else; no row holds a secret, a password of a URL or what looks
like a token, wherever somebody wrote it; reading changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Final, cast

import msgspec
from msgspec import inspect
from pydantic import BaseModel, JsonValue

from penstock.gateway.management.parts import Api
from penstock.gateway.management.policy import Routes
from penstock.mechanisms.roles import Action

ROUTES: Final = Routes("settings")
STARS: Final = "***"
UNITS: Final = {
    "s": "seconds",
    "ms": "milliseconds",
    "bytes": "bytes",
    "nanos": "nano-dollars",
    "percent": "percent",
    "days": "days",
    "tokens": "tokens",
    "records": "records",
}
# The name of a secret, where somebody may have written the secret itself.
_SECRET_FIELD: Final = re.compile(r"(^|_)(secret|password|passphrase|token|credentials?|api_?key)$")
# Up to the last @: a password may hold slashes and @ of its own.
_USER: Final = re.compile(r"(?<=://).*@", re.DOTALL)
_PLAIN: Final = frozenset({"sslmode", "application_name", "connect_timeout", "target_session_attrs", "db"})
_NAMED: Final = re.compile(r"(?i)((?:password|passwd|pwd|secret|token|api[-_]?key)\s*[=:]\s*)[^\s&;,]+")
_TOKEN: Final = re.compile(r"\b(?:pen[sl]?|sk|gsk|xai)-[\w-]{8,}|\beyJ[\w-]{4,}(?:\.[\w-]*)*")


class SettingRow(BaseModel):
    """One setting. `key` is its path in the TOML file; lists of tables have a row for each member of each table."""

    key: str
    section: str
    value: JsonValue
    default: JsonValue
    changed: bool
    description: str
    unit: str


class SettingsView(BaseModel):
    """Every setting, and the file they were read from ("" for none)."""

    file: str
    rows: list[SettingRow]


@ROUTES.add("GET", "/settings", needs=Action.READ_SETTINGS)
async def read_settings(api: Api) -> SettingsView:
    """Show every setting in force."""
    return SettingsView(file=api.settings_file, rows=list(rows_of(api.settings)))


def rows_of(settings: msgspec.Struct, path: str = "") -> Iterator[SettingRow]:
    """Yield a row for every setting of a table and of the tables within it."""
    for field in _fields(type(settings)):
        value: object = getattr(settings, field.name)
        key = f"{path}.{field.encode_name}" if path else field.encode_name
        tables = _tables(value)
        if isinstance(value, msgspec.Struct):
            yield from rows_of(value, key)
        elif tables:
            for number, table in enumerate(tables):
                yield from rows_of(table, f"{key}[{number}]")
        else:
            yield _row(key, field, value)


def _tables(value: object) -> list[msgspec.Struct]:
    """Return the tables of a list of such."""
    items = cast("tuple[object, ...]", value) if isinstance(value, tuple) else ()
    return [item for item in items if isinstance(item, msgspec.Struct)]


def _row(key: str, field: inspect.Field, value: object) -> SettingRow:
    told = cast("dict[str, object] | None", getattr(field.type, "extra_json_schema", None))
    default = None if field.required else _default(field)
    return SettingRow(
        key=key,
        section=key.partition(".")[0].partition("[")[0] if "." in key or "[" in key else "",
        value=_shown(field.name, value),
        default=_shown(field.name, default),
        changed=field.required or value != default,
        description=str((told or {}).get("description", "")),
        unit=_unit(field.name),
    )


def _unit(name: str) -> str:
    """Return the unit that ends a setting's name, "" where none does."""
    stem, _, last = name.rpartition("_")
    if stem == "per" or stem.endswith("_per"):
        return "per second" if last == "s" else ""
    return UNITS.get(last, "") if stem else ""


@cache
def _fields(kind: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    info = inspect.type_info(kind)
    return info.fields if isinstance(info, inspect.StructType) else ()


def _default(field: inspect.Field) -> object:
    made = field.default_factory
    return field.default if made is msgspec.NODEFAULT else made()


def _shown(name: str, value: object) -> JsonValue:
    """Return a value as JSON, without what is nobody's to read."""
    if isinstance(value, str):
        return STARS if value and _SECRET_FIELD.search(name) else masked(value)
    if isinstance(value, tuple):
        one = name.removesuffix("s")  # `secrets` is a list of what `secret` is one of
        return [_shown(one, each) for each in cast("tuple[object, ...]", value)]
    if isinstance(value, dict):
        named = cast("dict[str, object]", value)
        return {masked(key): _shown(key, each) for key, each in named.items()}
    return msgspec.to_builtins(value)


def masked(text: str) -> str:
    """Return a text in which no URL holds a user or a password, no parameter a value that may be one, and no token."""
    if "://" in text:
        place, mark, query = _USER.sub(f"{STARS}@", text).partition("?")
        text = place.partition("#")[0] + mark + "&".join(map(_parameter, query.split("&") if mark else ()))
    return _TOKEN.sub(STARS, _NAMED.sub(rf"\1{STARS}", text))


def _parameter(text: str) -> str:
    """Return one parameter of a URL with its value only where that cannot be a secret."""
    name, mark, _ = text.partition("=")
    return text if name in _PLAIN else f"{name}={STARS}" if mark else STARS
