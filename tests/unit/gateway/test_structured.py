"""Structured answers: what is accepted, mended, asked again, refused, and how each is counted."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, structs

from penstock.gateway.structured import (
    MAX_CHECK,
    MAX_ECHO,
    MAX_REASKS,
    Accepted,
    Failed,
    ReAsk,
    Tally,
    Wanted,
    asked,
    judge,
    mode,
)
from penstock.gateway.structured_stream import MAX_CHOICES, StructuredStream
from penstock.kernel.chat import (
    ChatEvent,
    ChatReply,
    ChatRequest,
    Message,
    Reasoning,
    Text,
    ToolCall,
    ToolCallDelta,
)
from penstock.kernel.errors import Invalid, Upstream
from penstock.kernel.money import Usage
from penstock.mechanisms.schemas import Schemas

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
GOOD = '{"name": "Ann", "age": 31}'
WRONG = '{"name": "Ann", "age": "31"}'


def raw(value) -> Raw:
    return Raw(json.dumps(value).encode())


def request(response_format=None, **more) -> ChatRequest:
    wish = response_format or {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}
    question = Message(role="user", content=(Text("Who?"),))
    return ChatRequest(model="m", messages=(question,), response_format=raw(wish), **more)


def reply(*texts, finish="stop", **more) -> ChatReply:
    choices = tuple(Message(role="assistant", content=(Text(text),), **more) for text in texts)
    return ChatReply(
        id="r", model="m", created_s=1, choices=choices, finishes=(finish,) * len(texts), usage=Usage()
    )


def decide(answer: ChatReply, asking: ChatRequest | None = None, reasks=0):
    asking = asking or request()
    wanted = asked(asking, Schemas())
    assert wanted is not None
    return judge(wanted, asking, answer, reasks=reasks)


# ------------------------------------------------------------------------------------------------ what is asked


def test_a_schema_an_object_or_any_words_may_be_asked_for():
    wanted = asked(request(), Schemas())
    assert wanted is not None
    assert (wanted.opens, wanted.accepts(json.loads(GOOD)), wanted.accepts({})) == ("{", True, False)
    any_object = asked(request({"type": "json_object"}), Schemas())
    assert any_object is not None
    assert (any_object.opens, any_object.accepts({}), any_object.accepts([])) == ("{", True, False)
    for words in ({"type": "text"}, {"type": "grammar", "grammar": "…"}):
        assert asked(request(words), Schemas()) is None
    assert asked(ChatRequest(model="m", messages=()), Schemas()) is None
    assert asked(structs.replace(request(), response_format=Raw(b"null")), Schemas()) is None


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"type": "json_schema"}, "response_format"),
        ({"type": 7}, "response_format"),
        ({"type": "json_schema", "json_schema": []}, "response_format"),
        (
            {"type": "json_schema", "json_schema": {"schema": {"type": "text"}}},
            "response_format.json_schema.schema",
        ),
        (
            {"type": "json_schema", "json_schema": {"schema": {"$ref": "https://x/"}}},
            "response_format.json_schema.schema/$ref",
        ),
    ],
)
def test_a_bad_wish_is_refused_before_anything_is_spent(wish, field):
    with pytest.raises(Invalid) as refusal:
        asked(request(wish), Schemas())
    assert refusal.value.field == field


def test_a_streaming_caller_chooses_how():
    assert [mode(header) for header in ("", "raw", " Validated ")] == ["raw", "raw", "validated"]
    with pytest.raises(Invalid, match="unknown"):
        mode("both")


# ---------------------------------------------------------------------------------------------------- judging


def test_a_good_answer_passes_as_it_came():
    answer = reply(GOOD)
    outcome = decide(answer)
    assert outcome == Accepted(answer)
    assert outcome.reply is answer


def test_a_mended_answer_keeps_everything_but_its_words():
    answer = reply(f"Sure:\n```json\n{GOOD[:-1]},}}\n```")
    thought = Reasoning("hm", "sig")
    message = structs.replace(
        answer.choices[0], content=(thought, Text("Sure: "), Text(f"{GOOD[:-1]},}}", cache="5m"))
    )
    outcome = decide(structs.replace(answer, choices=(message,)))
    assert isinstance(outcome, Accepted)
    assert outcome.repairs == ("text_before", "trailing_comma")
    assert outcome.reply.choices[0].content == (thought, Text(GOOD))
    assert outcome.reply.usage == answer.usage


def test_an_answer_that_does_not_fit_is_asked_for_again_with_what_is_wrong():
    outcome = decide(reply(WRONG))
    assert isinstance(outcome, ReAsk)
    question, bad, again = outcome.request.messages
    assert question == request().messages[0]
    assert (bad.role, bad.content) == ("assistant", (Text(WRONG),))
    assert again.role == "user"
    assert '- /age: "31" does not fit; expected {"type":"integer"}' in again.content[0].text
    assert outcome.request.response_format == request().response_format
    assert [told.path for told in outcome.mismatches] == ["/age"]


def test_an_answer_without_json_is_asked_for_again_with_the_schema():
    outcome = decide(reply("I would say 31."))
    assert isinstance(outcome, ReAsk)
    assert '"required": ["name", "age"]' in outcome.request.messages[-1].content[0].text
    empty = decide(reply(""))
    assert isinstance(empty, ReAsk)
    assert empty.request.messages[-2].content == (Text("(nothing)"),)


def test_asking_again_ends_after_the_last_attempt_with_a_structured_error():
    for reasks in range(MAX_REASKS):
        assert isinstance(decide(reply(WRONG), reasks=reasks), ReAsk)
    outcome = decide(reply(WRONG), reasks=MAX_REASKS)
    assert isinstance(outcome, Failed)
    error = outcome.error
    assert (error.reason, error.status, error.field) == ("structured_output_invalid", 502, "response_format")
    assert error.limit == MAX_REASKS + 1
    assert "3 attempts" in error.message
    assert error.value == '/age: "31" does not fit'


def test_a_re_ask_does_not_grow_with_the_answers():
    outcome = decide(reply('{"name": "' + "x" * 3 * MAX_ECHO), reasks=1)
    assert isinstance(outcome, ReAsk)
    assert len(outcome.request.messages) == 3
    assert len(outcome.request.messages[1].content[0].text) == MAX_ECHO


def test_an_answer_cut_at_its_limit_is_taken_if_it_fits_and_never_asked_for_again():
    loose = request({"type": "json_object"})
    outcome = decide(reply('{"name": "Ann", "age": 3', finish="length"), loose)
    assert isinstance(outcome, Accepted)
    assert outcome.reply.choices[0].content == (Text('{"name": "Ann"}'),)
    assert outcome.reply.finishes == ("length",)
    failed = decide(reply('{"name": "Ann", "age": 3', finish="length"))
    assert isinstance(failed, Failed)
    assert "output tokens" in failed.error.remedy


@pytest.mark.parametrize("finish", ["content_filter", "error", "tool_calls"])
def test_what_is_no_answer_is_not_judged(finish):
    answer = reply("nonsense", finish=finish)
    assert decide(answer) == Accepted(answer)


def test_refusals_and_calls_of_tools_are_not_judged():
    for more in ({"refusal": "I cannot."}, {"tool_calls": (ToolCall("c", "f", "{}"),)}):
        answer = reply("", **more)
        assert decide(answer) == Accepted(answer)


def test_several_choices_are_mended_each_and_never_asked_for_again():
    several = request(n=2)
    outcome = decide(reply(GOOD, f"`{GOOD}`"), several)
    assert isinstance(outcome, Accepted)
    assert [choice.content for choice in outcome.reply.choices] == [(Text(GOOD),), (Text(GOOD),)]
    assert isinstance(decide(reply(GOOD, WRONG), several), Failed)


def test_an_answer_too_long_for_its_schema_is_not_checked():
    wide = {"allOf": [{"minimum": n} for n in range(2000)]}
    wanted = asked(request({"type": "json_schema", "json_schema": {"schema": wide}}), Schemas())
    assert wanted is not None
    assert wanted.schema is not None
    at = MAX_CHECK // wanted.schema.work
    assert wanted.read('"' + "x" * (at - 2) + '"', cut=False)[1] == ()
    assert "too long" in wanted.read('"' + "x" * (at - 1) + '"', cut=False)[1][0].message


def test_each_answer_is_counted_once_where_it_ends():
    tally = Tally()
    tally.count(decide(reply(GOOD)), 0)
    tally.count(decide(reply(f"`{GOOD}`")), 0)
    tally.count(decide(reply(WRONG)), 0)
    tally.count(decide(reply(f"`{GOOD}`"), reasks=1), 1)
    tally.count(decide(reply(WRONG), reasks=2), 2)
    assert (tally.first_try, tally.repaired, tally.reasked, tally.failed) == (1, 1, 1, 1)


# -------------------------------------------------------------------------------------------------- streaming


def wanted_person() -> Wanted:
    wanted = asked(request(), Schemas())
    assert wanted is not None
    return wanted


def stream(pieces, finish="stop", field=None, wanted=None, **last):
    tally = Tally()
    mending = StructuredStream(wanted or wanted_person(), tally, field)
    events = [
        ChatEvent(role="assistant"),
        *(ChatEvent(text=piece) for piece in pieces),
        ChatEvent(finish=finish, **last),
    ]
    return [out for event in events if (out := mending.feed(event)) is not None], tally


def counts(tally: Tally):
    return tally.first_try, tally.repaired, tally.reasked, tally.failed


@given(st.lists(st.integers(0, len(GOOD)), max_size=8))
def test_a_good_stream_joins_to_what_came(places):
    places = sorted(places)
    pieces = [GOOD[a:b] for a, b in zip([0, *places], [*places, len(GOOD)], strict=True)]
    out, tally = stream(pieces)
    assert "".join(event.text for event in out) == GOOD
    assert out[-1].finish == "stop"
    assert counts(tally) == (1, 0, 0, 0)


def test_the_usual_defects_are_mended_as_they_flow():
    out, tally = stream(["Sure:\n``", '`json\n{"name": ', "'Ann', ", '"age": 31,', "\n}\n`", "``"])
    assert json.loads("".join(event.text for event in out)) == {"name": "Ann", "age": 31}
    assert (out[0].role, out[-1].finish) == ("assistant", "stop")
    assert counts(tally) == (0, 1, 0, 0)


def test_what_closes_the_value_goes_out_with_the_end():
    out, tally = stream(['{"name": "Ann", "age": 31'], usage=Usage(input_tokens=1))
    assert (out[-1].text, out[-1].finish, out[-1].usage) == (', "age": 31}', "stop", Usage(input_tokens=1))
    assert counts(tally) == (0, 1, 0, 0)


def test_a_stream_that_does_not_fit_is_counted_and_sent():
    out, tally = stream([WRONG])
    assert "".join(event.text for event in out) == WRONG
    assert counts(tally) == (0, 0, 0, 1)
    out, tally = stream(["I'm afraid ", "I can't."])
    assert "".join(event.text for event in out) == "I'm afraid I can't."
    assert counts(tally) == (0, 0, 0, 1)


def test_events_without_text_and_calls_of_tools_pass_untouched():
    tally = Tally()
    mending = StructuredStream(wanted_person(), tally)
    for event in (
        ChatEvent(reasoning="hm"), ChatEvent(signature="s"), ChatEvent(refusal="no"), ChatEvent(usage=Usage()),
        ChatEvent(tool_calls=(ToolCallDelta(0, "c", "f", '{"a'),)), ChatEvent(finish="tool_calls"),
    ):  # fmt: skip
        assert mending.feed(event) is event
    assert counts(tally) == (0, 0, 0, 0)


def test_words_before_a_call_of_tools_are_no_answer():
    out, tally = stream(["Let me look."], finish="tool_calls")
    assert "".join(event.text for event in out) == "Let me look."
    assert counts(tally) == (0, 0, 0, 0)


def test_choices_are_mended_each_for_itself_up_to_a_bound():
    tally = Tally()
    mending = StructuredStream(wanted_person(), tally)
    out = [mending.feed(ChatEvent(index=index, text=f"`{GOOD}")) for index in (0, 1)]
    out += [mending.feed(ChatEvent(index=index, finish="stop")) for index in (0, 1)]
    for index in (0, 1):
        assert "".join(event.text for event in out if event and event.index == index) == GOOD
    for index in range(2, MAX_CHOICES):
        mending.feed(ChatEvent(index=index, text="{"))
    beyond = ChatEvent(index=MAX_CHOICES, text="`{")
    assert mending.feed(beyond) is beyond


def test_a_schema_of_words_is_not_mended():
    words = asked(request({"type": "json_schema", "json_schema": {"schema": {"type": "string"}}}), Schemas())
    out, _ = stream(['"he', 'llo"'], wanted=words)
    assert [event.text for event in out[1:-1]] == ['"he', 'llo"']


def test_one_field_alone_is_sent_as_it_arrives():
    out, tally = stream(["```json\n", '{"na', 'me": "A', "n\\n", 'n", "age": 31}', "```"], field="/name")
    assert [event.text for event in out if event.text] == ["A", "n\n", "n"]
    assert out[-1].finish == "stop"
    assert counts(tally) == (0, 1, 0, 0)
    with pytest.raises(ValueError, match="slash"):
        StructuredStream(wanted_person(), Tally(), "name")


def test_a_field_that_cannot_be_had_is_an_error_with_its_reason():
    with pytest.raises(Upstream) as failed:
        stream(['{"name": Ann}'], field="/name")
    assert failed.value.reason == "structured_output_invalid"
    assert "unknown word" in str(failed.value.value)
