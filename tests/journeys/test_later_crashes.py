"""Requests put off, and their process stopped, crashed or killed: none is lost, and none is paid for twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.gateway import later_runs
from penstock.gateway.later_book import LaterBook
from penstock.net.client import HttpClient, Origin
from penstock.simulator.server import SimulatorOptions, run_simulator
from penstock.wiring.app import start
from penstock.wiring.platform import Platform
from tests.books import Books
from tests.fleet.config import Tenant, provision
from tests.fleet.process import Child, node
from tests.journeys.later_scene import (
    QUESTION,
    SECRET,
    TIMERS,
    Scene,
    altered,
    free_port,
    hurry,
    secret_in,
    staged,
)
from tests.receiver import Receiver
from tests.stage import Stage, settings, until
from tests.support import run


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


Ending = Callable[[Platform], Awaitable[None]]


async def stopped(platform: Platform) -> None:
    """Stop as an operator does."""
    await platform.close()


async def crashed(platform: Platform) -> None:
    """Stop the work on what waits as a crash does: nothing is written down."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LaterBook, "put_back", _nothing)
        tasks = [task for task in asyncio.all_tasks() if task.get_name().startswith("later")]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await platform.close()


async def _nothing(*_: object, **__: object) -> None:
    """Write nothing down, as the dead do."""


async def under_way(it: Scene) -> str:
    """Put a request off, have its provider come back, and wait until it is asked; returns the request's id."""
    asked = {"model": "slow", "messages": QUESTION, "max_tokens": 50}
    status, headers, _ = await it.call("POST", "/v1/chat/completions", asked, x_penstock_later="desk")
    assert status == 202
    provider = await it.back()

    async def called() -> bool:
        return provider.truth.summary().in_flight > 0

    await until(called, 5.0)
    return headers[b"x-penstock-later"].decode()


async def ended_so(folder: Path, ending: Ending, judge: Callable[[Scene, str], Awaitable[None]]) -> None:
    """End a platform that way while it answers what was put off, start another on its data, and judge."""
    port = free_port()
    nobody: Any = None  # the provider comes later, and not from the stage
    secret_in(folder)
    with Receiver(SECRET) as receiver:
        set_up = altered(receiver)(settings(folder, "http://127.0.0.1:1/v1", **staged(port)))
        first = Stage(nobody, await start(set_up, {}))
        it = Scene(first, await first.caller(), receiver, port)
        id = await under_way(it)
        await ending(first.platform)
        it.it = Stage(nobody, await start(set_up, {}))
        try:
            await judge(it, id)
        finally:
            await it.it.platform.close()
            if it.provider is not None:
                await it.provider.close()


def test_a_stop_puts_an_attempt_back_to_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(later_runs, "GRACE_S", 0.05)

    async def judge(it: Scene, id: str) -> None:
        _, _, told = await it.call("GET", f"/v1/later/{id}")
        assert told["status"] in ("waiting", "running") and told["error"] == "interrupted"

    run(ended_so(tmp_path, stopped, judge))


def test_a_crash_ends_what_was_being_answered_so_that_it_is_billed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(later_runs, "LEASE_S", 1.0)

    async def judge(it: Scene, id: str) -> None:
        told = await it.ended(id)
        assert (told["status"], told["error"]) == ("failed", "later_interrupted")
        [message] = await it.heard()
        assert message["data"]["error"] == "later_interrupted"
        assert it.provider is not None and it.provider.truth.summary().requests == 1

    run(ended_so(tmp_path, crashed, judge))


NODE = """\
discover = false
[server]
host = "127.0.0.1"
port = 0
[store]
data = "{folder}"
[resilience]
backoff_base_s = 0.001
[[providers]]
name = "away"
kind = "openai"
vendor = "sim"
base_url = "http://127.0.0.1:{port}/v1"
models = ["sim/model"]
[[routes]]
model = "main"
targets = [{{ provider = "away", model = "sim/model" }}]
[[prices]]
provider = "sim"
model = "*"
input = "0.15"
output = "0.60"
[[webhooks]]
name = "desk"
url = "{hook}"
secret = "hook"
orgs = ["acme"]
"""


def test_kill_nine_loses_no_request_that_waits_and_none_is_answered_twice(tmp_path: Path) -> None:
    async def whole() -> None:
        port, data = free_port(), tmp_path / "data"
        secret_in(data)
        config = tmp_path / "penstock.toml"
        with Receiver(SECRET) as receiver:
            config.write_text(NODE.format(folder=data, port=port, hook=receiver.url))
            (key,) = await provision(config, [Tenant(org="acme")])
            async with node(config) as first:
                ids = [await _put_off(first, key.token) for _ in range(3)]
                await asyncio.sleep(
                    0.2
                )  # the attempts that failed for nothing are in the journal with its next group
                await first.kill()
            provider = await run_simulator(SimulatorOptions(port=port))
            try:
                async with node(config) as second:

                    async def heard() -> bool:
                        return len(receiver.told("later.")) >= len(ids)

                    await until(heard, 20.0)
                    await second.stop()
            finally:
                await provider.close()
            told = receiver.told("later.")
            assert sorted(each["data"]["id"] for each in told) == sorted(ids)
            assert {each["type"] for each in told} == {"later.answered"} and receiver.forged == []
            truth = {row.operation: row.cost_nanos for row in provider.truth.rows()}
            assert set(truth) == {each["data"]["request_id"] for each in told}
            books = Books(data / "ledger.sqlite")
            for operation, cost_nanos in truth.items():
                [settlement] = books.operations[operation].settlements
                assert (settlement.amount_nanos, settlement.estimated) == (cost_nanos, False)
            posted = sum(one.amount_nanos for each in books.operations.values() for one in each.settlements)
            assert posted == sum(truth.values())

    run(whole(), 60.0)


async def _put_off(first: Child, token: str) -> str:
    """Ask what nobody answers now; returns the id it waits under."""
    client = HttpClient()
    lines = f"authorization: Bearer {token}\r\nx-penstock-later: desk\r\n".encode()
    body = json.dumps({"model": "main", "messages": QUESTION, "max_tokens": 50}).encode()
    try:
        reply = await client.request(
            Origin("http", "127.0.0.1", first.port), b"POST", b"/v1/chat/completions", lines, body, TIMERS
        )
        await reply.read(1 << 20)
    finally:
        await client.close()
    assert reply.status == 202
    return (reply.header(b"x-penstock-later") or b"").decode()
