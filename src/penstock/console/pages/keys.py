"""Keys: the table of those in reach beside the tree of limits, and a page for each key.

Promises: what a role may not do is not offered, and refused by the platform all the same; a budget shows what the
ledger says; a key is revoked only by whoever meant to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from starlette.responses import Response

from penstock.console.filters import VALUE_CHARS_MAX, Sought
from penstock.console.limits import Fill, fills, rate_words
from penstock.console.pages.costs import chart
from penstock.console.security import PREFIX
from penstock.console.tree import LEVELS, names_of, paths_above, tree
from penstock.console.visits import Page, Visit
from penstock.kernel.errors import Forbidden, Invalid, NotFound, PenstockError
from penstock.sdk.replies import Key, ScopeLimits
from penstock.sdk.requests import Costs

ROWS_MOST: Final = 200
STATES: Final = (("", "In use"), ("ended", "Ended"), ("all", "All"))
OVERLAPS: Final = (
    ("3600", "one hour"),
    ("86400", "one day"),
    ("604800", "seven days"),
    ("0", "none: it stops now"),
)
"""How long a rotated key goes on, in seconds."""


@dataclass(frozen=True, slots=True)
class Row:
    """A key as a table shows it."""

    key: Key
    state: str
    kind: str
    fills: tuple[Fill, ...]
    rates: tuple[str, ...]


async def index(visit: Visit) -> Response:
    """Show the keys and the limits of an organisation."""
    org = visit.query("org") or visit.me.org
    keys = await visit.client.keys.list(org)
    filled = await fills_of(visit, org)
    wanted, state = visit.query("q").strip()[:VALUE_CHARS_MAX], visit.query("state")
    found = [key for key in keys if matches(key, wanted)]
    rows = [row_of(key, visit.console.clock.wall_s(), filled) for key in found]
    rows = [row for row in rows if state == "all" or (row.kind == "") == (state == "ended")]
    rows.sort(key=lambda row: (-row.key.created_s, row.key.id))
    scopes = await _scopes(visit, org)
    root, users = tree(org, scopes, keys, filled, editable_levels(visit))
    return visit.render(
        "pages/keys.html",
        org=org,
        rows=rows[:ROWS_MOST],
        found=len(rows),
        keys=len(keys),
        wanted=wanted,
        state=state,
        states=STATES,
        root=root,
        users=users,
        may_write=visit.may("write keys"),
        may_read_limits=visit.may("read limits"),
        may_set=bool(editable_levels(visit)),
        query=org_query(visit, org),
    )


async def detail(visit: Visit) -> Response:
    """Show one key."""
    key = await visit.client.keys.get(visit.request.path_params["id"])
    return await show(visit, key)


async def show(
    visit: Visit, key: Key, *, problem: PenstockError | None = None, opens: str = "", wrong: str = ""
) -> Response:
    """Show a key's page, with what went wrong and the dialog it was asked in."""
    now_s = visit.console.clock.wall_s()
    filled = await fills_of(visit, key.org)
    row = row_of(key, now_s, filled)
    costs = await _costs(visit, key)
    named = {"key_id": key.id} | ({"org": key.org} if key.org != visit.me.org else {})
    wanted = Sought(named)
    lately = Sought(named, since_s=costs.since_s, until_s=costs.until_s) if costs else wanted
    above = [
        (names_of(path), path, fill)
        for path in paths_above(key)
        for fill in filled.get(path, ())
    ]  # fmt: skip
    return visit.render(
        "pages/key.html",
        status=problem.status if problem else 200,
        key=key,
        row=row,
        costs=costs,
        chart=chart(costs, lately) if costs else None,
        days=sorted(costs.rows, key=lambda each: -float(each.group[0])) if costs else [],
        above=[(LEVELS[_level(names)], names[_level(names)], path, fill) for names, path, fill in above],
        requests=wanted.requests(),
        query=org_query(visit, key.org),
        costs_address=f"{PREFIX}/costs?{wanted.query(by='day', then='model', last='30d')}",
        may_write=may_write(visit, key) and row.kind in ("ok", "warn"),
        overlaps=OVERLAPS,
        word=word_of(key),
        is_admins=key.role != "caller",
        problem=problem,
        opens=opens,
        wrong=wrong,
    )


