"""The search of a collection on the real platform, with the real model: what orders its results, and what it says of
itself. `test_collections_ingest.py` has what is found of what was put; E2 has how well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.gateway.admission import Admission, Seat
from penstock.kernel.context import Rate
from tests.journeys.knowledge_scene import LOCAL, Member, scene
from tests.support import run

TEXTS = {
    "gate": "The sluice gate opens when the water rises above four metres.",
    "pump": "A centrifugal pump must be primed with water before it starts.",
    "code": "Error PX-4471 means that the governor's oil pressure is low.",
    "cheese": "Cheddar is aged in cool caves for a year.",
    "secret": "The sluice gate can be opened by hand with the key behind the boiler.",
}
GATE = "When does the barrier in the river lift?"


async def filled(kim: Member, name: str = "guides", **asked: Any) -> None:
    """Make a collection of all texts; one of them is for the crew alone."""
    await kim.ok("POST", "/v1/collections", {"name": name, **asked}, status=201)
    documents = [
        {"id": each, "text": text, **({"acl": ["crew"]} if each == "secret" else {})}
        for each, text in TEXTS.items()
    ]
    assert (await kim.ended(name, await kim.put(name, *documents)))["status"] == "complete"


def assert_alike(some: Any, others: Any) -> None:
    """Both found the same, in one order, with the same scores but for what rounding of half precision makes of them."""
    assert [each["document"] for each in some] == [each["document"] for each in others]
    for one, other in zip(some, others, strict=True):
        assert abs(one["scores"]["late"] - other["scores"]["late"]) < 0.02
        assert abs(one["score"] - other["score"]) < 0.02


def journey(folder: Path, steps: Callable[[Member], Awaitable[None]]) -> None:
    """Take `steps` with a member of a platform."""

    async def whole() -> None:
        async with scene(folder) as it:
            await steps(await it.member())

    run(whole(), 60.0)


async def searched(kim: Member, query: str, collection: str = "guides", **asked: Any) -> Any:
    """Search."""
    return await kim.ok("POST", f"/v1/collections/{collection}/search", {"query": query, **asked})


def test_what_meaning_or_words_alone_would_miss_is_found_and_explained(tmp_path: Path) -> None:
    async def steps(kim: Member) -> None:
        await filled(kim)
        by_meaning = await searched(kim, GATE, explain=True)
        first = by_meaning["results"][0]
        assert first["document"] == "gate"
        assert first["scores"]["bm25"] is None or first["scores"]["words"] <= 1
        by_words = await searched(kim, "PX-4471", explain=True)
        first = by_words["results"][0]
        assert first["document"] == "code"
        assert first["scores"]["words"] == 1 and first["scores"]["bm25"] > 0
        assert -1 <= first["scores"]["cosine"] <= 1 and 0 < first["scores"]["late"] <= 1
        # The score says what it is, falls, and its threshold parts an answer from none.
        said = by_meaning["score"]
        assert (said["name"], said["calibrated"]) == ("relevance", True) and said["model"].startswith(LOCAL)
        scores = [each["score"] for each in by_meaning["results"]]
        assert scores == sorted(scores, reverse=True) and 0 < scores[-1] < scores[0] < 1
        plainly = await searched(kim, "When does the sluice gate open?", min_score=said["threshold"])
        assert [each["document"] for each in plainly["results"]] == ["gate"]
        nothing = await searched(kim, "Who won the cup final in 1966?", min_score=said["threshold"])
        assert nothing["results"] == [] and nothing["tags"] == []
        assert set(by_meaning["stages_ms"]) == {"embed", "search", "rerank", "order"}
        assert by_meaning["tags"][0] == "doc:guides/gate"

    journey(tmp_path, steps)


def test_token_vectors_kept_at_ingest_are_not_made_again_and_order_the_same(tmp_path: Path) -> None:
    async def steps(kim: Member) -> None:
        await filled(kim)
        await filled(kim, "kept", keep_token_vectors=True)
        made, kept = await searched(kim, GATE, explain=True), await searched(kim, GATE, "kept", explain=True)
        assert made["rerank"] == {"by": "late", "candidates": 4, "computed": 4}
        assert kept["rerank"] == {"by": "late", "candidates": 4}
        assert_alike(made["results"], kept["results"])
        again = await searched(kim, GATE, explain=True)
        assert again["rerank"] == {"by": "late", "candidates": 4}
        assert_alike(again["results"], made["results"])
        plain = await searched(kim, GATE, rerank="none", explain=True)
        assert plain["rerank"] == {"by": "none"} and plain["results"][0]["scores"]["late"] is None
        # The same model behind /v1/rerank, asked as a cross-encoder would be.
        crossed = await searched(kim, GATE, rerank=LOCAL, explain=True)
        assert crossed["rerank"]["by"] == LOCAL and not crossed["score"]["calibrated"]
        assert crossed["results"][0]["document"] == "gate"
        ranked = await kim.ok(
            "POST",
            "/v1/rerank",
            {"model": LOCAL, "query": GATE, "documents": [TEXTS["cheese"], TEXTS["gate"]]},
        )
        assert [each["index"] for each in ranked["results"]] == [1, 0]
        assert ranked["results"][0]["relevance_score"] > ranked["results"][1]["relevance_score"]

    journey(tmp_path, steps)


def test_what_a_search_reads_to_rerank_is_taken_from_its_callers_limits_and_what_it_did_not_read_given_back(
    tmp_path: Path,
) -> None:
    async def whole() -> None:
        async with scene(tmp_path) as it:
            await filled(await it.member())
            poor = await it.member(rate=Rate(tokens_per_minute=200))
            told = (await searched(poor, GATE))["rerank"]
            assert told["by"] == "none" and "limit of 200 key tokens per minute" in told["why"]
            once = await it.member(rate=Rate(requests_per_minute=1))
            told = (await searched(once, GATE))["rerank"]
            assert told["by"] == "none" and "limit of 1 key requests per minute" in told["why"]
            frugal = await it.member(rate=Rate(tokens_per_minute=500))
            for question in (GATE, "What must be primed?", "Which code is it?", "What is aged?"):
                assert (await searched(frugal, question))["rerank"]["by"] == "late", question

    run(whole(), 60.0)


def test_what_an_ingest_reads_for_token_vectors_is_taken_from_its_keys_limits_known_texts_included(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: dict[str, int] = {}
    admit, give_back = Admission.admit_unpaid, Admission.give_back

    async def noted(it: Admission, *about: Any, tokens: int = 0) -> Seat:
        seat = await admit(it, *about, tokens=tokens)
        taken[seat.operation] = tokens
        return seat

    async def returned(it: Admission, seat: Seat, unused_tokens: int) -> None:
        if seat.operation in taken:
            taken[seat.operation] -= unused_tokens
        await give_back(it, seat, unused_tokens)

    async def steps(kim: Member) -> None:
        await filled(kim, keep_token_vectors=True)
        assert len(TEXTS) * 8 < sum(taken.values()) < len(TEXTS) * 30
        taken.clear()
        # Its vector is known, and is embedded no more; what its tokens are takes the model as long as before.
        job = await kim.ended("guides", await kim.put("guides", {"id": "twin", "text": TEXTS["gate"]}))
        assert (job["counts"]["reused"], job["counts"]["tokens"]) == (1, 0)
        assert 8 < sum(taken.values()) < 30

    monkeypatch.setattr(Admission, "admit_unpaid", noted)
    monkeypatch.setattr(Admission, "give_back", returned)
    journey(tmp_path, steps)


def test_who_names_no_label_sees_nothing_that_has_one_and_nobody_elses_project(tmp_path: Path) -> None:
    async def whole() -> None:
        async with scene(tmp_path) as it:
            kim, eve = await it.member(), await it.member(project="shop")
            await filled(kim)
            query = TEXTS["secret"]
            assert "secret" not in await kim.found("guides", query)
            assert "secret" not in await kim.found("guides", query, acl=["guests"])
            assert (await kim.found("guides", query, acl=["guests", "crew"]))[0] == "secret"
            status, _ = await eve.ask(
                "POST", "/v1/collections/guides/search", {"query": query, "acl": ["crew"]}
            )
            assert status == 404
            await filled(eve)
            told = await searched(eve, query, acl=["crew"])
            assert {each["document"] for each in told["results"]} == set(TEXTS)
            status, told = await kim.ask("POST", "/v1/collections/guides/search", {"query": "a " * 3_000})
            assert status == 400 and told["error"]["param"] == "query"
            assert (told["error"]["value"], told["error"]["limit"]) == (3_002, 256)

    run(whole(), 60.0)
