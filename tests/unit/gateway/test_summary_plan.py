"""What a summary stands for is whole turns, oldest first, and what is planned fits, every summary at its longest."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.context_fit import Room
from penstock.gateway.summary_plan import (
    DOCUMENT_CHARS,
    HEAD,
    NOTED,
    Talk,
    clipped,
    filled,
    longest,
    transcript,
    without,
)
from penstock.kernel.chat import ChatRequest, Image, Media, Message, Reasoning, Text, ToolCall

TOKENS = 64
STEPS = st.lists(
    st.tuples(st.sampled_from(("user", "assistant", "system", "tool step")), st.integers(0, 200)), max_size=16
)


def message(role: str, words: str, **members: Any) -> Message:
    return Message(role=role, content=(Text(words),), **members)


def conversation(steps: list[tuple[str, int]]) -> ChatRequest:
    """Return a conversation of these steps, each message with a name of its own, that ends with a question."""
    messages: list[Message] = []
    for number, (kind, size) in enumerate(steps):
        if kind == "tool step":
            call = ToolCall(f"c{number}", "read", '{"gauge":1}')
            messages.append(message("assistant", "", tool_calls=(call,), name=f"a{number}"))
            messages.append(message("tool", "r" * size, tool_call_id=call.id, name=f"t{number}"))
        else:
            messages.append(message(kind, "x" * size, name=f"m{number}"))
    return ChatRequest(model="m", messages=(*messages, message("user", "Well?", name="last")))


def room(tokens: int) -> Room:
    return Room(tokens=tokens, image_tokens=10, document_tokens=100)


@given(STEPS, st.integers(1, 8))
def test_a_plan_covers_whole_turns_and_keeps_everything_else_as_it_was(
    steps: list[tuple[str, int]], turns: int
) -> None:
    asked = conversation(steps)
    talk = Talk(asked, room(10_000))
    if turns > talk.coverable:
        return
    plan = talk.to_come(turns, TOKENS)
    names = [each.name for each in plan.request.messages]
    kept = [each for each in asked.messages if each.name in names]
    others = [each for each in plan.request.messages if each.name]
    assert others == kept, "what stays is the caller's own, in its order"
    assert plan.covered == len(asked.messages) - len(kept)
    assert [each for each in asked.messages if each.role == "system"] == [
        each for each in kept if each.role == "system"
    ]
    calls = {call.id for each in kept for call in each.tool_calls}
    assert calls == {each.tool_call_id for each in kept if each.role == "tool"}
    assert sum(each.role == "user" for each in kept) >= 2, "two turns are word for word"
    [gap] = plan.gaps
    said = filled(plan.request, gap, "In short.")
    assert [each.content for each in said.messages if not each.name] == [
        (Text(HEAD + "In short."),),
        (Text(NOTED),),
    ]
    assert without(plan.request, gap) == msgspec.structs.replace(asked, messages=tuple(kept))


@given(STEPS, st.integers(300, 3_000))
def test_what_fits_by_the_plan_fits(steps: list[tuple[str, int]], tokens: int) -> None:
    asked = conversation(steps)
    space = room(tokens)
    talk = Talk(asked, space)
    for turns in range(1, talk.coverable + 1):
        plan = talk.to_come(turns, TOKENS)
        assert talk.fits(turns, longest(TOKENS)) == (space.excess(plan.request) <= 0)


def test_the_digest_of_more_turns_continues_that_of_fewer_and_knows_no_marks() -> None:
    steps = [("user", 5), ("assistant", 5)] * 4
    short, long = Talk(conversation(steps), room(1)), Talk(conversation([*steps, ("user", 9)]), room(1))
    assert long.digests[: len(short.digests)] == short.digests
    assert len(set(long.digests)) == len(long.digests)
    marked = conversation(steps)
    first = msgspec.structs.replace(marked.messages[0], content=(Text("xxxxx", cache="5m"),))
    marked = msgspec.structs.replace(marked, messages=(first, *marked.messages[1:]))
    assert Talk(marked, room(1)).digests == short.digests
    other = conversation([("user", 6), *steps[1:]])
    assert not set(Talk(other, room(1)).digests[1:]) & set(short.digests)


def test_only_what_is_new_is_read_when_the_beginning_is_known() -> None:
    asked = ChatRequest(
        model="m",
        messages=tuple(message(role, f"{role} {n}") for n in range(4) for role in ("user", "assistant")),
    )
    [gap] = Talk(asked, room(1)).to_come(2, TOKENS, 1, "The first, in short.").gaps
    assert gap.previous == "The first, in short."
    assert gap.text == "user: user 1\nassistant: assistant 1\n"


def test_long_texts_inside_kept_turns_go_oldest_first_and_only_as_many_as_must() -> None:
    long = "word " * (DOCUMENT_CHARS // 5)
    messages = [message("user", f"{n} {long}") for n in range(2)]
    asked = ChatRequest(model="m", messages=(message("system", long), *messages, message("user", "Well?")))
    talk = Talk(asked, room(2 * DOCUMENT_CHARS + 1_000))
    plan = talk.with_documents(talk.covering(0, ""), TOKENS)
    assert plan is not None
    assert plan.documents == 1
    assert plan.request.messages[0] == asked.messages[0], "what the system says is never shortened"
    assert plan.request.messages[2:] == asked.messages[2:]
    assert plan.gaps[0].text == f"0 {long}"
    assert without(plan.request, plan.gaps[0]) is None, "a turn that stays cannot be left out"
    assert Talk(asked, room(200)).with_documents(talk.covering(0, ""), TOKENS) is None


def test_several_long_texts_of_one_message_go_and_the_same_one_is_summarised_once() -> None:
    long, other = "word " * (DOCUMENT_CHARS // 5), "else " * (DOCUMENT_CHARS // 5)
    parts = (Text(long), Text("and"), Text(other), Text(long))
    asked = ChatRequest(model="m", messages=(Message(role="user", content=parts),))
    talk = Talk(asked, room(1_500))
    plan = talk.with_documents(talk.covering(0, ""), TOKENS)
    assert plan is not None
    assert [gap.text for gap in plan.gaps] == [long, other]
    assert plan.documents == 3
    said = filled(filled(plan.request, plan.gaps[0], "one"), plan.gaps[1], "two")
    texts = [part.text.rpartition("\n")[2] for part in said.messages[0].content if isinstance(part, Text)]
    assert texts == ["one", "and", "two", "one"]


def test_a_text_that_its_summary_could_outgrow_stays() -> None:
    asked = ChatRequest(model="m", messages=(message("user", "x" * DOCUMENT_CHARS),))
    talk = Talk(asked, room(2_000))
    assert talk.with_documents(talk.covering(0, ""), DOCUMENT_CHARS // 4) is None


@pytest.mark.parametrize("chars", [DOCUMENT_CHARS - 1, DOCUMENT_CHARS])
def test_a_shorter_text_is_no_document(chars: int) -> None:
    asked = ChatRequest(model="m", messages=(message("user", "x" * chars),))
    talk = Talk(asked, room(2_000))
    plan = talk.with_documents(talk.covering(0, ""), TOKENS)
    assert (plan is not None) == (chars == DOCUMENT_CHARS)


def test_a_transcript_tells_calls_results_and_names_what_is_no_text() -> None:
    told = transcript(
        [
            Message(role="user", content=(Text("Look: "), Image(url="data:image/png;base64,AAAA"))),
            Message(
                role="assistant", content=(Reasoning("hm"), Text("I read.")),
                tool_calls=(ToolCall("c1", "read", '{"n":1}'),),
            ),
            Message(role="tool", tool_call_id="c1", content=(Text("42"), Media("application/pdf", "file:1"))),
            Message(role="assistant", refusal="No."),
        ]
    )  # fmt: skip
    assert told == (
        'user: Look: [a picture]\nassistant: I read.\n[calls read with {"n":1}]\ntool: 42[a document]\nassistant: No.\n'
    )


def test_a_summary_is_clipped_to_its_gap_between_two_characters() -> None:
    assert clipped("é" * 200, 50) == "é" * 100
    assert clipped(" fits ", 50) == "fits"
    assert len(longest(TOKENS, "[name]").encode()) == TOKENS * 4
