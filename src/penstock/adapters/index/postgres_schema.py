"""The schema of `PostgresIndex`, made or checked, and how vectors cross the line.

Promise: a server without pgvector, or with one before 0.8, is refused by name, with what to do about it.
"""

# asyncpg ships no stubs: what crosses this border is typed by hand.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import asyncpg

from penstock.adapters.index.postgres_rows import from_wire
from penstock.adapters.index.postgres_sql import PARTS, SCHEMA_VERSION, Sql
from penstock.adapters.postgres_lending import has_schema
from penstock.kernel.errors import Invalid

STORE: Final = "The index was"
LEAST: Final = (0, 8)
"""pgvector before this forgets rows that a filter lets through, and knows no other way."""


async def migrate(dsn: str, timeout_s: float, sql: type[Sql]) -> str:
    """Make or check the schema, under its lock; return the schema that pgvector's types stand in. Raises Invalid."""
    connection = await cast("Any", asyncpg).connect(dsn, timeout=timeout_s)
    try:
        async with connection.transaction():
            await connection.execute(sql.lock)
            await _pgvector(connection, sql)
            if not await has_schema(connection, sql, SCHEMA_VERSION, STORE):
                await connection.execute(sql.schema)
                for part in range(PARTS):
                    await connection.execute(sql.part.format(n=part, of=PARTS))
            return await connection.fetchval(sql.home)
    finally:
        connection.terminate()


async def _pgvector(connection: Any, sql: type[Sql]) -> None:  # noqa: ANN401 - the driver ships no types
    """Install pgvector into this database where the server has it. Raises Invalid when it cannot be had."""
    version = await connection.fetchval(sql.installed)
    if version is None:
        if not await connection.fetchval(sql.offered):
            raise Invalid(
                "This PostgreSQL has no pgvector.",
                field="index",
                limit="pgvector 0.8",
                remedy="Install the package postgresql-NN-pgvector on its machine, or take index = 'embedded'.",
            )
        try:
            async with connection.transaction():
                await connection.execute(sql.install)
        except asyncpg.InsufficientPrivilegeError:
            raise Invalid(
                "pgvector is not installed in this database, and our account may not do it.",
                field="index",
                remedy="Have its owner run there: CREATE EXTENSION vector;",
            ) from None
        version = await connection.fetchval(sql.installed)
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < LEAST:
        raise Invalid(
            "This pgvector is too old.",
            field="index",
            value=version,
            limit="0.8",
            remedy="Install a newer pgvector on its machine, then run there: ALTER EXTENSION vector UPDATE;",
        )


def codecs(home: str) -> Callable[[Any], Awaitable[None]]:
    """Return what tells a new connection how vectors are sent and received."""

    async def tell(connection: Any) -> None:  # noqa: ANN401 - the driver ships no types
        await connection.set_type_codec(
            "vector", schema=home, encoder=bytes, decoder=from_wire, format="binary"
        )

    return tell
