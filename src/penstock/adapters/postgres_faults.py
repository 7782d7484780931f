"""What asyncpg raises, in our words: for every port that PostgreSQL keeps.

Promise: whatever the driver raises becomes one error of ours, with the driver's own words and, where there is one, what
to do; an adapter says first what it alone knows.
"""

# asyncpg ships no stubs: what crosses this border is typed by hand.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg

from penstock.kernel.errors import Conflict, PenstockError, TimedOut, Unavailable

Fault = tuple[type[BaseException], type[PenstockError], str, str]
"""A kind of the driver's errors; ours, its message and its remedy."""

FOREIGN: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
    RuntimeError,
)
"""Whatever the driver raises when the store, and not we, is at fault. InternalClientError: a server that dies may say
so between two calls, and the driver then waits for more of it; RuntimeError is uvloop's, for a socket that was closed
a moment before it is written to."""

FAULTS: Final[Sequence[Fault]] = (
    (asyncpg.QueryCanceledError, TimedOut, "PostgreSQL did not answer in time.", ""),
    (asyncpg.LockNotAvailableError, TimedOut, "PostgreSQL did not answer in time.", ""),
    (TimeoutError, TimedOut, "PostgreSQL did not answer in time.", ""),
    (asyncpg.InvalidPasswordError, Unavailable, "PostgreSQL refused our password.", "Check its DSN."),
    (
        asyncpg.InvalidCatalogNameError,
        Unavailable,
        "There is no such database.",
        "Create it, or check its DSN.",
    ),
    (
        asyncpg.TooManyConnectionsError,
        Unavailable,
        "PostgreSQL has no connection left.",
        "Raise max_connections.",
    ),
    (asyncpg.DiskFullError, Unavailable, "The disk of PostgreSQL is full.", "Free space on it."),
    (
        asyncpg.ReadOnlySQLTransactionError,
        Unavailable,
        "This PostgreSQL is a replica.",
        "Give the primary's DSN.",
    ),
    (asyncpg.PostgresError, Unavailable, "PostgreSQL failed.", ""),
    (Exception, Unavailable, "PostgreSQL cannot be reached.", "Check that it runs, and its DSN."),
)
"""The table from the driver's errors to ours: the first kind that fits."""


def translated(error: BaseException, own: Sequence[Fault] = ()) -> PenstockError:
    """Return our error for the driver's; an adapter's `own` table goes before ours."""
    for kind, ours, message, remedy in (*own, *FAULTS):
        if isinstance(error, kind):
            code = "duplicate" if ours is Conflict else ""
            return ours(f"{message} ({error})" if str(error) else message, code=code, remedy=remedy)
    return Unavailable(repr(error))
