"""The semantic cache without a model: who may look, what fails, what is gone where the answers are kept."""

from __future__ import annotations

import asyncio
from array import array
from typing import Any

import msgspec
import pytest

from penstock.gateway import semantic as module
from penstock.gateway.cached_answers import Alike, Sought
from penstock.gateway.semantic import CHARS_MOST, SemanticCache, question_of
from penstock.gateway.semantic_books import FAILURES_MOST, SILENT
from penstock.kernel.chat import ChatReply, ChatRequest, Image, Message, Text
from penstock.kernel.errors import Invalid, Unavailable
from penstock.kernel.settings_cache import SemanticSettings
from penstock.mechanisms.answer_cache import Place
from tests.support import run
from tests.unit.gateway.cached_house import CachedHouse
from tests.unit.gateway.test_cached_answers import house

QUESTION = "How do I pay?"
ALIKE = "How can I pay?"


class Words:
    """A meaning that is the same for everything; `fault` is raised instead, `slow` waits for ever."""

    space = "same@1"

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.fault: Exception | None = None
        self.is_slow = False

    async def of(self, text: str, *, tenant: str) -> bytes:
        self.asked.append((text, tenant))
        if self.is_slow:
            await asyncio.sleep(60)
        if self.fault is not None:
            raise self.fault
        return array("f", [1.0, *[0.0] * 63]).tobytes()


def made(**chosen: Any) -> tuple[CachedHouse, SemanticCache, Words]:
    it, _ = house()
    words = Words()
    settings = SemanticSettings(**{"teams": ("a",), "wait_s": 0.01, **chosen})
    return it, SemanticCache(it.kept, words, it.clock, settings), words


def request(text: str = QUESTION, *before: Message, **members: Any) -> ChatRequest:
    return ChatRequest(
        model="m", messages=(*before, Message(role="user", content=(Text(text),))), temperature=0, **members
    )


def sought(it: CachedHouse, asked: ChatRequest, *, org: str = "a", team: str = "t", **told: Any) -> Sought:
    versions = told.pop("versions", ("openai", "", "", "r"))
    return Sought(
        place=it.kept.place(asked, org=org, team=team, versions=versions),
        team=team,
        share=team,
        model="m",
        versions=versions,
        route="r",
        ttl_class="semi",
        fresh_s=60.0,
        tags=("model:m",),
        looks=True,
        output_limit=None,
        **told,
    )


async def kept(it: CachedHouse, cache: SemanticCache, asked: ChatRequest, place: Sought) -> None:
    """Have a question answered and kept, as the cache of answers does."""
    looked = await cache.near(asked, place)
    assert looked is not None and looked.kept is None
    said = Message(role="assistant", content=(Text("So."),))
    reply = ChatReply(id="", model="m", created_s=0, choices=(said,), finishes=("stop",))
    assert await it.kept.keep(place.place, it.kept.entry(reply, cost_nanos=7, fresh_s=60.0), place.tags)
    it.clock.advance(2.0)
    cache.keep(place, looked)


async def near(it: CachedHouse, cache: SemanticCache, text: str = ALIKE, **told: Any) -> Alike | None:
    asked = request(text)
    return await cache.near(asked, sought(it, asked, **told))


def test_what_was_kept_is_found_and_counted_with_what_it_took() -> None:
    async def whole() -> None:
        it, cache, words = made()
        await kept(it, cache, request(), sought(it, request()))
        found = await near(it, cache)
        assert found is not None and found.kept is not None and found.similarity == 1.0
        cache.served(sought(it, request(ALIKE)), found)
        [standing] = cache.standings("a")
        tally = standing.tally
        assert (tally.hits, tally.lookups, tally.kept, tally.saved_nanos, tally.saved_ms) == (
            1,
            2,
            1,
            7,
            2000.0,
        )
        assert words.asked == [(QUESTION, "a/t"), (ALIKE, "a/t")], "in the team's own name"
        assert not cache.standings("b")

    run(whole())


@pytest.mark.parametrize(
    "told",
    [{"org": "b"}, {"team": "u"}, {"versions": ("gemini", "", "", "r")}],
    ids=["org", "team", "versions"],
)
def test_another_tenant_or_version_finds_nothing(told: dict[str, Any]) -> None:
    async def whole() -> None:
        it, cache, _ = made(teams=("a", "b"))
        await kept(it, cache, request(), sought(it, request()))
        found = await near(it, cache, **told)
        assert found is not None and found.kept is None

    run(whole())


def test_what_is_gone_where_answers_are_kept_is_gone_here() -> None:
    async def whole() -> None:
        for end in ("expired", "forgotten"):
            it, cache, _ = made()
            await kept(it, cache, request(), sought(it, request()))
            if end == "expired":
                it.clock.advance(61.0)
            else:
                it.kept.heeding = cache.forget
                await it.kept.forget("b", "model:m")
                assert cache.vectors() == 1, "another's purge is another's"
                await it.kept.forget("a", "model:m")
                assert cache.vectors() == 0
            found = await near(it, cache)
            assert found is not None and found.kept is None
            assert cache.vectors() == 0

    run(whole())


