"""Whatever a provider does wrong, the caller is told the truth and the books agree with the provider's own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from penstock.kernel.ids import new_id
from penstock.net.client import HttpClient, Origin, Timers
from penstock.ports.ledger import Balance
from penstock.simulator.behaviour import Speeds
from penstock.simulator.server import SimulatorOptions
from penstock.simulator.truth import TruthRow
from tests.stage import MODEL, Caller, Spent, Stage, stage
from tests.support import run

PACED = Speeds(tokens_per_s=400, answer_tokens=12)
FAST: dict[str, Any] = {
    "provider": {"first_byte_s": 1.0, "between_chunks_s": 0.5, "total_s": 10.0},
    "resilience": {"backoff_base_s": 0.001, "backoff_cap_s": 0.01},
}


@dataclass
class Told:
    """What the caller got."""

    status: int
    body: bytes

    @property
    def whole(self) -> bool:
        """The answer carried its success mark."""
        if b"data: " in self.body:
            return self.body.endswith(b"data: [DONE]\n\n")
        return b'"choices"' in self.body

    @property
    def error(self) -> str:
        """The error's code, in-band or not; "" for none."""
        if b'"error"' not in self.body:
            return ""
        text = self.body.rpartition(b"data: ")[2] if b"data: " in self.body else self.body
        return str(json.loads(text)["error"]["code"])


async def ask(it: Stage, caller: Caller, *, stream: bool, **members: object) -> Told:
    """Send one chat over a connection of its own."""
    origin, _ = Origin.parse(it.url)
    client = HttpClient()
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "How full is it?"}],
        "stream": stream,
        **members,
    }
    headers = b"authorization: Bearer %b\r\ncontent-type: application/json\r\n" % caller.token.encode()
    try:
        response = await client.request(
            origin, b"POST", b"/v1/chat/completions", headers, json.dumps(body).encode(), Timers()
        )
        return Told(response.status, await response.read(1 << 22))
    finally:
        await client.close()


def played(
    tmp_path: Path, orders: list[str], *, stream: bool, requests: int
) -> tuple[Told, Spent, list[TruthRow]]:
    """Play `orders` to one caller; return what it was told, its books and the provider's."""

    async def play() -> tuple[Told, Spent, list[TruthRow]]:
        async with stage(tmp_path, simulator=SimulatorOptions(speeds=PACED), **FAST) as it:
            caller = await it.caller()
            it.simulator.order(*orders)
            told = await ask(it, caller, stream=stream)
            spent = await it.settled(caller)
            verdict = await it.platform.stores.ledger.verify()
            assert verdict.problems == ()
            return told, spent, await it.truth(requests)

    return run(play())


def cost(rows: list[TruthRow]) -> int:
    """Return what the provider billed."""
    return sum(row.cost_nanos for row in rows if row.billed)


@pytest.mark.parametrize(
    ("order", "stream"),
    [("none", False), ("none", True), ("usage_twice", False), ("usage_twice", True), ("usage_late", True)],
)
def test_a_whole_answer_is_billed_to_the_nano(tmp_path: Path, order: str, stream: bool) -> None:
    told, spent, rows = played(tmp_path, [order], stream=stream, requests=1)
    assert (told.status, told.whole) == (200, True)
    assert spent == Spent(cost(rows), 0, 1)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("order", ["server_error", "overloaded", "rate_limit_no_hint"])
def test_a_passing_fault_is_invisible_and_costs_nothing(tmp_path: Path, order: str, stream: bool) -> None:
    told, spent, rows = played(tmp_path, [order, order], stream=stream, requests=3)
    assert (told.status, told.whole) == (200, True)
    assert spent == Spent(cost(rows), 0, 1)
    assert sum(row.billed for row in rows) == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("order", "status", "code"), [("quota", 502, "quota_exhausted"), ("server_error", 502, "server_error")]
)
def test_a_lasting_fault_is_told_and_costs_nothing(
    tmp_path: Path, order: str, status: int, code: str, stream: bool
) -> None:
    told, spent, _ = played(tmp_path, [order] * 3, stream=stream, requests=1)
    assert (told.status, told.error) == (status, code)
    assert spent == Spent(0, 0, 1)


