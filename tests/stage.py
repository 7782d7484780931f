"""A stage for journeys: a simulated provider and a whole platform over it, in this process, on free ports.

Promise: it is the product's own `wiring.app.start` with every step switched on; keys are made as the product makes
them; what a key spent is read from the ledger, what a request was is read from the audit stream, what it really cost
from the provider's own books. Everything is let go at the end, whatever happened in between.

    async with stage(tmp_path) as it:
        caller = await it.caller()
        ... AsyncOpenAI(base_url=it.url, api_key=caller.token)
        assert (await it.spent(caller)).held_nanos == 0
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.kernel.settings import (
    AdmissionSettings,
    AuditSettings,
    AuthSettings,
    BatchSettings,
    OtelSettings,
    PriceSettings,
    PrivacySettings,
    ProviderSettings,
    ResilienceSettings,
    RouteSettings,
    ServerSettings,
    Settings,
    StoreSettings,
    TraceSettings,
)
from penstock.kernel.settings_cache import CacheSettings
from penstock.kernel.settings_rollouts import RolloutSettings
from penstock.mechanisms.tenancy import KeyDoc
from penstock.simulator.server import RunningSimulator, SimulatorOptions, run_simulator
from penstock.simulator.truth import TruthRow
from penstock.wiring.app import start
from penstock.wiring.platform import Platform

MODEL = "sim/model"
LOOK_S = 0.01
MODELS = (MODEL, "gpt-4o-mini", "sim/slow_first_byte;seconds=30", "sim/slow_first_byte;seconds=0.5")
"""What the provider offers; a name after `sim/` is an order to the simulator."""


@dataclass(frozen=True)
class Caller:
    """A key: its public id and the token to call with."""

    id: str
    token: str


@dataclass(frozen=True)
class Spent:
    """What the ledger says of one key: settled and reserved nano-dollars, and how many settlements."""

    posted_nanos: int
    held_nanos: int
    postings: int


@dataclass(slots=True)
class Stage:
    """A running platform and the provider behind it."""

    simulator: RunningSimulator
    platform: Platform

    @property
    def url(self) -> str:
        """The base URL a customer gives its SDK."""
        return f"http://127.0.0.1:{self.platform.port}/v1"

    async def caller(self, **rights: Any) -> Caller:
        """Make a key; `rights` are fields of `KeyDoc`."""
        doc = KeyDoc(id="", mac="", org="acme", team="search", project="web", user="kim", **rights)
        made, token = await self.platform.tenancy.create_key(doc)
        return Caller(made.id, token)

    async def spent(self, caller: Caller) -> Spent:
        """Read a key's account of the day."""
        prefix = f"org:acme/key:{caller.id}@"
        found = await self.platform.stores.ledger.balance(prefix=prefix)
        rows = [row for row in found if len(row.account.rpartition("@")[2]) == len("2026-01-31")]
        return Spent(
            sum(row.posted_nanos for row in rows),
            sum(row.held_nanos for row in rows),
            sum(row.postings for row in rows),
        )

    async def settled(self, caller: Caller, postings: int = 1, within_s: float = 5.0) -> Spent:
        """Wait until the key has so many settlements and nothing held; returns the account as it then is."""
        await until(lambda: self._is_settled(caller, postings), within_s)
        return await self.spent(caller)

    async def _is_settled(self, caller: Caller, postings: int) -> bool:
        spent = await self.spent(caller)
        return spent.postings >= postings and not spent.held_nanos

    async def truth(self, requests: int = 1, within_s: float = 5.0) -> list[TruthRow]:
        """Wait until the provider's books hold so many closed rows; returns them."""

        async def written() -> bool:
            return self.simulator.truth.summary().requests >= requests

        await until(written, within_s)
        return self.simulator.truth.rows()


async def until(holds: Callable[[], Awaitable[bool]], within_s: float) -> None:
    """Wait until `holds()`; TimeoutError after as many looks as an idle machine takes in `within_s` seconds: a busy one
    takes fewer, and so is given longer.
    """
    for _ in range(max(1, round(within_s / LOOK_S))):
        if await holds():
            return
        await asyncio.sleep(LOOK_S)
    raise TimeoutError(f"not so after {within_s:g} s of looking")


def settings(
    folder: Path,
    upstream: str,
    *,
    models: tuple[str, ...] = MODELS,
    others: Callable[[str], tuple[ProviderSettings, ...]] = lambda _url: (),
    routes: tuple[RouteSettings, ...] = (),
    privacy: tuple[PrivacySettings, ...] = (),
    **sections: Mapping[str, Any],
) -> Settings:
    """Return settings of a platform over one provider at the simulator's prices; `sections` override fields, `others`
    are further providers at the simulator's address.
    """
    price = PriceSettings(provider="sim", model="*", input="0.15", output="0.60")
    provider = ProviderSettings(
        **{
            "name": "sim",
            "kind": "openai",
            "base_url": upstream,
            "models": models,
            **sections.get("provider", {}),
        }
    )
    return Settings(
        server=ServerSettings(**{"port": 0, **sections.get("server", {})}),
        store=StoreSettings(**{"data": str(folder), **sections.get("store", {})}),
        admission=AdmissionSettings(**sections.get("admission", {})),
        resilience=ResilienceSettings(**sections.get("resilience", {})),
        batches=BatchSettings(**sections.get("batches", {})),
        audit=AuditSettings(**sections.get("audit", {})),
        traces=TraceSettings(**sections.get("traces", {})),
        auth=AuthSettings(**sections.get("auth", {})),
        otel=OtelSettings(**sections.get("otel", {})),
        cache=CacheSettings(**sections.get("cache", {})),
        rollouts=RolloutSettings(**sections.get("rollouts", {})),
        privacy=privacy,
        providers=(provider, *others(upstream)),
        routes=routes,
        prices=(price,),
        discover=False,
    )


@asynccontextmanager
async def stage(
    folder: Path,
    *,
    simulator: SimulatorOptions | None = None,
    sock: socket.socket | None = None,
    others: Callable[[str], tuple[ProviderSettings, ...]] = lambda _url: (),
    routes: tuple[RouteSettings, ...] = (),
    privacy: tuple[PrivacySettings, ...] = (),
    altered: Callable[[Settings], Settings] = lambda settings: settings,
    **sections: Mapping[str, Any],
) -> AsyncIterator[Stage]:
    """Put the stage up; `sections` are fields of the settings by section, `provider` among them; see `settings`.
    `altered` has the last word.
    """
    provider = await run_simulator(simulator)
    try:
        set_up = settings(
            folder / "data", provider.url, others=others, routes=routes, privacy=privacy, **sections
        )
        platform = await start(altered(set_up), {}, sock=sock)
        try:
            yield Stage(provider, platform)
        finally:
            await platform.close()
    finally:
        await provider.close()
