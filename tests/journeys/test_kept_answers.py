"""The cache of answers and redaction through real sockets: who asks the same again pays nothing, and gets nobody else's
words; what a provider must not see it does not see, kept or not.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI

from penstock.kernel.settings import PrivacySettings
from penstock.sdk.client import Client
from penstock.sdk.replies import Purge
from tests.stage import MODEL, Stage, stage, until
from tests.support import run

QUESTION: list[Any] = [{"role": "user", "content": "How much water passed the gate?"}]
ASKED: dict[str, Any] = {"model": MODEL, "messages": QUESTION, "temperature": 0}
CACHE = {"url": "memory:"}
EMAIL = "mia@example.org"


def client(it: Stage, token: str) -> AsyncOpenAI:
    """Return a customer."""
    return AsyncOpenAI(base_url=it.url, api_key=token, max_retries=0)


def test_the_same_question_is_answered_from_the_cache_and_costs_nothing(tmp_path: Path) -> None:
    async def whole() -> None:
        async with stage(tmp_path, cache=CACHE) as it:
            caller = await it.caller()
            async with client(it, caller.token) as customer:
                create = customer.chat.completions.with_raw_response.create
                first, again = await create(**ASKED), await create(**ASKED)
                assert "x-penstock-cache" not in first.headers
                assert again.headers["x-penstock-cache"].startswith("hit; age=")
                assert again.headers["x-penstock-cost-nanos"] == "0"
                said = first.parse().choices[0].message.content
                assert again.parse().choices[0].message.content == said
                stream = await customer.chat.completions.create(**ASKED, stream=True)
                parts = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
                assert "".join(parts) == said
            spent = await it.settled(caller, 3)
            [truth] = await it.truth()
            assert spent.posted_nanos == truth.cost_nanos and it.simulator.truth.summary().requests == 1

    run(whole())


def test_many_at_once_make_one_call_and_another_key_of_the_team_shares_it(tmp_path: Path) -> None:
    async def whole() -> None:
        async with stage(tmp_path, cache=CACHE) as it:
            ours = await it.caller()
            async with client(it, ours.token) as customer:
                replies = await asyncio.gather(
                    *[customer.chat.completions.create(**ASKED) for _ in range(20)]
                )
            assert len({reply.choices[0].message.content for reply in replies}) == 1
            assert it.simulator.truth.summary().requests == 1
            theirs = await it.caller(name="theirs")
            async with client(it, theirs.token) as customer:  # the same team shares
                await customer.chat.completions.create(**ASKED)
            assert it.simulator.truth.summary().requests == 1

    run(whole())


def test_a_kept_answer_holds_stand_ins_and_each_caller_gets_its_own_words_back(tmp_path: Path) -> None:
    async def whole() -> None:
        rules = PrivacySettings(requests={"EMAIL": "replace"}, answers={}, budget_ms=5_000)
        async with stage(tmp_path, cache=CACHE, privacy=(rules,)) as it:
            caller = await it.caller()
            async with client(it, caller.token) as customer:
                turns: list[Any] = [{"role": "user", "content": f"Write to {EMAIL}."}]
                await customer.chat.completions.create(model=MODEL, messages=turns, temperature=0)
                raw = await customer.chat.completions.with_raw_response.create(
                    model=MODEL,
                    messages=[{"role": "user", "content": "Write to tom@example.org."}],
                    temperature=0,
                )
            # Both say the same once the address is out: the second is served the first's answer.
            assert raw.headers["x-penstock-cache"].startswith("hit")
            assert EMAIL not in (raw.parse().choices[0].message.content or "")

    run(whole())


def test_one_answer_is_forgotten_by_the_key_that_its_reply_tells_and_no_other(tmp_path: Path) -> None:
    async def whole() -> None:
        async with stage(tmp_path, cache=CACHE) as it:
            caller, admin = await it.caller(), await it.caller(role="admin", name="admin")
            other: list[Any] = [{"role": "user", "content": "And how much did not?"}]
            async with (
                client(it, caller.token) as customer,
                Client(it.url.removesuffix("/v1"), admin.token) as manager,
            ):
                create = customer.chat.completions.with_raw_response.create
                for messages in (QUESTION, other):
                    await create(**ASKED | {"messages": messages})
                served = (await create(**ASKED)).headers["x-penstock-cache"]
                assert (await manager.cache.purge(Purge(key=served.partition("key=")[2]))).forgotten == 1
                assert "x-penstock-cache" not in (await create(**ASKED)).headers
                again = await create(**ASKED | {"messages": other})
                assert again.headers["x-penstock-cache"].startswith("hit; age=")
                figures = await manager.cache.status()
                assert (figures.classes["semi"].hits, figures.classes["semi"].kept) == (2, 3)

                async def counted() -> bool:
                    return sum(row.requests for row in await manager.cache.prompts()) == 3

                await until(counted, 5.0)

    run(whole())
