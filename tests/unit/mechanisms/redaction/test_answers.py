"""An answer comes back with what was taken out put in again, and without what the model should not have written."""

from __future__ import annotations

import json
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.kernel.chat import ChatEvent, ChatReply, Message, Text, ToolCall, ToolCallDelta
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import PolicyRefused
from penstock.mechanisms.redaction import answers
from penstock.mechanisms.redaction.answers import AnswerReader
from penstock.mechanisms.redaction.policy import Action, RedactionPolicy, Tally
from penstock.mechanisms.redaction.scanner import Scanner
from penstock.mechanisms.redaction.screen import WINDOW_MAX_CHARS, Screen
from penstock.mechanisms.redaction.vault import Vault

SCANNER = Scanner()
MASKING = RedactionPolicy(answers={"CARD": Action.MASK, "EMAIL": Action.FLAG, "SECRET": Action.MASK})


def vault() -> Vault:
    """Return a vault of one address, <EMAIL_1>, and one awkward secret, <SECRET_1>."""
    kept = Vault()
    kept.stand_in("EMAIL", "ann@example.com")
    kept.stand_in("SECRET", 'a"b\\c')
    return kept


def reader(policy: RedactionPolicy | None = None) -> AnswerReader:
    """Return a reader with that vault; answers are not looked at unless `policy` says so."""
    return AnswerReader(SCANNER, policy or RedactionPolicy(), vault(), Tally(ManualClock()))


def text_of(events: list[ChatEvent]) -> str:
    """Return all text."""
    return "".join(event.text for event in events)


def arguments_of(events: list[ChatEvent], index: int) -> str:
    """Return all arguments of one call."""
    return "".join(call.arguments for event in events for call in event.tool_calls if call.index == index)


def all_of(reading: AnswerReader, events: list[ChatEvent]) -> list[ChatEvent]:
    """Return what is said in the end."""
    return [said for event in events for said in reading.feed(event)] + list(reading.end())


def test_a_stand_in_across_chunks_comes_back() -> None:
    events = [
        ChatEvent(text="Sent to <EM"),
        ChatEvent(text="AIL_1"),
        ChatEvent(text=">, bye"),
        ChatEvent(finish="stop"),
    ]
    assert text_of(all_of(reader(), events)) == "Sent to ann@example.com, bye"


def test_what_is_held_back_is_said_before_a_tool_call_and_before_the_finish() -> None:
    events = all_of(
        reader(),
        [
            ChatEvent(text="see <EMA"),
            ChatEvent(tool_calls=(ToolCallDelta(0, "c0", "send", '{"to": "<EMAIL_'),)),
            ChatEvent(tool_calls=(ToolCallDelta(0, arguments='1>", "k": "<SECRET_1>'),)),
            ChatEvent(tool_calls=(ToolCallDelta(1, "c1", "log", '"<EM"'),)),
            ChatEvent(text="a <", finish="tool_calls"),
        ],
    )
    first_call = next(place for place, event in enumerate(events) if event.tool_calls)
    assert text_of(events[:first_call]) == "see <EMA"
    assert text_of(events) == "see <EMAa <"
    assert arguments_of(events, 0) == '{"to": "ann@example.com", "k": "a\\"b\\\\c'
    assert arguments_of(events, 1) == '"<EM"'
    assert events[-1].finish == "tool_calls"


def test_an_answer_that_is_cut_off_still_says_what_was_held_back() -> None:
    assert text_of(all_of(reader(), [ChatEvent(text="a <EMAIL_1")])) == "a <EMAIL_1"


def test_choices_do_not_mix() -> None:
    events = all_of(
        reader(),
        [ChatEvent(index=0, text="<EMA"), ChatEvent(index=1, text="x"), ChatEvent(index=0, text="IL_1>")],
    )
    assert text_of([event for event in events if event.index == 0]) == "ann@example.com"


def test_reasoning_is_left_as_the_vendor_signed_it() -> None:
    thought = ChatEvent(reasoning="of <EMAIL_1>", signature="s")
    assert all_of(reader(), [thought]) == [thought]


def test_a_whole_answer_is_read_like_a_streamed_one() -> None:
    message = Message(
        role="assistant",
        content=(Text("to <EMAIL_1>"),),
        tool_calls=(ToolCall("1", "f", '{"k":"<SECRET_1>"}'),),
    )
    reply = ChatReply(id="1", model="m", created_s=0, choices=(message,), finishes=("stop",))
    choice = reader().whole(reply).choices[0]
    assert choice.content == (Text("to ann@example.com"),)
    assert json.loads(choice.tool_calls[0].arguments) == {"k": 'a"b\\c'}


