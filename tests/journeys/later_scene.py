"""A scene for requests that are put off: a platform whose provider is away, a receiver of webhooks, and a caller.

The routes `main` and `slow` lead to a port where nobody listens until a provider comes `back` there.
"""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.gateway import later_runs
from penstock.kernel.settings import (
    FeatureSettings,
    LaterSettings,
    ProviderSettings,
    RouteSettings,
    Settings,
    TargetSettings,
    WebhookSettings,
)
from penstock.mechanisms import webhooks
from penstock.net.client import HttpClient, Origin, Timers
from penstock.simulator.server import RunningSimulator, SimulatorOptions, run_simulator
from tests.journeys.feature_scene import QUICK
from tests.receiver import Receiver
from tests.stage import Caller, Stage, stage, until
from tests.support import run

SECRET = "a secret between two machines"
QUESTION: list[Any] = [{"role": "user", "content": "How full is it?"}]
TIMERS = Timers(connect_s=5.0, first_byte_s=20.0, between_chunks_s=20.0, total_s=20.0)
SLOW = "sim/slow_first_byte;seconds=30"


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have work looked for often, so that no test waits for seconds to pass."""
    monkeypatch.setattr(later_runs, "LOOK_S", 0.03)
    monkeypatch.setattr(later_runs, "PAUSE_S", 0.05)
    monkeypatch.setattr(webhooks, "EVERY_S", 0.05)


def free_port() -> int:
    """Return a port where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Scene:
    """A platform whose provider is away, a receiver of webhooks, and a caller."""

    def __init__(self, it: Stage, caller: Caller, receiver: Receiver, port: int) -> None:
        self.it, self.caller, self.receiver, self._port = it, caller, receiver, port
        self.provider: RunningSimulator | None = None

    async def back(self) -> RunningSimulator:
        """Have the provider come back."""
        self.provider = await run_simulator(SimulatorOptions(port=self._port))
        return self.provider

    async def call(
        self, method: str, path: str, body: Any = None, token: str = "", **headers: str
    ) -> tuple[int, dict[bytes, bytes], Any]:
        """Call the platform; returns status, headers, and JSON (or the bytes of a stream)."""
        lines = {"authorization": f"Bearer {token or self.caller.token}", **headers}
        told = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items()).encode()
        client = HttpClient()
        try:
            reply = await client.request(
                Origin("http", "127.0.0.1", self.it.platform.port), method.encode(), path.encode(), told,
                b"" if body is None else json.dumps(body).encode(), TIMERS,
            )  # fmt: skip
            data = await reply.read(1 << 20)
        finally:
            await client.close()
        is_json = (reply.header(b"content-type") or b"").startswith(b"application/json")
        return reply.status, dict(reply.headers), json.loads(data) if is_json else data

    async def put_off(self, **headers: str) -> str:
        """Ask what nobody answers now; returns the id it waits under."""
        asked = {"model": "main", "messages": QUESTION, "max_tokens": 50}
        status, told, _ = await self.call(
            "POST", "/v1/chat/completions", asked, **{"x_penstock_later": "desk", **headers}
        )
        assert status == 202, told
        return told[b"x-penstock-later"].decode()

    async def ended(self, id: str) -> Any:
        """Wait until a request has ended; returns what is told of it."""
        told: Any = None

        async def done() -> bool:
            nonlocal told
            status, _, told = await self.call("GET", f"/v1/later/{id}")
            return status == 200 and told["status"] not in ("waiting", "running")

        await until(done, 8.0)
        return told

    async def heard(self, count: int = 1) -> list[dict[str, Any]]:
        """Wait for so many messages of ends."""

        async def there() -> bool:
            return len(self.receiver.told("later.")) >= count

        await until(there, 8.0)
        return self.receiver.told("later.")


def altered(receiver: Receiver, *features: FeatureSettings, **later: Any) -> Callable[[Settings], Settings]:
    """Return what adds the webhook `desk` of acme, and `theirs` of another organisation."""
    hooks = (
        WebhookSettings(name="desk", url=receiver.url, secret="hook", orgs=("acme",)),
        WebhookSettings(name="theirs", url=receiver.url, secret="hook", orgs=("other",)),
        WebhookSettings(name="alerts", url=receiver.url, secret="hook"),
    )
    return lambda before: msgspec.structs.replace(
        before, webhooks=hooks, features=features, later=LaterSettings(**later)
    )


def staged(port: int) -> dict[str, Any]:
    """Return the stage's own settings."""
    away = ProviderSettings(
        name="away",
        kind="openai",
        vendor="sim",
        base_url=f"http://127.0.0.1:{port}/v1",
        models=("sim/model", SLOW),
    )
    routes = (
        RouteSettings(model="main", targets=(TargetSettings(provider="away", model="sim/model"),)),
        RouteSettings(model="slow", targets=(TargetSettings(provider="away", model=SLOW),)),
    )
    return {"others": lambda _url: (away,), "routes": routes, "resilience": {**QUICK, "breaker_open_s": 0.05}}


def secret_in(folder: Path) -> None:
    """Write the secret of the webhooks down."""
    secrets = folder / "secrets"
    secrets.mkdir(parents=True, exist_ok=True, mode=0o700)
    (secrets / "hook").write_text(SECRET)
    (secrets / "hook").chmod(0o600)


@asynccontextmanager
async def scene(folder: Path, *features: FeatureSettings, **later: Any) -> AsyncIterator[Scene]:
    """Set a scene; `later` are settings of that section."""
    port = free_port()
    secret_in(folder / "data")
    with Receiver(SECRET) as receiver:
        async with stage(folder, altered=altered(receiver, *features, **later), **staged(port)) as it:
            made = Scene(it, await it.caller(), receiver, port)
            try:
                yield made
            finally:
                if made.provider is not None:
                    await made.provider.close()
        assert receiver.forged == []


def play(
    folder: Path, steps: Callable[[Scene], Awaitable[None]], *features: FeatureSettings, **later: Any
) -> None:
    """Take `steps` on a scene."""

    async def whole() -> None:
        async with scene(folder, *features, **later) as it:
            await steps(it)

    run(whole())