def test_who_is_not_named_and_what_is_not_named_is_not_looked_for() -> None:
    async def whole() -> None:
        for teams, models, may in (
            (("a",), (), True),
            (("a/t",), ("m",), True),
            (("a/u",), (), False),
            ((), (), False),
            (("a",), ("other",), False),
            (("t",), (), False),
        ):
            it, cache, words = made(teams=teams, models=models)
            assert ((await near(it, cache)) is not None) == may == bool(words.asked), (teams, models)

    run(whole())


def test_a_model_that_is_late_or_fails_is_a_miss_then_left_alone_and_tried_again() -> None:
    async def whole() -> None:
        for fault in (None, Unavailable("gone")):
            it, cache, words = made()
            words.is_slow, words.fault = fault is None, fault
            for _ in range(FAILURES_MOST):
                assert await near(it, cache) is None
            assert cache.suspended() == {"negative": 0, "no_vectors": 1}
            assert [each.suspended for each in cache.standings("a")] == [SILENT]
            asked = len(words.asked)
            assert await near(it, cache) is None and len(words.asked) == asked
            words.is_slow, words.fault = False, None
            it.clock.advance(31.0)
            assert await near(it, cache) is not None and not any(cache.suspended().values())
            assert cache.total("late") + cache.total("failed") == FAILURES_MOST

    run(whole())


def test_a_question_too_long_for_the_model_is_counted_and_suspends_nobody() -> None:
    async def whole() -> None:
        it, cache, words = made()
        words.fault = Invalid("too long")
        for _ in range(2 * FAILURES_MOST):
            assert await near(it, cache) is None
        assert cache.total("too_long") == 2 * FAILURES_MOST and not any(cache.suspended().values())

    run(whole())


def test_near_questions_that_are_refused_are_counted_by_what_keeps_them_apart() -> None:
    async def whole() -> None:
        it, cache, _ = made()
        await kept(it, cache, request(), sought(it, request()))
        for text in ("How do I not pay?", "How do I pay 5?", "How do I buy?"):
            found = await near(it, cache, text)
            assert found is not None and found.kept is None
        assert cache.refusals() == {"negation": 1, "numbers": 1, "words": 1}

    run(whole())


def test_teams_are_bounded_and_the_least_recent_loses_its_questions_but_not_its_book(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TEAMS_MOST", 2)

    async def whole() -> None:
        it, cache, words = made(judged_after=1, second_nanos=10**12, pause_s=60.0)
        await kept(it, cache, request(), sought(it, request(), team="two"))
        for team in ("one", "three"):
            assert await near(it, cache, team=team) is not None
        assert cache.evicted_teams == 1 and cache.vectors() == 0
        assert {each.team: each.tally.lookups for each in cache.standings("a")} == {
            "two": 1,
            "one": 1,
            "three": 1,
        }
        assert (cache.total("lookups"), cache.total("kept")) == (3, 1), "counters never decrease"
        asked = len(words.asked)
        assert await near(it, cache, team="two") is None and len(words.asked) == asked, "judged all the same"

    run(whole())


def test_a_look_up_is_given_up_when_its_time_is_over_wherever_it_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def whole() -> None:
        it, cache, _ = made()
        await kept(it, cache, request(), sought(it, request()))
        hung = asyncio.Event()

        async def peek(place: Place) -> None:
            hung.set()
            await asyncio.sleep(60)

        monkeypatch.setattr(it.kept, "peek", peek)
        assert await near(it, cache) is None and hung.is_set()
        assert (
            cache.total("late") == 1 and cache.total("lookups") == 2 and not any(cache.suspended().values())
        )

    run(whole())


@pytest.mark.parametrize(
    ("message", "question"),
    [
        (Message(role="user", content=(Text("One."), Text("Two."))), "One.\nTwo."),
        (Message(role="user", content=(Text("x" * CHARS_MOST),)), "x" * CHARS_MOST),
        (Message(role="user", content=(Text("x" * (CHARS_MOST + 1)),)), None),
        (Message(role="user", content=(Text(" \n"),)), None),
        (Message(role="user"), None),
        (Message(role="assistant", content=(Text("Go on."),)), None),
        (Message(role="user", content=(Text("What is this?"), Image("data:,"))), None),
    ],
)
def test_only_words_of_a_user_are_a_question(message: Message, question: str | None) -> None:
    assert question_of(request("before", message)) is not None
    asked = msgspec.structs.replace(request(), messages=(message,))
    assert question_of(asked) == question
    assert question_of(msgspec.structs.replace(asked, messages=())) is None
