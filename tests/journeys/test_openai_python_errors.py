"""What goes wrong reaches the official OpenAI SDK for Python as the exception, the retry or the timeout it expects.

Promise: each exception class with our reason and a request id; the SDK repeats what may be repeated, when told to, and
nothing else; whatever happened, the key is settled and nothing stays held.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from penstock.kernel.context import Cap, Rate
from penstock.simulator.behaviour import Speeds
from penstock.simulator.server import SimulatorOptions
from tests.journeys.openai_customer import QUESTION, Journey, journey
from tests.stage import MODEL, Caller, Stage


def chat(**changes: Any) -> Journey[None]:
    """Return the steps of one plain chat with `changes`."""

    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        given = {"model": MODEL, "messages": QUESTION, **changes}
        try:
            await client.chat.completions.create(**given)
        finally:
            await it.settled(caller, 0)

    return steps


def refused(folder: Path, kind: type[openai.APIStatusError], steps: Journey[None], **options: Any) -> Any:
    """Return the SDK's exception, which must be of exactly this class, with a request id and our reason."""
    with pytest.raises(openai.APIStatusError) as caught:
        journey(folder, steps, **options)
    error = caught.value
    assert type(error) is kind
    assert error.request_id and error.request_id.startswith("req_")
    assert isinstance(error.body, dict) and error.body["message"] and error.body["type"]
    return error


def test_400_names_the_field_the_value_and_the_remedy(tmp_path: Path) -> None:
    error = refused(tmp_path, openai.BadRequestError, chat(temperature=3))
    assert (error.param, error.body["value"]) == ("temperature", "3")
    assert error.body["remedy"]


