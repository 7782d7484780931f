"""Tenancy: keys that are checked in memory, changed everywhere within a second, and never shown twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from penstock.adapters.records.sqlite import SqliteRecords
from penstock.adapters.signals.embedded import EmbeddedSignals
from penstock.kernel.clock import ManualClock
from penstock.kernel.context import Cap, Rate
from penstock.kernel.errors import Invalid, NotFound, StaleVersion, Unauthenticated
from penstock.mechanisms import tenancy as tenancy_module
from penstock.mechanisms.tenancy import COLLECTIONS, PLATFORM, KeyDoc, ScopeDoc, Tenancy
from penstock.ports.records import Row
from tests.support import run

PEPPER = b"p" * 32
DRAFT = KeyDoc(id="", mac="", org="acme", team="search", project="web", user="ann")


def with_tenancy(
    folder: Path, case: Callable[[Tenancy, ManualClock, SqliteRecords], Awaitable[None]]
) -> None:
    """Run a case on a real directory."""

    async def opened() -> None:
        clock = ManualClock()
        records = await SqliteRecords.open(folder / "records.sqlite", COLLECTIONS, clock)
        signals = EmbeddedSignals()
        try:
            await case(Tenancy(records, signals, clock, PEPPER), clock, records)
        finally:
            await signals.close()
            await records.close()

    run(opened())


def test_a_key_is_known_in_memory_after_its_first_use_and_only_by_its_whole_token(tmp_path: Path) -> None:
    async def case(tenancy: Tenancy, _clock: ManualClock, _records: SqliteRecords) -> None:
        _, text = await tenancy.create_key(DRAFT)
        token = text.encode()
        assert tenancy.known(token) is None
        principal = await tenancy.principal(token)
        assert tenancy.known(token) is principal
        assert [scope.path for scope in principal.scopes][1] == "org:acme/team:search"
        for wrong in (token[:-1], token + b"x", token[:-1] + b"!", b"pen-" + token[4:20], b"", b"pen-"):
            assert tenancy.known(wrong) is None
            with pytest.raises(Unauthenticated):
                await tenancy.principal(wrong)

    with_tenancy(tmp_path, case)


def test_the_token_is_stored_nowhere(tmp_path: Path) -> None:
    async def case(tenancy: Tenancy, _clock: ManualClock, records: SqliteRecords) -> None:
        doc, token = await tenancy.create_key(DRAFT)
        row = await records.get("keys", PLATFORM, doc.id)
        assert row is not None
        assert token.encode() not in row.value
        assert token[17:].encode() not in row.value

    with_tenancy(tmp_path, case)


def test_another_pepper_knows_no_key(tmp_path: Path) -> None:
    async def case(tenancy: Tenancy, clock: ManualClock, records: SqliteRecords) -> None:
        _, token = await tenancy.create_key(DRAFT)
        with pytest.raises(Unauthenticated):
            await Tenancy(records, EmbeddedSignals(), clock, b"q" * 32).principal(token.encode())

    with_tenancy(tmp_path, case)


def test_a_short_pepper_is_refused() -> None:
    with pytest.raises(Invalid):
        Tenancy(None, None, ManualClock(), b"p" * 31)  # pyright: ignore[reportArgumentType]  # refused before they are used


def test_revoking_is_felt_at_once_here(tmp_path: Path) -> None:
    async def case(tenancy: Tenancy, _clock: ManualClock, _records: SqliteRecords) -> None:
        doc, token = await tenancy.create_key(DRAFT)
        await tenancy.principal(token.encode())
        await tenancy.revoke_key(doc.id)
        assert tenancy.known(token.encode()) is None
        with pytest.raises(Unauthenticated):
            await tenancy.principal(token.encode())

    with_tenancy(tmp_path, case)


def test_a_key_expires_exactly_at_its_time_even_when_remembered(tmp_path: Path) -> None:
    async def case(tenancy: Tenancy, clock: ManualClock, _records: SqliteRecords) -> None:
        _, token = await tenancy.create_key(KeyDoc(**{**_fields(DRAFT), "expires_s": clock.wall_s() + 10}))
        await tenancy.principal(token.encode())
        clock.jump_wall(9.999)
        assert tenancy.known(token.encode()) is not None
        clock.jump_wall(0.001)
        assert tenancy.known(token.encode()) is None
        with pytest.raises(Unauthenticated):
            await tenancy.principal(token.encode())

    with_tenancy(tmp_path, case)


def test_a_rotated_key_overlaps_and_then_ends(tmp_path: Path) -> None:
    async def case(tenancy: Tenancy, clock: ManualClock, _records: SqliteRecords) -> None:
        doc, old = await tenancy.create_key(DRAFT)
        _, new = await tenancy.rotate_key(doc.id, overlap_s=60)
        for token in (old, new):
            assert (await tenancy.principal(token.encode())).team == "search"
        clock.advance(61)
        with pytest.raises(Unauthenticated):
            await tenancy.principal(old.encode())
        assert (await tenancy.principal(new.encode())).team == "search"
        with pytest.raises(NotFound):
            await tenancy.rotate_key(doc.id, overlap_s=60)

    with_tenancy(tmp_path, case)


def test_another_node_hears_of_a_revocation(tmp_path: Path) -> None:
    async def case(tenancy: Tenancy, clock: ManualClock, records: SqliteRecords) -> None:
        signals = EmbeddedSignals()
        here, there = Tenancy(records, signals, clock, PEPPER), Tenancy(records, signals, clock, PEPPER)
        doc, token = await here.create_key(DRAFT)
        watching = asyncio.create_task(there.watch())
        await asyncio.sleep(0.01)
        await there.principal(token.encode())
        await here.revoke_key(doc.id)
        async with asyncio.timeout(5):
            while there.known(token.encode()) is not None:
                await asyncio.sleep(0.001)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await signals.close()

    with_tenancy(tmp_path, case)


def test_a_node_that_hears_nothing_reads_again_after_a_second(tmp_path: Path) -> None:
    async def case(tenancy: Tenancy, clock: ManualClock, records: SqliteRecords) -> None:
        deaf = Tenancy(records, EmbeddedSignals(), clock, PEPPER)
        doc, token = await tenancy.create_key(DRAFT)
        await deaf.principal(token.encode())
        await tenancy.revoke_key(doc.id)
        clock.advance(1.0)
        assert deaf.known(token.encode()) is not None
        clock.advance(0.001)
        with pytest.raises(Unauthenticated):
            await deaf.principal(token.encode())

    with_tenancy(tmp_path, case)


def test_a_user_first_seen_is_limited_by_the_defaults_above_it_from_the_first_request(tmp_path: Path) -> None:
    async def case(tenancy: Tenancy, _clock: ManualClock, _records: SqliteRecords) -> None:
        cap = Cap(window="day", limit_nanos=7)
        await tenancy.put_scope("acme", ScopeDoc(path="org:acme", level="org", user_caps=(cap,)))
        await tenancy.put_scope(
            "acme",
            ScopeDoc(path="org:acme/team:search", level="team", user_rate=Rate(requests_per_minute=3)),
        )
        how = ScopeDoc(
            path="org:acme/team:search/project:web", level="project", user_rate=Rate(window=True)
        )  # how to count limits nothing, so the team's limits are still the nearest
        await tenancy.put_scope("acme", how)
        await tenancy.put_scope("acme", ScopeDoc(path="org:acme/user:vip", level="user"))
        _, token = await tenancy.create_key(KeyDoc(**{**_fields(DRAFT), "end_users": True}))
        principal = await tenancy.principal(token.encode())
        seen = (await tenancy.acting_for(principal, "stranger")).scopes[3]
        assert (seen.path, seen.caps, seen.rate.requests_per_minute) == ("org:acme/user:stranger", (cap,), 3)
        assert (await tenancy.acting_for(principal, "vip")).scopes[3].caps == ()
        for bad in ("a/b", "a@b", "x" * 129, "a\nb"):
            with pytest.raises(Invalid):
                await tenancy.acting_for(principal, bad)

    with_tenancy(tmp_path, case)


def test_an_end_users_limits_outlive_our_memory_of_the_key(tmp_path: Path) -> None:
    """Given a change that made every node forget between the check of a key and its use, the user is still found."""

    async def case(tenancy: Tenancy, _clock: ManualClock, _records: SqliteRecords) -> None:
        _, token = await tenancy.create_key(KeyDoc(**{**_fields(DRAFT), "end_users": True}))
        principal = await tenancy.principal(token.encode())
        await tenancy.put_scope("acme", ScopeDoc(path="org:acme", level="org"))
        assert tenancy.known(token.encode()) is None
        assert (await tenancy.acting_for(principal, "kim")).user == "kim"

    with_tenancy(tmp_path, case)


def test_an_end_user_is_remembered_until_something_changes_and_never_for_another_key(tmp_path: Path) -> None:
    async def case(tenancy: Tenancy, _clock: ManualClock, _records: SqliteRecords) -> None:
        callers = []
        for org in ("acme", "other"):
            draft = KeyDoc(**{**_fields(DRAFT), "end_users": True, "org": org})
            _, token = await tenancy.create_key(draft)
            callers.append(await tenancy.principal(token.encode()))
        kims = [await tenancy.acting_for(caller, "kim") for caller in callers]
        assert [kim.org for kim in kims] == ["acme", "other"]
        assert [kim.scopes[3].path for kim in kims] == ["org:acme/user:kim", "org:other/user:kim"]
        assert await tenancy.acting_for(callers[1], "kim") is kims[1]
        await tenancy.put_scope(
            "other",
            ScopeDoc(path="org:other/user:kim", level="user", caps=(Cap(window="day", limit_nanos=1),)),
        )
        assert (await tenancy.acting_for(callers[1], "kim")).scopes[3].caps[0].limit_nanos == 1

    with_tenancy(tmp_path, case)


def test_end_users_in_memory_are_bounded_over_all_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenancy_module, "REMEMBERED_USERS", 3)

    async def case(tenancy: Tenancy, _clock: ManualClock, _records: SqliteRecords) -> None:
        tokens = []
        for _ in range(2):
            _, token = await tenancy.create_key(KeyDoc(**{**_fields(DRAFT), "end_users": True}))
            tokens.append(token.encode())
        for number in range(4):
            for token in tokens:
                await tenancy.acting_for(await tenancy.principal(token), f"u{number}")
        assert len(tenancy._users) == 3

    with_tenancy(tmp_path, case)


def test_a_key_revoked_while_it_is_being_read_is_not_remembered(tmp_path: Path) -> None:
    async def case(tenancy: Tenancy, clock: ManualClock, records: SqliteRecords) -> None:
        doc, token = await tenancy.create_key(DRAFT)

        class Overtaken:
            """Records whose answer is on its way while the key is revoked."""

            async def get(self, collection: str, tenant: str, id: str) -> Row | None:
                row = await records.get(collection, tenant, id)
                if collection == "keys":
                    reader._forget()  # what hearing of the revocation does
                return row

        reader = Tenancy(Overtaken(), EmbeddedSignals(), clock, PEPPER)  # pyright: ignore[reportArgumentType]  # only get is asked
        assert (await reader.principal(token.encode())).key_id == doc.id
        assert reader.known(token.encode()) is None

    with_tenancy(tmp_path, case)


def test_a_key_rotated_twice_within_the_overlap_lives_on(tmp_path: Path) -> None:
    async def case(tenancy: Tenancy, clock: ManualClock, _records: SqliteRecords) -> None:
        doc, _ = await tenancy.create_key(DRAFT)
        await tenancy.rotate_key(doc.id, overlap_s=60)
        _, newest = await tenancy.rotate_key(doc.id, overlap_s=600)
        clock.advance(61)
        assert (await tenancy.principal(newest.encode())).team == "search"
        old = await tenancy.key(doc.id)
        assert old is not None
        assert old.revoked_s <= clock.wall_s()  # the second rotation did not prolong it

    with_tenancy(tmp_path, case)


def test_a_rotation_makes_the_new_key_and_ends_the_old_or_does_neither(tmp_path: Path) -> None:
    async def case(tenancy: Tenancy, _clock: ManualClock, records: SqliteRecords) -> None:
        doc, _ = await tenancy.create_key(DRAFT)
        get = records.get

        async def overtaken(collection: str, tenant: str, id: str) -> Row | None:
            records.get = get
            row = await get(collection, tenant, id)
            await tenancy.change_key(doc)
            return row

        records.get = overtaken  # pyright: ignore[reportAttributeAccessIssue]  # somebody else is quicker
        with pytest.raises(StaleVersion):
            await tenancy.rotate_key(doc.id, overlap_s=60)
        assert [each.id for each in await tenancy.keys("acme")] == [doc.id]

    with_tenancy(tmp_path, case)


def test_a_key_without_that_right_acts_for_nobody_else(tmp_path: Path) -> None:
    async def case(tenancy: Tenancy, _clock: ManualClock, _records: SqliteRecords) -> None:
        _, token = await tenancy.create_key(DRAFT)
        principal = await tenancy.principal(token.encode())
        assert await tenancy.acting_for(principal, "stranger") is principal

    with_tenancy(tmp_path, case)


def test_an_operators_own_key_must_be_strong(tmp_path: Path) -> None:
    async def case(tenancy: Tenancy, _clock: ManualClock, _records: SqliteRecords) -> None:
        for weak in ("sk-1234", "pen-short-key", "pen-abcdefghijkl-" + "x" * 31):
            with pytest.raises(Invalid):
                await tenancy.adopt_key(DRAFT, weak)
        await tenancy.adopt_key(DRAFT, "pen-abcdefghijkl-" + "0123456789abcdef" * 2)

    with_tenancy(tmp_path, case)


def _fields(doc: KeyDoc) -> dict[str, object]:
    return {name: getattr(doc, name) for name in doc.__struct_fields__}
