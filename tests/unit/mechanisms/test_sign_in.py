"""Signing in: refusals look and cost the same, guessing is limited, an identity is bound to whom it was meant for."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from penstock.kernel.errors import Conflict, Invalid, OverLimit, PenstockError, Unauthenticated
from penstock.mechanisms.passwords import Cost, Passwords
from penstock.mechanisms.persons import TRIES_PER_EMAIL, TRIES_PER_PEER, TRIES_S, folded_email, person_write
from tests.unit.mechanisms.people_stage import ADMIN, OWNER, PASSWORD, PEER, Stage, staged


@pytest.mark.parametrize(
    "bad",
    ["", "@", "a@", "@b", "ann", "a b@c", "a@b\nc", "a@b c", "<a@b>", "a" * 251 + "@b.c", "\ud800@b"],
)
def test_what_is_no_email_address_is_refused(bad: str) -> None:
    with pytest.raises(Invalid):
        folded_email(bad)


def test_an_email_at_the_bound_is_taken() -> None:
    assert len(folded_email("a" * 250 + "@b.c")) == 254


def test_wrong_unknown_invited_and_disabled_look_alike_and_each_costs_a_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case(stage: Stage) -> None:
        person = await stage.somebody()
        await stage.people.invite(OWNER, "new@acme.test", "New", "developer", org="acme", team="s")
        gone = await stage.somebody("gone@acme.test")
        await stage.people.disable(ADMIN, gone.id)
        costs: list[str] = []
        matches = stage.passwords._matches

        def counted(stored: str, password: str) -> bool:
            costs.append(stored)
            return matches(stored, password)

        monkeypatch.setattr(stage.passwords, "_matches", counted)
        told = set()
        for email, word in (
            (person.email, "wrong horse battery"),
            ("nobody@acme.test", PASSWORD),
            ("new@acme.test", PASSWORD),
            ("gone@acme.test", PASSWORD),
            ("not an email", PASSWORD),
        ):
            with pytest.raises(Unauthenticated) as caught:
                await stage.people.sign_in(email, word, peer=PEER)
            told.add(str(caught.value))
        assert len(told) == 1
        assert len(costs) == 5

    staged(tmp_path, case)


def test_attempts_are_limited_per_email_from_whatever_peer_and_success_gives_back(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        await stage.somebody()
        for _ in range(TRIES_PER_EMAIL + 1):
            await stage.people.sign_in("ann@acme.test", PASSWORD, peer=PEER)
        for number in range(TRIES_PER_EMAIL):
            with pytest.raises(Unauthenticated):
                await stage.people.sign_in(
                    "ann@acme.test", "wrong horse battery", peer=f"198.51.100.{number}"
                )
        with pytest.raises(OverLimit) as caught:
            await stage.another().people.sign_in("ANN@acme.test", PASSWORD, peer="203.0.113.1")
        wait_s = caught.value.retry_after_s
        assert wait_s == pytest.approx(TRIES_S / TRIES_PER_EMAIL)
        stage.clock.advance(wait_s)
        await stage.people.sign_in("ann@acme.test", PASSWORD, peer="203.0.113.1")

    staged(tmp_path, case)


@pytest.mark.parametrize("peers", [["192.0.2.1", "::ffff:192.0.2.1"], ["2001:db8::1", "2001:db8::2:ffff"]])
def test_attempts_are_limited_per_peer_and_no_hash_is_spent_beyond(tmp_path: Path, peers: list[str]) -> None:
    async def case(stage: Stage) -> None:
        async def attempt(number: int) -> None:
            await stage.people.sign_in(f"u{number}@acme.test", PASSWORD, peer=peers[number % 2])

        for number in range(TRIES_PER_PEER):
            with pytest.raises(Unauthenticated):
                await attempt(number)
        stage.passwords.close()  # a hash would now be Overloaded
        with pytest.raises(OverLimit):
            await attempt(TRIES_PER_PEER)
        with pytest.raises(OverLimit):
            await stage.people.accept("penl-owner-x", PASSWORD, peer=peers[0])

    staged(tmp_path, case)


def test_a_hash_of_an_older_cost_is_made_anew_at_sign_in(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        before = await stage.somebody()
        stage.people._passwords = Passwords(Cost(2, 64, 1))
        after = await stage.people.sign_in(before.email, PASSWORD, peer=PEER)
        assert "t=2" in after.password_hash
        again = await stage.people.sign_in(before.email, PASSWORD, peer=PEER)
        assert again.password_hash == after.password_hash
        stage.people._passwords.close()

    staged(tmp_path, case)


def test_somebody_disabled_while_the_password_is_checked_does_not_come_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case(stage: Stage) -> None:
        person = await stage.somebody()
        check = stage.passwords.check

        async def overtaken(stored: str, password: str) -> bool:
            await stage.people.disable(ADMIN, person.id)
            return await check(stored, password)

        monkeypatch.setattr(stage.passwords, "check", overtaken)
        with pytest.raises(PenstockError):
            await stage.people.sign_in(person.email, PASSWORD, peer=PEER)
        now = await stage.people.person(person.id)
        assert now is not None
        assert now.state == "disabled"

    staged(tmp_path, case)


def test_an_identity_is_bound_to_whom_was_invited_and_to_nobody_else(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        people = stage.people
        invited, link = await people.invite(OWNER, "ann@acme.test", "Ann", "developer", org="acme", team="s")
        active = await stage.somebody("bob@acme.test")
        for issuer, subject, email in (
            ("https://id.test", "s1", "nobody@acme.test"),
            ("https://id.test", "s1", active.email),
            ("https://id.test", "s1", ""),
            ("", "s1", ""),
            ("https://id.test", "", invited.email),
        ):
            with pytest.raises(Unauthenticated):
                await people.sign_in_by_oidc(issuer, subject, email)
        assert (await people.sign_in_by_oidc("https://id.test", "s1", "Ann@acme.test")).id == invited.id
        assert (await people.sign_in_by_oidc("https://id.test", "s1")).id == invited.id
        with pytest.raises(Unauthenticated):
            await people.sign_in_by_oidc("https://other.test", "s1")
        with pytest.raises(Unauthenticated):
            await people.accept(link, PASSWORD, peer=PEER)
        twin = msgspec.structs.replace(active, oidc_issuer="https://id.test", oidc_subject="s1")
        with pytest.raises(Conflict):
            await stage.records.transact([person_write(twin, None)])
        await people.disable(ADMIN, invited.id)
        with pytest.raises(Unauthenticated):
            await people.sign_in_by_oidc("https://id.test", "s1", "ann@acme.test")

    staged(tmp_path, case)