async def revoke(visit: Visit) -> Response:
    """Revoke a key; that of an admin only with its name typed."""
    key = await visit.client.keys.get(visit.request.path_params["id"])
    if key.role != "caller" and (await visit.form()).get("word", "") != word_of(key):
        problem = Invalid("Type the key's name to revoke it.", field="word", remedy="Nothing was changed.")
        return await show(visit, key, problem=problem, opens="revoke", wrong=problem.message)
    await visit.client.keys.revoke(key.id)
    return visit.go(
        f"/keys/{key.id}", notice=f"{key.name or key.id} is revoked. It stops working within a second."
    )


# --- what pages of keys share ----------------------------------------------------------------------------------------


def may_write(visit: Visit, key: Key) -> bool:
    """Tell whether somebody may change a key they reach."""
    return visit.may("write keys") and (key.role == "caller" or visit.may("write keys of admins and owners"))


def must_write(visit: Visit, key: Key) -> None:
    """Raise Forbidden unless somebody may change a key they reach."""
    if not may_write(visit, key):
        raise Forbidden(
            f"Your role may not change the key of an {key.role}.",
            field="role",
            value=visit.me.role,
            remedy="Ask an owner.",
        )


def word_of(key: Key) -> str:
    """Return what is typed to confirm that a key shall end."""
    return key.name.strip() or key.id


def state_of(key: Key, now_s: float) -> tuple[str, str]:
    """Return how a key is and how that looks: ("active", "ok"), ("revoked", "")."""
    if key.revoked_s and key.revoked_s <= now_s:
        return "revoked", ""
    if key.expires_s and key.expires_s <= now_s:
        return "expired", ""
    if key.revoked_s:
        return "ending", "warn"
    return "active", "ok"


def row_of(key: Key, now_s: float, filled: dict[str, list[Fill]]) -> Row:
    """Return a key as a table shows it."""
    state, kind = state_of(key, now_s)
    own = tuple(filled.get(f"org:{key.org}/key:{key.id}", ()))
    return Row(key, state, kind, own, rate_words(key.rate))


def matches(key: Key, wanted: str) -> bool:
    """Tell whether every word of a search is somewhere in what names a key."""
    text = " ".join(
        (key.id, key.name, key.team, key.project, key.user, key.role, key.tier, *key.models)
    ).lower()
    return all(word in text for word in wanted.lower().split())


def editable_levels(visit: Visit) -> frozenset[str]:
    """Return the levels whose limits somebody may set, where they reach."""
    every = visit.may("write limits of organisations, teams and users")
    projects = visit.may("write limits of projects")
    return frozenset(level for level in LEVELS if every or (projects and level == "project"))


def org_query(visit: Visit, org: str) -> str:
    """Return what an address needs to mean another organisation than one's own."""
    return f"?{urlencode({'org': org})}" if org != visit.me.org else ""


async def fills_of(visit: Visit, org: str) -> dict[str, list[Fill]]:
    """Return how full the budgets of an organisation are, by path."""
    budgets = await visit.client.budgets.list(org)
    return fills(budgets, await _etas(visit, org) if budgets else {})


async def _etas(visit: Visit, org: str) -> dict[str, float]:
    """Return in how many seconds budgets are used up at this pace; none for whoever may not see how things are."""
    if not visit.may("read status"):
        return {}
    try:
        now = await visit.client.overview.get(org)
    except PenstockError:  # the pace is an extra: without it the page still says what is spent
        return {}
    return {row.account: row.eta_s for row in now.spend}


async def _scopes(visit: Visit, org: str) -> Iterable[ScopeLimits]:
    if not visit.may("read limits"):
        return ()
    return [scope for level in LEVELS for scope in await visit.client.scopes.list(level, org)]


async def _costs(visit: Visit, key: Key) -> Costs | None:
    """Return what a key cost day by day; None where traces cannot be asked."""
    if not visit.may("read usage"):
        return None
    org = "" if key.org == visit.me.org else key.org
    try:
        return await visit.client.costs.get("day", key_id=key.id, org=org)
    except (Forbidden, NotFound):
        raise
    except PenstockError:  # the chart is an extra: without it the page still says what is spent
        return None


def _level(names: dict[str, str]) -> str:
    return next((level for level in ("user", "project", "team") if level in names), "org")


PAGES: Final = (
    Page(path="/keys", serve=index, needs="read keys"),
    Page(path="/keys/{id}", serve=detail, needs="read keys"),
    Page(path="/keys/{id}/revoke", serve=revoke, needs="write keys", method="POST"),
)
