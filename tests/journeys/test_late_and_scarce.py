"""A back end that is late, and one whose vendor's limit is nearly used up, as callers and operators see them."""

from __future__ import annotations

from pathlib import Path

import msgspec

from penstock.kernel.events import RequestEvent
from penstock.kernel.settings import ProviderSettings, RouteSettings, TargetSettings
from penstock.mechanisms.hedging import SAMPLES_LEAST
from penstock.sdk.client import Client
from penstock.sdk.replies import KeyRequest
from penstock.sdk.routing import RouteQuestion
from tests.faults.said import NEARLY_SPENT
from tests.raw_upstream import RawUpstream, Wire
from tests.stage import MODEL, Stage, stage, until
from tests.support import run

QUESTION = [{"role": "user", "content": "How much water?"}]
LEFT = 0.01
"""What `NEARLY_SPENT` tells."""


def back_end(name: str, url: str, model: str) -> ProviderSettings:
    """Return a provider at the stage's prices."""
    return ProviderSettings(name=name, kind="openai", vendor="sim", base_url=url, models=(model,))


def route(*back_ends: tuple[str, str], hedge: bool = False) -> RouteSettings:
    """Return the route "house": to the first, then to the others."""
    targets = (
        TargetSettings(provider=provider, model=model, weight=0 if place else 100)
        for place, (provider, model) in enumerate(back_ends)
    )
    return RouteSettings(model="house", targets=tuple(targets), hedge=hedge)


async def audited(it: Stage, requests: int) -> list[RequestEvent]:
    """Wait until so many requests are in the audit; returns them."""
    events: list[RequestEvent] = []

    async def told() -> bool:
        messages = await it.platform.stores.stream.read("audit", len(events), 1_000)
        events.extend([msgspec.json.decode(message.value, type=RequestEvent) for message in messages])
        return len(events) >= requests

    await until(told, 5.0)
    return events


def test_a_vendor_near_its_limit_is_spared_and_everybody_is_told_why(tmp_path: Path) -> None:
    async def nearly_spent(wire: Wire) -> None:
        await wire.send(NEARLY_SPENT["openai"].data)

    async def journey() -> None:
        async with RawUpstream({"raw": nearly_spent}) as upstream:
            scarce = back_end("scarce", upstream.url, "raw")
            async with stage(
                tmp_path, others=lambda _: (scarce,), routes=(route(("scarce", "raw"), ("sim", MODEL)),)
            ) as it:
                owner = await it.caller(role="owner")
                async with Client(it.url.removesuffix("/v1"), owner.token) as client:
                    app = client.under((await client.keys.create(KeyRequest(name="app"))).token)
                    first = await app.chat.create(model="house", messages=QUESTION, max_tokens=5)
                    assert first.route == "scarce/raw"
                    then = await app.chat.create(model="house", messages=QUESTION, max_tokens=5)
                    assert then.route == f"sim/{MODEL}; scarce/raw is near its quota"
                    explained = await client.routing.explain(RouteQuestion(model="house"))
                    assert explained.why == ("scarce/raw is near its quota",)
                    left = (await client.status()).quotas["scarce/raw"]
                    assert LEFT <= left < 2 * LEFT
                assert f'penstock_quota_left_ratio{{target="scarce/raw"}} {LEFT:.2f}' in (
                    it.platform.metrics.render().decode()
                )

    run(journey())


def test_a_late_answer_is_overtaken_and_audit_and_metrics_say_so(tmp_path: Path) -> None:
    async def journey() -> None:
        async with stage(
            tmp_path,
            others=lambda url: (back_end("spare", url, "spare"),),
            routes=(route(("sim", MODEL), ("spare", "spare"), hedge=True),),
        ) as it:
            caller = await it.caller()
            async with Client(it.url.removesuffix("/v1"), caller.token) as app:
                for _ in range(SAMPLES_LEAST):
                    await app.chat.create(model="house", messages=QUESTION, max_tokens=5)
                it.simulator.order("slow_first_byte;seconds=30")
                answer = await app.chat.create(model="house", messages=QUESTION, max_tokens=5)
            assert answer.route == "spare/spare; hedged"
            await it.settled(caller, SAMPLES_LEAST + 1)
            event = (await audited(it, SAMPLES_LEAST + 1))[-1]
            assert [(call.provider, call.outcome) for call in event.calls] == [
                ("sim", "abandoned"),
                ("spare", "ok"),
            ]
            assert (event.flags, event.estimated) == (("hedged",), True)
            assert event.cost_nanos == sum(call.cost_nanos for call in event.calls)
            page = it.platform.metrics.render().decode()
            assert "penstock_hedges_total 1.0" in page
            assert "penstock_hedges_won_total 1.0" in page

    run(journey())
