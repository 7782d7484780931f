"""Limits and money: each role sees and sets what its reach holds, and no account of others whose names begin alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.kernel.context import Cap
from penstock.mechanisms.price_data import PriceOverride, PriceOverrides
from penstock.mechanisms.prices import PriceBook
from tests.unit.gateway.management.office import ORG, TEAM, Office, Somebody, office

SCOPES, ONE, USAGE, BUDGETS = (f"/api/v1/{name}" for name in ("scopes", "scopes/one", "usage", "budgets"))
CAPS = [{"window": "total", "limit_nanos": 9}]
DAY = "@2026-11-20"


def scope(level: str, **names: str) -> dict[str, Any]:
    """Return a body for a scope of acme."""
    return {"level": level, "org": ORG, "caps": CAPS, **names}


async def filled(it: Office, who: Somebody) -> dict[str, str]:
    """Set limits at every level, in both teams; return the kind of each path."""
    admin = await it.as_("admin")
    paths: dict[str, str] = {}
    for kind, body in {
        "org": scope("org"),
        "own team": scope("team", team=TEAM),
        "other team": scope("team", team="search-2"),
        "own project": scope("project", team=TEAM, project="p"),
        "other project": scope("project", team="search-2", project="p"),
        "self": scope("user", user=who.id),
        "mate": scope("user", user="mate"),
    }.items():
        made = await it.ask("PUT", SCOPES, body, by=admin)
        assert made.status == 200
        paths[made.json["path"]] = kind
    return paths


ALL = {"org", "own team", "other team", "own project", "other project", "self", "mate"}
SEEN = {
    "admin": ALL, "auditor": ALL,
    "team-admin": {"own team", "own project", "self"},
    "reviewer": {"own team", "own project", "self"},
    "developer": {"self"},
}  # fmt: skip


@pytest.mark.parametrize("role", ["admin", "auditor", "team-admin", "developer"])
def test_a_level_out_of_reach_looks_like_one_that_nobody_configured(tmp_path: Path, role: str) -> None:
    async def case(it: Office) -> None:
        who = await it.as_(role)
        paths = await filled(it, who)
        seen: set[str] = set()
        for level in ("org", "team", "project", "user"):
            rows = (await it.ask("GET", f"{SCOPES}?level={level}&limit=3", by=who)).json
            seen |= {paths[row["path"]] for row in rows}
        assert seen == SEEN[role]
        for path, kind in paths.items():
            level = path.rpartition("/")[2].partition(":")[0]
            names = "&".join(part.replace(":", "=") for part in path.split("/"))
            told = await it.ask("GET", f"{ONE}?level={level}&{names}", by=who)
            assert told.status == (200 if kind in SEEN[role] else 404)
            if told.status == 200:
                assert told.json["path"] == path
            elif level != "org":
                absent = await it.ask("GET", f"{ONE}?level={level}&{names}x", by=who)
                assert (absent.status, absent.text) == (404, told.text.replace(path, f"{path}x"))

    office(tmp_path, case)


@pytest.mark.parametrize(("role", "body", "status"), [
    ("team-admin", scope("project", team=TEAM, project="p"), 200),
    ("team-admin", scope("project", team="other", project="p"), 403),
    ("team-admin", scope("project", team=TEAM, project="p") | {"org": "other"}, 403),
    ("team-admin", scope("team", team=TEAM), 403),
    ("team-admin", scope("user", user="u"), 403),
    ("team-admin", scope("org"), 403),
    ("admin", scope("org"), 200),
    ("admin", scope("team", team="other"), 200),
    ("owner", scope("org") | {"org": "other"}, 200),
    ("developer", scope("project", team=TEAM, project="p"), 403),
    ("auditor", scope("org"), 403),
    ("admin", scope("org") | {"path": "org:other"}, 400),
    ("admin", scope("key"), 400),
    ("admin", scope("org") | {"caps": CAPS * 2}, 400),
])  # fmt: skip
def test_who_sets_which_limits(tmp_path: Path, role: str, body: dict[str, Any], status: int) -> None:
    async def case(it: Office) -> None:
        told = await it.ask("PUT", SCOPES, body, by=await it.as_(role))
        assert told.status == status, told.text
        changes = [c.action for org in (ORG, "other") for c in await it.changes.page(org)]
        assert ("scope.put" in changes) == (status == 200)

    office(tmp_path, case)


def test_a_window_has_one_budget(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        told = await it.ask("PUT", SCOPES, scope("org") | {"caps": CAPS * 2}, by=await it.as_("admin"))
        assert (told.status, told.error["param"]) == (400, "caps.window")

    office(tmp_path, case)


def test_usage_of_one_organisation_is_never_anothers_whose_name_begins_alike(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        admin = await it.as_("admin")
        for account in ("org:acme", "org:acme/team:t", "org:acme-2", "org:acme.3/team:t", "org:acmeb"):
            await it.spend(f"{account}{DAY}", 5)
        own = [f"org:acme/team:t{DAY}", f"org:acme{DAY}"]
        for limit in (1, 2, 1000):
            rows = (await it.ask("GET", f"{USAGE}?limit={limit}", by=admin)).json
            assert [row["account"] for row in rows] == own[:limit]
        assert [r["account"] for r in (await it.ask("GET", f"{USAGE}?after={own[0]}", by=admin)).json] == own[
            1:
        ]
        assert [r["account"] for r in (await it.ask("GET", f"{USAGE}?prefix=/team:", by=admin)).json] == own[
            :1
        ]
        for prefix in ("-2", "b", ".3/team"):
            assert (await it.ask("GET", f"{USAGE}?prefix={prefix}", by=admin)).status == 400

    office(tmp_path, case)


@pytest.mark.parametrize("role", ["team-admin", "reviewer", "developer"])
def test_whoever_reaches_less_than_an_organisation_sees_the_accounts_in_reach_only(
    tmp_path: Path, role: str
) -> None:
    async def case(it: Office) -> None:
        who = await it.as_(role)
        own, mate, other = (
            await it.key(user=who.id), await it.key(user="mate"), await it.key(team="search-2", user=who.id)
        )  # fmt: skip
        kinds = {
            f"org:acme{DAY}": "org",
            f"org:acme/team:search{DAY}": "own team",
            f"org:acme/team:search/project:p{DAY}": "own project",
            f"org:acme/team:search-2{DAY}": "other team",
            f"org:acme/team:search-2/project:p{DAY}": "other project",
            f"org:acme/user:{who.id}{DAY}": "self",
            f"org:acme/user:{who.id}2{DAY}": "mate",
            f"org:acme/key:{own.id}{DAY}": "own key",
            f"org:acme/key:{mate.id}{DAY}": "mate's key",
            f"org:acme/key:{other.id}{DAY}": "key of another team",
            f"org:other/team:search{DAY}": "foreign",
        }
        for account in kinds:
            await it.spend(account, 5)
        keys = {"own key"} if role == "developer" else {"own key", "mate's key"}
        expected = [a for a in sorted(kinds) if kinds[a] in SEEN[role] | keys]
        for limit in (1, 2, 1000):
            rows: list[str] = []
            while page := (
                await it.ask("GET", f"{USAGE}?limit={limit}&after={rows[-1] if rows else ''}", by=who)
            ).json:
                rows += [row["account"] for row in page]
            assert rows == expected
        for prefix, seen in {
            "/team:": "team:search/",
            "/user:": "user:",
            "/team:search-2": "none",
            "@": "none",
        }.items():
            told = (await it.ask("GET", f"{USAGE}?prefix={prefix}", by=who)).json
            assert [r["account"] for r in told] == [
                a for a in expected if a.startswith(f"org:acme{prefix}") and seen != "none"
            ]

    office(tmp_path, case)


@pytest.mark.parametrize("role", sorted(SEEN))
def test_a_budget_tells_what_is_left_of_it_to_whoever_reaches_it(tmp_path: Path, role: str) -> None:
    async def case(it: Office) -> None:
        who = await it.as_(role)
        paths = await filled(it, who)
        key = await it.key(user=who.id, caps=(Cap(window="total", limit_nanos=9),))
        await it.key(user="mate", team="search-2", caps=(Cap(window="total", limit_nanos=9),))
        await it.spend("org:acme/team:search@total", 5)
        rows = {row["account"]: row for row in (await it.ask("GET", BUDGETS, by=who)).json}
        expected = {f"{path}@total" for path, kind in paths.items() if kind in SEEN[role]}
        keys = {name for name in rows if "/key:" in name}
        assert set(rows) - keys == expected
        assert len(keys) == (2 if role in ("admin", "auditor") else 1)
        assert f"org:acme/key:{key.id}@total" in keys
        if "own team" in SEEN[role]:
            row = rows["org:acme/team:search@total"]
            assert (row["posted_nanos"], row["room_nanos"], row["limit_nanos"]) == (5, 4, 9)

    office(tmp_path, case)


def test_the_ledger_tells_an_owner_that_it_is_whole(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        await it.spend("org:acme@total", 5)
        told = (await it.ask("GET", "/api/v1/ledger/verify", by=await it.as_("owner"))).json
        assert (told["whole"], told["posted_nanos"], told["problems"]) == (True, 5, [])

    office(tmp_path, case)


def test_prices_page_in_order_of_their_names(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        by = await it.as_("developer")
        found = (await it.ask("GET", "/api/v1/prices?provider=openai&model=gpt-4o", by=by)).json
        names = [f"{row['provider']}/{row['model']}" for row in found]
        assert names == sorted(names)
        assert all(row["provider"] == "openai" and "gpt-4o" in row["model"] for row in found)
        told = await it.ask(
            "GET", f"/api/v1/prices?provider=openai&model=gpt-4o&after={names[0]}&limit=1", by=by
        )
        assert told.json == found[1:2]

    office(tmp_path, case)


def test_a_price_of_one_organisation_says_whose_it_is_to_its_own_people_and_owners(tmp_path: Path) -> None:
    told = [
        PriceOverride(provider="corp", model="m", input="1", output=output, org=org)
        for org, output in (("", "3"), (ORG, "1"), ("globex", "2"))
    ]

    async def case(it: Office) -> None:
        seen = {
            (role, org): (
                await it.ask("GET", "/api/v1/prices?provider=corp", by=await it.as_(role, org))
            ).json
            for role, org in (("owner", ORG), ("admin", ORG), ("developer", "globex"), ("admin", "initech"))
        }
        assert {
            who: [(row["org"], row["output"] // 10**9) for row in rows] for who, rows in seen.items()
        } == {
            ("owner", ORG): [("", 3), (ORG, 1), ("globex", 2)],
            ("admin", ORG): [("", 3), (ORG, 1)],
            ("developer", "globex"): [("", 3), ("globex", 2)],
            ("admin", "initech"): [("", 3)],
        }
        after = f"/api/v1/prices?provider=corp&after=corp/m%20{ORG}&limit=1"
        assert (await it.ask("GET", after, by=await it.as_("owner"))).json == seen["owner", ORG][2:]

    office(tmp_path, case, prices=PriceBook.load(PriceOverrides(prices=tuple(told))))


def test_the_status_tells_how_the_platform_is(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        told = await it.ask("GET", "/api/v1/status", by=await it.as_("admin"))
        assert (told.status, told.json["dependencies"], told.json["uptime_s"]) == (200, {"ledger": True}, 2.5)

    office(tmp_path, case)
