"""People: links that open once, passwords that are guessed at a price, and nobody above themselves."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import msgspec
import pytest

from penstock.kernel.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Unauthenticated,
)
from penstock.mechanisms.changes import PLATFORM
from penstock.mechanisms.people import LINK_LIFE_S, People
from tests.unit.mechanisms.people_stage import ADMIN, OWNER, PASSWORD, PEER, TEAM_ADMIN, Stage, staged

CLAIM = {"email": "olga@hq.test", "name": "Olga", "org": "hq", "team": "hq", "peer": PEER}


def test_an_invited_person_accepts_once_and_signs_in(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        invited, token = await stage.people.invite(
            OWNER, " Ann@Acme.TEST ", "Ann", "developer", org="acme", team="s"
        )
        assert (invited.state, invited.email) == ("invited", "ann@acme.test")
        with pytest.raises(Unauthenticated):
            await stage.people.sign_in("ann@acme.test", PASSWORD, peer=PEER)
        person = await stage.people.accept(token, PASSWORD, peer=PEER)
        assert (person.state, person.last_seen_s) == ("active", stage.clock.wall_s())
        with pytest.raises(Unauthenticated, match="used"):
            await stage.people.accept(token, PASSWORD, peer=PEER)
        stage.clock.advance(5)
        seen = await stage.people.sign_in("ANN@acme.test", PASSWORD, peer=PEER)
        assert (seen.id, seen.last_seen_s) == (invited.id, stage.clock.wall_s())

    staged(tmp_path, case)


def test_of_two_who_accept_one_link_at_once_one_wins(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        _, token = await stage.people.invite(OWNER, "ann@acme.test", "Ann", "developer", org="acme", team="s")
        nodes = [stage, stage.another(), stage, stage.another()]
        words = [f"{PASSWORD} {number}" for number in range(4)]
        outcomes = await asyncio.gather(
            *(node.people.accept(token, word, peer=PEER) for node, word in zip(nodes, words, strict=True)),
            return_exceptions=True,
        )
        won = [
            word for word, each in zip(words, outcomes, strict=True) if not isinstance(each, BaseException)
        ]
        assert len(won) == 1
        assert sum(isinstance(each, Unauthenticated) for each in outcomes) == 3
        assert await stage.people.sign_in("ann@acme.test", won[0], peer=PEER)
        accepted = await stage.changes.page("acme", action="person.accept")
        assert len(accepted) == 1

    staged(tmp_path, case)


def test_a_link_ends_exactly_at_its_time(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        _, token = await stage.people.invite(OWNER, "ann@acme.test", "Ann", "developer", org="acme", team="s")
        stage.clock.advance(LINK_LIFE_S)
        with pytest.raises(Unauthenticated):
            await stage.people.accept(token, PASSWORD, peer=PEER)
        stage.clock.jump_wall(-0.001)
        await stage.people.accept(token, PASSWORD, peer=PEER)

    staged(tmp_path, case)


def test_a_new_link_ends_the_old_one_and_resets_a_password(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        person, first = await stage.people.invite(
            OWNER, "ann@acme.test", "Ann", "developer", org="acme", team="s"
        )
        second = await stage.people.invite_again(ADMIN, person.id)
        with pytest.raises(Unauthenticated):
            await stage.people.accept(first, PASSWORD, peer=PEER)
        await stage.people.accept(second, PASSWORD, peer=PEER)
        third = await stage.people.invite_again(ADMIN, person.id)
        after = await stage.people.accept(third, PASSWORD + " new", peer=PEER)
        assert after.epoch == 2
        with pytest.raises(Unauthenticated):
            await stage.people.sign_in("ann@acme.test", PASSWORD, peer=PEER)

    staged(tmp_path, case)


def test_a_spoilt_or_foreign_link_opens_nothing(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        one, token = await stage.people.invite(
            OWNER, "ann@acme.test", "Ann", "developer", org="acme", team="s"
        )
        other, _ = await stage.people.invite(OWNER, "bob@acme.test", "Bob", "developer", org="acme", team="s")
        swapped = token.replace(one.id, other.id)
        for wrong in (
            "",
            "penl-",
            token[:-1],
            token + "x",
            swapped,
            token.removeprefix("penl-"),
            "penl-owner-x",
        ):
            with pytest.raises(Unauthenticated):
                await stage.people.accept(wrong, PASSWORD, peer=PEER)
        with pytest.raises(Unauthenticated):
            await stage.people.claim_ownership(token, password=PASSWORD, **CLAIM)

    staged(tmp_path, case)


def test_a_refused_password_leaves_the_link_whole(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        _, token = await stage.people.invite(OWNER, "ann@acme.test", "Ann", "developer", org="acme", team="s")
        for bad in ("short", "ann@acme.test", "x" * 1_025):
            with pytest.raises(Invalid):
                await stage.people.accept(token, bad, peer=PEER)
        await stage.people.accept(token, PASSWORD, peer=PEER)

    staged(tmp_path, case)


def test_the_owners_link_is_made_only_while_there_is_no_active_owner_and_opens_once(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        replaced, token = await stage.people.owner_link(), await stage.another().people.owner_link()
        assert replaced
        assert token
        with pytest.raises(Unauthenticated):
            await stage.people.claim_ownership(replaced, password=PASSWORD, **CLAIM)
        claims = [
            node.people.claim_ownership(token, password=PASSWORD, **{**CLAIM, "email": f"o{n}@hq.test"})
            for n, node in enumerate((stage, stage.another(), stage))
        ]
        outcomes = await asyncio.gather(*claims, return_exceptions=True)
        assert sum(isinstance(each, Unauthenticated) for each in outcomes) == 2
        owners = await stage.people.of_org("hq")
        assert [(each.role, each.state) for each in owners] == [("owner", "active")]
        assert await stage.people.owner_link() is None

    staged(tmp_path, case)


def test_an_owners_link_made_before_somebody_became_owner_is_dead(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        token = await stage.people.owner_link()
        assert token
        await stage.somebody("olga@hq.test", "owner")
        with pytest.raises(Unauthenticated):
            await stage.people.claim_ownership(token, password=PASSWORD, **{**CLAIM, "email": "eve@hq.test"})

    staged(tmp_path, case)


def test_an_email_is_one_per_platform_whatever_its_case(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        await stage.somebody()
        with pytest.raises(Conflict):
            await stage.people.invite(OWNER, "ANN@ACME.test", "Another", "developer", org="other", team="t")
        found = await stage.people.by_email("Ann@acme.TEST")
        assert found is not None
        assert found.org == "acme"
        assert await stage.people.by_email("nobody@acme.test") is None
        assert await stage.people.of_org("other") == []
        assert await stage.changes.page("other") == []

    staged(tmp_path, case)


def test_nobody_grants_a_role_above_their_own_nor_acts_outside_their_reach(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        people = stage.people
        ann, boss = await stage.somebody(), await stage.somebody("boss@acme.test", "owner")
        lower = msgspec.structs.replace(ADMIN, role="developer", user=ann.id, team="search", id=ann.id)
        for by, role, org, team in (
            (ADMIN, "owner", "acme", "search"),
            (ADMIN, "developer", "other", "search"),
            (TEAM_ADMIN, "admin", "acme", "search"),
            (TEAM_ADMIN, "auditor", "acme", "search"),
            (TEAM_ADMIN, "developer", "acme", "ads"),
            (lower, "developer", "acme", "search"),
            (msgspec.structs.replace(ADMIN, role="root"), "developer", "acme", "search"),
        ):
            with pytest.raises(Forbidden):
                await people.invite(by, "x@acme.test", "X", role, org=org, team=team)
        with pytest.raises(Forbidden):
            await people.change(ADMIN, ann.id, role="owner")
        with pytest.raises(Forbidden):
            await people.change(lower, ann.id, role="admin")
        with pytest.raises(Forbidden):
            await people.change(TEAM_ADMIN, ann.id, team="ads")
        for verb in (people.disable, people.invite_again, people.end_sessions):
            with pytest.raises(Forbidden):
                await verb(ADMIN, boss.id)
            with pytest.raises(NotFound):
                await verb(msgspec.structs.replace(ADMIN, org="other"), ann.id)
        for role in ("caller", "root", ""):
            with pytest.raises(Invalid):
                await people.invite(OWNER, "x@acme.test", "X", role, org="acme", team="search")
        moved = await people.change(ADMIN, ann.id, role="team-admin", team="ads", name="Anna")
        assert (moved.role, moved.team, moved.name) == ("team-admin", "ads", "Anna")

    staged(tmp_path, case)


def test_the_last_active_owner_stays(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        first = await stage.somebody("a@hq.test", "owner")
        for attempt in (
            stage.people.disable(OWNER, first.id),
            stage.people.change(OWNER, first.id, role="admin"),
        ):
            with pytest.raises(Conflict, match="last active owner"):
                await attempt
        second = await stage.somebody("b@hq.test", "owner")
        assert (await stage.people.disable(OWNER, first.id)).state == "disabled"
        with pytest.raises(Conflict):
            await stage.people.disable(OWNER, second.id)
        assert (await stage.people.enable(OWNER, first.id)).state == "active"
        with pytest.raises(Conflict):
            await stage.people.enable(OWNER, first.id)

    staged(tmp_path, case)


def test_a_disabled_person_keeps_no_open_link(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        person, token = await stage.people.invite(
            OWNER, "ann@acme.test", "Ann", "developer", org="acme", team="s"
        )
        await stage.people.disable(ADMIN, person.id)
        with pytest.raises(Conflict):
            await stage.people.invite_again(ADMIN, person.id)
        assert (await stage.people.enable(ADMIN, person.id)).state == "invited"
        with pytest.raises(Unauthenticated):
            await stage.people.accept(token, PASSWORD, peer=PEER)

    staged(tmp_path, case)


def test_secrets_are_in_no_row_repr_or_audit(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        person, token = await stage.people.invite(
            OWNER, "ann@acme.test", "Ann", "developer", org="acme", team="s"
        )
        link = await stage.records.get("links", PLATFORM, person.id)
        assert link is not None
        assert token.split("-", 2)[2].encode() not in link.value
        after = await stage.people.accept(token, PASSWORD, peer=PEER)
        row = await stage.records.get("people", PLATFORM, person.id)
        assert row is not None
        assert PASSWORD.encode() not in row.value
        digest = after.password_hash.rpartition("$")[2]
        assert digest not in repr(after) + repr(after.__rich_repr__())
        audit = msgspec.json.encode(await stage.changes.page("acme")).decode()
        assert "person.accept" in audit
        assert not re.search("argon2|password_hash|" + re.escape(PASSWORD), audit)

    staged(tmp_path, case)


def test_a_short_pepper_is_refused() -> None:
    with pytest.raises(Invalid):
        People(None, None, None, None, news=None, pepper=b"p" * 31)  # pyright: ignore[reportArgumentType]  # refused before any is used
