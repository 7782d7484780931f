"""Whoever can tell what means the same has a place between the exact words and a provider, and only there."""

from __future__ import annotations

import pytest

from penstock.gateway.cached_answers import Alike, Sought
from penstock.kernel.chat import ChatReply, ChatRequest, Message, Text
from penstock.mechanisms.answer_cache import Kept
from tests.support import run
from tests.unit.gateway.cached_house import was_hit
from tests.unit.gateway.test_cached_answers import house


class Likeness:
    """Finds what it was made with, whatever it is asked."""

    def __init__(self, kept: Kept | None) -> None:
        self.found = Alike(kept=kept, key="c0ffee", similarity=0.9666, trace="trace")
        self.asked: list[ChatRequest] = []
        self.said: list[str] = []

    async def near(self, request: ChatRequest, sought: Sought) -> Alike | None:
        assert sought.place.org == "a"
        self.asked.append(request)
        return self.found

    def served(self, sought: Sought, alike: Alike) -> None:
        assert alike is self.found
        self.said.append("served")

    def keep(self, sought: Sought, alike: Alike) -> None:
        assert alike is self.found
        self.said.append("keep")


@pytest.mark.parametrize("found", [True, False])
def test_who_can_tell_what_means_the_same_is_asked_after_the_exact_words_and_before_a_provider(
    found: bool,
) -> None:
    it, vendor = house()
    run(it.ask(seed=1))
    said = Message(role="assistant", content=(Text("Much the same."),))
    reply = ChatReply(id="", model="small", created_s=0, choices=(said,), finishes=("stop",))
    alike = Likeness(it.kept.entry(reply, cost_nanos=5, fresh_s=60.0) if found else None)
    it.cached.resembling = alike
    assert was_hit(run(it.ask(seed=1))) and not alike.asked, "the same words need nobody's judgement"
    caller = run(it.ask(seed=2))
    assert [each.seed for each in alike.asked] == [2]
    mark = b"x-penstock-cache: near; similarity=0.967; age=0; key=c0ffee\r\n"
    assert (mark in caller.headers) == (b"Much the same." in caller.body) == found
    assert len(vendor.calls) == (1 if found else 2)
    assert it.events[-1].cache == ("semantic" if found else "")
    assert alike.said == ["served" if found else "keep"]
    figures = it.kept.figures("a")
    assert (figures.hits, figures.misses) == ((2, 1) if found else (1, 2))


def test_who_wants_it_asked_anew_is_not_looked_for_and_nothing_is_learned_of_him() -> None:
    it, vendor = house()
    it.cached.resembling = alike = Likeness(None)
    run(it.ask(headers={"cache-control": "no-cache"}))
    assert len(vendor.calls) == 1 and not alike.asked and not alike.said


def test_what_is_forgotten_is_told_to_who_heeds_it() -> None:
    it, _ = house()
    heard: list[tuple[str, str]] = []
    it.kept.heeding = lambda org, tag: heard.append((org, tag))
    run(it.kept.forget("a", "doc:1"))
    assert heard == [("a", "doc:1")]
