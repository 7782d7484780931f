"""G3: canaries that are worse are taken out, good ones are not, and a configuration with a mistake changes nothing.

Three parts: a whole platform with a canary of each kind, judged at its own pace while it serves; thousands of trials
drawn by chance with the product's own judge; and documents with known mistakes, applied as an operator applies them.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from openai import APIError, AsyncOpenAI

from penstock.kernel.errors import Invalid, NotFound
from penstock.kernel.settings import ProviderSettings, RouteSettings, Settings, TargetSettings
from penstock.kernel.settings_routes import CanarySettings
from penstock.sdk.client import Client
from penstock.simulator.behaviour import Speeds
from penstock.simulator.server import SimulatorOptions
from tests.canary_trials import BAD, GOOD, Figures, simulate
from tests.evidence.registry import Bars, Result, Scalar, Table
from tests.mutated_configs import mutated, sound
from tests.stage import MODEL, Stage, stage

ID = "G3"
TITLE = "Canaries judged: bad ones taken out, good ones left; a configuration with mistakes changes nothing"
RUNS = 1_000
SEED = 7
FALSE_PERCENT_MOST = 1.0
CONFIGS = 500
AT_ONCE = 6
WATCHED_S = 90.0
SHOWN = 6
QUESTION: list[Any] = [{"role": "user", "content": "How full is the reservoir?"}]
CANARIES = {
    "errors": "sim/server_error",
    "latency": "sim/slow_first_byte;seconds=0.25",
    "quality": "gpt-4o-mini",
    "good": "gpt-4o",
}
"""By what is wrong with it: the model of the canary. Production is `MODEL` everywhere."""
SCORES = {"quality": 0.6}
"""What people say of a canary's answers; of all others 0.9, give or take a tenth."""
PACED = Speeds(first_token_s=0.05, first_token_sigma=0.3)


async def produce(quick: bool) -> Result:
    """Serve, draw, apply."""
    with tempfile.TemporaryDirectory(prefix="penstock-g3-") as name:
        live = await _served(Path(name) / "live", 30.0 if quick else WATCHED_S)
        wrong = await _applied(Path(name) / "configs", 30 if quick else CONFIGS)
    runs = 100 if quick else RUNS
    good = {name: simulate(canary, runs, SEED) for name, canary in GOOD.items()}
    bad = {name: simulate(canary, runs, SEED) for name, canary in BAD.items()}
    faults = [
        f"the {name} canary was not taken out" for name, each in live.items() if not _is_right(name, each)
    ]
    faults += [
        f"{figures.percent:.1f} % of good canaries taken out: {name}"
        for name, figures in good.items()
        if figures.percent > FALSE_PERCENT_MOST
    ]
    faults += wrong[:SHOWN]
    reason = (
        f"errors, latency and quality each took their canary out, the good one stayed; of {runs} simulated good "
        f"canaries at most {max(each.percent for each in good.values()):.1f} % were taken out, in each of {len(good)} "
        f"settings; {30 if quick else CONFIGS} documents refused, every mistake named, the routes as before"
    )
    figures: dict[str, Scalar | dict[str, Scalar]] = {
        **{f"canary_{name}": each for name, each in live.items()},
        "documents_refused_wrongly_or_in_part": len(wrong),
    }
    return Result(
        figures,
        "missed" if faults else "met",
        "; ".join(faults) or reason,
        _tables(runs, good, bad),
        (_bars(bad),),
    )


def _is_right(name: str, seen: Mapping[str, Scalar]) -> bool:
    return bool(seen["taken_out"]) is (name != "good")


# ------------------------------------------------------------------------------------------------ serving


async def _served(folder: Path, watched_s: float) -> dict[str, dict[str, Scalar]]:
    """Serve every route until its canary is out, at most `watched_s` seconds; returns what became of each."""
    models = (MODEL, *CANARIES.values())
    routes = tuple(
        RouteSettings(
            model=name,
            targets=(TargetSettings(provider="sim", model=MODEL),),
            canary=CanarySettings(targets=(TargetSettings(provider="sim", model=model),), percent=50.0),
        )
        for name, model in CANARIES.items()
    )
    options = SimulatorOptions(speeds=PACED, seed=SEED)
    async with stage(folder, simulator=options, provider={"models": models}, routes=routes) as it:
        caller = await it.caller(role="owner")
        async with (
            AsyncOpenAI(base_url=it.url, api_key=caller.token, max_retries=0) as openai,
            Client(it.url.removesuffix("/v1"), caller.token) as client,
        ):
            seen = await asyncio.gather(*[_watched(it, name, openai, client, watched_s) for name in CANARIES])
    return dict(zip(CANARIES, seen, strict=True))


