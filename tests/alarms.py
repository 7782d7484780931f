"""Every alert fired on a whole platform, by what it is about, and taken by a receiver that trusts nothing unsigned.

    money and tokens    real requests, after days of others that were planted into the totals
    latency             a feature's budget of a millisecond
    scans skipped       real requests whose scan has a budget of a microsecond
    budgets             a soft cap of so many requests, used up one by one
    canary              a back end that fails, with half of a route's traffic
    dependency          the platform's own Redis, killed

Promise: a firing is what came over a socket with a valid signature (Standard Webhooks, checked apart from the product's
own code), beside what the management API shows at that time.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.kernel.context import Cap
from penstock.kernel.errors import PenstockError
from penstock.kernel.settings import (
    AlertSettings,
    FeatureSettings,
    PrivacySettings,
    RouteSettings,
    Settings,
    StoreSettings,
    TargetSettings,
    WebhookSettings,
)
from penstock.kernel.settings_routes import CanarySettings
from penstock.ports.traces import DAY_S, Batch, Delta
from penstock.sdk.client import Client
from penstock.sdk.oversight import AlertView
from penstock.simulator.behaviour import Speeds
from penstock.simulator.server import SimulatorOptions
from tests.services import RedisServer
from tests.stage import MODEL, Stage, stage, until

SECRET: Final = base64.b64encode(b"a secret of the receiver").decode()
STALE_S: Final = 300
FEATURE, ROUTE, BAD = "search", "gate", "sim/server_error"
ASKED: Final = [{"role": "user", "content": "Write to kim@example.org about the water."}]
RULES: Final = (
    "day-above-mean",
    "user-over",
    "feature-spike",
    "tokens-per-request",
    "pii-skips",
    "budget-50",
    "budget-80",
    "budget-100",
    "canary-rolled-back",
    "latency-budget",
    "dependency-down",
)
REQUESTS: Final = 120
AT_ONCE: Final = 20
HISTORY_DAYS: Final = 5
HISTORY_NANOS: Final = 100_000
USER_NANOS: Final = 500_000
BUDGET_REQUESTS: Final = 10


# ------------------------------------------------------------------------------------------------------- the receiver


@dataclass
class Receiver:
    """Takes messages that are signed, fresh and new; counts the others."""

    url: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    refused: list[str] = field(default_factory=list[str])
    _ids: set[str] = field(default_factory=set[str])

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """Return the status that a post is answered with."""
        id, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "0")
        signed = hmac.new(base64.b64decode(SECRET), f"{id}.{at}.".encode() + body, hashlib.sha256).digest()
        if headers.get("webhook-signature") != f"v1,{base64.b64encode(signed).decode()}":
            self.refused.append(f"{id}: signature")
            return 401
        if abs(time.time() - int(at)) > STALE_S:
            self.refused.append(f"{id}: stale")
            return 401
        if id not in self._ids:
            self._ids.add(id)
            message = msgspec.json.decode(body)
            message["data"] = (message["data"] or {}) | {"received_s": time.monotonic()}
            self.messages.append(message)
        return 204

    def told(self, kind: str) -> list[dict[str, Any]]:
        """Return the alerts of messages of a kind."""
        return [message["data"] for message in self.messages if message["type"] == kind]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the posts of one connection."""
        try:
            while line := await reader.readline():
                assert line.startswith(b"POST /hook HTTP/1.1"), line
                headers = await _headers(reader)
                body = await reader.readexactly(int(headers["content-length"]))
                status = self.take(headers, body)
                writer.write(b"HTTP/1.1 %d x\r\ncontent-length: 0\r\n\r\n" % status)
                await writer.drain()
        finally:
            writer.close()


