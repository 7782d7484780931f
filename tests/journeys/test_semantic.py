"""The semantic cache through real sockets with the real model: who asks the same in other words pays nothing, who asks
the opposite is answered anew, and nobody meets what is another's.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest
from msgspec import ValidationError, convert
from msgspec.structs import replace

from penstock.kernel.errors import Invalid
from penstock.kernel.settings import EmbeddingSettings
from penstock.kernel.settings_cache import CacheSettings, SemanticSettings
from penstock.sdk.replies import Purge
from tests.semantic_scene import OWN, Scene, semantic_scene
from tests.stage import stage
from tests.support import run

QUESTION = "How do I convert dollars to euros?"
ALIKE = "How can I convert dollars to euros?"
AGAIN = "How to convert dollars to euros"
OPPOSITE = "How do I convert euros to dollars?"
"""To the encoder as near as the others: .98."""
SYSTEM = ({"role": "system", "content": "Be brief."},)


def test_the_same_in_other_words_costs_nothing_and_the_opposite_is_asked(tmp_path: Path) -> None:
    async def whole() -> None:
        async with semantic_scene(tmp_path) as scene:
            first = await scene.ask(QUESTION)
            again = await scene.ask(ALIKE)
            assert first.asked and not first.mark and first.cost_nanos > 0
            assert again.is_near and not again.asked and again.cost_nanos == 0 and again.text == first.text
            assert 0.95 <= float(again.mark.split(";")[1].partition("=")[2]) <= 1.0
            opposite = await scene.ask(OPPOSITE)
            assert opposite.asked and not opposite.mark
            exact = await scene.ask(QUESTION)
            assert exact.mark.startswith("hit; ") and not exact.asked
            figures = (await scene.figures())[OWN[1]]
            assert (figures.hits, figures.kept, figures.vectors, figures.suspended) == (1, 2, 2, "")
            assert sum(figures.refused.values()) == 1, "the encoder alone would have served the opposite"
            assert figures.saved_nanos == first.cost_nanos and figures.spent_nanos > 0 < figures.spent_ms
            assert figures.net_nanos == figures.saved_nanos - figures.spent_nanos
            assert scene.metrics("penstock_semantic_cache_hits") == ["penstock_semantic_cache_hits_total 1.0"]

    run(whole())


def test_nothing_but_the_last_words_may_differ(tmp_path: Path) -> None:
    """System prompt, conversation, model's parameters, tools, format, dialect's version: each by itself is enough."""

    async def whole() -> None:
        tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
        async with semantic_scene(tmp_path) as scene:
            await scene.ask(QUESTION)
            for before in (
                SYSTEM,
                ({"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello!"}),
            ):
                assert (await scene.ask(ALIKE, before=before)).asked, before
                assert (await scene.ask(AGAIN, before=before)).is_near
            for members in (
                {"top_p": 0.5},
                {"max_tokens": 9},
                {"seed": 7},
                {"stop": ["x"]},
                {"tools": [tool]},
                {"response_format": {"type": "json_object"}},
            ):
                assert (await scene.ask(ALIKE, **members)).asked, members
            assert (await scene.ask(ALIKE, headers={"x-penstock-cache-version": "2"})).asked
            image = [{"type": "text", "text": ALIKE}, {"type": "image_url", "image_url": {"url": "data:,"}}]
            assert (await scene.ask("", messages=[{"role": "user", "content": image}])).asked

    run(whole())


def test_only_who_is_named_is_served_and_only_his_own(tmp_path: Path) -> None:
    others = (("acme", "web"), ("globex", "search"), ("initech", "search"))

    async def whole() -> None:
        async with semantic_scene(tmp_path, teams=("acme", "globex/search")) as scene:
            await scene.ask(QUESTION)
            for tenant in others:
                reply = await scene.ask(ALIKE, tenant)
                assert reply.asked and not reply.mark, tenant
            assert (await scene.ask(AGAIN, others[0])).is_near
            assert (await scene.ask(AGAIN, others[1])).is_near
            assert (await scene.ask(AGAIN, others[2])).asked
            assert set(await scene.figures()) == {"search", "web"}
            assert set(await scene.figures(others[1])) == {"search"}
            assert not await scene.figures(others[2])

    run(whole())


@pytest.mark.parametrize("how", ["key", "tag", "model", "everything"])
def test_what_is_purged_is_not_found_by_meaning_either(how: str, tmp_path: Path) -> None:
    async def whole() -> None:
        async with semantic_scene(tmp_path) as scene:
            await scene.ask(QUESTION, headers={"x-penstock-cache-tags": "doc:42"})
            served = await scene.ask(ALIKE)
            assert served.is_near
            chosen = {
                "key": Purge(key=served.key),
                "tag": Purge(tag="doc:42"),
                "model": Purge(model="sim/model"),
                "everything": Purge(everything=True),
            }[how]
            async with scene.client(await scene.key(OWN)) as client:
                assert (await client.cache.purge(chosen)).forgotten == 1
            assert (await scene.figures())[OWN[1]].vectors == 0, "nor are its words kept"
            assert (await scene.ask(ALIKE)).asked

    run(whole())


def test_it_suspends_itself_when_it_costs_more_than_it_saves_and_says_why(tmp_path: Path) -> None:
    async def whole() -> None:
        async with semantic_scene(tmp_path, judged_after=4, second_nanos=10**15) as scene:
            for number in range(4):
                await scene.ask(f"Question number {number}?")
            await scene.ask(QUESTION)
            assert (await scene.ask(ALIKE)).asked
            figures = (await scene.figures())[OWN[1]]
            assert figures.suspended == "it cost more than it saved" and figures.suspensions == 1
            assert figures.lookups == 4 and figures.net_nanos < 0
            assert scene.metrics("penstock_semantic_cache_suspended") == [
                'penstock_semantic_cache_suspended{reason="negative"} 1.0',
                'penstock_semantic_cache_suspended{reason="no_vectors"} 0.0',
            ]

    run(whole())


def test_a_model_that_is_killed_costs_nobody_an_answer(tmp_path: Path) -> None:
    async def whole() -> None:
        async with semantic_scene(tmp_path) as scene:
            await scene.ask(QUESTION)
            children = psutil.Process().children(recursive=True)
            helpers = [each for each in children if "encoder" in " ".join(each.cmdline())]
            assert helpers
            for each in helpers:
                os.kill(each.pid, signal.SIGKILL)
            answers = [await scene.ask(f"{ALIKE} ({number})") for number in range(3)]
            assert all(answer.asked for answer in answers)
            async with asyncio.timeout(20):
                while not (await _near(scene)):
                    await asyncio.sleep(0.1)

    run(whole())


async def _near(scene: Scene) -> bool:
    return (await scene.ask(AGAIN)).is_near


def test_an_opt_in_that_cannot_be_is_refused_at_the_start(tmp_path: Path) -> None:
    async def opened(**chosen: object) -> None:
        named = SemanticSettings(teams=("acme",))
        async with stage(tmp_path, altered=lambda known: replace(known, semantic=named, **chosen)):
            raise AssertionError("it is not refused")

    with pytest.raises(Invalid, match="none are kept here"):
        run(opened())
    off = EmbeddingSettings(local=False)
    with pytest.raises(Invalid, match="penstock\\[local\\]"):
        run(opened(cache=CacheSettings(url="memory:"), embedding=off))


def test_no_setting_goes_below_the_floor(tmp_path: Path) -> None:
    """A threshold under 0.90 is refused in a file, and means 0.90 wherever else it comes from."""
    with pytest.raises(ValidationError, match=r"0\.9"):
        convert({"threshold": 0.89}, SemanticSettings)

    async def whole() -> None:
        async with semantic_scene(tmp_path, threshold=0.1) as scene:
            await scene.ask("When does the store open?")
            assert (await scene.ask("When does the shop open?")).asked, (
                "the same to the guard, .88 to the model"
            )

    run(whole())
