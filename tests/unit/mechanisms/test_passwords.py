"""Passwords: argon2id at a named cost, off the loop, bounded, and silent about what it hashes."""

from __future__ import annotations

import asyncio
import threading

import pytest
from argon2 import extract_parameters, profiles

from penstock.kernel.errors import Invalid, Overloaded
from penstock.mechanisms.passwords import Cost, Passwords, check_new
from tests.support import run

CHEAP = Cost(1, 64, 1)
SECRET = "correct horse battery"


def test_the_default_cost_is_the_second_recommended_option_of_rfc_9106() -> None:
    assert extract_parameters(Passwords()._nobody) == profiles.RFC_9106_LOW_MEMORY


def test_only_the_password_hashed_matches_and_two_hashes_of_it_differ() -> None:
    async def case() -> None:
        passwords = Passwords(CHEAP)
        first, second = await passwords.hash(SECRET), await passwords.hash(SECRET)
        assert first != second
        assert first.startswith("$argon2id$")
        assert SECRET not in first
        assert await passwords.check(first, SECRET)
        for wrong in ("", SECRET + "x", SECRET.upper(), SECRET[:-1], "\ud800", "x" * 1_025, "x" * 1_024):
            assert not await passwords.check(first, wrong)
        passwords.close()

    run(case())


def test_a_password_typed_in_another_unicode_form_is_the_same() -> None:
    async def case() -> None:
        passwords = Passwords(CHEAP)
        assert await passwords.check(
            await passwords.hash("cafe\u0301 creme brulee"), "caf\u00e9 creme brulee"
        )

    run(case())


def test_nobody_matches_nothing_and_costs_a_whole_check() -> None:
    async def case() -> None:
        passwords, checked = Passwords(CHEAP), []
        verify = passwords._hasher.verify

        class Counting:
            """A hasher that notes at what cost it was asked to check."""

            def verify(self, stored: str, password: str) -> bool:
                checked.append(extract_parameters(stored))
                return verify(stored, password)

        real = await passwords.hash(SECRET)
        passwords._hasher = Counting()  # pyright: ignore[reportAttributeAccessIssue]  # it only verifies
        assert not await passwords.check("", SECRET)
        assert not await passwords.check(real, "wrong horse battery")
        assert len(checked) == 2
        assert checked[0] == checked[1]

    run(case())


def test_a_spoilt_hash_matches_nothing() -> None:
    async def case() -> None:
        for spoilt in ("x", "$argon2id$", "$argon2i$v=19$m=64,t=1,p=1$AAAA$AAAA", "plain"):
            assert not await Passwords(CHEAP).check(spoilt, SECRET)

    run(case())


def test_a_hash_of_another_cost_is_stale() -> None:
    async def case() -> None:
        old = await Passwords(CHEAP).hash(SECRET)
        assert not Passwords(CHEAP).is_stale(old)
        assert Passwords(Cost(2, 64, 1)).is_stale(old)
        assert await Passwords(Cost(2, 64, 1)).check(old, SECRET)
        assert Passwords(CHEAP).is_stale("spoilt")

    run(case())


def test_a_flood_is_refused_at_the_bound_and_leaves_the_loop_free() -> None:
    """Given one worker that hangs and room for two more, the fourth is refused at once and the loop goes on."""

    async def case() -> None:
        passwords = Passwords(CHEAP, workers=1, waiting=2)
        gate = threading.Event()
        going = [asyncio.create_task(passwords._work(lambda: gate.wait(20))) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as caught:
            await passwords.hash(SECRET)
        assert caught.value.retry_after_s == 1.0
        gate.set()
        assert await asyncio.gather(*going) == [True, True, True]
        assert await passwords.check(await passwords.hash(SECRET), SECRET)

    run(case())


def test_a_caller_that_goes_away_frees_its_place_only_when_its_work_is_done() -> None:
    async def case() -> None:
        passwords = Passwords(CHEAP, workers=1, waiting=0)
        gate, begun = threading.Event(), threading.Event()

        def job() -> bool:
            begun.set()
            return gate.wait(20)

        gone = asyncio.create_task(passwords._work(job))
        await asyncio.to_thread(begun.wait, 10)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        with pytest.raises(Overloaded):
            await passwords.hash(SECRET)
        gate.set()
        while True:
            try:
                assert await passwords.hash(SECRET)
                break
            except Overloaded:
                await asyncio.sleep(0.001)

    run(case())


def test_what_is_closed_refuses() -> None:
    async def case() -> None:
        passwords = Passwords(CHEAP, workers=1, waiting=0)
        passwords.close()
        for _ in range(3):
            with pytest.raises(Overloaded, match="stopping"):
                await passwords.hash(SECRET)

    run(case())


@pytest.mark.parametrize(
    "password",
    ["x" * 11, "", "x" * 1_025, "Ann@Example.Org", " ann@example.org ", "ANN OF THE HILLS", "ab\ud800" * 9],
)
def test_a_weak_password_is_refused_without_being_quoted(password: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_new(password, "ann@example.org", "Ann of the Hills")
    assert caught.value.value is None
    assert not password or password not in str(caught.value)


@pytest.mark.parametrize("password", ["x" * 12, "x" * 1_024, "é" * 12])
def test_a_password_at_the_bounds_is_taken(password: str) -> None:
    check_new(password, "ann@example.org", "Ann")
