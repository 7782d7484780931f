"""The cache over the management API: an organisation sees its own figures; a purge is audited before it is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.adapters.cache.embedded import MemoryCache
from penstock.adapters.signals.embedded import EmbeddedSignals
from penstock.kernel.chat import ChatReply, ChatRequest, Message
from penstock.kernel.clock import ManualClock
from penstock.kernel.events import RequestEvent
from penstock.mechanisms.answer_cache import AnswerCache
from penstock.mechanisms.prompt_savings import PromptSavings
from tests.unit.gateway.management.office import ORG, Office, office

CACHE, PURGE = "/api/v1/cache", "/api/v1/cache/purge"
REPLY = ChatReply(id="1", model="m", created_s=0, choices=(Message(role="assistant"),), finishes=("stop",))
ASKED = ChatRequest(model="m", messages=(Message(role="user"),))


def answers() -> AnswerCache:
    """Return an empty cache."""
    clock = ManualClock()
    store = MemoryCache(None, clock, max_bytes=1 << 20, max_entry_bytes=1 << 16)
    return AnswerCache(store, EmbeddedSignals(), clock, secret=b"s" * 32, shared=False, stale_s=0.0)


async def keep(cache: AnswerCache, org: str, tag: str) -> None:
    """Keep one answer of an organisation."""
    place = cache.place(ASKED, org=org, team="t", versions=(tag,))
    await cache.keep(place, cache.entry(REPLY, cost_nanos=5, fresh_s=60.0), (tag,))


async def is_kept(cache: AnswerCache, org: str, tag: str) -> bool:
    """Tell whether that answer is still there."""
    return await cache.find(cache.place(ASKED, org=org, team="t", versions=(tag,))) is not None


def test_without_a_cache_it_says_so(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        admin = await it.as_("admin")
        for method, path, body in (("GET", CACHE, None), ("POST", PURGE, {"everything": True})):
            told = await it.ask(method, path, body, by=admin)
            assert (told.status, told.error["code"]) == (404, "cache_off")

    office(tmp_path, case)


def test_an_organisation_sees_its_own_figures_and_only_an_owner_the_stores(tmp_path: Path) -> None:
    cache = answers()

    async def case(it: Office) -> None:
        await keep(cache, ORG, "doc:1")
        await keep(cache, "other", "doc:1")
        seen = (await it.ask("GET", CACHE, by=await it.as_("auditor"))).json
        assert (seen["org"], seen["kept"], seen["store"]) == (ORG, 1, None)
        owner = await it.as_("owner")
        assert (await it.ask("GET", CACHE, by=owner)).json["store"]["entries"] == 2
        assert (await it.ask("GET", f"{CACHE}?org=other", by=await it.as_("admin"))).status == 403
        assert (await it.ask("GET", f"{CACHE}?org=nobody", by=owner)).json["kept"] == 0
        assert "nobody" not in cache.tallies

    office(tmp_path, case, answers=cache)


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ({"tag": "doc:1"}, {"model:m"}),
        ({"model": "m"}, {"doc:1"}),
        ({"key": "*"}, {"model:m"}),
        ({"everything": True}, set[str]()),
        ({"tag": "doc:9"}, {"doc:1", "model:m"}),
    ],
)
def test_a_purge_forgets_what_it_names_of_its_own_organisation_and_is_audited(
    tmp_path: Path, body: dict[str, Any], left: set[str]
) -> None:
    cache = answers()

    async def case(it: Office) -> None:
        for tag in ("doc:1", "model:m"):
            await keep(cache, ORG, tag)
            await keep(cache, "other", tag)
        if "key" in body:  # as the header of a kept answer names it
            body["key"] = cache.place(ASKED, org=ORG, team="t", versions=("doc:1",)).name
        told = await it.ask("POST", PURGE, body, by=await it.as_("admin"))
        assert told.json == {"forgotten": 2 - len(left)}
        assert {tag for tag in ("doc:1", "model:m") if await is_kept(cache, ORG, tag)} == left
        assert await is_kept(cache, "other", "doc:1") and await is_kept(cache, "other", "model:m")
        [change] = [each for each in await it.told() if each.action == "cache.purge"]
        name = "model:m" if "model" in body else f"key:{body['key']}" if "key" in body else "*"
        assert change.org == ORG and change.subject == body.get("tag", name)

    office(tmp_path, case, answers=cache)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"tag": "a", "model": "m"},
        {"tag": ""},
        {"tag": "a\nb"},
        {"all": True},
        {"key": "x"},
        {"key": "a" * 17},
    ],
)
def test_a_purge_names_one_thing(tmp_path: Path, body: dict[str, Any]) -> None:
    cache = answers()

    async def case(it: Office) -> None:
        assert (await it.ask("POST", PURGE, body, by=await it.as_("admin"))).status == 400
        assert not [each for each in await it.told() if each.action == "cache.purge"]

    office(tmp_path, case, answers=cache)


def test_nobody_purges_another_organisation_and_no_developer_any(tmp_path: Path) -> None:
    cache = answers()

    async def case(it: Office) -> None:
        await keep(cache, "other", "doc:1")
        body = {"org": "other", "everything": True}
        assert (await it.ask("POST", PURGE, body, by=await it.as_("admin"))).status == 403
        assert (await it.ask("POST", PURGE, body, by=await it.as_("developer"))).status == 403
        assert await is_kept(cache, "other", "doc:1")

    office(tmp_path, case, answers=cache)


def test_what_vendors_kept_is_told_to_its_organisation_the_most_first(tmp_path: Path) -> None:
    savings = PromptSavings()
    for org, model, saved in ((ORG, "haiku", 5), (ORG, "sonnet", 70), ("other", "opus", 900)):
        savings(
            [
                RequestEvent(
                    request_id="r", at_s=1.0, org=org, provider="a", model_used=model, saved_nanos=saved
                )
            ]
        )

    async def case(it: Office) -> None:
        rows = (await it.ask("GET", f"{CACHE}/prompts", by=await it.as_("auditor"))).json
        assert [(row["backend"], row["saved_nanos"]) for row in rows] == [("a/sonnet", 70), ("a/haiku", 5)]
        assert (await it.ask("GET", f"{CACHE}/prompts?org=other", by=await it.as_("admin"))).status == 403

    office(tmp_path, case, prompt_savings=savings)
