"""The drill of S6: one engine after the other is stopped, killed, frozen, slowed, black-holed and cut off under load.

Promise: the engines are real and stand behind a proxy of ours (tests/fleet/toxy.py); times are taken by clients from
outside; what the gateway says of itself (`/readyz`, `/metrics`) is asked ten times a second; when a harm is over, the
journal is compared with the provider's truth to the nano-dollar.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.fleet.books import Journal
from tests.fleet.budgets import GENEROUS
from tests.fleet.caller import Caller, Reply
from tests.fleet.config import Engines, Tenant, provision, write_config
from tests.fleet.load import Swarm, until
from tests.fleet.process import Child, node, provider
from tests.fleet.toxy import WELL, Ill, Toxy
from tests.fleet.truth import Truth
from tests.services import PostgresServer, RedisServer, Server

CALLERS = 24
PAUSE_S = 0.05
PROBE_S = 0.1
NOTICE_S = 1.0
"""By then every part of a gateway has noticed that an engine is back (each looks for itself, twice a second)."""
BACK_LIMIT_S = 20.0
BUDGET_NANOS = 10**15
HARMS = ("stopped", "killed", "frozen", "slowed_200ms", "slowed_500ms", "blackholed", "cut")
METRIC = {"redis": "state", "postgres": "ledger"}


@dataclass(slots=True)
class Cell:
    """One engine under one harm. Times in seconds; -1: it did not happen."""

    engine: str
    harm: str
    before_p99_s: float = 0.0
    crossing: int = 0
    crossing_cut: int = 0
    """Requests under way when the harm began; those whose answer had begun and did not end well."""
    during: int = 0
    during_good: int = 0
    during_refused: int = 0
    during_other: dict[str, int] = field(default_factory=dict)
    during_p50_s: float = 0.0
    during_p99_s: float = 0.0
    during_max_s: float = 0.0
    alarm_s: float = -1.0
    not_ready_s: float = -1.0
    back_good_s: float = -1.0
    back_metric_s: float = -1.0
    back_ready_s: float = -1.0
    after_failed: int = 0
    after_unlimited: int = 0
    """Requests that passed without rate limits although everything was said to be back."""
    billed: int = 0
    missing: int = 0
    unequal: int = 0
    twice: int = 0
    still_held: int = 0
    charged_unbilled: int = 0
    estimated: int = 0
    problems: tuple[str, ...] = ()
    log: str = ""
    """The last probes, and the end of what the gateway said."""


class Site:
    """A gateway on Redis and PostgreSQL, each behind a proxy."""

    def __init__(self, engines: dict[str, Server], toxies: dict[str, Toxy]) -> None:
        """Name the engines and the proxies before them: "redis" and "postgres"."""
        self.engines = engines
        self.toxies = toxies

    async def harm(self, engine: str, harm: str) -> None:
        """Do harm to an engine, or to the way there."""
        server, toxy = self.engines[engine], self.toxies[engine]
        if harm == "stopped":
            await asyncio.to_thread(server.stop)
        elif harm == "killed":
            await asyncio.to_thread(server.kill)
        elif harm == "frozen":
            server.pause()
        elif harm.startswith("slowed_"):
            toxy.ill = Ill(latency_s=int(harm.removeprefix("slowed_").removesuffix("ms")) / 2000)
        elif harm == "blackholed":
            toxy.ill = Ill(blackhole=True)
        elif harm == "cut":
            toxy.ill = Ill(refuse=True)
            toxy.reset()

    async def heal(self, engine: str) -> None:
        """Undo whatever was done."""
        self.toxies[engine].ill = WELL
        server = self.engines[engine]
        if server._process is not None:
            server.resume()
        await asyncio.to_thread(server.start)


class Probe:
    """Asks a gateway how it is, ten times a second, and remembers when it said so."""

    def __init__(self, port: int, owner: str, dependency: str) -> None:
        """Watch the metric of `dependency`."""
        self._ready = Caller(port, timeout_s=2.0)
        self._metrics = Caller(port, owner, timeout_s=2.0)
        self._line = f'penstock_dependency_up{{dependency="{dependency}"}}'
        self.seen: list[tuple[float, int, float]] = []
        """(loop time, status of /readyz, value of the metric; -1 when it could not be had)."""
        self.unlimited: list[tuple[float, float]] = []
        """(loop time, requests let through without rate limits so far)."""

    async def run(self) -> None:
        """Probe until cancelled."""
        with suppress(asyncio.CancelledError):
            while True:
                at = time.monotonic()
                ready, metrics = await asyncio.gather(
                    self._ready.get("/readyz"), self._metrics.get("/metrics")
                )
                self.seen.append((at, ready.status, _value(metrics, self._line)))
                self.unlimited.append((at, _value(metrics, "penstock_unlimited_requests_total")))
                await asyncio.sleep(PROBE_S)
        await asyncio.gather(self._ready.close(), self._metrics.close())

    def first(self, since: float, true: Callable[[int, float], bool]) -> float:
        """Return how long after `since` it first said so, or -1."""
        return next((at - since for at, ready, up in self.seen if at >= since and true(ready, up)), -1.0)


def _value(page: Reply, name: str) -> float:
    """Return the value of a metric, or -1."""
    lines = [line for line in page.body.decode().splitlines() if line.startswith(name)]
    return float(lines[0].rpartition(" ")[2]) if lines else -1.0


async def drill(
    folder: Path, cells: list[tuple[str, str]], *, before_s: float = 1.5, during_s: float = 6.0
) -> list[Cell]:
    """Run every (engine, harm) on one Redis and one PostgreSQL; a fresh database and gateway for each."""
    seen: list[Cell] = []
    async with AsyncExitStack() as opened:
        redis = opened.enter_context(RedisServer())
        postgres = opened.enter_context(PostgresServer(durable=True))
        for number, (engine, harm) in enumerate(cells):
            dsn = await asyncio.to_thread(postgres.fresh)
            url = await asyncio.to_thread(redis.fresh)
            async with Toxy(redis.port) as to_redis, Toxy(postgres.port) as to_postgres:
                site = Site(
                    {"redis": redis, "postgres": postgres}, {"redis": to_redis, "postgres": to_postgres}
                )
                engines = Engines(
                    ledger=dsn.replace(f":{postgres.port}/", f":{to_postgres.port}/"),
                    records=dsn.replace(f":{postgres.port}/", f":{to_postgres.port}/"),
                    state=url.replace(f":{redis.port}/", f":{to_redis.port}/"),
                )
                cell = Cell(engine, harm)
                await _run(folder / f"{number}-{engine}-{harm}", site, engines, cell, before_s, during_s)
                seen.append(cell)
    return seen


async def _run(
    folder: Path, site: Site, engines: Engines, cell: Cell, before_s: float, during_s: float
) -> None:
    async with AsyncExitStack() as opened:
        upstream = await opened.enter_async_context(
            provider("--answer-tokens", "24", "--first-token-s", "0.01", "--tokens-per-s", "150")
        )
        config = write_config(folder, upstream.facts["url"], engines)
        levels = dict.fromkeys(("org", "key"), BUDGET_NANOS)
        keys = await provision(
            config, [Tenant(org="house", role="owner"), Tenant(caps=levels, rate=GENEROUS)]
        )
        gateway = await opened.enter_async_context(node(config))
        probe = Probe(gateway.port, keys[0].token, METRIC[cell.engine])
        probing = asyncio.create_task(probe.run())
        swarm = Swarm(gateway.port, keys[1].token, CALLERS, seed=7)
        swarm.start(pause_s=PAUSE_S)
        await asyncio.sleep(before_s)
        harmed = time.monotonic()
        await site.harm(cell.engine, cell.harm)
        await asyncio.sleep(during_s)
        healed = time.monotonic()
        await site.heal(cell.engine)
        with suppress(TimeoutError):
            await until(_all_well(probe, swarm, healed), BACK_LIMIT_S)
        await asyncio.sleep(2 * NOTICE_S)
        replies = await swarm.stop()
        _judge_times(cell, replies, probe, harmed, healed)
        probing.cancel()
        await probing
        cell.log = f"last probes: {probe.seen[-3:]}\n"
        await _reconcile(cell, config, gateway, upstream)


def _all_well(probe: Probe, swarm: Swarm, healed: float) -> Callable[[], Awaitable[bool]]:
    async def well() -> bool:
        good = any(r.good and r.begun_s > healed for r in swarm.replies[-200:])
        return good and bool(probe.seen) and probe.seen[-1][0] > healed and probe.seen[-1][1:] == (200, 1.0)

    return well


def _judge_times(cell: Cell, replies: list[Reply], probe: Probe, harmed: float, healed: float) -> None:
    before = sorted(r.seconds for r in replies if r.begun_s + r.seconds < harmed)
    cell.before_p99_s = quantile(before, 0.99)
    crossing = [r for r in replies if r.begun_s < harmed <= r.begun_s + r.seconds]
    cell.crossing = len(crossing)
    cell.crossing_cut = sum(not r.good and (r.status == 200 or bool(r.failure)) for r in crossing)
    during = [r for r in replies if harmed <= r.begun_s < healed]
    times = sorted(r.seconds for r in replies if r.begun_s < healed and r.begun_s + r.seconds >= harmed)
    cell.during_p50_s, cell.during_p99_s = quantile(times, 0.5), quantile(times, 0.99)
    cell.during_max_s = times[-1] if times else 0.0
    cell.during = len(during)
    for reply in during:
        if reply.good:
            cell.during_good += 1
        elif reply.status == 503:
            cell.during_refused += 1
        else:
            what = reply.failure or f"{reply.status} {reply.error.get('code', 'cut')}"
            cell.during_other[what] = cell.during_other.get(what, 0) + 1
    cell.alarm_s = probe.first(harmed, lambda _, up: up == 0.0)
    cell.not_ready_s = probe.first(harmed, lambda ready, _: ready == 503)
    cell.back_metric_s = probe.first(healed, lambda _, up: up == 1.0)
    cell.back_ready_s = probe.first(healed, lambda ready, _: ready == 200)
    good = [r.begun_s + r.seconds - healed for r in replies if r.good and r.begun_s >= healed]
    cell.back_good_s = min(good, default=-1.0)
    back = healed + max(cell.back_good_s, cell.back_metric_s, cell.back_ready_s, 0.0)
    late = [count for at, count in probe.unlimited if at > back + NOTICE_S]
    cell.after_unlimited = int(late[-1] - late[0]) if late else -1
    cell.after_failed = sum(not r.good for r in replies if r.begun_s > back)


async def _reconcile(cell: Cell, config: Path, gateway: Child, upstream: Child) -> None:
    """Wait until nothing is held, end the gateway in good order, and compare."""
    truth, journal = Truth(upstream.port), Journal(config)
    await truth.quiet()

    async def nothing_held() -> bool:
        await journal.read()
        return not journal.held

    with suppress(TimeoutError):
        await until(nothing_held, BACK_LIMIT_S)
    await gateway.stop()
    cell.log += gateway.log
    await journal.read()
    billed = await truth.read()
    await truth.close()
    cell.billed = len(billed)
    cell.still_held = len(journal.held)
    cell.twice = sum(ended.times > 1 for ended in journal.ended.values())
    cell.charged_unbilled = sum(
        operation not in billed and ended.amount_nanos > 0 for operation, ended in journal.ended.items()
    )
    for operation, entry in billed.items():
        ended = journal.ended.get(operation)
        if ended is None or ended.outcome == "voided":
            cell.missing += 1
        elif ended.estimated:
            cell.estimated += 1
        elif ended.amount_nanos != entry.cost_nanos:
            cell.unequal += 1
    cell.problems = (await journal.verify()).problems


def quantile(ordered: list[float], share: float) -> float:
    """Return a quantile of ordered figures, 0 of none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
