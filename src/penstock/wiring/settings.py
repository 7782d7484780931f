"""Reads the settings: one TOML file and the environment, once. The only file that reads the environment.

Promises: an unknown key is a mistake, never ignored; all mistakes are reported at once, each with its path,
what was found and what is expected; the environment overrides the file (``PENSTOCK_SERVER_PORT=8800`` is
``server.port``, ``PENSTOCK_AUTH_OIDC_ISSUER`` is ``auth.oidc.issuer``, lists of tables are written as TOML's
``[{…}]``); secrets are not settings: they stay in the snapshot handed to the `secrets` adapter.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import msgspec

from penstock.kernel.conversion import fields_of, plain_type, table_of, tables_of, value_of
from penstock.kernel.errors import Invalid
from penstock.kernel.settings import LISTS, ProviderSettings, Settings
from penstock.mechanisms.vendor_quotas import mistake

ENV_START = "PENSTOCK_"
NOT_SETTINGS = ("PENSTOCK_SECRET_", "PENSTOCK_ADMIN_KEY", "PENSTOCK_URL", "PENSTOCK_KEY", "PENSTOCK_CONFIG")


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
            values[name] = tables_of(name, value, fields[name], mistakes)
        elif isinstance(value, dict):
            values[name] = table_of(name, cast("dict[str, object]", value), fields[name], mistakes)
        else:
            values[name] = value_of(name, value, fields[name], mistakes)
    if not mistakes:
        _check_unique(values, mistakes)
        _check_tiers(values, mistakes)
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
    types = {each.name: each.type for each in fields_of(kind)} if isinstance(kind, type) else {}
    outer, _, inner = field.partition("_")
    group = plain_type(types[outer]) if outer in types else None
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


def _check_unique(values: Mapping[str, object], mistakes: list[str]) -> None:
    """Two providers of one name, or two routes of one model, would hide each other."""
    for table, key in (
        ("providers", "name"),
        ("routes", "model"),
        ("residency", "org"),
        ("alerts", "rule"),
        ("webhooks", "name"),
        ("embedding_models", "name"),
    ):
        names = [str(getattr(item, key)) for item in cast("tuple[object, ...]", values.get(table, ()))]
        repeated = sorted({name for name in names if names.count(name) > 1})
        mistakes.extend(f"{table}: {key} {name!r} is there more than once" for name in repeated)


def _check_tiers(values: Mapping[str, object], mistakes: list[str]) -> None:
    """A tier that nobody knows would leave its provider without limits, silently."""
    providers = cast("tuple[ProviderSettings, ...]", values.get("providers", ()))
    mistakes.extend(f"providers.{each.name}.tier: {told}" for each in providers if (told := mistake(each)))
