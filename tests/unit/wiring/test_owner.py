"""The first keys: the operator's own is adopted once, a newcomer's are made once, and a revoked one stays dead."""

from __future__ import annotations

import stat

import msgspec
import pytest

from penstock.adapters.records.sqlite import SqliteRecords
from penstock.adapters.signals.embedded import EmbeddedSignals
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Invalid
from penstock.mechanisms.tenancy import COLLECTIONS, KeyDoc, Tenancy
from penstock.wiring.owner import FIRST_CALLER, KEY_FILE, adopt_admin_key, first_keys, mint, write_private
from tests.support import run


def with_tenancy(folder, work):
    """Run `work(tenancy)` on records in `folder`."""

    async def running():
        records = await SqliteRecords.open(folder / "records.sqlite", COLLECTIONS, ManualClock())
        try:
            return await work(Tenancy(records, EmbeddedSignals(), ManualClock(), b"p" * 32))
        finally:
            await records.close()

    return run(running())


def test_the_operators_key_becomes_an_owner_once(tmp_path):
    token = mint()

    async def work(tenancy):
        await adopt_admin_key(tenancy, token)
        first = await tenancy.key(token[4:16])
        await adopt_admin_key(tenancy, token)
        return first, await tenancy.key(token[4:16]), await tenancy.principal(token.encode())

    first, second, principal = with_tenancy(tmp_path, work)
    assert first == second
    assert (principal.role, principal.org) == ("owner", "default")


def test_a_revoked_operators_key_refuses_the_start_and_stays_dead(tmp_path):
    token = mint()

    async def work(tenancy):
        await adopt_admin_key(tenancy, token)
        await tenancy.revoke_key(token[4:16])
        with pytest.raises(Invalid) as refusal:
            await adopt_admin_key(tenancy, token)
        return str(refusal.value), await tenancy.key(token[4:16])

    told, kept = with_tenancy(tmp_path, work)
    assert kept.revoked_s > 0
    assert token not in told
    assert token[17:] not in told


def test_a_token_under_another_keys_name_takes_nothing_over(tmp_path):
    async def work(tenancy):
        made, token = await tenancy.create_key(FIRST_CALLER)
        with pytest.raises(Invalid):
            await adopt_admin_key(tenancy, f"pen-{made.id}-{mint()[17:]}")
        return await tenancy.principal(token.encode())

    assert with_tenancy(tmp_path, work).role == "caller"


@pytest.mark.parametrize("role", ["caller", "admin"])
def test_a_callers_key_does_not_become_an_owner(tmp_path, role):
    async def work(tenancy):
        _, token = await tenancy.create_key(msgspec.structs.replace(FIRST_CALLER, role=role))
        with pytest.raises(Invalid, match=role):
            await adopt_admin_key(tenancy, token)

    with_tenancy(tmp_path, work)


def test_the_first_start_makes_both_keys_and_later_ones_find_them(tmp_path):
    async def work(tenancy):
        first, second = await first_keys(tenancy, tmp_path), await first_keys(tenancy, tmp_path)
        owner = (tmp_path / KEY_FILE).read_bytes().strip()
        return (
            first,
            second,
            await tenancy.principal(owner),
            await tenancy.principal(first.caller_token.encode()),
        )

    first, second, owner, caller = with_tenancy(tmp_path, work)
    assert (first.made, second.made, second.caller_token) == (True, False, "")
    assert (owner.role, caller.role) == ("owner", "caller")
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600


def test_an_owners_key_that_is_no_longer_known_is_made_anew_and_the_old_kept(tmp_path):
    write_private(tmp_path / KEY_FILE, mint())
    old = (tmp_path / KEY_FILE).read_text()

    async def work(tenancy):
        keys = await first_keys(tenancy, tmp_path)
        return keys, await tenancy.principal((tmp_path / KEY_FILE).read_bytes().strip())

    keys, owner = with_tenancy(tmp_path, work)
    assert (keys.made, owner.role) == (True, "owner")
    assert (tmp_path / "owner.key.old").read_text() == old


def test_a_private_file_is_never_written_over_another(tmp_path):
    (tmp_path / "k").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        write_private(tmp_path / "k", "secret")
    assert not (tmp_path / "elsewhere").exists()


def test_a_minted_token_is_a_key_and_never_the_same(tmp_path):
    tokens = {mint() for _ in range(1000)}
    assert len(tokens) == 1000
    assert {(len(t), t[:4], t[16]) for t in tokens} == {(60, "pen-", "-")}

    async def work(tenancy):
        doc = KeyDoc(id="", mac="", org="o", team="t", project="p", user="u")
        for token in list(tokens)[:5]:
            await tenancy.adopt_key(doc, token)
            assert (await tenancy.principal(token.encode())).org == "o"

    with_tenancy(tmp_path, work)
