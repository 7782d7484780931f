"""What answers when a feature's own models do not: each step on real sockets, with its headers, audit and price."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from openai import AsyncOpenAI

from penstock.kernel.context import Cap
from penstock.kernel.settings import (
    FeatureSettings,
    PriceSettings,
    RouteSettings,
    TargetSettings,
)
from tests.journeys.feature_scene import (
    DOWN,
    HOURS,
    MAIN,
    PRICES,
    QUESTION,
    QUICK,
    THREE,
    ask,
    audited,
    having,
    header,
    journey,
)
from tests.stage import MODEL, Caller, Stage, stage, until
from tests.support import run


def test_another_model_answers_is_held_for_and_is_billed_at_its_own_price(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller) -> None:
        reply, body = await ask(it, caller)
        assert reply.status == 200 and body["choices"][0]["message"]["content"]
        assert header(reply, "x-penstock-route") == f"sim/{MODEL}; in place of main"
        [truth] = await it.truth()
        assert (await it.settled(caller)).posted_nanos == truth.cost_nanos > 0
        event = await audited(it)
        assert (event.status, event.error, event.flags) == (200, "", (f"fallback:{MODEL}",))
        assert [call.outcome for call in event.calls] == [*THREE, "ok"]
        assert event.model_used == MODEL and event.cost_nanos == truth.cost_nanos

    journey(
        tmp_path, steps, FeatureSettings(name="desk", fallback=(MODEL, "canned"), canned="Later, please.")
    )


def test_a_stream_is_taken_over_before_its_first_byte(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller) -> None:
        async with AsyncOpenAI(
            base_url=it.url,
            api_key=caller.token,
            max_retries=0,
            default_headers={"x-penstock-feature": "desk"},
        ) as client:
            stream = await client.chat.completions.create(model="main", messages=QUESTION, stream=True)
            words = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
            assert "".join(words)
            assert stream.response.headers["x-penstock-route"].endswith("in place of main")

    journey(tmp_path, steps, FeatureSettings(name="desk", fallback=(MODEL,)))


def test_a_kept_answer_past_its_time_says_that_it_is_one(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller) -> None:
        fresh, first = await ask(it, caller, model="turns", temperature=0)
        assert fresh.status == 200 and header(fresh, "x-penstock-cache") is None
        await it.simulator.close()

        async def stale() -> bool:
            reply, body = await ask(it, caller, model="turns", temperature=0)
            told = header(reply, "x-penstock-cache") or ""
            assert (
                body["choices"][0]["message"]["content"] == first["choices"][0]["message"]["content"]
                and header(reply, "x-penstock-cost-nanos") == "0"
            )
            return told.startswith("stale; age=")

        await until(stale, 5.0)
        event, number = await audited(it), 1
        while event.cache != "stale":
            number += 1
            event = await audited(it, number)
        assert (event.flags, event.cost_nanos) == (("fallback:stale",), 0)
        assert event.calls[-1].outcome == "connect_failed" and event.saved_nanos > 0

    turns = RouteSettings(model="turns", targets=(TargetSettings(provider="sim", model=MODEL),))
    cache = {"url": "memory:", "semi_s": 0.3, "stale_s": 60.0}
    journey(
        tmp_path,
        steps,
        FeatureSettings(name="desk", fallback=("main", "stale")),
        cache=cache,
        routes=(MAIN, turns),
    )


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_operator_wrote_answers_for_nothing_and_says_so(tmp_path: Path, stream: bool) -> None:
    async def steps(it: Stage, caller: Caller) -> None:
        async with AsyncOpenAI(
            base_url=it.url,
            api_key=caller.token,
            max_retries=0,
            default_headers={"x-penstock-feature": "desk"},
        ) as client:
            for number, (words, text, kind) in enumerate(
                (("When do you open?", "At nine.", "rule"), ("Who are you?", "We are busy.", "canned")), 1
            ):
                asked: list[Any] = [{"role": "user", "content": words}]
                raw = await client.chat.completions.with_raw_response.create(
                    model="main", messages=asked, stream=stream
                )
                assert raw.headers["x-penstock-answer"] == kind
                assert raw.headers["x-penstock-route"] == f"{kind}; in place of main"
                told = raw.parse()
                if stream:
                    said = "".join([c.choices[0].delta.content or "" async for c in told if c.choices])
                else:
                    said = told.choices[0].message.content
                    assert raw.headers["x-penstock-cost-nanos"] == "0"
                assert said == text
                event = await audited(it, number)
                assert (event.status, event.finish, event.flags) == (200, "stop", (f"fallback:{kind}",))
                assert (event.cost_nanos, [call.outcome for call in event.calls]) == (0, THREE)
        assert (await it.settled(caller, 2)).posted_nanos == 0

    rules = (PRICES, HOURS)
    desk = FeatureSettings(name="desk", fallback=("rule", "canned"), rules=rules, canned="We are busy.")
    journey(tmp_path, steps, desk)


def test_json_that_was_asked_for_is_not_answered_by_words(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller) -> None:
        reply, body = await ask(it, caller, response_format={"type": "json_object"})
        assert reply.status == 502 and "canned (not what was asked for)" in body["error"]["message"]

    journey(tmp_path, steps, FeatureSettings(name="desk", fallback=("canned",), canned="We are busy."))


@pytest.mark.parametrize(
    ("rights", "why"),
    [
        ({"models": ("main",)}, "sim/model (not for this key)"),
        ({"max_request_nanos": 100_000}, "sim/model (request_too_expensive)"),
        ({"caps": (Cap(window="total", limit_nanos=100_000),)}, "sim/model (insufficient_quota)"),
    ],
)
def test_an_alternative_meets_the_callers_own_caps_and_the_error_names_what_was_tried(
    tmp_path: Path, rights: Any, why: str
) -> None:
    async def steps(it: Stage, caller: Caller) -> None:
        reply, body = await ask(it, caller)
        assert reply.status == 502 and body["error"]["code"] == "connect_failed"
        assert body["error"]["message"].endswith(f"Tried in its place: rule (none fits), {why}.")
        assert it.simulator.truth.summary().requests == 0
        spent = await it.settled(caller)
        assert (spent.posted_nanos, spent.held_nanos) == (0, 0)
        assert [call.outcome for call in (await audited(it)).calls] == THREE

    cheap = PriceSettings(provider="cheap", model="*", input="0.01", output="0.01")
    down = msgspec.structs.replace(DOWN, vendor="cheap")
    sim = PriceSettings(provider="sim", model="*", input="15", output="60")

    async def whole() -> None:
        desk = FeatureSettings(name="desk", fallback=("rule", MODEL), rules=(PRICES,))
        async with stage(
            tmp_path, others=lambda _url: (down,), routes=(MAIN,), resilience=QUICK,
            altered=having(desk, prices=(sim, cheap)),
        ) as it:  # fmt: skip
            await steps(it, await it.caller(**rights))

    run(whole())


def test_the_caller_may_want_nothing_but_a_models_word(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller) -> None:
        for only, status in (("none", 502), ("mistyped", 502), ("models", 200)):
            reply, _ = await ask(it, caller, {"x-penstock-fallback": only})
            assert (reply.status, header(reply, "x-penstock-answer")) == (status, None)

    journey(tmp_path, steps, FeatureSettings(name="desk", fallback=("canned", MODEL), canned="No."))
