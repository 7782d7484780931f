"""Contents on the request path: hashed as the team lets, kept for who opted in or was flagged, and never in the way."""

from __future__ import annotations

from typing import Any, cast

import pytest

from penstock.gateway import contents
from penstock.gateway.contents import ContentCare
from penstock.gateway.faces import OPENAI
from penstock.gateway.inquiry import Inquiry
from penstock.gateway.privacy import GuardCare
from penstock.gateway.story import Story
from penstock.kernel.errors import PenstockError, PolicyRefused
from penstock.kernel.events import RequestEvent
from penstock.mechanisms.audit import content_hash
from penstock.mechanisms.contents.rules import ContentRules, Mode
from penstock.mechanisms.contents.store import Content, ContentStore
from penstock.mechanisms.guards import Decision, Guards, Post, TopicGuard
from penstock.ports.providers import ProviderFailure
from tests.support import run
from tests.unit.gateway.rig import (
    CHATS,
    DONE,
    FINISH,
    ROLE,
    USAGE,
    House,
    Vendor,
    chat,
    full,
    stream,
    text,
    whole,
)
from tests.unit.gateway.test_admission import principal

KEY = b"h" * 32
TOLD = {"usage": {"prompt_tokens": 9, "completion_tokens": 3}}
STREAM = (ROLE, text("a"), text("b"), FINISH, USAGE, DONE)


class Shelf:
    """A store that only remembers."""

    def __init__(self) -> None:
        self.kept: list[Content] = []
        self.missed = 0

    def keep(self, content: Content) -> None:
        self.kept.append(content)

    def miss(self) -> None:
        self.missed += 1


class Watched:
    """A gateway whose contents are looked at; the caller is organisation "a", team "t"."""

    def __init__(self, vendor: Vendor, mode: Mode | None, *, keeps: bool = True) -> None:
        self.house = House(vendor)
        self.shelf = Shelf()
        rules = ContentRules(cast("Any", None), self.house.clock)
        rules._modes = {} if mode is None else {("a", "t"): mode}
        self.care = ContentCare(rules, KEY, cast("ContentStore", self.shelf) if keeps else None)
        self.prompt = b""

    async def ask(self, **members: object) -> RequestEvent:
        """Ask, and return the event of what became of it."""
        house = self.house
        context = house.context(principal())
        self.prompt = chat(**members)
        line = self.care.over(house.pipeline)
        inquiry, story = Inquiry(OPENAI, CHATS, self.prompt), Story(context, house.clock)
        try:
            await line.serve(context, inquiry, house.caller, story)
        except PenstockError:
            pass
        return house.events[-1]

    def hashed(self, content: bytes) -> str:
        return content_hash(KEY, "a", content)


def answers(*, streamed: bool) -> Vendor:
    return Vendor("sim", stream(*STREAM) if streamed else full(whole(**TOLD)))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("mode", "keeps", "hashes", "kept"),
    [
        ("none", True, False, False),
        ("hash", True, True, False),
        (None, True, True, False),
        ("full", True, True, True),
        ("full", False, True, False),
    ],
)
def test_a_team_decides_what_is_known(
    mode: Mode | None, keeps: bool, hashes: bool, kept: bool, streamed: bool
) -> None:
    it = Watched(answers(streamed=streamed), mode, keeps=keeps)
    event = run(it.ask(stream=streamed))
    left = it.house.caller.body
    assert it.house.caller.complete and b"choices" in left
    expected = (it.hashed(it.prompt), it.hashed(left)) if hashes else ("", "")
    assert (event.prompt_hash, event.answer_hash) == expected
    assert event.status == 200
    assert [(each.kept.prompt, each.kept.answer) for each in it.shelf.kept] == (
        [(it.prompt, left)] if kept else []
    )
    assert it.care.held_bytes == 0


@pytest.mark.parametrize("mode", ["none", "hash"])
@pytest.mark.parametrize("decision", [Decision.FLAG, Decision.REFUSE])
def test_what_a_guard_flags_is_kept_for_good_unless_the_team_forbids_it(
    mode: Mode, decision: Decision
) -> None:
    it = Watched(answers(streamed=False), mode)
    guards = Guards([Post(guard=TopicGuard(never=["dam breach"], otherwise=decision))])
    it.house.pipeline.inspections = (GuardCare({("a", "t"): guards}),)
    event = run(it.ask(messages=[{"role": "user", "content": "How would a dam breach go?"}]))
    assert event.flags == ("flagged", "guard:topics")
    if mode == "none":
        assert not it.shelf.kept
        return
    [content] = it.shelf.kept
    assert content.is_flagged and content.request_id == event.request_id
    assert content.kept.prompt == it.prompt
    assert content.kept.answer == it.house.caller.body
    assert bool(content.kept.answer) == bool(event.answer_hash) == (decision is Decision.FLAG)


def test_a_request_that_failed_is_known_by_its_prompt() -> None:
    it = Watched(Vendor("sim", ProviderFailure("no", kind="invalid")), "full")
    event = run(it.ask())
    assert (event.prompt_hash, event.answer_hash) == (it.hashed(it.prompt), "")
    assert [(each.kept.answer, each.is_flagged) for each in it.shelf.kept] == [(b"", False)]


def test_a_content_is_the_end_users_it_was_asked_for() -> None:
    it = Watched(answers(streamed=False), "full")

    class Acting:
        async def acting_for(self, who: Any, user: str) -> Any:
            return principal(user=user)

    it.house.pipeline._tenancy = cast("Any", Acting())
    run(it.ask(user="ann"))
    assert [each.kept.user for each in it.shelf.kept] == ["ann"]


@pytest.mark.parametrize("bound", ["CONTENT_BYTES", "HELD_MOST"])
def test_an_answer_too_large_to_hold_passes_whole_and_is_counted(
    bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for most, missed in ((10_000, 0), (40, 1)):
        monkeypatch.setattr(contents, bound, most)
        it = Watched(answers(streamed=True), "full")
        event = run(it.ask(stream=True))
        assert it.house.caller.complete
        assert (len(it.shelf.kept), it.shelf.missed) == (1 - missed, missed)
        assert event.answer_hash == it.hashed(it.house.caller.body)
        assert it.care.held_bytes == 0


def test_a_refusal_is_told_and_hashed_as_before() -> None:
    it = Watched(answers(streamed=False), "hash")
    guards = Guards([Post(guard=TopicGuard(never=["dam"]))])
    it.house.pipeline.inspections = (GuardCare({("a", "t"): guards}),)
    context = it.house.context(principal())
    inquiry = Inquiry(OPENAI, CHATS, chat(messages=[{"role": "user", "content": "dam"}]))
    with pytest.raises(PolicyRefused):
        run(
            it.care.over(it.house.pipeline).serve(
                context, inquiry, it.house.caller, Story(context, it.house.clock)
            )
        )
    assert not it.house.caller.started
