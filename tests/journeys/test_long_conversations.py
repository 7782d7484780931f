"""Conversations longer than their model's window, through real sockets: older turns give way to a summary, what that
cost is on the same bill, what may not leave does not leave by way of it, and a vendor's own refusal is heeded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openai import AsyncOpenAI

from penstock.kernel.settings import ContextSettings, PriceSettings, PrivacySettings, Settings
from tests.journeys.three_wires import WIRES, three_wires
from tests.raw_upstream import RawUpstream, Wire
from tests.stage import MODEL, Stage, stage
from tests.support import run

WINDOW = 1_000
SUMMARISER = "gpt-4o-mini"
SUMMARISES = ContextSettings(on_overflow="summarise", summary_model=SUMMARISER, summary_tokens=64)
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "read_gauge", "arguments": '{"gauge":"tail"}'},
}
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "read_gauge",
            "parameters": {"type": "object", "properties": {"gauge": {"type": "string"}}},
        },
    }
]
QUESTION: Any = {"role": "user", "content": "Well?"}
EMAIL = "mia@example.org"


def with_window(*rules: ContextSettings, model: str = MODEL) -> Callable[[Settings], Settings]:
    """Return what gives a model a window of 1,000 tokens, and conversations these rules."""
    price = PriceSettings(provider="sim", model=model, input="0.15", output="0.60", context_window=WINDOW)
    return lambda settings: msgspec.structs.replace(
        settings, prices=(price, *settings.prices), context=tuple(rules)
    )


def turns(count: int) -> list[Any]:
    """Return turns of 160 words; the second calls a tool."""
    found: list[Any] = [{"role": "system", "content": "Be brief."}]
    for number in range(count):
        found.append({"role": "user", "content": f"{number} " + "water " * 80})
        if number == 1:
            found.append({"role": "assistant", "content": None, "tool_calls": [CALL]})
            found.append({"role": "tool", "tool_call_id": "call_1", "content": "42"})
        found.append({"role": "assistant", "content": f"{number} " + "gate " * 80})
    return found


def client(it: Stage, token: str) -> AsyncOpenAI:
    """Return a customer."""
    return AsyncOpenAI(base_url=it.url, api_key=token, max_retries=0)


def test_a_summary_stands_for_older_turns_and_is_on_the_same_bill_once(tmp_path: Path) -> None:
    async def whole() -> None:
        async with stage(tmp_path, altered=with_window(SUMMARISES)) as it:
            caller = await it.caller()
            async with client(it, caller.token) as customer:
                create = customer.chat.completions.with_raw_response.create
                long: dict[str, Any] = {"model": MODEL, "messages": [*turns(8), QUESTION], "max_tokens": 20}
                first = await create(**long)
                assert first.headers["x-penstock-context"] == "summarised 14 of 20"
                rows = await it.truth(2)
                assert [row.model for row in rows] == [SUMMARISER, MODEL]
                assert rows[1].input_tokens < WINDOW < rows[0].input_tokens + rows[1].input_tokens
                spent = await it.settled(caller)
                assert spent.posted_nanos == sum(row.cost_nanos for row in rows)
                assert first.headers["x-penstock-cost-nanos"] == str(spent.posted_nanos)
                stream = await create(**long, stream=True)
                assert stream.headers["x-penstock-context"] == "summarised 14 of 20"
                async for _ in stream.parse():
                    pass
            rows = await it.truth(3)
            assert [row.model for row in rows[2:]] == [MODEL], (
                "what was summarised once is not summarised again"
            )
            spent = await it.settled(caller, 2)
            assert spent.posted_nanos == sum(row.cost_nanos for row in rows)

    run(whole())


@pytest.mark.parametrize("wire", WIRES)
def test_calls_of_tools_and_their_results_part_on_no_wire(tmp_path: Path, wire: str) -> None:
    rules = msgspec.structs.replace(
        SUMMARISES, summary_model="openai-wire!rate_limit", unsummarised="truncate_oldest"
    )

    async def whole() -> None:
        for chosen in (rules, msgspec.structs.replace(SUMMARISES, summary_model=wire)):
            altered = with_window(chosen, model="sim/model")
            async with three_wires(tmp_path / chosen.summary_model, altered=altered) as it:
                caller = await it.caller()
                async with client(it, caller.token) as customer:
                    reply = await customer.chat.completions.with_raw_response.create(
                        model=wire, messages=[*turns(8), QUESTION], tools=TOOLS, max_tokens=20
                    )
                told = "truncated; dropped=16" if chosen is rules else "summarised 16 of 20"
                assert reply.headers["x-penstock-context"] == told
                spent = await it.settled(caller)
                assert spent.posted_nanos == sum(row.cost_nanos for row in await it.truth(2))

    run(whole())


def test_what_may_not_leave_does_not_leave_in_a_summary_and_comes_back_in_the_answer(tmp_path: Path) -> None:
    read: list[str] = []

    async def summarise(wire: Wire) -> None:
        read.append(wire.asked["messages"][1]["content"])
        await wire.whole("They are to write to <EMAIL_1>.", 700, 9)

    async def answer(wire: Wire) -> None:
        said = str(wire.asked["messages"])
        read.append(said)
        await wire.whole("I shall write to <EMAIL_1>." if "<EMAIL_1>" in said else "To whom?", 90, 9)

    async def whole() -> None:
        async with (
            RawUpstream({SUMMARISER: summarise, MODEL: answer}) as upstream,
            stage(
                tmp_path,
                provider={"base_url": upstream.url},
                privacy=(PrivacySettings(requests={"EMAIL": "replace"}, answers={}, budget_ms=5_000),),
                altered=with_window(SUMMARISES),
            ) as it,
        ):
            caller = await it.caller()
            async with client(it, caller.token) as customer:
                messages = turns(8)
                messages[1]["content"] = f"Write to {EMAIL}. " + "water " * 80
                reply = await customer.chat.completions.create(
                    model=MODEL, messages=[*messages, QUESTION], max_tokens=20
                )
            assert reply.choices[0].message.content == f"I shall write to {EMAIL}."
            assert len(read) == 2 and EMAIL not in "".join(read)

    run(whole())


@pytest.mark.parametrize("way", ["truncate_oldest", "summarise"])
def test_a_vendor_that_finds_a_conversation_too_long_is_asked_again_with_less(
    tmp_path: Path, way: Any
) -> None:
    refused: list[int] = []
    refusal = {
        "error": {"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded"}
    }

    async def answer(wire: Wire) -> None:
        size = len(str(wire.asked["messages"]))
        if size > WINDOW:
            refused.append(size)
            await wire.reply(400, msgspec.json.encode(refusal))
        else:
            await wire.whole("Here.", 90, 9)

    async def summarise(wire: Wire) -> None:
        await wire.whole("In short.", 700, 9)

    async def whole() -> None:
        words = (
            "hydroelectric" * 15
        )  # one word, and nobody here can tell its tokens: this vendor counts each byte
        messages: list[Any] = [
            {"role": role, "content": words} for _ in range(8) for role in ("user", "assistant")
        ]
        async with RawUpstream({SUMMARISER: summarise, MODEL: answer}) as upstream:
            rules = msgspec.structs.replace(SUMMARISES, on_overflow=way, keep_turns=2)
            async with stage(tmp_path, provider={"base_url": upstream.url}, altered=with_window(rules)) as it:
                caller = await it.caller()
                async with client(it, caller.token) as customer:
                    reply = await customer.chat.completions.with_raw_response.create(
                        model=MODEL, messages=[*messages, QUESTION], max_tokens=20
                    )
                assert reply.parse().choices[0].message.content == "Here."
                assert refused and refused[0] > 3_000
                assert reply.headers["x-penstock-context"].startswith(way[:8])
                spent = await it.settled(caller)
                assert str(spent.posted_nanos) == reply.headers["x-penstock-cost-nanos"]

    run(whole())
