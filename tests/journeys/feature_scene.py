"""A scene for rules of features: the route `main` leads to a provider that refuses connections; `sim/model` answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from penstock.kernel.events import RequestEvent
from penstock.kernel.settings import (
    FeatureSettings,
    ProviderSettings,
    RouteSettings,
    Settings,
    TargetSettings,
)
from penstock.kernel.settings_features import AnswerRuleSettings
from penstock.net.client import HttpClient, Origin, Response, Timers
from tests.stage import Caller, Stage, stage, until
from tests.support import run

DOWN = ProviderSettings(
    name="down", kind="openai", vendor="sim", base_url="http://127.0.0.1:1/v1", models=("m", "weak")
)
MAIN = RouteSettings(model="main", targets=(TargetSettings(provider="down", model="m"),))
QUESTION: list[Any] = [{"role": "user", "content": "When do you open?"}]
TIMERS = Timers(connect_s=5.0, first_byte_s=20.0, between_chunks_s=20.0, total_s=20.0)
HOURS = AnswerRuleSettings(pattern="(?i)when .* open", text="At nine.")
PRICES = AnswerRuleSettings(pattern="(?i)price", text="Ask the desk.")
QUICK = {"backoff_base_s": 0.001, "backoff_cap_s": 0.01, "retry_share_percent": 1_000}
THREE = ["connect_failed"] * 3


def having(*features: FeatureSettings, **more: Any) -> Callable[[Settings], Settings]:
    """Return what adds rules of features to settings."""
    return lambda before: msgspec.structs.replace(before, features=features, **more)


def journey(
    folder: Path,
    steps: Callable[[Stage, Caller], Any],
    *features: FeatureSettings,
    rights: Any = None,
    **sections: Any,
) -> None:
    """Take `steps` on a platform whose features have these rules, as a caller with `rights`."""

    async def whole() -> None:
        sections.setdefault("routes", (MAIN,))
        more = sections.pop("more", {})
        async with stage(
            folder,
            others=lambda _url: (DOWN,),
            resilience=QUICK,
            altered=having(*features, **more),
            **sections,
        ) as it:
            await steps(it, await it.caller(**(rights or {})))

    run(whole())


async def ask(
    it: Stage, caller: Caller, headers: dict[str, str] | None = None, **body: Any
) -> tuple[Response, Any]:
    """Ask `main` for the feature `desk`; returns the reply and its JSON."""
    client = HttpClient()
    asked = {"model": "main", "messages": QUESTION, "max_tokens": 50, **body}
    told = {"x-penstock-feature": "desk", **(headers or {})}
    lines = f"authorization: Bearer {caller.token}\r\n" + "".join(f"{k}: {v}\r\n" for k, v in told.items())
    try:
        reply = await client.request(
            Origin("http", "127.0.0.1", it.platform.port), b"POST", b"/v1/chat/completions",
            lines.encode(), json.dumps(asked).encode(), TIMERS,
        )  # fmt: skip
        return reply, json.loads(await reply.read(1 << 20))
    finally:
        await client.close()


async def audited(it: Stage, number: int = 1) -> RequestEvent:
    """Return the audit event of the request of that number."""
    events: list[RequestEvent] = []

    async def told() -> bool:
        messages = await it.platform.stores.stream.read("audit", len(events), 100)
        events.extend([msgspec.json.decode(each.value, type=RequestEvent) for each in messages])
        return len(events) >= number

    await until(told, 5.0)
    return events[number - 1]


def header(reply: Response, name: str) -> str | None:
    """Return a header of a reply."""
    value = reply.header(name.encode())
    return None if value is None else value.decode()
