"""`POST /v1/tokenize` among everything else that is asked of the platform: who may, within which limits, and what the
audit knows of it afterwards.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from httpx import Response
from openai import APIStatusError, AsyncOpenAI

from penstock.kernel.context import Rate
from penstock.kernel.events import RequestEvent
from tests.journeys.embedding_scene import COUNTING, Scene, counted, embedding_scene
from tests.journeys.feature_scene import audited
from tests.support import run

Steps = Callable[[Scene], Awaitable[None]]
TRACE = "0af7651916cd43dd8448eb211c80319c"
HEADERS = {"x-penstock-feature": "desk", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}


def journey(folder: Path, monkeypatch: pytest.MonkeyPatch, steps: Steps, **chosen: Any) -> None:
    async def whole() -> None:
        counted(monkeypatch)
        async with embedding_scene(folder, **chosen) as scene:
            await steps(scene)

    run(whole())


async def asked(client: AsyncOpenAI, **body: Any) -> str:
    """Ask for tokens; returns the request's id as the reply tells it, whatever the reply is."""
    try:
        return (await client.post("/tokenize", body=body, cast_to=Response)).headers["x-request-id"]
    except APIStatusError as refused:
        return refused.response.headers["x-request-id"]


def test_what_is_answered_is_audited_once_like_any_other_count_of_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps(scene: Scene) -> None:
        client = scene.client.with_options(default_headers=HEADERS)
        ids = [
            await asked(client, inputs="two words", model=COUNTING),
            await asked(client, inputs=["two words", "three"]),
        ]
        events = [await audited(scene.it, number) for number in (1, 2)]
        for event, id in zip(events, ids, strict=True):
            assert (event.request_id, event.status, event.error) == (id, 200, "")
            assert (event.org, event.key_id) == ("acme", scene.caller.id)
            assert (event.face, event.flags) == ("openai", ("tokenize",))
            assert (event.feature, event.trace_id) == ("desk", TRACE)
            assert (event.model, event.provider, event.model_used) == (COUNTING, "local", COUNTING)
            assert (event.cost_nanos, event.input_tokens, event.attempts) == (0, 0, 0)
            assert 0 < event.routed_ms <= event.admitted_ms <= event.latency_ms
        assert (await scene.it.spent(scene.caller)).postings == 0

    journey(tmp_path, monkeypatch, steps)


REFUSED: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "unread": ({"inputs": 5}, 400, "invalid_request", ""),
    "too long": ({"inputs": "x" * 131_073, "model": COUNTING}, 400, "invalid_request", ""),
    "no such model": ({"inputs": "a", "model": "local/none"}, 404, "model_not_found", "local/none"),
    "not this key's": ({"inputs": "a", "model": COUNTING}, 404, "model_not_found", COUNTING),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_refused_is_audited_once_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    body, status, error, model = REFUSED[why]

    async def steps(scene: Scene) -> None:
        id = await asked(scene.client, **body)
        event = await audited(scene.it)
        assert (event.request_id, event.status, event.error) == (id, status, error)
        assert (event.model, event.flags, event.key_id) == (
            model,
            ("tokenize",),
            scene.caller.id,
        )

    rights = {"models": ("sim/model",)} if why == "not this key's" else {}
    journey(tmp_path, monkeypatch, steps, rights=rights)


def test_a_keys_limits_hold_for_it_and_their_refusal_is_audited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps(scene: Scene) -> None:
        for _ in range(2):
            await asked(scene.client, inputs="a", model=COUNTING)
        events: list[RequestEvent] = [await audited(scene.it, number) for number in (1, 2)]
        assert [event.status for event in events] == [200, 429]
        assert events[1].error == "rate_limit_exceeded"

    journey(tmp_path, monkeypatch, steps, rights={"rate": Rate(requests_per_minute=1)})


def test_a_key_of_one_model_has_the_tokens_of_that_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps(scene: Scene) -> None:
        told: Any = await scene.client.post("/tokenize", body={"inputs": "two words"}, cast_to=object)
        assert [each["text"] for each in told[0]] == ["", "two", "words", ""]

    journey(tmp_path, monkeypatch, steps, rights={"models": (COUNTING,)})
