"""Changes: the audit of admin writes stands or falls with the write itself, and holds no secret."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from penstock.kernel.context import Rate
from penstock.kernel.errors import StaleVersion
from penstock.mechanisms.changes import STATE_BYTES, TEXT_MOST, Author, Told, change_write, shown
from penstock.mechanisms.tenancy import KeyDoc, ScopeDoc
from penstock.ports.records import Row
from tests.unit.mechanisms.people_stage import ADMIN, OWNER, Stage, staged

DRAFT = KeyDoc(id="", mac="", org="acme", team="search", project="web", user="ann")


async def note(
    stage: Stage, subject: str, action: str = "key.create", by: Author = OWNER, org: str = "acme"
) -> None:
    told = Told(action=action, subject=subject, org=org)
    await stage.records.transact([change_write(by, told, stage.clock.wall_s())])


def test_every_verb_on_keys_and_scopes_is_told_with_before_and_after(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        key, token = await stage.tenancy.create_key(DRAFT, by=OWNER)
        await stage.tenancy.change_key(msgspec.structs.replace(key, name="web"), by=ADMIN)
        made, _ = await stage.tenancy.rotate_key(key.id, overlap_s=60, by=ADMIN)
        await stage.tenancy.revoke_key(made.id, by=OWNER)
        for limit in (3, 4):
            scope = ScopeDoc(path="org:acme/team:ads", level="team", rate=Rate(requests_per_minute=limit))
            await stage.tenancy.put_scope("acme", scope, by=ADMIN)
        page = await stage.changes.page("acme")
        assert [each.action for each in page] == [
            *("scope.put", "scope.put", "key.revoke", "key.rotate", "key.change", "key.create"),
        ]
        newest, oldest = page[0], page[-1]
        assert (newest.team, newest.subject) == ("ads", "org:acme/team:ads")
        assert msgspec.json.decode(newest.before)["rate"]["requests_per_minute"] == 3
        assert msgspec.json.decode(newest.after)["rate"]["requests_per_minute"] == 4
        assert bytes(page[1].before) == bytes(oldest.before) == b"null"
        assert (oldest.actor_id, oldest.actor_role, oldest.request_id) == ("per_owner", "owner", "req_1")
        assert msgspec.json.decode(page[3].after)["id"] == made.id
        assert page[3].subject == key.id
        assert msgspec.json.decode(page[2].after)["revoked_s"] == stage.clock.wall_s()
        text = msgspec.json.encode(page).decode()
        assert key.mac not in text
        assert '"mac"' not in text
        assert token not in text

    staged(tmp_path, case)


def test_a_change_that_fails_is_not_told(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        key, _ = await stage.tenancy.create_key(DRAFT)
        get = stage.records.get

        async def overtaken(collection: str, tenant: str, id: str) -> Row | None:
            stage.records.get = get
            row = await get(collection, tenant, id)
            await stage.tenancy.change_key(key)
            return row

        for attempt in (
            lambda: stage.tenancy.change_key(key, by=ADMIN),
            lambda: stage.tenancy.rotate_key(key.id, overlap_s=1, by=ADMIN),
        ):
            stage.records.get = overtaken  # pyright: ignore[reportAttributeAccessIssue]  # somebody else is quicker
            with pytest.raises(StaleVersion):
                await attempt()
        assert await stage.changes.page("acme") == []

    staged(tmp_path, case)


def test_a_revocation_overtaken_by_a_change_still_revokes_and_tells_what_was_there(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        key, _ = await stage.tenancy.create_key(DRAFT)
        get = stage.records.get

        async def overtaken(collection: str, tenant: str, id: str) -> Row | None:
            stage.records.get = get
            row = await get(collection, tenant, id)
            await stage.tenancy.change_key(msgspec.structs.replace(key, name="renamed"))
            return row

        stage.records.get = overtaken  # pyright: ignore[reportAttributeAccessIssue]  # somebody else is quicker
        assert (await stage.tenancy.revoke_key(key.id, by=ADMIN)).revoked_s > 0
        (told,) = await stage.changes.page("acme")
        assert msgspec.json.decode(told.before)["name"] == "renamed"

    staged(tmp_path, case)


def test_filters_combine_and_pages_follow_newest_first_without_gap_or_double(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        for number in range(12):
            by = (OWNER, ADMIN)[number % 2]
            await note(stage, f"s{number % 3}", ("key.create", "key.revoke")[number // 6], by)
            if number % 4 == 0:
                stage.clock.advance(1)
        await note(stage, "s0", org="other")
        whole = await stage.changes.page("acme")
        assert len(whole) == 12
        assert [each.subject for each in whole] == [f"s{number % 3}" for number in reversed(range(12))]
        pages, after = [], ""
        while page := await stage.changes.page("acme", after=after, limit=5):
            pages += page
            after = page[-1].id
        assert pages == whole
        for actor in ("", OWNER.id, ADMIN.id):
            for subject in ("", "s0", "s2"):
                for action in ("", "key.create", "key.revoke"):
                    wanted = [
                        each
                        for each in whole
                        if actor in ("", each.actor_id)
                        and subject in ("", each.subject)
                        and action in ("", each.action)
                    ]
                    assert (
                        await stage.changes.page("acme", actor=actor, subject=subject, action=action)
                        == wanted
                    )
        assert [each.org for each in await stage.changes.page("other")] == ["other"]

    staged(tmp_path, case)


def test_what_is_older_is_trimmed_over_all_organisations_and_nothing_else(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        for number in range(205):
            await note(stage, f"old{number}", org=("acme", "other")[number % 2])
        stage.clock.advance(10)
        cutoff_s = stage.clock.wall_s()
        await note(stage, "kept")
        assert await stage.changes.trim(cutoff_s, pages=1) == 100
        assert await stage.changes.trim(cutoff_s) == 105
        assert [each.subject for each in await stage.changes.page("acme")] == ["kept"]
        assert await stage.changes.trim(cutoff_s) == 0
        assert await stage.changes.trim(cutoff_s + 0.001) == 1

    staged(tmp_path, case)


def test_every_member_is_bounded(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        long = "x" * 5_000
        by = Author(kind="key", id=long, name=long, role=long, request_id=long, peer=long)
        await note(stage, long, long, by, org=long)
        (change,) = await stage.changes.page(long, actor=long, subject=long, action=long)
        assert {len(change.actor_id), len(change.subject), len(change.peer), len(change.org)} == {TEXT_MOST}

    staged(tmp_path, case)


def test_a_document_at_the_bound_is_shown_and_one_above_is_only_measured() -> None:
    assert bytes(shown("x" * (STATE_BYTES - 2))) == b'"' + b"x" * (STATE_BYTES - 2) + b'"'
    assert msgspec.json.decode(shown("x" * (STATE_BYTES - 1))) == {"too_large_bytes": STATE_BYTES + 1}


def test_secrets_are_left_out_at_any_depth_and_what_only_sounds_like_one_stays() -> None:
    document = {
        "mac": 1,
        "max_input_tokens": 2,
        "Password_Hash": 3,
        "list": [{"client_secret": 4, "name": 5}],
        "deep": {"token": 6, "key": 7},
    }
    assert msgspec.json.decode(shown(document)) == {
        "max_input_tokens": 2,
        "list": [{"name": 5}],
        "deep": {"key": 7},
    }
