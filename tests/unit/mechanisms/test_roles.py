"""Roles: every action times every role is decided on purpose, and nobody hands out more than they have."""

from __future__ import annotations

import pytest

from penstock.kernel.context import Principal
from penstock.mechanisms.roles import (
    BREADTHS,
    KEY_ROLES,
    PEOPLE_ROLES,
    Action,
    Breadth,
    Role,
    may,
    may_grant,
    reach_of,
)

# Columns: caller, owner, admin, team-admin, developer, reviewer, auditor.
COLUMNS = ("caller", "owner", "admin", "team-admin", "developer", "reviewer", "auditor")
TABLE = {
    "use models": "yes yes yes yes yes yes no",
    "read usage": "no yes yes yes yes yes yes",
    "read requests": "no yes yes yes yes yes yes",
    "read payloads": "no yes yes yes yes yes no",
    "say how good an answer was": "yes yes yes yes yes yes no",
    "read what is known of contents": "no yes yes yes no no yes",
    "decide what is known of contents": "no yes yes yes no no no",
    "have contents forgotten": "no yes yes no no no no",
    "read keys": "no yes yes yes yes no yes",
    "write keys": "no yes yes yes yes no no",
    "write keys of admins and owners": "no yes no no no no no",
    "read limits": "no yes yes yes yes no yes",
    "write limits of projects": "no yes yes yes no no no",
    "write limits of organisations, teams and users": "no yes yes no no no no",
    "read prices": "no yes yes yes yes yes yes",
    "verify the ledger": "no yes no no no no no",
    "read people": "no yes yes yes no no yes",
    "write people": "no yes yes yes no no no",
    "read changes": "no yes yes no no no yes",
    "read settings": "no yes yes no no no no",
    "read status": "no yes yes no no no no",
    "read routes": "no yes no no no no no",
    "change routes": "no yes no no no no no",
    "read the cache of answers": "no yes yes no no no yes",
    "purge the cache of answers": "no yes yes no no no no",
    "read alerts": "no yes yes no no no yes",
    "try how alerts are told": "no yes yes no no no no",
    "ask the audit of requests": "no yes yes no no no yes",
    "read costs of the whole organisation": "no yes yes no no no yes",
    "compare invoices with what was settled": "no yes no no no no no",
    "read metrics": "no yes no no no no no",
    "see and end one's own sessions": "no yes yes yes yes yes yes",
}
GRANTS = {
    "caller": "no no no no no no no",
    "owner": "yes yes yes yes yes yes yes",
    "admin": "yes no yes yes yes yes yes",
    "team-admin": "yes no no yes yes yes no",
    "developer": "no no no no no no no",
    "reviewer": "no no no no no no no",
    "auditor": "no no no no no no no",
}
UNKNOWN = ("", "anyone", "Owner", "OWNER", "owner ", "root", "own\x00er")
PLACES = [(org, team, user) for org in ("a", "b") for team in ("", "x", "y") for user in ("", "u", "v")]


def principal(role: str, org: str = "a", team: str = "x", user: str = "u") -> Principal:
    return Principal(key_id="k", org=org, team=team, project="p", user=user, role=role)


def test_the_table_names_every_action_and_every_role() -> None:
    assert set(TABLE) == {action.value for action in Action}
    assert set(COLUMNS) == {role.value for role in Role} == set(GRANTS)
    assert {*PEOPLE_ROLES, *KEY_ROLES} == set(Role)
    assert set(BREADTHS) == set(Role)


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("role", COLUMNS)
def test_each_role_may_what_the_table_says(role: str, action: Action) -> None:
    assert may(role, action) is (TABLE[action.value].split()[COLUMNS.index(role)] == "yes")


@pytest.mark.parametrize("role", UNKNOWN)
def test_an_unknown_role_may_and_reaches_nothing(role: str) -> None:
    assert not any(may(role, action) for action in Action)
    assert not any(may_grant(role, each) or may_grant(each, role) for each in Role)
    assert not any(reach_of(principal(role)).holds(*place) for place in PLACES)


@pytest.mark.parametrize("granter", COLUMNS)
def test_each_role_grants_what_the_table_says(granter: str) -> None:
    assert ["yes" if may_grant(granter, role) else "no" for role in COLUMNS] == GRANTS[granter].split()


@pytest.mark.parametrize("granter", COLUMNS)
@pytest.mark.parametrize("granted", COLUMNS)
def test_whoever_grants_a_role_may_and_reaches_all_that_it_may(granter: str, granted: str) -> None:
    if may_grant(granter, granted):
        assert all(may(granter, action) for action in Action if may(granted, action))
        wide, narrow = reach_of(principal(granter)), reach_of(principal(granted))
        assert all(wide.holds(*place) for place in PLACES if narrow.holds(*place))


@pytest.mark.parametrize(
    ("role", "inside"),
    [
        ("owner", PLACES),
        ("admin", [place for place in PLACES if place[0] == "a"]),
        ("auditor", [place for place in PLACES if place[0] == "a"]),
        ("team-admin", [place for place in PLACES if place[:2] == ("a", "x")]),
        ("reviewer", [place for place in PLACES if place[:2] == ("a", "x")]),
        ("developer", [("a", "x", "u")]),
        ("caller", [("a", "x", "u")]),
    ],
)
def test_each_role_reaches_exactly_its_part(role: str, inside: list[tuple[str, str, str]]) -> None:
    assert [place for place in PLACES if reach_of(principal(role)).holds(*place)] == inside


@pytest.mark.parametrize("role", [role for role in COLUMNS if role != "owner"])
def test_names_left_empty_on_both_sides_do_not_meet(role: str) -> None:
    assert not reach_of(principal(role, org="", team="", user="")).holds("", "", "")
    if BREADTHS[Role(role)] <= Breadth.TEAM:
        assert not reach_of(principal(role, team="")).holds("a", "", "u")
