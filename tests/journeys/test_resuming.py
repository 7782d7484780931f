"""An answer that breaks off is gone on with by another back end, and both are paid for, through real sockets."""

from __future__ import annotations

import json
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from anthropic import AsyncAnthropic
from openai import APIError, AsyncOpenAI

from penstock.gateway.resuming import GO_ON
from penstock.kernel.settings import RouteSettings, TargetSettings
from penstock.sdk.client import Client
from tests.stage import MODEL, Caller, Spent, Stage, stage, until
from tests.support import run

ROUTE = "gate"
QUESTION: list[Any] = [{"role": "user", "content": "How full is it?"}]
WHOLE = "The water is counted once, written down before the gate opens, and paid for when it closes."
BREAK = 40
FAULTS = [f"{kind};after=40;tokens=60" for kind in ("cut", "error_mid_stream", "malformed_line")]
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def of(*models: str, resume: bool = True) -> tuple[RouteSettings, ...]:
    """Return the route: the first model is asked, the others stand behind it."""
    first, *behind = (
        RouteSettings(
            model=ROUTE if not number else f"behind-{number}",
            targets=(TargetSettings(provider="sim", model=model),),
            resume=resume and not number,
            fallbacks=tuple(f"behind-{place}" for place in range(1, len(models))) if not number else (),
        )
        for number, model in enumerate(models)
    )
    return (first, *behind)


class Played(NamedTuple):
    """What one request saw: the answer, the usage told, the ledger, the providers' own bill, its audit record."""

    said: str
    usage: Any
    spent: Spent
    billed_nanos: int
    record: Any


async def chatted(it: Stage, caller: Caller, end: str = "stop", **more: Any) -> tuple[str, Any]:
    """Return what an OpenAI SDK reads, and the usage it is told."""
    async with AsyncOpenAI(base_url=it.url, api_key=caller.token, max_retries=0) as client:
        stream = await client.chat.completions.create(
            model=ROUTE, messages=QUESTION, stream=True, stream_options={"include_usage": True}, **more
        )
        chunks = [chunk async for chunk in stream]
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    roles = [chunk.choices[0].delta.role for chunk in chunks if chunk.choices and chunk.choices[0].delta.role]
    ends = [
        chunk.choices[0].finish_reason for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason
    ]
    assert (roles, ends) == (["assistant"], [end])
    return said, chunks[-1].usage


async def messaged(it: Stage, caller: Caller) -> tuple[str, Any]:
    """Return what an Anthropic SDK reads, and the usage it is told."""
    async with (
        AsyncAnthropic(base_url=it.url.removesuffix("/v1"), api_key=caller.token, max_retries=0) as client,
        client.messages.stream(model=ROUTE, messages=QUESTION, max_tokens=100) as stream,
    ):
        message = await stream.get_final_message()
    [block] = message.content
    assert (block.type, message.stop_reason) == ("text", "end_turn")
    return block.text, message.usage


def played(folder: Path, models: tuple[str, ...], ask: Callable[[Stage, Caller], Awaitable[Any]]) -> Played:
    """Play one request."""

    async def whole() -> Played:
        async with stage(folder, provider={"models": (MODEL, *models)}, routes=of(*models)) as it:
            caller = await it.caller(role="owner")
            said, usage = await ask(it, caller)
            spent = await it.settled(caller)
            billed = sum(row.cost_nanos for row in await it.truth(len(models)))
            async with Client(it.url.removesuffix("/v1"), caller.token) as client:

                async def kept() -> bool:
                    return bool((await client.requests.list()).requests)

                await until(kept, 10.0)
                [request] = (await client.requests.list()).requests
                return Played(
                    said, usage, spent, billed, (await client.requests.get(request.request_id)).request
                )

    return run(whole())