def test_what_the_model_wrote_is_masked_and_what_the_caller_wrote_comes_back() -> None:
    reading = reader(MASKING)
    events = all_of(
        reading,
        [ChatEvent(text="4111 1111 1111 "), ChatEvent(text="1111 of <EMAIL_1> and x@y.org", finish="stop")],
    )
    assert text_of(events) == "<CARD> of ann@example.com and x@y.org"
    assert reading.found == {"CARD": 1, "EMAIL": 1}


def test_masked_arguments_stay_json_numbers_included() -> None:
    calls = ('{"n": 41111111', '11111111, "to": "<EMAIL_1>"}')
    events = [ChatEvent(tool_calls=(ToolCallDelta(0, "c", "f", part),)) for part in calls]
    said = all_of(reader(MASKING), [*events, ChatEvent(finish="tool_calls")])
    assert json.loads(arguments_of(said, 0)) == {"n": "<CARD>", "to": "ann@example.com"}


def test_arguments_beyond_the_bound_pass_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "ARGUMENTS_MAX_CHARS", 8)
    reading = reader(MASKING)
    said = all_of(
        reading,
        [
            ChatEvent(tool_calls=(ToolCallDelta(0, "c", "f", "[123456, "),)),
            ChatEvent(tool_calls=(ToolCallDelta(0, arguments="7]"),)),
        ],
    )
    assert (arguments_of(said, 0), reading.unread) == ("[123456, 7]", 1)


def test_a_refused_entity_ends_the_answer_before_it_is_said() -> None:
    reading = reader(RedactionPolicy(answers={"CARD": Action.REFUSE}))
    said = list(reading.feed(ChatEvent(text="card 4111 1111 ")))
    with pytest.raises(PolicyRefused):
        all_of(reading, [ChatEvent(text="1111 1111", finish="stop")])
    assert "4111" not in text_of(said)


def test_a_reader_is_needed_only_for_a_vault_or_a_look() -> None:
    assert not AnswerReader.needed(RedactionPolicy(answers={"CARD": Action.ALLOW}), None)
    assert AnswerReader.needed(RedactionPolicy(), vault())
    assert AnswerReader.needed(MASKING, None)


PARTS = st.sampled_from(
    [
        *(
            "4111 1111 1111 1111",
            "x@y.org",
            "<EMAIL_1>",
            "sk-proj-" + "aB3" * 30,
            "password: hunter22",
            "word",
            "<EM",
            "4111",
        ),
        *(
            " ",
            "\n",
            ". ",
            "lorem ipsum dolor sit amet " * 6,
            "x" * 300,
            "-----BEGIN A PRIVATE KEY-----\n" + "QUJD\n" * 80,
        ),
    ]
)


@settings(max_examples=60)
@given(st.lists(PARTS, max_size=14), st.lists(st.integers(0, 4000), max_size=30))
def test_any_chunking_of_an_answer_comes_out_the_same(parts: list[str], cuts: list[int]) -> None:
    text = "".join(parts)
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    events = [ChatEvent(text=text[a:b]) for a, b in pairwise(places)]
    whole = text_of(all_of(reader(MASKING), [ChatEvent(text=text)]))
    assert text_of(all_of(reader(MASKING), events)) == whole


def test_a_finding_anywhere_in_a_stream_is_masked_and_little_is_held_back() -> None:
    chance = random.Random(5)
    for at in range(150, 420):
        text = "lorem ipsum dolor " * 40
        text = text[:at] + " 4111 1111 1111 1111 " + text[at:]
        screen = Screen(SCANNER, {"CARD": Action.MASK}, lambda _entity: None)
        said = ""
        fed = 0
        while fed < len(text):
            step = chance.randint(1, 40)
            said += screen.feed(text[fed : fed + step])
            fed = min(len(text), fed + step)
            assert screen.held < 400
        assert said + screen.end() == text.replace("4111 1111 1111 1111", "<CARD>")


JWT = "eyJ" + "aB3" * 60 + ".eyJ" + "cD4" * 100 + "." + "eF5" * 20


@pytest.mark.parametrize("key", ["sk-proj-" + "aB3" * 60, JWT])
@pytest.mark.parametrize("before", ["the key ", "lorem ipsum dolor sit amet " * 5])
def test_a_key_longer_than_the_window_is_masked_whole(key: str, before: str) -> None:
    screen = Screen(SCANNER, {"SECRET": Action.MASK}, lambda _entity: None)
    said = "".join(map(screen.feed, f"{before}{key} is mine")) + screen.end()
    assert said == f"{before}<SECRET> is mine"


def test_one_word_without_end_is_let_go() -> None:
    screen = Screen(SCANNER, {"SECRET": Action.MASK}, lambda _entity: None)
    said = ""
    for character in "x" * (2 * WINDOW_MAX_CHARS):
        said += screen.feed(character)
        assert screen.held <= WINDOW_MAX_CHARS
    assert said + screen.end() == "x" * (2 * WINDOW_MAX_CHARS)
