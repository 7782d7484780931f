"""Every feature that can be switched on tells of itself on the metrics page, and what is off is not there."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from penstock.kernel.errors import NotFound
from penstock.kernel.settings import ContentSettings, LakeSettings, PrivacySettings, Settings
from penstock.kernel.settings_cache import CacheSettings, SemanticSettings
from penstock.sdk.client import Client
from penstock.sdk.contents import ContentDecision
from tests.stage import MODEL, Stage, stage, until
from tests.support import run

NOUNS = ("answer_cache", "redaction", "contents", "lake")


def switched_on(settings: Settings) -> Settings:
    return msgspec.structs.replace(
        settings,
        cache=CacheSettings(url="memory:"),
        semantic=SemanticSettings(teams=("acme",)),
        contents=ContentSettings(most="full"),
        lake=LakeSettings(store=True, flush_s=0.2),
        privacy=(PrivacySettings(requests={"EMAIL": "mask"}, budget_ms=5_000),),
    )


def documented() -> set[str]:
    """Return the names of the features' metrics that the manual tells; `…` stands for the stem of the name before."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "reading-metrics.md").read_text()
    rows = page.partition("is not on the page:")[2].partition("Some questions")[0].splitlines()
    names: set[str] = set()
    for row in rows:
        stem = ""
        for told in re.findall(r"`(penstock_\w+|…\w+)`", row):
            if told.startswith("penstock"):
                stem = "_".join(told.split("_")[: 3 if told.startswith("penstock_answer") else 2])
            names.add(told.replace("…", stem))
    assert len(names) > 20
    return names


def figures(it: Stage) -> dict[str, float]:
    """Return the metrics of the platform's own, by name and labels."""
    page = it.platform.metrics.render().decode()
    return {name: float(value) for name, value in re.findall(r"^(penstock_\S+) (\S+)$", page, re.MULTILINE)}


def test_what_happens_is_counted_under_its_feature(tmp_path: Path) -> None:
    async def journey() -> None:
        async with stage(tmp_path, altered=switched_on) as it:
            caller, owner = await it.caller(), await it.caller(role="owner")
            url = it.url.removesuffix("/v1")
            async with Client(url, caller.token) as client, Client(url, owner.token) as admin:
                await admin.contents.decide(ContentDecision(mode="full"))

                async def ask(words: str, **more: object) -> str:
                    told = await client.chat.create(
                        model=MODEL, messages=[{"role": "user", "content": words}], **more
                    )
                    return told.request_id

                first = await ask("how much", temperature=0)
                await ask("how much", temperature=0)
                await ask("write to kim@example.org")
                await ask("as JSON", response_format={"type": "json_object"})

                async def scored() -> bool:
                    try:
                        await client.requests.score(first, 0.5)
                    except NotFound:
                        return False
                    return True

                await until(scored, 5.0)

            async def told() -> bool:
                seen = figures(it)
                return seen["penstock_lake_stored_total"] == seen["penstock_contents_delivered_total"] == 4

            await until(told, 10.0)
            seen = figures(it)
            assert seen["penstock_answer_cache_hits_total"] == seen["penstock_answer_cache_kept_total"] == 1
            assert seen["penstock_answer_cache_saved_nanos_total"] > 0
            assert seen["penstock_redaction_requests_total"] == 4
            found = 'penstock_redaction_found_total{action="mask",direction="request",entity="EMAIL"}'
            assert seen[found] == 1
            assert seen['penstock_structured_answers_total{end="first_try"}'] == 1
            assert seen["penstock_structured_good_ratio"] == 1
            assert (seen["penstock_contents_queued"], seen["penstock_contents_held_bytes"]) == (0, 0)
            assert seen["penstock_lake_leads"] == 1
            assert (seen["penstock_feedback_scores_total"], seen["penstock_feedback_score_sum_total"]) == (
                1,
                0.5,
            )
            assert seen["penstock_canary_strays_total"] == 1  # its route has no canary
            declared = re.findall(r"^# TYPE (\S+)", it.platform.metrics.render().decode(), re.MULTILINE)
            assert documented() - {name.partition("{")[0] for name in seen} - {*declared} == set()
            for name in ("alerts_fired", "webhooks_delivered", "batch_lines_ended", "metrics_probe_errors"):
                assert seen[f"penstock_{name}_total"] == 0

    run(journey())


def test_what_is_off_shows_nothing(tmp_path: Path) -> None:
    async def journey() -> None:
        off = ContentSettings(most="none")
        async with stage(tmp_path, altered=lambda s: msgspec.structs.replace(s, contents=off)) as it:
            assert not [
                name for name in figures(it) if name.startswith(tuple(f"penstock_{n}_" for n in NOUNS))
            ]

    run(journey())