@pytest.mark.parametrize("ask", [chatted, messaged])
@pytest.mark.parametrize("fault", FAULTS)
def test_what_breaks_off_is_gone_on_with_and_both_parts_are_paid_for(
    tmp_path: Path, ask: Any, fault: str
) -> None:
    seen = played(tmp_path, (f"sim/{fault}", MODEL), ask)
    # The broken part is an estimate, and estimates err upwards.
    assert seen.spent.posted_nanos >= seen.billed_nanos > 0 == seen.spent.held_nanos
    assert seen.spent.postings == 1
    record = seen.record
    assert [call.output_tokens for call in record.calls] == [40, 32]
    assert (record.flags, record.finish, record.attempts, record.estimated) == (("resumed",), "stop", 2, True)
    assert record.cost_nanos == seen.spent.posted_nanos == sum(call.cost_nanos for call in record.calls)
    told = getattr(seen.usage, "completion_tokens", 0) or seen.usage.output_tokens
    assert told == record.output_tokens == 72


def test_the_whole_is_as_long_as_the_caller_allowed(tmp_path: Path) -> None:
    seen = played(
        tmp_path, ("sim/cut;after=40;tokens=60", MODEL), partial(chatted, end="length", max_tokens=50)
    )
    assert [call.output_tokens for call in seen.record.calls] == [40, 10]


class _Hoarse(BaseHTTPRequestHandler):
    """Says the first half of `WHOLE` and hangs up; asked to go on, repeats the last words and says the rest."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        goes_on = asked["messages"][-1]["content"] == GO_ON
        assert not goes_on or asked["messages"][-2]["content"] == WHOLE[:BREAK]
        said = WHOLE[BREAK - 20 :] if goes_on else WHOLE[:BREAK]
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        choices: list[Any] = [
            {"delta": {"role": "assistant", "content": said[:1]}},
            *[{"delta": {"content": piece}} for piece in said[1:]],
        ]
        for choice in [*choices, {"delta": {}, "finish_reason": "stop"}] if goes_on else choices:
            event = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                     "choices": [{"index": 0, **choice}]}  # fmt: skip
            self.wfile.write(b"data: %b\n\n" % json.dumps(event).encode())
        if goes_on:
            self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_who_repeats_the_last_words_is_read_as_if_nothing_had_broken(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hoarse)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    async def whole() -> str:
        provider = {"models": (MODEL,), "base_url": f"http://127.0.0.1:{server.server_port}/v1"}
        async with stage(tmp_path, provider=provider, routes=of(MODEL)) as it:
            return (await chatted(it, await it.caller()))[0]

    try:
        assert run(whole()) == WHOLE
    finally:
        server.shutdown()
        server.server_close()


def test_without_the_setting_an_answer_that_breaks_off_ends_with_an_error(tmp_path: Path) -> None:
    assert run(_refused(tmp_path, of("sim/cut;after=40;tokens=60", MODEL, resume=False)))


@pytest.mark.parametrize(
    ("models", "more"),
    [
        (("sim/cut;after=40;tokens=60", MODEL), {"tools": [TOOL], "tool_choice": "none"}),
        (("sim/cut;after=40;tokens=60", MODEL), {"n": 2}),
        (("sim/cut;after=40;tokens=60", "sim/cut;after=50;tokens=60"), {}),
        (("sim/cut;after=40;tokens=60", "sim/server_error"), {}),
    ],
    ids=["tools", "two choices", "all break off", "nobody goes on"],
)
def test_what_cannot_be_gone_on_with_ends_with_an_error(
    tmp_path: Path, models: tuple[str, ...], more: dict[str, Any]
) -> None:
    assert run(_refused(tmp_path, of(*models), **more))


async def _refused(folder: Path, routes: tuple[RouteSettings, ...], **more: Any) -> bool:
    models = tuple(target.model for route in routes for target in route.targets)
    async with stage(folder, provider={"models": models}, routes=routes) as it:
        caller = await it.caller()
        with pytest.raises(APIError):
            await chatted(it, caller, **more)
        return not (await it.settled(caller)).held_nanos
