"""Whoever can tell what means the same has a place between the exact words and a provider, and only there."""

from __future__ import annotations

import pytest

from penstock.gateway.cached_answers import Sought
from penstock.kernel.chat import ChatReply, ChatRequest, Message, Text
from penstock.mechanisms.answer_cache import Kept
from tests.support import run
from tests.unit.gateway.cached_house import was_hit
from tests.unit.gateway.test_cached_answers import house


class Alike:
    """Finds what it was made with, whatever it is asked."""

    def __init__(self, kept: Kept | None) -> None:
        self.kept = kept
        self.asked: list[ChatRequest] = []

    async def near(self, request: ChatRequest, sought: Sought) -> Kept | None:
        assert sought.place.org == "a"
        self.asked.append(request)
        return self.kept


@pytest.mark.parametrize("found", [True, False])
def test_who_can_tell_what_means_the_same_is_asked_after_the_exact_words_and_before_a_provider(
    found: bool,
) -> None:
    it, vendor = house()
    run(it.ask(seed=1))
    said = Message(role="assistant", content=(Text("Much the same."),))
    reply = ChatReply(id="", model="small", created_s=0, choices=(said,), finishes=("stop",))
    alike = Alike(it.kept.entry(reply, cost_nanos=5, fresh_s=60.0) if found else None)
    it.cached.resembling = alike
    assert was_hit(run(it.ask(seed=1))) and not alike.asked, "the same words need nobody's judgement"
    caller = run(it.ask(seed=2))
    assert [each.seed for each in alike.asked] == [2]
    assert (b"x-penstock-cache: near; age=0" in caller.headers) == (b"Much the same." in caller.body) == found
    assert len(vendor.calls) == (1 if found else 2)
    assert it.events[-1].cache == ("near" if found else "")
