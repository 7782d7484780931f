"""Machines: who is believed, and who that is."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.kernel.context import Cap, Rate
from penstock.mechanisms.scopes import ScopeDoc
from penstock.mechanisms.tenancy import MACHINE_IDS
from tests.unit.edge.jwt_attacks import attacks, cases, sound
from tests.unit.edge.jwt_mint import MODELS, SECOND, At, issuer_keys
from tests.unit.edge.jwt_mint import settings as issuers
from tests.unit.edge.machines_place import MINT, WALL_S, Place, placed


def test_sound_tokens_are_believed_and_every_attack_is_refused_for_its_own_reason(tmp_path: Path) -> None:
    good, bad = list(sound(MINT)), list(attacks(MINT))
    wrong: list[str] = []

    async def case(place: Place) -> None:
        for round_ in ("first", "remembered", "in a new memory"):
            if round_ == "in a new memory":
                place.machines = place.another(issuers())
            for name, token in good:
                if (said := await place.ask(token)) != "indexer":
                    wrong.append(f"{round_}: {name} was refused: {said}")
            for name, token, why in bad:
                if why not in (said := await place.ask(token)):
                    wrong.append(f"{round_}: {name}: {said!r} is not {why!r}")
        assert [each for each in good if place.machines.known(each[1].encode()) is None] == [
            each for each in good if "expired" in each[0]
        ]

    placed(tmp_path, case)
    assert wrong == []
    assert len(good) >= 12
    assert len(bad) >= 60
    assert len({token for _, token, _ in bad}) == len(bad)


def test_an_attack_in_a_cold_memory_is_refused_too(tmp_path: Path) -> None:
    """Nothing is refused only because a sound token was there first."""

    async def case(place: Place) -> None:
        for name, token, accepted in cases(issuer_keys(), WALL_S):
            place.machines = place.another(issuers())
            assert (await place.ask(token) == "indexer") is accepted, name

    placed(tmp_path, case)


def test_no_refusal_repeats_the_token_or_what_it_said(tmp_path: Path) -> None:
    secret = "s3cr3t-s3cr3t"
    told = {"kid": secret, "typ": secret, "alg": secret}
    said = {"iss": secret, "aud": secret, "org": secret, "sub": f"/{secret}", "models": [secret]}
    tokens = [MINT.token(header={name: value}) for name, value in told.items()]
    tokens += [MINT.token(claims={name: value}) for name, value in said.items()]

    async def case(place: Place) -> None:
        for token in tokens:
            told = await place.ask(token)
            assert told.startswith("This token cannot be used: ")
            assert secret not in told

    placed(tmp_path, case)


def test_a_machine_is_where_its_claims_and_its_issuers_settings_put_it_and_always_a_caller(
    tmp_path: Path,
) -> None:
    told = {
        "org": "beta",
        "team": "search",
        "project": "web",
        "tier": "gold",
        "role": "owner",
        "models": ["gpt-4o-mini"],
    }

    async def case(place: Place) -> None:
        who = await place.whom(MINT.token(claims={**told, "exp": At(60)}))
        assert (who.org, who.team, who.project, who.user) == ("beta", "search", "web", "indexer")
        assert (who.role, who.tier, who.models) == ("caller", "gold", ("gpt-4o-mini",))
        assert who.expires_at_s == int(WALL_S) + 60
        assert who.key_id.startswith(MACHINE_IDS)
        usual = await place.whom(MINT.token())
        assert (usual.team, usual.project, usual.tier, usual.models) == (
            "default",
            "default",
            "standard",
            MODELS,
        )
        second = {"alg": "ES256", "by": "second", "header": {"kid": "second"}}
        theirs = await place.whom(
            MINT.token(**second, claims={"iss": SECOND, "org": "acme", "team": "search"})
        )
        assert (theirs.org, theirs.team, theirs.models) == ("second", "default", ())

    placed(tmp_path, case)


def test_a_machine_has_one_id_whatever_its_token_and_another_in_another_place(tmp_path: Path) -> None:
    async def case(place: Place) -> None:
        async def id_of(**claims: object) -> str:
            return (await place.whom(MINT.token(claims=claims))).key_id

        assert await id_of() == await id_of(exp=At(60)) == await id_of(jti="another")
        elsewhere = {
            await id_of(),
            *[await id_of(**{each: "beta"}) for each in ("org", "team", "project", "sub")],
        }
        assert len(elsewhere) == 5

    placed(tmp_path, case)


@pytest.mark.parametrize(
    ("own", "claimed", "may"),
    [
        (("a", "b"), ["b", "a"], ("b", "a")), (("a", "b"), ["b", "c"], ("b",)), ((), ["c"], ("c",)),
        (("a",), ["c"], None), ((), [], None), (("a",), [], None), ((), [""], None), ((), ["\ud800"], None),
        ((), ["m" * 256], ("m" * 256,)), ((), ["m" * 257], None), ((), ["m"] * 201, None),
    ],
)  # fmt: skip
def test_a_token_may_use_its_own_models_within_its_issuers_and_never_none_as_all(
    tmp_path: Path, own: tuple[str, ...], claimed: list[str], may: tuple[str, ...] | None
) -> None:
    async def case(place: Place) -> None:
        token = MINT.token(claims={"models": claimed})
        if may is None:
            assert "model" in await place.ask(token)
        else:
            assert (await place.whom(token)).models == may

    placed(tmp_path, case, models=own)


def test_the_limits_of_a_machine_are_those_of_its_path_and_a_change_is_felt(tmp_path: Path) -> None:
    cap = Cap(window="day", limit_nanos=5)

    async def case(place: Place) -> None:
        token = MINT.token()
        who = await place.whom(token)
        assert [each.level for each in who.scopes] == ["org", "team", "project", "user"]
        assert all(each.rate == Rate() and not each.caps for each in who.scopes)
        await place.tenancy.put_scope("acme", ScopeDoc(path="org:acme", level="org", caps=(cap,)))
        assert place.machines.known(token.encode()) is None
        changed = await place.whom(token)
        assert changed.scopes[0].caps == (cap,)
        assert await place.tenancy.acting_for(changed, "somebody else") is changed

    placed(tmp_path, case)
