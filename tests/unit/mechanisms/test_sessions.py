"""Sessions: known in memory, ended everywhere, never fixed, never stored plain."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from penstock.adapters.signals.embedded import EmbeddedSignals
from penstock.kernel.context import Cap
from penstock.kernel.errors import Forbidden, Invalid, NotFound, Unauthenticated
from penstock.mechanisms import sessions as sessions_module
from penstock.mechanisms.changes import PLATFORM
from penstock.mechanisms.sessions import MOST_PER_PERSON, TOUCH_S, Lifetimes, Sessions
from penstock.mechanisms.tenancy import ScopeDoc
from penstock.ports.records import Row
from tests.unit.mechanisms.people_stage import ADMIN, OWNER, PASSWORD, PEER, PEPPER, Stage, staged

LIVES = Lifetimes()


async def opened(stage: Stage, email: str = "ann@acme.test") -> bytes:
    """Return the token of a session of somebody who came in just now."""
    _, token = await stage.sessions.open(await stage.somebody(email), method="password", peer=PEER)
    return token.encode()


async def must_be_over(stage: Stage, token: bytes) -> None:
    assert stage.sessions.known(token) is None
    with pytest.raises(Unauthenticated):
        await stage.sessions.visit(token)


def test_a_session_is_known_in_memory_after_its_first_use_and_only_by_its_whole_token(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        token = await opened(stage)
        assert stage.sessions.known(token) is None
        visit = await stage.sessions.visit(token)
        assert stage.sessions.known(token) is visit
        who = visit.principal
        assert (who.org, who.team, who.user, who.role) == ("acme", "search", visit.person.id, "developer")
        assert [scope.level for scope in who.scopes] == ["org", "team", "project", "user"]
        assert who.expires_at_s == stage.clock.wall_s() + LIVES.absolute_s
        for wrong in (token[:-1], token + b"x", token[:-1] + b"!", b"pen-" + token[5:], b"", b"pens-"):
            await must_be_over(stage, wrong)

    staged(tmp_path, case)


def test_the_token_is_stored_nowhere_and_another_pepper_knows_none(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        token = await opened(stage)
        session = (await stage.sessions.visit(token)).session
        row = await stage.records.get("sessions", PLATFORM, session.id)
        assert row is not None
        assert token[5:] not in row.value
        assert session.mac not in repr(session) + repr(session.__rich_repr__())
        other = Sessions(stage.records, stage.signals, stage.tenancy, stage.clock, pepper=b"q" * 32)
        with pytest.raises(Unauthenticated):
            await other.visit(token)
        with pytest.raises(Invalid):
            Sessions(stage.records, stage.signals, stage.tenancy, stage.clock, pepper=b"q" * 31)

    staged(tmp_path, case)


def test_an_idle_session_ends_exactly_at_its_time(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        token = await opened(stage)
        stage.clock.advance(LIVES.idle_s - 0.001)
        await stage.sessions.visit(token)
        stage.clock.advance(LIVES.idle_s - 0.001)
        await stage.another().sessions.visit(token)
        stage.clock.advance(LIVES.idle_s)
        await must_be_over(stage, token)

    staged(tmp_path, case)


def test_a_session_in_use_ends_at_its_absolute_time_even_when_remembered(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        token = await opened(stage)
        started_s, step_s = stage.clock.wall_s(), LIVES.idle_s / 2
        while stage.clock.wall_s() + step_s < started_s + LIVES.absolute_s:
            stage.clock.advance(step_s)
            await stage.sessions.visit(token)
        stage.clock.advance(started_s + LIVES.absolute_s - stage.clock.wall_s() - 1)
        await stage.sessions.visit(token)
        stage.clock.jump_wall(0.5)
        assert stage.sessions.known(token) is not None
        stage.clock.jump_wall(0.5)
        await must_be_over(stage, token)

    staged(tmp_path, case)


def test_use_is_recorded_once_a_minute(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        token = await opened(stage)
        session = (await stage.sessions.visit(token)).session

        async def version() -> int:
            row = await stage.records.get("sessions", PLATFORM, session.id)
            assert row is not None
            return row.version

        stage.clock.advance(TOUCH_S - 0.001)
        await stage.sessions.visit(token)
        assert await version() == 1
        stage.clock.advance(0.001)
        assert (await stage.sessions.visit(token)).session.seen_s == stage.clock.wall_s()
        assert await version() == 2

    staged(tmp_path, case)


def test_signing_in_makes_a_new_token_and_ends_the_one_presented(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        planted = await opened(stage, "eve@acme.test")
        person = await stage.somebody()
        _, token = await stage.sessions.open(person, method="password", replaces=planted)
        assert token.encode() != planted
        assert (await stage.sessions.visit(token.encode())).person.id == person.id
        await must_be_over(stage, planted)

    staged(tmp_path, case)


def test_revoking_one_leaves_the_others_and_is_audited(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        person = await stage.somebody()
        tokens = [(await stage.sessions.open(person, method="password"))[1].encode() for _ in range(3)]
        visits = [await stage.sessions.visit(token) for token in tokens]
        other = await stage.somebody("bob@acme.test")
        with pytest.raises(NotFound):
            await stage.sessions.revoke(ADMIN, visits[0].session.id, of=other)
        await stage.sessions.revoke(ADMIN, visits[0].session.id, of=person)
        await must_be_over(stage, tokens[0])
        await stage.sessions.close(tokens[1])
        await must_be_over(stage, tokens[1])
        await stage.sessions.visit(tokens[2])
        assert [each.id for each in await stage.sessions.of_person(person.id)] == [visits[2].session.id]
        (told,) = await stage.changes.page("acme", action="session.revoke")
        assert b"mac" not in bytes(told.before)

    staged(tmp_path, case)


@pytest.mark.parametrize("verb", ["disable", "end", "password", "own"])
def test_what_ends_all_sessions_of_a_person_ends_them_on_every_node(tmp_path: Path, verb: str) -> None:
    async def case(stage: Stage) -> None:
        there = stage.another()
        token = await opened(stage)
        watching = asyncio.create_task(there.sessions.watch())
        await asyncio.sleep(0.01)
        visit = await there.sessions.visit(token)
        person = visit.person
        if verb == "disable":
            await stage.people.disable(ADMIN, person.id)
        elif verb == "end":
            await stage.people.end_sessions(ADMIN, person.id)
        elif verb == "own":
            await stage.people.end_sessions(visit.author("req_2", PEER), person.id)
        else:
            link = await stage.people.invite_again(ADMIN, person.id)
            await stage.people.accept(link, PASSWORD, peer=PEER)
        async with asyncio.timeout(5):
            while there.sessions.known(token) is not None:
                await asyncio.sleep(0.001)
        await must_be_over(there, token)
        assert await stage.sessions.of_person(person.id) == []
        if verb == "disable":  # what ended does not come back
            await stage.people.enable(ADMIN, person.id)
            await must_be_over(there, token)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    staged(tmp_path, case)


def test_a_node_that_hears_nothing_reads_again_after_a_second(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        deaf = stage.another(EmbeddedSignals())
        token = await opened(stage)
        person = (await deaf.sessions.visit(token)).person
        await stage.people.disable(ADMIN, person.id)
        stage.clock.advance(1.0)
        assert deaf.sessions.known(token) is not None
        stage.clock.advance(0.001)
        await must_be_over(deaf, token)

    staged(tmp_path, case)


def test_a_changed_role_and_changed_limits_are_felt_by_the_session(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        token = await opened(stage)
        person = (await stage.sessions.visit(token)).person
        await stage.people.change(ADMIN, person.id, role="reviewer", team="ads")
        who = (await stage.sessions.visit(token)).principal
        assert (who.role, who.team, who.scopes[1].path) == ("reviewer", "ads", "org:acme/team:ads")
        cap = Cap(window="day", limit_nanos=5)
        await stage.tenancy.put_scope(
            "acme", ScopeDoc(path="org:acme", level="org", caps=(cap,), user_caps=(cap,))
        )
        assert stage.sessions.known(token) is None
        scopes = (await stage.sessions.visit(token)).principal.scopes
        assert scopes[0].caps == scopes[3].caps == (cap,)
        assert await stage.tenancy.acting_for(who, "somebody-else") is who

    staged(tmp_path, case)


def test_a_session_revoked_while_it_is_being_read_is_not_remembered(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        token = await opened(stage)
        get = stage.records.get

        async def overtaken(collection: str, tenant: str, id: str) -> Row | None:
            row = await get(collection, tenant, id)
            if collection == "people":
                stage.sessions._known.forget()  # what hearing of the revocation does
            return row

        stage.records.get = overtaken  # pyright: ignore[reportAttributeAccessIssue]  # a slow answer: somebody else is quicker
        await stage.sessions.visit(token)
        assert stage.sessions.known(token) is None

    staged(tmp_path, case)


def test_recording_a_use_never_brings_a_revoked_session_back(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        token = await opened(stage)
        stage.clock.advance(TOUCH_S)
        get = stage.records.get

        async def overtaken(collection: str, tenant: str, id: str) -> Row | None:
            row = await get(collection, tenant, id)
            if collection == "people":
                stage.records.get = get
                await stage.sessions.close(token)
            return row

        stage.records.get = overtaken  # pyright: ignore[reportAttributeAccessIssue]  # a slow answer: somebody else is quicker
        await must_be_over(stage, token)
        await must_be_over(stage, token)

    staged(tmp_path, case)


def test_a_person_holds_a_bounded_number_and_the_longest_unused_goes(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        person = await stage.somebody()
        tokens = []
        for _ in range(MOST_PER_PERSON + 1):
            stage.clock.advance(1)
            tokens.append((await stage.sessions.open(person, method="password"))[1].encode())
        await must_be_over(stage, tokens[0])
        for token in (tokens[1], tokens[-1]):
            await stage.sessions.visit(token)
        assert len(await stage.sessions.of_person(person.id)) == MOST_PER_PERSON
        stage.clock.advance(LIVES.idle_s)
        await stage.sessions.open(person, method="password")
        assert await stage.records.count("sessions", PLATFORM) == 1
        assert await stage.sessions.of_person("nobody") == []

    staged(tmp_path, case)


def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "REMEMBERED", 3)

    async def case(stage: Stage) -> None:
        person = await stage.somebody()
        tokens = [(await stage.sessions.open(person, method="password"))[1].encode() for _ in range(4)]
        for token in tokens:
            await stage.sessions.visit(token)
        assert [stage.sessions.known(token) is not None for token in tokens] == [False, True, True, True]

    staged(tmp_path, case)


def test_a_csrf_token_is_good_for_its_own_session_only(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        one, two = await opened(stage), await opened(stage, "bob@acme.test")
        good = stage.sessions.csrf_token(one)
        stage.another().sessions.check_csrf(one, good)
        for wrong in (
            "",
            good[:-1],
            good + "0",
            stage.sessions.csrf_token(two),
            "é" * 64,
            "\ud800",
            good.upper(),
        ):
            with pytest.raises(Forbidden):
                stage.sessions.check_csrf(one, wrong)

    staged(tmp_path, case)


def test_a_visitor_is_the_author_of_what_it_changes(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        person = await stage.somebody("adam@acme.test", "admin")
        _, token = await stage.sessions.open(person, method="password")
        author = (await stage.sessions.visit(token.encode())).author("req_9", PEER)
        await stage.people.invite(author, "new@acme.test", "New", "developer", org="acme", team="ads")
        (told,) = await stage.changes.page("acme", actor=person.id, action="person.invite")
        assert (told.actor_name, told.actor_role, told.request_id, told.peer, told.team) == (
            *("Ann", "admin", "req_9", PEER, "ads"),
        )
        assert msgspec.structs.asdict(author)["org"] == "acme"
        assert author != OWNER
        assert PEPPER.decode() not in repr(author)

    staged(tmp_path, case)
