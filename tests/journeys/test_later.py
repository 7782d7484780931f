"""Requests put off while no provider answers: accepted, answered once, told by a signed webhook to who may be told."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest
from openai import AsyncOpenAI

from penstock.kernel.settings import FeatureSettings
from penstock.mechanisms.tenancy import KeyDoc
from tests.faults.asking import request_of
from tests.journeys.feature_scene import audited
from tests.journeys.later_scene import QUESTION, Scene, hurry, play
from tests.stage import until


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


def test_a_request_waits_for_its_provider_and_is_answered_told_and_billed_once(tmp_path: Path) -> None:
    async def steps(it: Scene) -> None:
        async with AsyncOpenAI(base_url=it.it.url, api_key=it.caller.token, max_retries=0) as client:
            raw = await client.chat.completions.with_raw_response.create(
                model="main", messages=QUESTION, extra_headers={"x-penstock-later": "desk"}
            )
        assert raw.status_code == 202 and raw.headers["location"].startswith("/v1/later/later_")
        receipt = raw.parse()
        id = raw.headers["x-penstock-later"]
        assert id in (receipt.choices[0].message.content or "")
        assert (receipt.model_extra or {})["later"]["id"] == id
        event = await audited(it.it)
        assert (event.status, event.error, event.flags) == (202, "", ("fallback:later",))
        assert event.cost_nanos == 0 and {call.outcome for call in event.calls} == {"connect_failed"}
        _, _, told = await it.call("GET", f"/v1/later/{id}")
        assert told["status"] in ("waiting", "running") and told["answer"] is None
        provider = await it.back()
        told = await it.ended(id)
        assert (told["status"], told["status_code"], told["error"]) == ("answered", 200, None)
        assert told["answer"]["choices"][0]["message"]["content"]
        [message] = await it.heard()
        assert message["type"] == "later.answered" and message["data"]["answer"] == told["answer"]
        [row] = provider.truth.rows()
        assert row.operation == told["request_id"]
        settled = await it.it.settled(it.caller, 2)
        assert settled.posted_nanos == row.cost_nanos > 0
        await asyncio.sleep(0.3)  # time for a second answer, or a second message, that must not come
        assert len(provider.truth.rows()) == len(it.receiver.told("later.")) == 1

    play(tmp_path, steps)


@pytest.mark.parametrize("face", ["openai", "responses", "anthropic", "gemini"])
@pytest.mark.parametrize("stream", [False, True])
def test_each_dialect_gets_a_receipt_and_an_answer_of_its_own(
    tmp_path: Path, face: str, stream: bool
) -> None:
    async def steps(it: Scene) -> None:
        path, body = request_of(face, "main", stream=stream)
        status, headers, told = await it.call("POST", path, body, x_penstock_later="desk")
        id = headers[b"x-penstock-later"].decode()
        assert status == 202
        assert id in (told.decode() if stream else json.dumps(told))
        if not stream:
            assert told["later"]["url"] == f"/v1/later/{id}"
        await it.back()
        ended = await it.ended(id)
        assert ended["status"] == "answered", ended
        mark = {"openai": "choices", "responses": "output", "anthropic": "content", "gemini": "candidates"}[
            face
        ]
        assert ended["answer"][mark]

    play(tmp_path, steps)


def test_a_feature_puts_off_by_itself_when_nothing_else_stands_in(tmp_path: Path) -> None:
    async def steps(it: Scene) -> None:
        asked = {"model": "main", "messages": QUESTION}
        status, headers, _ = await it.call("POST", "/v1/chat/completions", asked, x_penstock_feature="desk")
        assert status == 202
        await it.back()
        told = await it.ended(headers[b"x-penstock-later"].decode())
        assert (told["status"], told["feature"], told["webhook"]) == ("answered", "desk", "desk")

    play(tmp_path, steps, FeatureSettings(name="desk", fallback=("later",), later="desk"))


@pytest.mark.parametrize("name", ["nobody", "theirs", "alerts", "https://evil.test/hook"])
def test_an_answer_goes_to_no_webhook_but_one_that_names_the_callers_organisation(
    tmp_path: Path, name: str
) -> None:
    async def steps(it: Scene) -> None:
        await it.back()  # refused at once, though it could be answered
        asked = {"model": "main", "messages": QUESTION}
        status, _, told = await it.call("POST", "/v1/chat/completions", asked, x_penstock_later=name)
        assert (status, told["error"]["code"]) == (400, "no_such_webhook")
        assert it.provider is not None and it.provider.truth.summary().requests == 0

    play(tmp_path, steps)


def test_nobody_but_its_project_sees_a_request_or_takes_it_back(tmp_path: Path) -> None:
    async def steps(it: Scene) -> None:
        id = await it.put_off()
        for org, project in (("acme", "other"), ("other", "web")):
            doc = KeyDoc(id="", mac="", org=org, team="search", project=project, user="kim")
            _, token = await it.it.platform.tenancy.create_key(doc)
            for method in ("GET", "DELETE"):
                status, _, _ = await it.call(method, f"/v1/later/{id}", token=token)
                assert status == 404
        assert (await it.call("GET", f"/v1/later/{id}"))[0] == 200

    play(tmp_path, steps)


def test_what_is_taken_back_is_never_asked_and_makes_room(tmp_path: Path) -> None:
    async def steps(it: Scene) -> None:
        id = await it.put_off()
        asked = {"model": "main", "messages": QUESTION}
        status, _, told = await it.call("POST", "/v1/chat/completions", asked, x_penstock_later="desk")
        assert status == 502 and "later (later_full)" in told["error"]["message"]

        async def taken() -> bool:
            return (await it.call("DELETE", f"/v1/later/{id}"))[0] == 200  # 409 while an attempt is under way

        await until(taken, 5.0)
        assert (await it.call("GET", f"/v1/later/{id}"))[0] == 404
        second = await it.put_off()
        provider = await it.back()
        assert (await it.ended(second))["status"] == "answered"
        assert len(provider.truth.rows()) == 1
        assert (await it.call("DELETE", f"/v1/later/{second}"))[2]["deleted"]

    play(tmp_path, steps, max_requests=1)


def test_more_bytes_than_an_organisation_may_have_wait_nowhere(tmp_path: Path) -> None:
    async def steps(it: Scene) -> None:
        asked = {"model": "main", "messages": [{"role": "user", "content": "x" * 3_000}]}
        status, _, told = await it.call("POST", "/v1/chat/completions", asked, x_penstock_later="desk")
        assert status == 502 and "later_full" in told["error"]["message"]
        await it.put_off()

    play(tmp_path, steps, max_bytes=2_000)


def test_a_key_that_ends_meanwhile_spends_nothing_and_its_webhook_is_told(tmp_path: Path) -> None:
    async def steps(it: Scene) -> None:
        await it.put_off()
        await it.it.platform.tenancy.revoke_key(it.caller.id)
        provider = await it.back()
        [message] = await it.heard()
        assert (message["type"], message["data"]["error"]) == ("later.failed", "invalid_api_key")
        assert provider.truth.rows() == []

    play(tmp_path, steps)


def test_a_budget_that_is_spent_meanwhile_is_told_and_nothing_is_held(tmp_path: Path) -> None:
    async def steps(it: Scene) -> None:
        await it.put_off()
        doc = await it.it.platform.tenancy.key(it.caller.id)
        assert doc is not None
        await it.it.platform.tenancy.change_key(msgspec.structs.replace(doc, max_request_nanos=1))
        provider = await it.back()
        [message] = await it.heard()
        assert (message["type"], message["data"]["error"]) == ("later.failed", "request_too_expensive")
        assert message["data"]["answer"]["error"]["code"] == "request_too_expensive"
        assert provider.truth.rows() == [] and (await it.it.settled(it.caller)).held_nanos == 0

    play(tmp_path, steps)


def test_whoever_waits_too_long_is_told_so(tmp_path: Path) -> None:
    async def steps(it: Scene) -> None:
        id = await it.put_off()
        [message] = await it.heard()
        assert (message["type"], message["data"]["id"]) == ("later.expired", id)

    play(tmp_path, steps, kept_s=0.5)