async def _headers(reader: asyncio.StreamReader) -> dict[str, str]:
    headers: dict[str, str] = {}
    while (line := await reader.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    return headers


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Give a receiver that listens on loopback."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    try:
        yield receiver
    finally:
        server.close()


# --------------------------------------------------------------------------------------------------------- the alarms


@dataclass
class Fired:
    """What became of one rule: how long after its cause the receiver had it, and whether the API showed the same."""

    rule: str
    subject: str = ""
    text: str = ""
    after_s: float = -1.0
    times: int = 0
    is_shown: bool = False


class Alarms:
    """A platform on which everything goes wrong, one thing after the other."""

    def __init__(self, it: Stage, receiver: Receiver, redis: RedisServer, admin: Client) -> None:
        self.it, self.receiver, self.redis, self.admin = it, receiver, redis, admin
        self.caused_s: dict[str, float] = {}

    async def ring(self, within_s: float) -> list[Fired]:
        """Cause every alert; return what the receiver had of each within `within_s` seconds of the last cause."""
        await self._spend()
        await self._fill_a_budget()
        await self._fail_a_canary()
        self._note("dependency-down")
        self.redis.kill()
        until_s = time.monotonic() + within_s
        while time.monotonic() < until_s and set(RULES) - {each["rule"] for each in self._firing}:
            await asyncio.sleep(0.05)
        shown = {each.rule: each for each in (await self.admin.alerts.list()).standing}
        return [self._fired(rule, shown) for rule in RULES]

    async def calm(self, within_s: float) -> bool:
        """Start Redis again; tell whether the receiver hears that this alert is over, and the API has it as past."""
        self.redis.start()

        async def over() -> bool:
            told = {data["rule"] for data in self.receiver.told("alert.resolved")}
            past = {each.rule for each in (await self.admin.alerts.list()).past}
            return "dependency-down" in told & past

        try:
            await until(over, within_s)
        except TimeoutError:
            return False
        return True

    @property
    def _firing(self) -> list[dict[str, Any]]:
        return self.receiver.told("alert.firing")

    def _fired(self, rule: str, shown: dict[str, AlertView]) -> Fired:
        told = [data for data in self._firing if data["rule"] == rule]
        if not told:
            return Fired(rule)
        subjects = {data["subject"] for data in told}
        view = shown.get(rule)
        return Fired(
            rule,
            subject=told[0]["subject"],
            text=told[0]["text"],
            after_s=max(0.0, told[0]["received_s"] - self.caused_s[rule]),
            times=max(sum(data["subject"] == subject for data in told) for subject in subjects),
            is_shown=view is not None
            and view.state == "firing"
            and view.text in {data["text"] for data in told},
        )

    def _note(self, *rules: str) -> None:
        for rule in rules:
            self.caused_s[rule] = time.monotonic()

    async def _spend(self) -> None:
        """Have a user of a feature spend more today than ever, in requests whose scan is given no time."""
        await self._plant_history()
        caller = await self.it.caller()
        spender = self.admin.under(caller.token)
        for _ in range(REQUESTS // AT_ONCE):
            asked = [
                spender.chat.create(model=MODEL, messages=ASKED, feature=FEATURE) for _ in range(AT_ONCE)
            ]
            await asyncio.gather(*asked)
        self._note(
            "day-above-mean",
            "user-over",
            "feature-spike",
            "tokens-per-request",
            "pii-skips",
            "latency-budget",
        )

    async def _plant_history(self) -> None:
        """Put days of small spending into the totals, of the same organisation and feature."""
        traces = self.it.platform.traces
        assert traces is not None
        today_s = int(time.time()) // DAY_S * DAY_S
        deltas = [
            Delta(
                hour_s=today_s - days * DAY_S, org="acme", team="search", project="web", user="kim", key_id="k",
                feature=FEATURE, model=MODEL, provider="sim", outcome="ok", requests=1, estimated=0, input_tokens=1,
                cached_tokens=0, output_tokens=1, cost_nanos=HISTORY_NANOS, latency_ms=1,
            )
            for days in range(1, HISTORY_DAYS + 1)
        ]  # fmt: skip
        await traces.add(Batch(id="history", at_s=time.time(), deltas=deltas))

    async def _fill_a_budget(self) -> None:
        """Use a soft budget up, request by request, so that each of its marks is crossed."""
        free = self.admin.under((await self.it.caller()).token)
        cost = (await free.chat.create(model=MODEL, messages=ASKED)).cost_nanos or 0
        cap = Cap(window="day", limit_nanos=BUDGET_REQUESTS * cost, hard=False)
        capped = self.admin.under((await self.it.caller(caps=(cap,))).token)
        for spent in range(1, BUDGET_REQUESTS + 2):
            await capped.chat.create(model=MODEL, messages=ASKED)
            for mark in (50, 80, 100):
                if spent * 100 == mark * BUDGET_REQUESTS:
                    self._note(f"budget-{mark}")

    async def _fail_a_canary(self) -> None:
        """Ask a route whose canary fails, until it has no traffic any more."""
        client = self.admin.under((await self.it.caller()).token)
        self._note("canary-rolled-back")

        async def ask() -> None:
            try:
                await client.chat.create(model=ROUTE, messages=ASKED)
            except PenstockError:
                return  # it is the canary that fails

        async def taken_out() -> bool:
            await asyncio.gather(*[ask() for _ in range(8)])
            return not self.it.platform.routing.versions.document.routes[0].canary.percent

        await until(taken_out, 90.0)


@asynccontextmanager
async def alarms(folder: Path) -> AsyncIterator[Alarms]:
    """Put up a platform that watches everything, on a Redis of its own, and a receiver of its alerts."""
    secrets = folder / "data" / "secrets"
    secrets.mkdir(parents=True, mode=0o700)
    secret = secrets / "hook"
    secret.write_text(f"whsec_{SECRET}")
    secret.chmod(0o600)
    with RedisServer() as redis:
        async with receiving() as receiver:

            def watchful(settings: Settings) -> Settings:
                return msgspec.structs.replace(
                    settings,
                    store=StoreSettings(data=settings.store.data, state_url=redis.url),
                    privacy=(PrivacySettings(org="acme", requests={"EMAIL": "flag"}, budget_ms=0.001),),
                    features=(FeatureSettings(name=FEATURE, p95_ms=1),),
                    webhooks=(WebhookSettings(name="ops", url=receiver.url, secret="hook"),),
                    alerts=(
                        AlertSettings(rule="day-above-mean", floor=1),
                        AlertSettings(rule="feature-spike", floor=1),
                        AlertSettings(rule="user-over", limit=USER_NANOS),
                        AlertSettings(rule="tokens-per-request", limit=5),
                    ),
                )

            async with stage(
                folder,
                simulator=SimulatorOptions(speeds=Speeds(tokens_per_s=0, answer_tokens=12)),
                routes=(
                    RouteSettings(
                        model=ROUTE,
                        targets=(TargetSettings(provider="sim", model=MODEL),),
                        canary=CanarySettings(
                            targets=(TargetSettings(provider="sim", model=BAD),), percent=50.0
                        ),
                    ),
                ),
                provider={"models": (MODEL, BAD)},
                resilience={"max_attempts": 1, "breaker_failures": 1_000},
                altered=watchful,
            ) as it:
                owner = await it.caller(role="owner")
                async with Client(it.url.removesuffix("/v1"), owner.token) as admin:
                    yield Alarms(it, receiver, redis, admin)
