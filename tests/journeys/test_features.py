"""Rules of features on the running platform: who may answer, whose rules count, and every mistake at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from openai import AsyncOpenAI, PermissionDeniedError

from penstock.kernel.errors import Invalid
from penstock.kernel.settings import (
    FeatureSettings,
    ResidencySettings,
    RouteSettings,
    TargetSettings,
)
from penstock.kernel.settings_features import AnswerRuleSettings
from penstock.sdk.client import Client
from penstock.sdk.routing import RouteQuestion
from penstock.wiring.app import start
from tests.journeys.feature_scene import (
    DOWN,
    MAIN,
    ask,
    audited,
    having,
    header,
    journey,
)
from tests.stage import MODEL, Caller, Stage, settings, until
from tests.support import run

MEDICAL = FeatureSettings(
    name="medical", forbid=("down/weak",), fallback=(MODEL, "canned"), canned="Call a doctor."
)


def test_a_forbidden_model_is_never_chosen_by_route_or_fallback_and_explain_says_so(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller) -> None:
        for _ in range(6):
            reply, _ = await ask(it, caller, {"x-penstock-feature": "medical"}, model="mixed")
            assert reply.status == 200
            assert header(reply, "x-penstock-route") == f"sim/{MODEL}; medical forbids down/weak"
        other, _ = await ask(it, caller, model="mixed")
        assert "forbids" not in (header(other, "x-penstock-route") or "")
        events = [await audited(it, number) for number in range(1, 7)]
        assert all([call.outcome for call in each.calls] == ["ok"] for each in events)

    mixed = RouteSettings(
        model="mixed",
        targets=(TargetSettings(provider="down", model="weak"), TargetSettings(provider="sim", model=MODEL)),
    )
    journey(tmp_path, steps, MEDICAL, routes=(MAIN, mixed))


def test_where_no_allowed_model_is_left_the_request_is_refused_by_policy_and_costs_nothing(
    tmp_path: Path,
) -> None:
    async def steps(it: Stage, caller: Caller) -> None:
        reply, body = await ask(it, caller, {"x-penstock-feature": "medical"}, model="poor")
        assert (reply.status, body["error"]["code"]) == (403, "no_model_allowed")
        assert "down/weak" in str(body["error"]["limit"])
        event = await audited(it)
        assert (event.status, event.error, event.attempts) == (403, "no_model_allowed", 0)
        assert (await it.spent(caller)).postings == 0

    poor = RouteSettings(model="poor", targets=(TargetSettings(provider="down", model="weak"),))
    journey(tmp_path, steps, MEDICAL, routes=(MAIN, poor))


def test_what_is_no_chat_keeps_to_the_models_of_its_feature_too(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller) -> None:
        async with AsyncOpenAI(
            base_url=it.url,
            api_key=caller.token,
            max_retries=0,
            default_headers={"x-penstock-feature": "medical"},
        ) as client:
            with pytest.raises(PermissionDeniedError) as refused:
                await client.embeddings.create(model="poor", input="a")
            assert refused.value.code == "no_model_allowed"
            raw = await client.embeddings.with_raw_response.create(model="mixed", input="a")
            assert raw.headers["x-penstock-route"].startswith(f"sim/{MODEL}; medical forbids down/weak")

    weak, good = TargetSettings(provider="down", model="weak"), TargetSettings(provider="sim", model=MODEL)
    routes = (
        MAIN,
        RouteSettings(model="poor", targets=(weak,)),
        RouteSettings(model="mixed", targets=(weak, good)),
    )
    journey(tmp_path, steps, MEDICAL, routes=routes)


def test_the_rules_of_a_team_count_before_those_of_its_organisation_and_a_name_before_none(
    tmp_path: Path,
) -> None:
    async def steps(it: Stage, caller: Caller) -> None:
        for feature, text in (("desk", "team desk"), ("other", "org all"), ("wide", "wide")):
            _, body = await ask(it, caller, {"x-penstock-feature": feature})
            assert body["choices"][0]["message"]["content"] == text

    def rules(name: str, text: str, org: str = "", team: str = "") -> FeatureSettings:
        return FeatureSettings(name=name, org=org, team=team, fallback=("canned",), canned=text)

    journey(
        tmp_path, steps,
        rules("", "everybody"), rules("", "org all", "acme"), rules("desk", "org desk", "acme"),
        rules("desk", "team desk", "acme", "search"), rules("desk", "theirs", "other"), rules("wide", "wide"),
    )  # fmt: skip


def test_every_mistake_in_the_rules_is_told_at_once_and_nothing_starts(tmp_path: Path) -> None:
    wrong = (
        FeatureSettings(name="a", forbid=("ghost",), only=("down/m",)),
        FeatureSettings(name="b", fallback=("ghost", "rule", "canned", "stale", "later", "main", "main")),
        FeatureSettings(
            name="c", team="t", fallback=("rule",), rules=(AnswerRuleSettings(pattern="(", text="x"),)
        ),
        FeatureSettings(name="d", only=("m",), fallback=(MODEL,), canned="unused"),
        FeatureSettings(name="d"),
        FeatureSettings(name="e", fallback=("later",), later="nobody"),
    )
    told = (
        "features[a].forbid: no back end is 'ghost'",
        "features[b].fallback: 'ghost' is neither a model served nor canned, later, rule, stale",
        "features[b].fallback: 'main' is there 2 times",
        "features[b].rules: missing",
        "features[b].canned: missing",
        "features[b].later: missing",
        "features[b].fallback: 'stale' needs `cache.url`",
        "features[c of t].org: missing",
        "features[c of t].rules[0].pattern: not a pattern",
        "features: d is there 2 times",
        "features[d].fallback: no back end of 'sim/model' may answer this feature",
        "features[d].canned: never used",
        "features[e].later: no webhook is called 'nobody'",
        "residency: org 'x' is there more than once",
    )

    async def whole() -> None:
        plain = settings(tmp_path, "http://127.0.0.1:1/v1", others=lambda _url: (DOWN,), routes=(MAIN,))
        europe = ResidencySettings(org="x", regions=("eu",))
        with pytest.raises(Invalid) as refused:
            await start(having(*wrong, residency=(europe, europe))(plain), {})
        missing = [each for each in told if each not in refused.value.message]
        assert missing == []
        assert isinstance(refused.value.value, int)
        assert refused.value.value == len(told) + 2  # the region of each residency is unknown, too

    run(whole())


def test_rules_change_while_the_platform_runs_and_explain_tells_them(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller) -> None:
        admin = await it.caller(role="owner")
        before, _ = await ask(it, caller)
        assert before.status == 502
        document = {
            "routes": [{"model": "main", "targets": [{"provider": "down", "model": "m"}]}],
            "features": [{"name": "desk", "fallback": [MODEL], "forbid": ["weak"]}],
        }
        root = it.url.removesuffix("/v1")
        async with Client(root, admin.token) as client:
            await client.routing.apply(document, why="outage")
            found = await client.routing.explain(RouteQuestion(model="main", feature="desk"))
            assert found.fallback == (MODEL,) and [each.route for each in found.targets] == ["down/m"]

        async def answered() -> bool:
            return (await ask(it, caller))[0].status == 200

        await until(answered, 2.0)

    journey(tmp_path, steps)
