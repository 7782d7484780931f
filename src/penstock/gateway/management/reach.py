"""How far a caller's actions reach, applied to rows: what is outside is refused by name or looks as if it were not.

Promises: a foreign organisation asked for by name is Forbidden; a single thing out of reach is NotFound, word for word
as an absent one; a page is filled with rows inside the reach, so that neither its length nor where it ends tells of
others; a search is bounded, and says so when the bound ends it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Final, TypeVar

from fastapi import Path, Query

from penstock.kernel.context import Principal
from penstock.kernel.errors import Forbidden, Overloaded
from penstock.mechanisms.roles import Breadth, reach_of

SEARCHED_ROWS: Final = 1_000
SEARCHED_PAGES: Final = 100
EVERY_ORG: Final = "*"
Row = TypeVar("Row")

Name = r"^[A-Za-z0-9._-]*$"
Org = Annotated[str, Query(max_length=64, pattern=Name, description="Empty: the caller's own.")]
Text = r"^[^\x00-\x1f\x7f]*$"  # an engine's text may hold no NUL
After = Annotated[
    str,
    Query(max_length=512, pattern=Text, description="The last row seen; empty begins at the first."),
]
Limit = Annotated[int, Query(ge=1, le=1000)]
Id = Annotated[str, Path(min_length=1, max_length=128)]


def must_reach(principal: Principal, org: str) -> str:
    """Return the organisation to act on ("" is the caller's own), or raise Forbidden."""
    wanted = org or principal.org
    if principal.role != "owner" and wanted != principal.org:
        raise Forbidden("You manage another organisation.", field="org", value=wanted, limit=principal.org)
    return wanted


def must_hold(principal: Principal, org: str, team: str, user: str = "") -> None:
    """Raise Forbidden, naming what is too far, unless the caller reaches (org, team, user)."""
    must_reach(principal, org)
    reach = reach_of(principal)
    if reach.holds(org, team, user):
        return
    own_team = team == principal.team
    raise Forbidden(
        "Your role reaches your own user only." if own_team else "Your role reaches your own team only.",
        field="user" if own_team else "team",
        value=user if own_team else team,
        limit=principal.user if own_team else principal.team,
    )


def breadth_of(principal: Principal) -> Breadth:
    """Return how wide a caller's reach is; whoever reaches nothing is refused long before."""
    return reach_of(principal).breadth or Breadth.SELF


async def page(
    read: Callable[[str, int], Awaitable[Sequence[Row]]],
    keep: Callable[[Row], bool],
    name: Callable[[Row], str],
    after: str,
    limit: int,
) -> list[Row]:
    """Return `limit` rows that `keep` admits, reading on past the others; Overloaded when there are too many of those.

    `read(after, limit)` returns rows in order of their names.
    """
    rows: list[Row] = []
    # Where all is kept, one reading fills the page; it goes on in larger steps once that did not.
    step = limit
    for _ in range(SEARCHED_PAGES):
        found = await read(after, step)
        rows += [row for row in found if keep(row)]
        if len(rows) >= limit or len(found) < step:
            return rows[:limit]
        after, step = name(found[-1]), SEARCHED_ROWS
    raise Overloaded(
        "There are too many rows to search for yours.",
        limit=SEARCHED_ROWS * SEARCHED_PAGES,
        remedy="Ask somebody who reaches the whole organisation.",
    )