def test_401_is_an_authentication_error(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        stranger = client.with_options(api_key="pen-000000000000-" + "A1b2C3d4" * 5)
        await stranger.chat.completions.create(model=MODEL, messages=QUESTION)

    assert refused(tmp_path, openai.AuthenticationError, steps).code == "invalid_api_key"


def test_403_is_a_model_the_key_may_not_use(tmp_path: Path) -> None:
    error = refused(tmp_path, openai.PermissionDeniedError, chat(), rights={"models": ("gpt-4o-mini",)})
    assert error.code == "model_not_allowed" and error.param == "model"


def test_404_is_a_model_nobody_serves(tmp_path: Path) -> None:
    assert refused(tmp_path, openai.NotFoundError, chat(model="gpt-99")).param == "model"


def test_409_is_an_idempotency_key_with_another_body(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        once = {"Idempotency-Key": "order-1"}
        first = await client.chat.completions.create(model=MODEL, messages=QUESTION, extra_headers=once)
        again = await client.chat.completions.create(model=MODEL, messages=QUESTION, extra_headers=once)
        assert again == first and len(await it.truth()) == 1
        await client.chat.completions.create(model="gpt-4o-mini", messages=QUESTION, extra_headers=once)

    assert refused(tmp_path, openai.ConflictError, steps).code == "idempotency_conflict"


def test_413_is_a_body_over_the_bound(tmp_path: Path) -> None:
    long: list[Any] = [{"role": "user", "content": "x" * 70_000}]
    error = refused(tmp_path, openai.APIStatusError, chat(messages=long), server={"body_bytes": 65_536})
    assert error.status_code == 413 and error.body["limit"] == 65_536


LIMIT_HEADERS = [
    f"{what}-{kind}" for what in ("limit", "remaining", "reset") for kind in ("requests", "tokens")
]


def test_429_tells_a_rate_limit_and_when_to_come_back(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        for _ in range(3):
            await client.chat.completions.create(model=MODEL, messages=QUESTION)

    rate = Rate(requests_per_minute=2, tokens_per_minute=100_000)
    error = refused(tmp_path, openai.RateLimitError, steps, rights={"rate": rate})
    assert error.code == "rate_limit_exceeded"
    told = {name: error.response.headers[f"x-ratelimit-{name}"] for name in LIMIT_HEADERS}
    assert (told["limit-requests"], told["remaining-requests"]) == ("2", "0")
    assert told["limit-tokens"] == "100000" and 0 < int(told["remaining-tokens"]) <= 100_000
    assert told["reset-requests"].endswith("s") and told["reset-tokens"].endswith("s")
    assert 0 < int(error.response.headers["retry-after-ms"]) <= 30_000
    assert error.response.headers["x-should-retry"] == "true"


def test_429_insufficient_quota_is_never_retried(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        before = it.platform.server.stats.requests
        try:
            await client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=100)
        finally:
            assert it.platform.server.stats.requests - before == 1
            assert not it.simulator.truth.rows()

    error = refused(
        tmp_path,
        openai.RateLimitError,
        steps,
        rights={"caps": (Cap(window="day", limit_nanos=10),)},
        retries=2,
    )
    assert error.code == "insufficient_quota" and error.response.headers["x-should-retry"] == "false"
    assert 0 < int(error.response.headers["retry-after"]) <= 86_400  # when the day's window ends


@pytest.mark.parametrize(
    ("misbehaviour", "status"), [("server_error", 502), ("overloaded", 503), ("reset", 502)]
)
def test_5xx_is_an_internal_server_error(tmp_path: Path, misbehaviour: str, status: int) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        it.simulator.order(misbehaviour)
        await client.chat.completions.create(model=MODEL, messages=QUESTION)

    error = refused(tmp_path, openai.InternalServerError, steps, resilience={"max_attempts": 1})
    assert error.status_code == status


@pytest.mark.parametrize(
    "misbehaviour", ["error_mid_stream;after=3", "cut;after=3", "malformed_line;after=3"]
)
def test_a_stream_that_fails_raises_in_the_middle_and_is_billed_once(
    tmp_path: Path, misbehaviour: str
) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> int:
        it.simulator.order(misbehaviour)
        seen: list[str] = []

        async def read() -> None:
            stream = await client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True)
            async for chunk in stream:
                seen.extend((chunk.choices[0].delta.content or "",))

        with pytest.raises(openai.APIError):
            await read()
        assert "".join(seen)
        spent = await it.settled(caller)
        assert spent.posted_nanos >= (await it.truth())[0].cost_nanos
        return spent.postings

    paced = SimulatorOptions(
        speeds=Speeds(tokens_per_s=100)
    )  # at once, and the gateway had tried again unseen
    assert journey(tmp_path, steps, simulator=paced) == 1


# ------------------------------------------------------------------------------------------ retries and timeouts


@pytest.mark.parametrize("misbehaviour", ["overloaded", "server_error", "rate_limit;seconds=0.2"])
def test_the_sdks_own_retries_succeed_and_each_request_is_settled(tmp_path: Path, misbehaviour: str) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        it.simulator.order(misbehaviour, misbehaviour)
        reply = await client.chat.completions.create(model=MODEL, messages=QUESTION)
        assert reply.choices[0].message.content
        rows = await it.truth(3)
        assert [row.status for row in rows][-1] == 200 and len(rows) == 3
        assert len({row.operation for row in rows}) == 3
        assert (await it.settled(caller, 3)).posted_nanos == rows[-1].cost_nanos
        if misbehaviour.startswith("rate_limit"):
            assert all(b.received_s - a.received_s >= 0.2 for a, b in pairwise(rows))

    journey(tmp_path, steps, retries=2, resilience={"max_attempts": 1})


def test_a_request_the_gateway_forbids_to_repeat_is_not_repeated(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        it.simulator.order("quota", "none")
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(model=MODEL, messages=QUESTION)
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert len(await it.truth()) == 1

    journey(tmp_path, steps, retries=2)


def test_a_timeout_of_the_sdk_leaves_nothing_held(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        hasty = client.with_options(timeout=0.3)
        with pytest.raises(openai.APITimeoutError):
            await hasty.chat.completions.create(
                model="sim/slow_first_byte;seconds=30", messages=QUESTION, max_tokens=50
            )
        spent = await it.settled(caller)
        assert spent.postings == 1 and spent.posted_nanos >= (await it.truth())[0].cost_nanos

    journey(tmp_path, steps)


def test_a_timeout_of_the_gateway_is_a_504_the_sdk_may_repeat(tmp_path: Path) -> None:
    error = refused(
        tmp_path,
        openai.InternalServerError,
        chat(model="sim/slow_first_byte;seconds=30"),
        provider={"first_byte_s": 0.3},
        resilience={"max_attempts": 1},
    )
    assert error.status_code == 504 and error.response.headers["x-should-retry"] == "true"


def test_a_stream_left_early_is_settled_and_the_provider_is_stopped(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        stream = await client.chat.completions.create(
            model=MODEL, messages=QUESTION, max_tokens=2000, stream=True
        )
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        with suppress(openai.APIError):
            await stream.close()
        spent = await it.settled(caller)
        truth = (await it.truth())[0]
        assert truth.outcome == "client_gone" and truth.output_tokens < 1000
        assert spent.postings == 1 and spent.posted_nanos >= truth.cost_nanos

    slow = SimulatorOptions(speeds=Speeds(tokens_per_s=100, answer_tokens=1000))
    journey(tmp_path, steps, simulator=slow)
