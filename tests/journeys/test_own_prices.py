"""Two organisations ask the same model, one at a price of its own: holds, ledger and audit differ exactly as prices do.

Given a general price of 150 and 600 nano-dollars for a token read and written, and acme's own of 123 and 457, when acme
and globex ask alike, then each account and each audit event is at its own organisation's price, to the nano-dollar,
whoever of the back ends answered and whatever was asked.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openai import APIStatusError, AsyncOpenAI

from penstock.kernel.events import RequestEvent
from penstock.kernel.settings import FeatureSettings, PriceSettings, RouteSettings, Settings, TargetSettings
from penstock.mechanisms.tenancy import KeyDoc
from tests.journeys.feature_scene import DOWN, MAIN, QUESTION, QUICK, audited
from tests.stage import MODEL, Caller, Stage, stage, until
from tests.support import run

ORGS = ("acme", "globex")
NANOS = {"acme": (123, 457), "globex": (150, 600)}
OWN = PriceSettings(org="acme", provider="sim", model="sim/*", input="0.123", output="0.457")
BEHIND = RouteSettings(
    model="behind", targets=(TargetSettings(provider="down", model="m"),), fallbacks=("spare",)
)
SPARE = RouteSettings(model="spare", targets=(TargetSettings(provider="sim", model=MODEL),))
DESK = FeatureSettings(name="desk", fallback=(MODEL,))


def _priced(before: Settings) -> Settings:
    return msgspec.structs.replace(before, prices=(*before.prices, OWN), features=(DESK,))


async def _key(it: Stage, org: str, **rights: Any) -> Caller:
    doc = KeyDoc(id="", mac="", org=org, team="t", project="p", user="u", **rights)
    made, token = await it.platform.tenancy.create_key(doc)
    return Caller(made.id, token)


async def _posted(it: Stage, org: str, caller: Caller) -> int:
    """Return what the key's account of the day was charged, once nothing of it is held."""
    posted = 0

    async def settled() -> bool:
        nonlocal posted
        found = await it.platform.stores.ledger.balance(prefix=f"org:{org}/key:{caller.id}@")
        days = [row for row in found if len(row.account.rpartition("@")[2]) == len("2026-01-31")]
        posted = sum(row.posted_nanos for row in days)
        return any(row.postings for row in days) and not any(row.held_nanos for row in days)

    await until(settled, 5.0)
    return posted


def _client(it: Stage, caller: Caller) -> AsyncOpenAI:
    told = {"x-penstock-feature": "desk"}
    return AsyncOpenAI(base_url=it.url, api_key=caller.token, max_retries=0, default_headers=told)


def journey(folder: Path, steps: Callable[[Stage], Any]) -> None:
    """Take `steps` where acme has a price of its own."""

    async def whole() -> None:
        async with stage(
            folder, others=lambda _url: (DOWN,), routes=(MAIN, BEHIND, SPARE), resilience=QUICK,
            altered=_priced,
        ) as it:  # fmt: skip
            await steps(it)

    run(whole())


async def _asked(it: Stage, ask: Callable[[AsyncOpenAI], Any]) -> dict[str, RequestEvent]:
    """Have a key of each organisation ask once; returns the audit events, each checked against the ledger."""
    events: dict[str, RequestEvent] = {}
    for number, org in enumerate(ORGS, 1):
        caller = await _key(it, org)
        async with _client(it, caller) as client:
            await ask(client)
        event = events[org] = await audited(it, number)
        read, written = NANOS[org]
        assert (event.org, event.status) == (org, 200)
        assert event.cost_nanos == event.input_tokens * read + event.output_tokens * written > 0
        assert await _posted(it, org, caller) == event.cost_nanos
        pinned = it.platform.catalogue.prices.by_version(event.price_version)
        assert pinned is not None
        assert (pinned.org, pinned.rates.input) == ("acme" if org == "acme" else "", read * 1_000_000)
    mine, general = (events[org] for org in ORGS)
    assert (mine.input_tokens, mine.route) == (general.input_tokens, general.route)
    return events


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", [MODEL, "behind", "main"])
def test_a_chat_is_billed_at_the_callers_price_whoever_answers(
    tmp_path: Path, model: str, stream: bool
) -> None:
    """`behind` falls back by its route, `main` by the rules of the feature."""

    async def ask(client: AsyncOpenAI) -> None:
        raw = await client.chat.completions.with_raw_response.create(
            model=model, messages=QUESTION, max_tokens=50, stream=stream
        )
        told: Any = raw.parse()
        if stream:
            assert [chunk async for chunk in told]

    async def steps(it: Stage) -> None:
        for event in (await _asked(it, ask)).values():
            assert event.model_used == MODEL
            assert [call.outcome for call in event.calls][-1] == "ok"
            assert (len(event.calls) > 1) == (model != MODEL)

    journey(tmp_path, steps)


@pytest.mark.parametrize("kind", ["embeddings", "moderations"])
def test_every_other_paid_call_is_too(tmp_path: Path, kind: str) -> None:
    async def ask(client: AsyncOpenAI) -> None:
        if kind == "embeddings":
            await client.embeddings.create(model="behind", input=["how full", "is the lake"])
        else:
            await client.moderations.create(model=MODEL, input="how full is the lake")

    async def steps(it: Stage) -> None:
        await _asked(it, ask)

    journey(tmp_path, steps)


def test_the_worst_case_is_held_at_the_callers_price(tmp_path: Path) -> None:
    """A cap of a request between both worst cases admits the organisation that pays less, and refuses the other."""

    async def steps(it: Stage) -> None:
        asked: dict[str, Any] = {"model": "spare", "messages": QUESTION, "max_tokens": 1_000}
        mine, general = [await _key(it, org, max_request_nanos=550_000) for org in ORGS]
        async with _client(it, mine) as client:
            await client.chat.completions.create(**asked)
        async with _client(it, general) as client:
            with pytest.raises(APIStatusError) as refusal:
                await client.chat.completions.create(**asked)
        assert refusal.value.code == "request_too_expensive"

    journey(tmp_path, steps)
