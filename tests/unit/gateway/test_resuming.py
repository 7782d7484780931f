"""The seam between two authors of one answer: nothing twice, nothing lost, however it arrives."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.output_care import OutputCare
from penstock.gateway.resuming import OVERLAP_LEAST, SAID_MOST, Seam
from penstock.kernel.chat import ChatEvent, ToolCallDelta
from penstock.kernel.money import Usage
from penstock.kernel.settings_output import OutputSettings
from penstock.mechanisms.retry_budget import RETRY_RESERVE
from penstock.ports.providers import ProviderFailure
from tests.support import run
from tests.unit.gateway.rig import DONE, FINISH, QUICK, USAGE, House, Vendor, stream, text

WHOLE = (
    "The water enters through the gate, turns the wheel and leaves. The water is counted once, and paid for."
)


def sewn(said: str, pieces: list[str], *, finishes: bool = True) -> str:
    """Return what a caller reads of an answer that broke off after `said` and went on with `pieces`."""
    seam = Seam()
    events = seam.event(ChatEvent(role="assistant", text=said))
    seam.broke(Usage(input_tokens=5, output_tokens=3))
    events += seam.event(ChatEvent(role="assistant"))
    for piece in pieces:
        events += seam.event(ChatEvent(text=piece))
    if finishes:
        events += seam.event(ChatEvent(finish="stop"))
    return "".join(event.text for event in [*events, *seam.end()])


def in_pieces(text: str, cuts: list[int]) -> list[str]:
    """Return `text` cut at the places."""
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    return [text[first:last] for first, last in pairwise(places)]


@given(
    st.integers(1, len(WHOLE) - 1),
    st.integers(0, len(WHOLE)),
    st.lists(st.integers(0, len(WHOLE))),
    st.booleans(),
)
def test_a_second_author_who_repeats_some_or_all_is_read_as_one(
    broke: int, repeated: int, cuts: list[int], finishes: bool
) -> None:
    said = WHOLE[:broke]
    kept = repeated if OVERLAP_LEAST <= repeated <= broke else 0
    assert sewn(said, in_pieces(WHOLE[broke - kept :], cuts), finishes=finishes) == WHOLE


@pytest.mark.parametrize(
    ("said", "goes_on", "read"),
    [
        ("hel", "lo there, all of you", "hello there, all of you"),  # one letter in common is chance
        ("x" * 11, "x" * 11 + " and more", "x" * 22 + " and more"),  # below the least overlap
        ("twelve chars", "twelve chars and more", "twelve chars and more"),  # at it
        ("thirteen char", "thirteen chars", "thirteen chars"),  # over it
        (
            "ends the same way",
            "something else ends the same way",
            "ends the same waysomething else ends the same way",
        ),
        ("a short answer", "", "a short answer"),
        ("one", "o", "oneo"),
    ],
)
def test_what_agrees_by_chance_is_no_repetition(said: str, goes_on: str, read: str) -> None:
    assert sewn(said, [goes_on]) == read
    assert sewn(said, list(goes_on)) == read


def test_the_caller_is_told_one_role_one_end_and_the_sum_of_what_was_used() -> None:
    seam = Seam()
    seam.event(ChatEvent(role="assistant", text="said"))
    seam.broke(Usage(input_tokens=5, output_tokens=3))
    events = seam.event(ChatEvent(role="assistant", reasoning="hm"))
    events += seam.event(ChatEvent(text=" more", finish="stop"))
    events += seam.event(ChatEvent(usage=Usage(input_tokens=9, output_tokens=2)))
    assert [event.role + event.reasoning for event in events] == ["", "", ""]
    assert [event.finish for event in events] == ["", "stop", ""]
    assert events[-1].usage == Usage(input_tokens=14, output_tokens=5, requests=2)


def test_what_breaks_off_twice_is_one_text_still() -> None:
    seam = Seam()
    read = seam.event(ChatEvent(text=WHOLE[:20]))
    for first, last in ((20, 50), (30, len(WHOLE))):
        seam.broke(Usage())
        read += seam.event(ChatEvent(text=WHOLE[first:last]))
        read += seam.event(ChatEvent(finish="stop")) if last == len(WHOLE) else seam.end()
    assert "".join(event.text for event in read) == WHOLE == seam.said


def test_an_answer_that_calls_a_tool_is_not_plain() -> None:
    seam = Seam()
    seam.event(ChatEvent(text="I look it up"))
    assert seam.is_plain
    seam.event(ChatEvent(tool_calls=(ToolCallDelta(0, "1", "look", "{"),)))
    assert not seam.is_plain


def test_an_answer_that_has_ended_is_not_gone_on_with() -> None:
    """Its end has left: whatever is missing then (the usage, the success mark), the text is not."""
    ended = stream(text("Half full."), FINISH, ProviderFailure("gone", kind="cut"))
    vendors = Vendor("sim", ended), Vendor("dear", stream(text("More."), FINISH, USAGE, DONE))
    it = House(*vendors, resume=True)
    with pytest.raises(ProviderFailure):
        run(it.serve(model="both", stream=True))
    assert [len(each.calls) for each in vendors] == [1, 0]
    assert b"Half full." in it.caller.body and b"[DONE]" not in it.caller.body


def test_an_answer_that_is_gone_on_with_spends_of_the_retry_budget_and_earns_nothing_more() -> None:
    broken = stream(text("Half full."), ProviderFailure("gone", kind="cut"))
    vendors = Vendor("sim", broken), Vendor("dear", stream(text(" The rest."), FINISH, USAGE, DONE))
    it = House(*vendors, resume=True)
    run(it.serve(model="both", stream=True))
    assert [len(each.calls) for each in vendors] == [1, 1]
    earned = QUICK.retry_share_percent / 100
    assert it.resilience.budget._balance == pytest.approx(RETRY_RESERVE + earned - 1)


@pytest.mark.parametrize(("stop", "authors"), [("enough", [1, 0]), ("never said", [1, 1])])
def test_an_answer_that_an_operators_stop_has_ended_is_not_gone_on_with(
    stop: str, authors: list[int]
) -> None:
    """Nothing that a second author could say would be shown, and it would be paid for."""
    broken = stream(text("Half full, and enough of it."), text(" More."), ProviderFailure("gone", kind="cut"))
    vendors = Vendor("sim", broken), Vendor("dear", stream(text(" The rest."), FINISH, USAGE, DONE))
    it = House(*vendors, resume=True)
    it.pipeline.inspections = (OutputCare([OutputSettings(stop=(stop,))]),)
    run(it.serve(model="both", stream=True))
    assert [len(each.calls) for each in vendors] == authors
    assert [len(posting.attempts) for posting in it.ledger.postings] == [sum(authors)]
    assert it.caller.body.endswith(DONE)


def test_what_only_its_vendor_understands_passes_as_ever() -> None:
    it = House(Vendor("sim", stream(text("Half full."), FINISH, USAGE, DONE)), resume=True)
    run(it.serve(model="both", stream=True, top_p="most"))
    assert b"Half full." in it.caller.body and b"[DONE]" in it.caller.body


@pytest.mark.parametrize(("over", "kept"), [(-1, True), (0, True), (1, False)])
def test_what_is_kept_to_go_on_from_has_a_bound(over: int, kept: bool) -> None:
    seam = Seam()
    said = [
        seam.event(ChatEvent(text="x" * (SAID_MOST // 2))),
        seam.event(ChatEvent(text="y" * (SAID_MOST // 2 + over))),
    ]
    assert sum(len(event.text) for events in said for event in events) == SAID_MOST + over
    assert (seam.is_plain, bool(seam.said)) == (kept, kept)