@pytest.mark.parametrize(
    "order", ["cut;after=3", "error_mid_stream;after=3", "malformed_line;after=3", "stall;after=3;seconds=3"]
)
def test_a_broken_stream_ends_in_band_without_its_success_mark_and_is_billed(
    tmp_path: Path, order: str
) -> None:
    told, spent, rows = played(tmp_path, [order], stream=True, requests=1)
    assert told.status == 200
    assert not told.whole
    assert told.error
    assert b"[DONE]" not in told.body
    assert spent.postings == 1
    assert spent.posted_nanos > 0
    assert len(rows) == 1


@pytest.mark.parametrize(
    ("order", "stream"), [("usage_missing", False), ("usage_missing", True), ("usage_late", False)]
)
def test_missing_usage_is_estimated_never_free(tmp_path: Path, order: str, stream: bool) -> None:
    told, spent, rows = played(tmp_path, [order], stream=stream, requests=1)
    assert told.whole
    assert spent.posted_nanos >= cost(rows) > 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_reset_is_tried_once_more_and_both_attempts_are_on_the_books(tmp_path: Path, stream: bool) -> None:
    told, spent, rows = played(tmp_path, ["reset"], stream=stream, requests=2)
    assert told.whole
    assert spent.posted_nanos >= cost(rows)
    assert spent.postings == 1


def test_a_slow_first_byte_is_given_up_in_time(tmp_path: Path) -> None:
    told, spent, _ = played(tmp_path, ["slow_first_byte;seconds=30"] * 2, stream=False, requests=0)
    assert (told.status, told.error) == (504, "first_byte_timeout")
    assert spent.postings == 1


def test_every_level_of_the_path_is_charged_the_same(tmp_path: Path) -> None:
    async def play() -> None:
        async with stage(tmp_path) as it:
            caller = await it.caller()
            for stream in (False, True, False):
                assert (await ask(it, caller, stream=stream)).whole
            await it.settled(caller, 3)
            ledger = it.platform.stores.ledger
            days: dict[str, Balance] = {
                row.account.partition("@")[0]: row for row in await ledger.balance(prefix="org:acme")
            }
            assert {(row.posted_nanos, row.held_nanos, row.postings) for row in days.values()} == {
                (cost(await it.truth(3)), 0, 3)
            }
            assert len(days) == 5

    run(play())


def test_an_idempotency_key_reaches_the_provider_once_and_replays_byte_for_byte(tmp_path: Path) -> None:
    async def play() -> None:
        async with stage(tmp_path) as it:
            caller = await it.caller()
            key = new_id("idem_")
            first = await ask_with_key(it, caller, key, "one")
            assert await ask_with_key(it, caller, key, "one") == first
            status, body = await ask_with_key(it, caller, key, "two")
            assert status == 409
            assert json.loads(body)["error"]["code"] == "idempotency_conflict"
            other = await it.caller()
            assert (await ask_with_key(it, other, key, "two"))[0] == 200
            assert len(await it.truth(2)) == 2

    run(play())


async def ask_with_key(it: Stage, caller: Caller, key: str, text: str) -> tuple[int, bytes]:
    """Send one chat with an Idempotency-Key."""
    origin, _ = Origin.parse(it.url)
    client = HttpClient()
    headers = b"authorization: Bearer %b\r\nidempotency-key: %b\r\n" % (caller.token.encode(), key.encode())
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": text}]}).encode()
    try:
        response = await client.request(origin, b"POST", b"/v1/chat/completions", headers, body, Timers())
        return response.status, await response.read(1 << 20)
    finally:
        await client.close()
