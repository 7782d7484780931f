"""Every chat provider keeps the port's promises: the wire's adapter against the simulator over real sockets, the
in-process extractive model, and the scripted one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from penstock.adapters.providers.anthropic import AnthropicProvider
from penstock.adapters.providers.gemini import GeminiProvider
from penstock.adapters.providers.local import MODEL, LocalExtractive
from penstock.adapters.providers.openai import OpenAIProvider
from penstock.adapters.providers.scripted import ScriptedAnswer, ScriptedProvider
from penstock.adapters.providers.vendor import VendorProvider
from penstock.contracts.case import BrokenPromise
from penstock.contracts.providers import CASES, FAULTS, ProviderHarness
from penstock.dialects import anthropic, gemini, openai
from penstock.dialects.codec import Codec
from penstock.net.client import HttpClient, Origin
from penstock.ports import providers as port
from penstock.ports.providers import ProviderFailure
from penstock.ports.secrets import Secret
from penstock.simulator.behaviour import parse_order
from penstock.simulator.server import SimulatorOptions, run_simulator
from tests.contracts.file_harness import promises_checked, promises_of
from tests.contracts.not_tried import tried
from tests.support import run

KEY = "sk-for-the-simulator"


def each(contract):
    return pytest.mark.parametrize(
        "case", [case for _, _, case in contract.cases], ids=[name for name, _, _ in contract.cases]
    )


async def kept(case, side) -> None:
    """Run one case on a fresh harness."""
    async with side as harness:
        await case(harness)


def in_process(provider, **more) -> ProviderHarness:
    async def same():
        return provider

    async def none() -> int:
        return 0  # what answers in this process has no connection to anybody

    return ProviderHarness(
        port=provider,
        advance=asyncio.sleep,
        reopen=same,
        peer=same,
        single_process=True,
        open_sockets=none,
        **more,
    )


class Wire(NamedTuple):
    """A vendor's adapter, the path of its base URL, and how its dialect is asked."""

    adapter: type[VendorProvider] = OpenAIProvider
    path: str = "/v1"
    codec: Codec = openai.CODEC
    turns: str = "messages"
    output_tokens: int | None = None


WIRES = {
    "openai": Wire(),
    "anthropic": Wire(AnthropicProvider, "", anthropic.CODEC, "messages", 64_000),
    "gemini": Wire(GeminiProvider, "", gemini.CODEC, "contents"),
}


@asynccontextmanager
async def wire(spoken: Wire = WIRES["openai"]) -> AsyncIterator[ProviderHarness]:
    """Give the adapter in front of a simulated vendor, two real sockets apart."""
    simulator = await run_simulator(SimulatorOptions(key=KEY))
    client = HttpClient()
    provider = spoken.adapter("sim", base_url=simulator.root + spoken.path, client=client, key=Secret(KEY))
    origin, _ = Origin.parse(simulator.root)

    async def same() -> VendorProvider:
        return provider

    async def order(text: str) -> None:
        # A reset on a kept connection looks like a stale one, and `net` sends the request once more: reset that too.
        simulator.clear_orders()
        simulator.order(*[text] * (2 if text == "reset" else 1))

    async def in_use() -> int:
        every, idle = client.connections(origin)
        return every - idle

    try:
        yield ProviderHarness(
            port=provider,
            advance=asyncio.sleep,
            reopen=same,
            peer=same,
            codec=spoken.codec,
            turns=spoken.turns,
            output_tokens=spoken.output_tokens,
            order=order,
            unread_bytes=lambda reply: reply.buffered_bytes,
            open_sockets=in_use,
        )
    finally:
        await provider.close()
        await simulator.close()


@asynccontextmanager
async def scripted() -> AsyncIterator[ProviderHarness]:
    provider = ScriptedProvider()

    async def order(text: str) -> None:
        asked = parse_order(text)
        words = " ".join(["word"] * (asked.tokens or 8))
        provider.play(ScriptedAnswer(text=words, misbehaviour=asked.misbehaviour))

    yield in_process(provider, order=order)


@asynccontextmanager
async def local() -> AsyncIterator[ProviderHarness]:
    yield in_process(LocalExtractive(), model=MODEL)


@pytest.mark.parametrize("name", WIRES)
@each(CASES)
def test_wire(case, name):
    run(tried(f"providers/{name}", case, kept(case, wire(WIRES[name]))))


@pytest.mark.parametrize("name", WIRES)
@each(FAULTS)
def test_wire_faults(case, name):
    run(tried(f"providers/{name}", case, kept(case, wire(WIRES[name]))))


@each(CASES)
def test_scripted(case):
    run(tried("providers/scripted", case, kept(case, scripted())))


@each(FAULTS)
def test_scripted_faults(case):
    run(tried("providers/scripted", case, kept(case, scripted())))


@each(CASES)
def test_local(case):
    run(tried("providers/local", case, kept(case, local())))


def test_every_promise_has_a_case():
    assert promises_checked(CASES) | promises_checked(FAULTS) == promises_of(port)


# ---------------------------------------------------------------------------------- the suite can fail: seeded bugs


class _Seeded(OpenAIProvider):
    """An adapter with one bug: `spoil` changes the reply object it hands out."""

    async def chat(self, call):
        reply = await super().chat(call)
        return _SpoiltReply(reply, self.bug)


class _SpoiltReply:
    def __init__(self, reply, bug):
        self._reply = reply
        self._bug = bug
        self.status = reply.status
        self.streamed = reply.streamed
        self.buffered_bytes = 0

    async def read(self, max_bytes):
        return await self._reply.read(1 << 30 if self._bug == "no bound" else max_bytes)

    async def chunk(self):
        try:
            data = await self._reply.chunk()
        except ProviderFailure:
            if self._bug == "cut looks like an end":
                return b""
            raise
        if self._bug == "usage lost" and b'"usage":{' in data:
            return data.replace(b'"usage":{', b'"usagf":{')
        return data.replace(b"data: [DONE]\n\n", b": gone\n\n") if self._bug == "no end mark" else data

    def close(self):
        if self._bug != "forgets to close":
            self._reply.close()


class _WrongKind(OpenAIProvider):
    async def chat(self, call):
        try:
            return await super().chat(call)
        except ProviderFailure as error:
            self.spoil(error)
            raise


def _bugs():
    for bug in ("no bound", "cut looks like an end", "usage lost", "no end mark", "forgets to close"):
        yield bug, type("Seeded", (_Seeded,), {"bug": bug})

    def quota_as_rate(_, error):
        error.kind = "rate_limited" if error.kind == "quota_exhausted" else error.kind

    def no_hint(_, error):
        error.retry_after_s = None

    def body_lost(_, error):
        error.body = b""

    for spoil in (quota_as_rate, no_hint, body_lost):
        yield spoil.__name__, type("Seeded", (_WrongKind,), {"spoil": spoil})


@pytest.mark.parametrize(
    ("bug", "adapter"), list(_bugs()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_seeded_bug_is_caught(bug, adapter):
    broken = []
    for name, _, case in (*CASES.cases, *FAULTS.cases):
        if name == "an_answer_nobody_reads_does_not_pile_up":
            continue
        try:
            run(kept(case, wire(Wire(adapter))))
        except (BrokenPromise, ProviderFailure):
            broken.append(name)
            break
    assert broken, f"no case noticed: {bug}"
