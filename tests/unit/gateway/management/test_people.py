"""People: who may invite, change and disable whom, who sees whom, and that each of it is told in the audit."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.mechanisms.roles import PEOPLE_ROLES, may_grant
from tests.unit.gateway.management.office import ORG, PASSWORD, TEAM, Office, office

PEOPLE, SESSIONS, CHANGES = (f"/api/v1/{name}" for name in ("people", "sessions", "changes"))
WRITERS = ("owner", "admin", "team-admin")
NEW = {"email": "New@Acme.test", "name": "New"}


@pytest.mark.parametrize("role", sorted(PEOPLE_ROLES))
@pytest.mark.parametrize("by", WRITERS)
def test_nobody_gives_a_role_above_their_own(tmp_path: Path, by: str, role: str) -> None:
    async def case(it: Office) -> None:
        told = await it.ask("POST", PEOPLE, NEW | {"role": role}, by=await it.as_(by))
        assert told.status == (201 if may_grant(by, role) else 403)
        if told.status == 403:
            assert (told.error["param"], told.error["value"]) == ("role", role)
            assert await it.people.by_email(NEW["email"]) is None
        else:
            person = told.json["person"]
            assert (person["email"], person["role"], person["state"]) == ("new@acme.test", role, "invited")
            assert (person["org"], person["team"], person["oidc"]) == (ORG, TEAM, False)
            assert told.json["link_token"].startswith("penl-per_")

    office(tmp_path, case)


@pytest.mark.parametrize("role", sorted(PEOPLE_ROLES))
@pytest.mark.parametrize("by", WRITERS)
def test_nobody_is_raised_above_whoever_changes_them(tmp_path: Path, by: str, role: str) -> None:
    async def case(it: Office) -> None:
        who = await it.as_(by)
        for person in (await it.somebody("developer"), who):
            if person is who and by == "owner":
                await it.somebody("owner")  # else this one must stay
            before = await it.people.person(person.id)
            told = await it.ask("PATCH", f"{PEOPLE}/{person.id}", {"role": role}, by=who)
            after = await it.people.person(person.id)
            assert told.status == (200 if may_grant(by, role) else 403)
            assert after is not None
            assert after.role == (role if told.status == 200 else before.role if before else "")

    office(tmp_path, case)


SMUGGLED = [
    {"id": "per_x"}, {"state": "active"}, {"password_hash": "x"}, {"password": "x"}, {"epoch": 0},
    {"oidc_subject": "x"}, {"oidc_issuer": "x"}, {"created_s": 1}, {"last_seen_s": 1}, {"role": "root"},
    {"role": "caller"}, {"team": "a/b"}, {"name": None},
]  # fmt: skip


@pytest.mark.parametrize("smuggled", [*SMUGGLED, {"org": "a/b"}, {"name": "x" * 129}, {"name": "a\x00b"}])
def test_an_invitation_takes_nothing_else(tmp_path: Path, smuggled: dict[str, object]) -> None:
    async def case(it: Office) -> None:
        body = NEW | {"role": "developer"} | smuggled
        told = await it.ask("POST", PEOPLE, body, by=await it.as_("owner"))
        assert (told.status, told.error["param"]) == (400, next(iter(smuggled)))
        assert await it.people.by_email(NEW["email"]) is None

    office(tmp_path, case)


@pytest.mark.parametrize("smuggled", [*SMUGGLED, {"org": "other"}, {"email": "a@b.test"}, {"role": ""}])
def test_a_change_of_a_person_takes_nothing_else(tmp_path: Path, smuggled: dict[str, object]) -> None:
    async def case(it: Office) -> None:
        person = await it.person("developer")
        told = await it.ask(
            "PATCH", f"{PEOPLE}/{person.id}", {"name": "Kim"} | smuggled, by=await it.as_("owner")
        )
        assert (told.status, told.error["param"]) == (400, next(iter(smuggled)))
        assert await it.people.person(person.id) == person

    office(tmp_path, case)


WRITES = [
    ("PATCH", "", {"name": "Kim"}), ("PATCH", "", {"team": TEAM}), ("POST", "/link", None),
    ("POST", "/disable", None), ("POST", "/enable", None), ("DELETE", "/sessions", None), ("GET", "/sessions", None),
]  # fmt: skip


@pytest.mark.parametrize(("method", "end", "body"), WRITES)
@pytest.mark.parametrize(("by", "place"), [("admin", ("other", TEAM)), ("team-admin", (ORG, "other"))])
def test_somebody_out_of_reach_looks_like_nobody(
    tmp_path: Path, method: str, end: str, body: object, by: str, place: tuple[str, str]
) -> None:
    async def case(it: Office) -> None:
        who, person = await it.as_(by), await it.person("developer", *place)
        told = await it.ask(method, f"{PEOPLE}/{person.id}{end}", body, by=who)
        absent = await it.ask(method, f"{PEOPLE}/per_nobody{end}", body, by=who)
        assert (told.status, told.text) == (404, absent.text.replace("per_nobody", person.id))
        assert await it.people.person(person.id) == person

    office(tmp_path, case)


@pytest.mark.parametrize(("method", "end", "body"), [each for each in WRITES if each[0] != "GET"])
@pytest.mark.parametrize(
    ("by", "role"), [("admin", "owner"), ("team-admin", "admin"), ("team-admin", "auditor")]
)
def test_nobody_writes_whoever_outranks_them(
    tmp_path: Path, method: str, end: str, body: object, by: str, role: str
) -> None:
    async def case(it: Office) -> None:
        who, person = await it.as_(by), await it.person(role)
        told = await it.ask(method, f"{PEOPLE}/{person.id}{end}", body, by=who)
        assert told.status == 403
        assert await it.people.person(person.id) == person

    office(tmp_path, case)


@pytest.mark.parametrize(("by", "org", "team", "param"), [
    ("admin", "other", "", "org"), ("team-admin", "other", "", "org"), ("team-admin", "", "other", "team"),
])  # fmt: skip
def test_nobody_invites_or_moves_out_of_reach(
    tmp_path: Path, by: str, org: str, team: str, param: str
) -> None:
    async def case(it: Office) -> None:
        who = await it.as_(by)
        body = NEW | {"role": "developer", "org": org, "team": team}
        told = await it.ask("POST", PEOPLE, body, by=who)
        assert (told.status, told.error["param"]) == (403, param)
        if team:
            person = await it.person("developer")
            moved = await it.ask("PATCH", f"{PEOPLE}/{person.id}", {"team": team}, by=who)
            assert (moved.status, moved.error["param"]) == (403, "team")

    office(tmp_path, case)


def test_a_page_is_filled_with_people_in_reach(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        who = await it.as_("team-admin")
        mates = [(await it.person("developer")).id for _ in range(4)]
        for _ in range(6):
            await it.person("developer", team="other")
        await it.person("developer", org="other")
        expected = sorted([who.id, *mates])
        for limit in (1, 2, 5, 1000):
            rows: list[str] = []
            while page := (
                await it.ask("GET", f"{PEOPLE}?limit={limit}&after={rows[-1] if rows else ''}", by=who)
            ).json:
                assert len(page) == min(limit, 5 - len(rows))
                rows += [row["id"] for row in page]
            assert rows == expected
        assert len((await it.ask("GET", PEOPLE, by=await it.as_("auditor"))).json) == 12
        assert "hash" not in (await it.ask("GET", PEOPLE, by=who)).text

    office(tmp_path, case)


def test_a_link_lets_its_person_in_once_and_the_newest_is_the_only_one(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        admin = await it.as_("admin")
        invited = (await it.ask("POST", PEOPLE, NEW | {"role": "developer"}, by=admin)).json
        again = await it.ask("POST", f"{PEOPLE}/{invited['person']['id']}/link", by=admin)
        assert again.status == 200
        for token, status in [
            (invited["link_token"], 401), (again.json["link_token"], 201), (again.json["link_token"], 401),
        ]:  # fmt: skip
            told = await it.ask("POST", f"{SESSIONS}/link", {"token": token, "password": PASSWORD})
            assert told.status == status
        told = await it.ask("POST", SESSIONS, {"email": NEW["email"], "password": PASSWORD})
        assert (told.status, told.json["person"]["state"]) == (201, "active")

    office(tmp_path, case)


def test_who_is_disabled_is_out_at_once_and_comes_in_again_when_enabled(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        admin, kim = await it.as_("admin"), await it.somebody("developer", email="kim@acme.test")
        enter = {"email": "kim@acme.test", "password": PASSWORD}
        told = await it.ask("POST", f"{PEOPLE}/{kim.id}/disable", by=admin)
        assert (told.status, told.json["state"]) == (200, "disabled")
        assert (await it.ask("GET", "/api/v1/me", by=kim)).status == 401
        refused = await it.ask("POST", SESSIONS, enter)
        wrong = await it.ask("POST", SESSIONS, enter | {"password": "wrong"})
        assert (refused.status, refused.text) == (401, wrong.text)
        link = await it.ask("POST", f"{PEOPLE}/{kim.id}/link", by=admin)
        assert (link.status, link.error["code"]) == (409, "disabled")
        told = await it.ask("POST", f"{PEOPLE}/{kim.id}/enable", by=admin)
        assert (told.status, told.json["state"]) == (200, "active")
        assert (await it.ask("POST", f"{PEOPLE}/{kim.id}/enable", by=admin)).status == 409
        assert (await it.ask("POST", SESSIONS, enter)).status == 201
        assert (await it.ask("GET", "/api/v1/me", by=kim)).status == 401, "an old session came back to life"

    office(tmp_path, case)


def test_the_last_owner_stays(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        owner = await it.as_("owner")
        for ask in (("POST", "/disable", None), ("PATCH", "", {"role": "admin"})):
            told = await it.ask(ask[0], f"{PEOPLE}/{owner.id}{ask[1]}", ask[2], by=owner)
            assert (told.status, told.error["code"]) == (409, "last_owner")

    office(tmp_path, case)


def test_a_change_of_role_is_felt_by_the_next_request(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        admin, kim = await it.as_("admin"), await it.somebody("team-admin")
        assert (await it.ask("GET", PEOPLE, by=kim)).status == 200
        await it.ask("PATCH", f"{PEOPLE}/{kim.id}", {"role": "reviewer"}, by=admin)
        assert (await it.ask("GET", PEOPLE, by=kim)).status == 403

    office(tmp_path, case)


def test_an_email_address_is_one_persons(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        admin = await it.as_("admin")
        for email, status in (("Kim@acme.test", 201), ("kim@ACME.test", 409), ("not an address", 400)):
            body = {"email": email, "name": "Kim", "role": "developer"}
            assert (await it.ask("POST", PEOPLE, body, by=admin)).status == status

    office(tmp_path, case)


@pytest.mark.parametrize(("by", "own", "other"), [
    ("admin", 200, 200), ("team-admin", 200, 200), ("auditor", 200, 403), ("developer", 403, 403),
])  # fmt: skip
def test_who_sees_whose_sessions(tmp_path: Path, by: str, own: int, other: int) -> None:
    async def case(it: Office) -> None:
        who, kim = await it.as_(by), await it.somebody("developer")
        mine = await it.ask("GET", f"{PEOPLE}/{who.id}/sessions", by=who)
        assert mine.status == own
        if own == 200:
            assert [each["current"] for each in mine.json] == [True]
        theirs = await it.ask("GET", f"{PEOPLE}/{kim.id}/sessions", by=who)
        assert theirs.status == other
        if other == 200:
            assert [(each["person"], each["current"]) for each in theirs.json] == [(kim.id, False)]
            assert kim.token not in theirs.text

    office(tmp_path, case)


def test_ending_all_of_somebodys_sessions_ends_them_all(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        admin, kim = await it.as_("admin"), await it.somebody("developer")
        assert (await it.ask("GET", "/api/v1/me", by=kim)).status == 200
        told = await it.ask("DELETE", f"{PEOPLE}/{kim.id}/sessions", by=admin)
        assert (told.status, told.json["id"]) == (200, kim.id)
        assert (await it.ask("GET", "/api/v1/me", by=kim)).status == 401

    office(tmp_path, case)


def test_every_write_of_people_is_audited_with_before_and_after_and_no_secret(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        admin = await it.as_("admin")
        person = (await it.ask("POST", PEOPLE, NEW | {"role": "developer"}, by=admin)).json["person"]
        path = f"{PEOPLE}/{person['id']}"
        for method, end, body in (
            ("PATCH", "", {"role": "reviewer"}), ("POST", "/link", None), ("DELETE", "/sessions", None),
            ("POST", "/disable", None), ("POST", "/enable", None),
        ):  # fmt: skip
            assert (await it.ask(method, f"{path}{end}", body, by=admin)).status == 200
        rows = (await it.ask("GET", f"{CHANGES}?subject={person['id']}", by=await it.as_("auditor"))).json
        assert [row["action"] for row in rows[::-1]] == [
            "person.invite", "person.change", "person.link", "person.end-sessions", "person.disable", "person.enable",
        ]  # fmt: skip
        assert {(row["actor_id"], row["actor_kind"], row["actor_role"]) for row in rows} == {
            (admin.id, "person", "admin")
        }
        changed = rows[-2]
        assert (changed["before"]["role"], changed["after"]["role"]) == ("developer", "reviewer")
        assert (rows[-1]["before"], rows[-1]["org"], rows[-1]["team"]) == (None, ORG, TEAM)
        assert all(row["request_id"].startswith("req_") and row["peer"] for row in rows)
        assert not any("password_hash" in str(row) for row in rows)

    office(tmp_path, case)


def test_the_audit_pages_and_filters_within_the_organisation(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        owner, admin = await it.as_("owner"), await it.as_("admin")
        for org in (ORG, "other"):
            for role in ("developer", "reviewer"):
                body = {"email": f"{role}@{org}.test", "name": "A", "role": role, "org": org, "team": TEAM}
                assert (await it.ask("POST", PEOPLE, body, by=owner)).status == 201
        invited = f"{CHANGES}?actor={owner.id}&action=person.invite"
        rows = (await it.ask("GET", invited, by=admin)).json
        assert [(row["org"], row["after"]["role"]) for row in rows] == [(ORG, "reviewer"), (ORG, "developer")]
        told = await it.ask("GET", f"{invited}&limit=1&after={rows[0]['id']}", by=admin)
        assert told.json == rows[1:]
        assert (await it.ask("GET", f"{CHANGES}?actor={owner.id}&action=key.create", by=admin)).json == []
        theirs = (await it.ask("GET", f"{invited}&org=other", by=owner)).json
        assert {row["org"] for row in theirs} == {"other"}

    office(tmp_path, case)
