"""Whoever bills from the topic `metering` bills what the ledger posted, to the nano-dollar.

Given a platform that meters, when requests end in every way there is and a hold is left to expire, then the topic has
one record for each settlement, none for what held no money, and their sum is the ledger's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import APIError, AsyncOpenAI, NotFoundError

from penstock.ports.ledger import Hold, Line
from tests.stage import MODEL, Stage, stage, until
from tests.support import run

BREAKS = "sim/cut;after=3"
ASKED: Any = [{"role": "user", "content": "How full is the lake?"}]
PAID = 5
LOST = Hold("req_lost", 123_457, (), timeout_s=1)


def test_as_many_records_as_settlements_and_their_sum_is_the_ledgers(tmp_path: Path) -> None:
    async def whole() -> None:
        provider = {"models": (MODEL, BREAKS)}
        async with stage(tmp_path, audit={"metering": True}, provider=provider) as it:
            caller = await it.caller()
            async with AsyncOpenAI(base_url=it.url, api_key=caller.token, max_retries=0) as client:
                await _ask(client)
            await _count(it, caller.token)
            await it.settled(caller, PAID)
            await _leave_a_hold(it)
            spent = await it.settled(caller, PAID + 1)
            await until(lambda: _are_delivered(it, PAID + 1), 10.0)

            told = await _told(it)
            assert len(told) == len({one["operation"] for one in told}) == spent.postings == PAID + 1
            assert sum(one["cost_nanos"] for one in told) == spent.posted_nanos
            assert {
                (one["org"], one["team"], one["project"], one["user"], one["key_id"]) for one in told
            } == {("acme", "search", "web", "kim", caller.id)}
            (lost,) = [one for one in told if one["outcome"] == "expired"]
            assert (lost["operation"], lost["cost_nanos"], lost["estimated"]) == ("req_lost", 123_457, True)
            posted = [one for one in told if one["outcome"] == "posted"]
            assert all(one["cost_nanos"] > 0 and one["input_tokens"] > 0 for one in posted)
            assert sorted(one["model_used"] for one in posted) == sorted([BREAKS] + [MODEL] * (PAID - 1))
            assert {one["provider"] for one in posted} == {"sim"}

            page = it.platform.metrics.render().decode().splitlines()
            shown = dict(line.rsplit(" ", 1) for line in page if line.startswith("penstock_metering_"))
            assert {
                name.removeprefix("penstock_metering_"): float(value) for name, value in shown.items()
            } == {
                "produced_total": PAID + 1,
                "delivered_total": PAID + 1,
                "dropped_total": 0,
                "failures_total": 0,
                "queued": 0,
            }

    run(whole())


def test_nothing_of_it_is_there_unless_it_is_asked_for(tmp_path: Path) -> None:
    async def whole() -> None:
        async with stage(tmp_path) as it:
            caller = await it.caller()
            async with AsyncOpenAI(base_url=it.url, api_key=caller.token, max_retries=0) as client:
                await client.chat.completions.create(model=MODEL, messages=ASKED)
            await it.settled(caller)
            await until(lambda: _has_audit(it), 5.0)
            assert it.platform.metering is None
            assert await _told(it) == []
            assert b"penstock_metering" not in it.platform.metrics.render()

    run(whole())


async def _ask(client: AsyncOpenAI) -> None:
    """Ask `PAID` times for money, and once in vain."""
    for _ in range(2):
        await client.chat.completions.create(model=MODEL, messages=ASKED)
    async for _ in await client.chat.completions.create(model=MODEL, messages=ASKED, stream=True):
        pass
    with pytest.raises(APIError):
        async for _ in await client.chat.completions.create(model=BREAKS, messages=ASKED, stream=True):
            pass
    await client.embeddings.create(model=MODEL, input=["How full?", "How deep?"])
    with pytest.raises(NotFoundError):
        await client.chat.completions.create(model="nobody", messages=ASKED)


async def _count(it: Stage, token: str) -> None:
    """Ask for what costs nothing."""
    asked = {"model": MODEL, "messages": ASKED}
    async with httpx.AsyncClient() as client:
        reply = await client.post(
            f"{it.url}/messages/count_tokens", json=asked, headers={"authorization": f"Bearer {token}"}
        )
    assert reply.status_code == 200


async def _leave_a_hold(it: Stage) -> None:
    """Hold money as those requests did, and never settle it."""
    ledger = it.platform.stores.ledger
    accounts = [one.account for one in await ledger.balance(prefix="org:acme")]
    lines = tuple([Line(account) for account in accounts])
    await ledger.hold(Hold(LOST.operation, LOST.amount_nanos, lines, timeout_s=LOST.timeout_s))


async def _are_delivered(it: Stage, records: int) -> bool:
    metering = it.platform.metering
    return metering is not None and metering.pipe.delivered == records


async def _has_audit(it: Stage) -> bool:
    return it.platform.audit.delivered == 1


async def _told(it: Stage) -> list[dict[str, Any]]:
    return [json.loads(message.value) for message in await it.platform.stores.stream.read("metering", 0)]
