"""A feature whose answers take longer than its budget: somebody is told which, by how much and by what."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import msgspec
import pytest

from penstock.kernel.settings import AlertSettings, FeatureSettings, Settings, WebhookSettings
from penstock.mechanisms import webhooks
from penstock.sdk.client import Client
from tests.alarms import ASKED, SECRET, receiving
from tests.stage import MODEL, stage, until
from tests.support import run

SLOW = "sim/slow_first_byte;seconds=0.5"
BUDGET_MS = 300
LEAST = 20


def test_a_slow_model_overruns_the_budget_of_its_feature_and_a_webhook_hears_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "EVERY_S", 0.1)
    secrets = tmp_path / "data" / "secrets"
    secrets.mkdir(parents=True, mode=0o700)
    (secrets / "hook").touch(mode=0o600)
    (secrets / "hook").write_text(f"whsec_{SECRET}")

    async def journey() -> None:
        async with receiving() as receiver:

            def budgeted(settings: Settings) -> Settings:
                return msgspec.structs.replace(
                    settings,
                    features=(
                        FeatureSettings(name="slow", p95_ms=BUDGET_MS),
                        FeatureSettings(name="patient", p95_ms=60_000),
                    ),
                    alerts=(AlertSettings(rule="latency-budget", floor=LEAST),),
                    webhooks=(WebhookSettings(name="ops", url=receiver.url, secret="hook"),),
                )

            async with stage(tmp_path, altered=budgeted) as it:
                owner = await it.caller(role="owner")
                caller = await it.caller()
                async with Client(it.url.removesuffix("/v1"), owner.token) as admin:
                    asker = admin.under(caller.token)
                    for feature in ("slow", "patient"):
                        asked = [
                            asker.chat.create(model=SLOW, messages=ASKED, feature=feature)
                            for _ in range(LEAST)
                        ]
                        await asyncio.gather(*asked)
                    await asker.chat.create(model=MODEL, messages=ASKED)

                    async def told() -> bool:
                        return bool(receiver.told("alert.firing"))

                    await until(told, 15.0)
                    [alert] = receiver.told("alert.firing")
                    assert (alert["rule"], alert["org"], alert["subject"]) == (
                        "latency-budget",
                        "acme",
                        "slow",
                    )
                    for text in ("p95 ", f"budget {BUDGET_MS} ms", "the vendor's first token takes"):
                        assert text in alert["text"]
                    assert alert["value"] > 500 / BUDGET_MS * 0.95
                    [shown] = (await admin.alerts.list()).standing
                    assert (shown.rule, shown.text) == ("latency-budget", alert["text"])
                    scraped = it.platform.metrics.render().decode()
                    gauge = r'penstock_latency_budget_used_ratio{feature="slow",org="acme",team=""} [1-9]'
                    assert re.search(gauge, scraped)
                    assert receiver.refused == []

    run(journey())
