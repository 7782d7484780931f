"""Machines: for how long a token is believed, and what it costs to ask."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from penstock.edge import machines
from penstock.edge.jwks import FRESH_S, PAUSE_S, STALE_S
from penstock.kernel.errors import Invalid
from tests.unit.edge.jwt_mint import ISSUER, SECOND, At, Mint, issuer_keys, jwk
from tests.unit.edge.jwt_mint import settings as issuers
from tests.unit.edge.machines_place import MINT, WALL_S, Place, placed, ticked

# --- for how long --------------------------------------------------------------------------------------------------


def test_a_remembered_token_costs_no_second_check_and_ends_with_its_exp(tmp_path: Path) -> None:
    token = MINT.token(claims={"exp": At(60)})

    async def case(place: Place) -> None:
        await place.whom(token)
        checked = place.machines.checked
        place.clock.jump_wall(59.5)
        assert place.machines.known(token.encode()) is await place.whom(token)
        assert place.machines.checked == checked
        place.clock.jump_wall(0.25)
        assert place.machines.known(token.encode()) is None
        assert place.machines.stats()["remembered"] == 0
        assert await place.ask(token) == "indexer"  # within the leeway, and checked each time
        place.clock.jump_wall(30)
        assert "expired" in await place.ask(token)

    placed(tmp_path, case)


def test_what_signals_cannot_tell_is_read_again(tmp_path: Path) -> None:
    async def case(place: Place) -> None:
        token = MINT.token()
        await place.whom(token)
        place.clock.advance(1.0)
        assert place.machines.known(token.encode()) is not None
        place.clock.advance(
            0.5
        )  # nobody listens here, so nothing was heard for longer than it may be believed
        assert place.machines.known(token.encode()) is None
        assert await place.ask(token) == "indexer"

    placed(tmp_path, case)


def test_a_key_withdrawn_ends_the_tokens_it_signed_remembered_or_not(tmp_path: Path) -> None:
    async def case(place: Place) -> None:
        old, other = MINT.token(), MINT.token("ES256")
        assert await place.ask(old) == await place.ask(other) == "indexer"
        theirs = place.published[ISSUER]
        theirs.document = {"keys": [jwk(issuer_keys().ec, "ec")]}
        place.clock.advance(FRESH_S)
        await ticked(place)
        assert place.machines.known(old.encode()) is None
        assert await place.ask(other) == "indexer"
        assert "its key is not" in await place.ask(old)

    placed(tmp_path, case)


def test_keys_of_an_issuer_that_is_down_serve_on_and_are_forgotten_when_too_old(tmp_path: Path) -> None:
    async def case(place: Place) -> None:
        place.tenancy.is_fresh = lambda *_: True  # pyright: ignore[reportAttributeAccessIssue]  # not what is asked
        mint = Mint(issuer_keys(), WALL_S + STALE_S)
        await ticked(place)
        for theirs in place.published.values():
            theirs.down = True
        place.clock.advance(STALE_S)
        await ticked(place)
        assert place.machines.stats()["failures"] == 2
        token = mint.token()
        assert await place.ask(token) == "indexer"
        place.clock.advance(1)
        await ticked(place)
        assert place.machines.known(token.encode()) is None
        assert "its key is not" in await place.ask(token)

    placed(tmp_path, case)


# --- what it costs to ask ------------------------------------------------------------------------------------------


def test_a_key_unheard_of_is_asked_for_once_in_a_while_and_then_believed(tmp_path: Path) -> None:
    keys = issuer_keys()
    new = MINT.token(by="retired", header={"kid": "new"})

    async def case(place: Place) -> None:
        theirs = place.published[ISSUER]
        await place.whom(MINT.token())
        assert theirs.asked == 1
        for _ in range(5):
            assert "its key is not" in await place.ask(MINT.token(by="stranger", header={"kid": "x"}))
        assert theirs.asked == 1
        theirs.document = {"keys": [jwk(keys.retired, "new"), jwk(keys.rsa, "rsa")]}
        assert "its key is not" in await place.ask(new)
        place.clock.advance(PAUSE_S - 0.5)
        assert "its key is not" in await place.ask(new)
        place.clock.advance(0.5)
        assert await place.ask(MINT.token(by="stranger", header={"kid": "y"})) != "indexer"
        assert await place.ask(new) == "indexer"  # refused a moment ago, but by other keys
        assert theirs.asked == 2

    placed(tmp_path, case)


def test_those_who_wait_for_keys_wait_for_one_fetch_and_are_bounded(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(machines, "WAITING_MOST", 3)

    async def case(place: Place) -> None:
        theirs = place.published[ISSUER]
        theirs.held = asyncio.Event()
        tokens = [MINT.token(claims={"jti": str(number)}) for number in range(5)]
        asked = [asyncio.create_task(place.ask(token)) for token in tokens]
        for _ in range(10):
            await asyncio.sleep(0)
        assert [task.done() for task in asked] == [False] * 3 + [True] * 2
        asked[0].cancel()
        await asyncio.sleep(0)
        theirs.held.set()
        assert [await task for task in asked[1:3]] == ["indexer"] * 2
        assert all("its key is not" in task.result() for task in asked[3:])
        assert theirs.asked == 1

    placed(tmp_path, case)


def test_a_refused_token_is_not_checked_again_for_a_moment(tmp_path: Path) -> None:
    bad = MINT.token(by="stranger")

    async def case(place: Place) -> None:
        await place.whom(MINT.token())
        first = await place.ask(bad)
        checked = place.machines.checked
        assert await place.ask(bad) == first
        assert place.machines.checked == checked
        place.clock.advance(machines.REFUSAL_REMEMBERED_S)
        assert await place.ask(bad) == first
        assert place.machines.checked == checked + 1

    placed(tmp_path, case)


def test_both_memories_are_bounded_and_the_longest_unused_goes_first(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(machines, "REMEMBERED", 3)
    monkeypatch.setattr(machines, "REFUSALS_REMEMBERED", 3)

    async def case(place: Place) -> None:
        tokens = [MINT.token(claims={"jti": str(number)}) for number in range(4)]
        for token in tokens[:3]:
            await place.whom(token)
        assert place.machines.known(tokens[0].encode()) is not None
        await place.whom(tokens[3])
        known = [place.machines.known(token.encode()) is not None for token in tokens]
        assert known == [True, False, True, True]
        for number in range(5):
            await place.ask(MINT.token(by="stranger", claims={"jti": str(number)}))
        stats = place.machines.stats()
        assert (stats["remembered"], stats["refusals_remembered"]) == (3, 3)

    placed(tmp_path, case)


def test_an_issuer_is_there_once(tmp_path: Path) -> None:
    async def case(place: Place) -> None:
        first, _ = issuers()
        with pytest.raises(Invalid):
            place.another((first, first))

    placed(tmp_path, case)


def test_watching_loads_the_keys_before_anybody_asks_and_survives_nonsense(tmp_path: Path) -> None:
    async def case(place: Place) -> None:
        place.published[SECOND].document = {"keys": [{"kty": "RSA", "n": 7, "e": []}, 7, None]}
        task = asyncio.create_task(place.machines.watch())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        asked = place.published[ISSUER].asked
        assert await place.ask(MINT.token()) == "indexer"
        assert (asked, place.published[ISSUER].asked) == (1, 1)
        assert place.machines.stats() | {"checked": 0} == {
            "fetches": 2, "failures": 1, "checked": 0, "remembered": 1, "refusals_remembered": 0,
        }  # fmt: skip

    placed(tmp_path, case)