async def _watched(
    it: Stage, name: str, openai: AsyncOpenAI, client: Client, watched_s: float
) -> dict[str, Scalar]:
    """Ask one route until its canary is out, scoring every answer; returns what was seen."""
    began_s, asked, failed = time.monotonic(), 0, 0
    chance = random.Random(SEED)
    while not (is_out := _is_out(it, name)) and time.monotonic() - began_s < watched_s:
        told = await asyncio.gather(*[_asked(name, openai, client, chance) for _ in range(AT_ONCE)])
        asked, failed = asked + len(told), failed + told.count(False)
    return {
        "taken_out": is_out,
        "after_s": round(time.monotonic() - began_s, 1),
        "requests": asked,
        "of_them_failed": failed,
    }


def _is_out(it: Stage, name: str) -> bool:
    routes = it.platform.routing.versions.document.routes
    return not next(route for route in routes if route.model == name).canary.percent


async def _asked(name: str, openai: AsyncOpenAI, client: Client, chance: random.Random) -> bool:
    """Ask once and say how good it was; False when there was no answer."""
    try:
        reply = await openai.chat.completions.with_raw_response.create(model=name, messages=QUESTION)
    except APIError:
        return False
    was_canary = "#canary" in reply.headers["x-penstock-route"]
    mean = SCORES.get(name, 0.9) if was_canary else 0.9
    score = min(1.0, max(0.0, chance.gauss(mean, 0.1)))
    request_id = reply.headers["x-request-id"]
    for _ in range(20):
        try:
            await client.requests.score(request_id, score)
        except NotFound:
            await asyncio.sleep(0.05)
        else:
            break
    return True


# ------------------------------------------------------------------------------------------------ applying


async def _applied(folder: Path, count: int) -> list[str]:
    """Apply documents with mistakes; returns what was let pass, not named, or changed."""
    wrong: list[str] = []
    async with stage(folder, provider={"models": ("small", "large")}, altered=_with_own) as it:
        owner = await it.caller(role="owner")
        async with Client(it.url.removesuffix("/v1"), owner.token) as client:
            before = await client.routing.apply(sound(), why="a sound one")
            for document, mistakes in mutated(count, SEED):
                try:
                    await client.routing.apply(document)
                except Invalid as refusal:
                    wrong += [f"not named: {each}" for each in mistakes if each not in str(refusal)]
                else:
                    wrong.append(f"let pass: {mistakes}")
            after = (await client.routing.get()).version
            if after.number != before.number:
                wrong.append(f"version {before.number} became {after.number}")
            answer = await client.chat.create(model="route-0", messages=QUESTION, max_tokens=1)
            if not answer.text:
                wrong.append("the routes in force do not answer")
    return wrong


def _with_own(settings: Settings) -> Settings:
    """Add the provider `own`, and prices for the models that are sound, no others."""
    own = ProviderSettings(
        name="own", kind="openai", base_url=settings.providers[0].base_url, models=("llama",)
    )
    [price] = settings.prices
    prices = tuple(
        msgspec.structs.replace(price, provider=provider, model=model)
        for provider, model in (("sim", "small"), ("sim", "large"), ("own", "llama"))
    )
    return msgspec.structs.replace(settings, providers=(*settings.providers, own), prices=prices)


# ------------------------------------------------------------------------------------------------ telling


def _tables(runs: int, good: Mapping[str, Figures], bad: Mapping[str, Figures]) -> tuple[Table, ...]:
    columns = ("canary", "trials", "taken out, %", "after, median s", "by")
    return (
        Table(
            title=f"{runs} good canaries in each setting, 600 s each",
            columns=columns,
            rows=tuple(_row(name, each) for name, each in good.items()),
        ),
        Table(
            title=f"{runs} bad canaries of each kind, half of the traffic, 600 s each",
            columns=columns,
            rows=tuple(_row(name, each) for name, each in bad.items()),
        ),
    )


def _row(name: str, seen: Figures) -> tuple[Scalar, ...]:
    by = ", ".join(f"{metric} {count}" for metric, count in sorted(seen.by_metric.items()))
    return (name, seen.runs, round(seen.percent, 1), seen.median_s if seen.convicted else None, by or None)


def _bars(bad: Mapping[str, Figures]) -> Bars:
    return Bars(
        title="Bad canaries: seconds until half of those found are out",
        unit="s",
        bars={name: each.median_s for name, each in bad.items() if each.percent >= 50},
    )
