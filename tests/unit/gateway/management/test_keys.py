"""Keys: nobody makes one with more rights than their own, nothing is smuggled in, a token is shown once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.kernel.context import Cap
from tests.unit.gateway.management.office import ORG, TEAM, Office, office

KEYS = "/api/v1/keys"
OWN = {"org": ORG, "team": TEAM}


def test_a_token_is_shown_by_the_reply_that_made_it_and_never_again(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        admin = await it.as_("admin")
        made = await it.ask("POST", KEYS, {"org": ORG}, by=admin)
        assert (made.status, len(made.headers["x-request-id"])) == (201, 1)
        token, key_id = made.json["token"], made.json["key"]["id"]
        for path in (KEYS, f"{KEYS}/{key_id}", "/api/v1/changes"):
            told = await it.ask("GET", path, by=admin)
            assert told.status == 200
            assert key_id in told.text
            assert token not in told.text
            assert '"mac"' not in told.text
        assert (await it.tenancy.principal(token.encode())).org == ORG

    office(tmp_path, case)


@pytest.mark.parametrize(
    "smuggled",
    [
        {"id": "x" * 12}, {"mac": "00"}, {"created_s": 1}, {"revoked_s": 0}, {"expires_s": 9e9},
        {"scopes": []}, {"allowed_routes": ["*"]}, {"role": "root"}, {"role": "auditor"},
        {"rate": {"requests": 1}}, {"rate": {"window": 1}},
        {"caps": [{"window": "day", "limit_nanos": -1}]}, {"caps": [{"window": "hour", "limit_nanos": 1}]},
        {"org": "a/b"}, {"org": "a@b"}, {"org": "*"}, {"org": ""}, {"user": "kim smith"}, {"team": "x" * 65},
        {"key_id": "x"}, {"end_users": "perhaps"}, {"name": None},
    ],
)  # fmt: skip
def test_what_a_caller_may_not_set_is_refused_by_name_and_nothing_is_made(
    tmp_path: Path, smuggled: dict[str, object]
) -> None:
    async def case(it: Office) -> None:
        owner = await it.as_("owner")
        told = await it.ask("POST", KEYS, {"org": ORG, **smuggled}, by=owner)
        assert told.status == 400
        assert told.error["param"].startswith(next(iter(smuggled)))
        assert (await it.ask("GET", KEYS, by=owner)).json == []

    office(tmp_path, case)


@pytest.mark.parametrize(
    "smuggled",
    [{"role": "admin"}, {"org": "other"}, {"team": "other"}, {"user": "other"}, {"tier": "gold"},
     {"end_users": True}, {"revoked_s": 0}, {"expires_s": 0}, {"mac": "00"}, {"id": "x"}],
)  # fmt: skip
def test_whose_a_key_is_and_its_role_never_change(tmp_path: Path, smuggled: dict[str, object]) -> None:
    async def case(it: Office) -> None:
        key = await it.key()
        before = await it.tenancy.key(key.id)
        told = await it.ask(
            "PATCH", f"{KEYS}/{key.id}", {"name": "new", **smuggled}, by=await it.as_("owner")
        )
        assert (told.status, told.error["param"]) == (400, next(iter(smuggled)))
        assert await it.tenancy.key(key.id) == before

    office(tmp_path, case)


@pytest.mark.parametrize(("by", "role", "status"), [
    ("admin", "caller", 201), ("admin", "admin", 403), ("admin", "owner", 403), ("owner", "owner", 201),
])  # fmt: skip
def test_only_an_owner_makes_admins_and_owners(tmp_path: Path, by: str, role: str, status: int) -> None:
    async def case(it: Office) -> None:
        told = await it.ask("POST", KEYS, {"org": ORG, "role": role}, by=await it.as_(by))
        assert told.status == status

    office(tmp_path, case)


@pytest.mark.parametrize("verb", ["revoke", "rotate", "change"])
def test_an_admin_cannot_touch_its_owners_key(tmp_path: Path, verb: str) -> None:
    async def case(it: Office) -> None:
        path = f"{KEYS}/{(await it.key('owner')).id}"
        ask: tuple[Any, ...] = {
            "revoke": ("DELETE", path),
            "rotate": ("POST", f"{path}/rotate", {}),
            "change": ("PATCH", path, {"name": "mine"}),
        }[verb]
        before = await it.tenancy.key(path.rpartition("/")[2])
        assert (await it.ask(*ask, by=await it.as_("admin"))).status == 403
        assert await it.tenancy.key(path.rpartition("/")[2]) == before
        assert (await it.ask(*ask, by=await it.as_("owner"))).status in (200, 201)

    office(tmp_path, case)


@pytest.mark.parametrize(("by", "body", "status", "param"), [
    ("developer", {}, 201, ""),
    ("developer", {"user": "kim"}, 403, "user"),
    ("developer", {"team": "other"}, 403, "team"),
    ("developer", {"org": "other"}, 403, "org"),
    ("developer", {"end_users": True}, 403, "end_users"),
    ("developer", {"tier": "gold"}, 403, "tier"),
    ("developer", {"role": "admin"}, 403, "role"),
    ("team-admin", {"user": "kim"}, 201, ""),
    ("team-admin", {"user": "kim", "end_users": True}, 201, ""),
    ("team-admin", {"team": "other"}, 403, "team"),
    ("admin", {"team": "other", "user": "kim", "tier": "gold"}, 201, ""),
    ("reviewer", {}, 403, "role"),
    ("auditor", {}, 403, "role"),
    ("caller", {}, 403, "role"),
])  # fmt: skip
def test_a_key_has_no_more_rights_than_whoever_makes_it(
    tmp_path: Path, by: str, body: dict[str, object], status: int, param: str
) -> None:
    async def case(it: Office) -> None:
        who = await it.as_(by)
        told = await it.ask("POST", KEYS, {**OWN, "user": who.id, **body}, by=who)
        assert told.status == status, told.text
        if param:
            assert told.error["param"] == param

    office(tmp_path, case)


def test_a_change_changes_what_is_given_and_is_felt_by_the_next_request(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        key = await it.key(name="old", models=("a", "b"), caps=(Cap(window="day", limit_nanos=5),))
        admin = await it.as_("admin")
        before = (await it.ask("GET", f"{KEYS}/{key.id}", by=admin)).json
        body = {"models": ["a"], "rate": {"requests_per_minute": 7, "window": True}, "max_output_tokens": 9}
        told = await it.ask("PATCH", f"{KEYS}/{key.id}", body, by=admin)
        assert told.status == 200
        changed = {
            "models": ["a"],
            "max_output_tokens": 9,
            "rate": {"requests_per_minute": 7, "tokens_per_minute": 0, "concurrency": 0, "window": True},
        }
        assert told.json == before | changed
        assert (await it.ask("GET", f"{KEYS}/{key.id}", by=admin)).json == before | changed
        assert (await it.tenancy.principal(key.token.encode())).models == ("a",)
        cleared = await it.ask("PATCH", f"{KEYS}/{key.id}", {"models": [], "caps": []}, by=admin)
        assert (cleared.json["models"], cleared.json["caps"]) == ([], [])
        assert (await it.ask("PATCH", f"{KEYS}/{key.id}", {}, by=admin)).status == 400

    office(tmp_path, case)


def test_no_more_at_one_time_is_set_than_the_state_store_counts(tmp_path: Path) -> None:
    """It would refuse every request of the key instead of limiting any."""

    async def case(it: Office) -> None:
        admin, key = await it.as_("admin"), await it.key(name="wide")
        for most, status in ((100_000, 200), (100_001, 400)):
            rate = {"requests_per_minute": 0, "tokens_per_minute": 0, "concurrency": most}
            told = await it.ask("PATCH", f"{KEYS}/{key.id}", {"rate": rate}, by=admin)
            assert told.status == status, told.text

    office(tmp_path, case)


def test_a_key_that_somebody_revoked_meanwhile_stays_revoked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case(it: Office) -> None:
        key, admin = await it.key(), await it.as_("admin")
        read = it.tenancy.key

        async def read_then_revoked(key_id: str) -> Any:
            doc = await read(key_id)
            await it.tenancy.revoke_key(key_id)
            return doc

        monkeypatch.setattr(it.tenancy, "key", read_then_revoked)
        told = await it.ask("PATCH", f"{KEYS}/{key.id}", {"name": "new"}, by=admin)
        assert (told.status, told.error["code"]) == (409, "stale_version")
        doc = await read(key.id)
        assert doc is not None
        assert (doc.revoked_s > 0, doc.name) == (True, "")

    office(tmp_path, case)


REACHES = [
    ("POST", KEYS, {"org": "other"}, 403),
    ("GET", f"{KEYS}?org=other", None, 403),
    ("GET", f"{KEYS}/{{key}}", None, 404),
    ("PATCH", f"{KEYS}/{{key}}", {"name": "mine"}, 404),
    ("DELETE", f"{KEYS}/{{key}}", None, 404),
    ("POST", f"{KEYS}/{{key}}/rotate", {}, 404),
    ("PUT", "/api/v1/scopes", {"level": "org", "org": "other"}, 403),
    ("GET", "/api/v1/scopes?level=org&org=other", None, 403),
    ("GET", "/api/v1/scopes/one?level=org&org=other", None, 403),
    ("GET", "/api/v1/usage?org=other", None, 403),
    ("GET", "/api/v1/budgets?org=other", None, 403),
    ("GET", "/api/v1/people?org=other", None, 403),
    ("POST", "/api/v1/people", {"org": "other", "email": "a@b", "name": "A", "role": "developer"}, 403),
    ("GET", "/api/v1/changes?org=other", None, 403),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), REACHES)
def test_an_admins_reach_ends_at_its_own_organisation(
    tmp_path: Path, method: str, path: str, body: object, status: int
) -> None:
    async def case(it: Office) -> None:
        admin = await it.as_("admin")
        foreign, own = (await it.key(org="other")).id, (await it.key()).id
        await it.ask("PUT", "/api/v1/scopes", {"level": "org", "org": ORG}, by=admin)
        before = await it.tenancy.key(foreign)
        told = await it.ask(method, path.format(key=foreign), body, by=admin)
        assert told.status == status
        assert await it.tenancy.key(foreign) == before
        absent = await it.ask(method, path.format(key="x" * 12), body, by=admin)
        assert absent.error["message"].replace("x" * 12, foreign) == told.error["message"]
        mine = path.format(key=own).replace("other", ORG)
        reached = msgspec.json.decode(msgspec.json.encode(body).replace(b"other", ORG.encode()))
        assert (await it.ask(method, mine, reached, by=admin)).status in (200, 201)

    office(tmp_path, case)


def test_an_owner_reaches_every_organisation(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        owner, foreign = await it.as_("owner"), await it.key(org="other")
        assert [k["id"] for k in (await it.ask("GET", f"{KEYS}?org=other", by=owner)).json] == [foreign.id]
        assert (await it.ask("GET", f"{KEYS}/{foreign.id}", by=owner)).status == 200

    office(tmp_path, case)


@pytest.mark.parametrize(("role", "seen"), [
    ("admin", 12), ("auditor", 12), ("team-admin", 7), ("developer", 2),
])  # fmt: skip
def test_a_page_is_filled_with_keys_in_reach_and_tells_nothing_of_others(
    tmp_path: Path, role: str, seen: int
) -> None:
    async def case(it: Office) -> None:
        who = await it.as_(role)
        own = [(await it.key(user=who.id)).id for _ in range(2)]
        mates = [(await it.key(user="mate")).id for _ in range(5)]
        others = [(await it.key(team="other", user=who.id)).id for _ in range(5)]
        expected = sorted({12: own + mates + others, 7: own + mates, 2: own}[seen])
        for limit in (1, 2, 5, 1000):
            rows: list[str] = []
            while page := [
                row["id"]
                for row in (
                    await it.ask("GET", f"{KEYS}?limit={limit}&after={rows[-1] if rows else ''}", by=who)
                ).json
            ]:
                assert len(page) == min(limit, seen - len(rows)), "a page tells of what it leaves out"
                rows += page
            assert rows == expected
        for key_id in {*own, *mates, *others} - set(expected):
            told = await it.ask("GET", f"{KEYS}/{key_id}", by=who)
            absent = await it.ask("GET", f"{KEYS}/{'x' * 12}", by=who)
            assert (told.status, told.text) == (404, absent.text.replace("x" * 12, key_id))

    office(tmp_path, case)


def test_every_write_of_a_key_is_audited_with_its_author_and_without_its_secret(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        who = await it.as_("developer")
        made = await it.ask("POST", KEYS, {**OWN, "user": who.id}, by=who)
        path = f"{KEYS}/{made.json['key']['id']}"
        await it.ask("PATCH", path, {"name": "new"}, by=who)
        await it.ask("POST", f"{path}/rotate", {"overlap_s": 5}, by=who)
        last = await it.ask("DELETE", path, by=who)
        told = [change for change in await it.told() if change.action.startswith("key.")]
        assert [c.action for c in told] == ["key.create", "key.change", "key.rotate", "key.revoke"]
        assert {(c.actor_kind, c.actor_id, c.actor_role, c.team) for c in told} == {
            ("person", who.id, "developer", TEAM)
        }
        assert told[-1].request_id == last.headers["x-request-id"][0]
        assert all(b"mac" not in bytes(c.after) for c in told)

    office(tmp_path, case)
