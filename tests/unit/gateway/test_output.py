"""An operator's rules for answers hold, whole and streamed, whatever callers wish; what cannot be kept is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.faces import OPENAI
from penstock.gateway.inquiry import Inquiry
from penstock.gateway.output_care import OutputCare
from penstock.gateway.output_filters import StopAt, Thoughtless
from penstock.gateway.story import Story
from penstock.kernel.chat import ChatEvent, ChatReply, Message, Reasoning, Text, ToolCall, ToolCallDelta
from penstock.kernel.errors import Invalid
from penstock.kernel.settings_output import OutputSettings
from penstock.ports.providers import ProviderFailure
from tests.support import run
from tests.unit.gateway.rig import (
    CHATS,
    DONE,
    ERROR,
    FINISH,
    HANG,
    USAGE,
    Caller,
    House,
    Step,
    Vendor,
    chat,
    event,
    full,
    stream,
    text,
    whole,
)

USED: dict[str, Any] = {"usage": {"prompt_tokens": 9, "completion_tokens": 3}}
STREAM = stream(text("One is"), text(". Two"), text(" is. EN"), text("D and more"), FINISH, USAGE, DONE)


def ask(
    *rules: OutputSettings,
    answer: Any = STREAM,
    header: bytes | None = None,
    feature: str = "",
    **members: Any,
) -> tuple[House, Caller]:
    """Ask a house with these rules; returns it, and whom it answered."""
    it, caller = House(Vendor("sim", answer)), Caller()
    it.pipeline.inspections = (OutputCare(rules),)
    context = it.context()
    context.feature = feature
    context.header = lambda name: header if name == b"x-penstock-cadence" else None
    story = Story(context, it.clock)
    run(it.pipeline.serve(context, Inquiry(OPENAI, CHATS, chat(**members)), caller, story))
    return it, caller


def texts(caller: Caller) -> list[str]:
    """Return the pieces of text a caller was streamed."""
    events = [
        each.removeprefix(b"data: ") for each in caller.body.split(b"\n\n") if each.startswith(b"data: {")
    ]
    choices = [choice for each in events for choice in msgspec.json.decode(each).get("choices", [])]
    return [choice["delta"]["content"] for choice in choices if choice["delta"].get("content")]


def test_the_smallest_limit_that_matches_holds_whatever_is_asked_for() -> None:
    rules = (
        OutputSettings(max_output_tokens=50),
        OutputSettings(max_output_tokens=20, feature="chat"),
        OutputSettings(max_output_tokens=1, feature="other"),
        OutputSettings(max_output_tokens=1, model="big"),
        OutputSettings(max_output_tokens=1, org="nobody"),
        OutputSettings(max_output_tokens=1, team="nobody"),
    )
    for feature, asked, granted in (("chat", 400, 20), ("chat", None, 20), ("", 400, 50), ("", 10, 10)):
        members: dict[str, Any] = {} if asked is None else {"max_tokens": asked}
        it, _ = ask(*rules, answer=full(whole(**USED)), feature=feature, **members)
        [vendor] = [each.provider for each in it.table.find("small").targets]
        sent = msgspec.json.decode(vendor.calls[0].body)  # pyright: ignore[reportAttributeAccessIssue]  # the double remembers calls
        assert (sent.get("max_tokens") or sent.get("max_completion_tokens")) == granted


@pytest.mark.parametrize("streams", [True, False])
def test_an_answer_ends_where_a_stop_begins_though_it_came_in_two_pieces(streams: bool) -> None:
    answer = STREAM if streams else full(whole("One is. Two is. END and more", **USED))
    it, caller = ask(
        OutputSettings(stop=("END",)), OutputSettings(stop=("never",)), answer=answer, stream=streams
    )
    if streams:
        assert "".join(texts(caller)) == "One is. Two is. "
        assert caller.body.endswith(DONE)
        assert b'"finish_reason":"stop"' in caller.body
    else:
        [choice] = msgspec.json.decode(caller.body)["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("One is. Two is. ", "stop")
    assert it.ledger.postings[0].amount_nanos == 9 * 1_000 + 3 * 2_000, (
        "all of it was generated, and is paid for"
    )


@given(st.text(alphabet="abE", max_size=30), st.lists(st.integers(1, 4), max_size=30))
def test_a_stop_is_found_wherever_pieces_part(words: str, cuts: list[int]) -> None:
    stops = ("EaE", "bb")
    wanted = min([words.find(stop) for stop in stops if stop in words], default=len(words))
    filtered, out, left = StopAt(stops), "", words
    for size in [*cuts, len(words)]:
        piece, left = left[:size], left[size:]
        out += "".join([each.text for each in filtered.event(ChatEvent(text=piece))])
    out += "".join([each.text for each in filtered.event(ChatEvent(finish="length"))])
    out += "".join([each.text for each in filtered.end()])
    assert out == words[:wanted]
    message = Message(role="assistant", content=(Text(words[:3]), Reasoning("hm"), Text(words[3:])))
    reply = ChatReply(id="", model="m", created_s=0, choices=(message,), finishes=("length",))
    got = StopAt(stops).reply(reply)
    assert "".join([part.text for part in got.choices[0].content if isinstance(part, Text)]) == words[:wanted]
    assert got.finishes == (("stop",) if wanted < len(words) else ("length",))


def test_each_choice_stops_by_itself_and_nothing_is_called_after_a_stop() -> None:
    filtered = StopAt(("END",))
    assert filtered.event(ChatEvent(text="a END b")) == [ChatEvent(text="a ")]
    assert filtered.event(ChatEvent(index=1, text="c")) == [ChatEvent(index=1, text="c")]
    assert filtered.event(ChatEvent(tool_calls=(ToolCallDelta(0, "c1", "read", "{}"),))) == []
    assert filtered.event(ChatEvent(finish="tool_calls")) == [ChatEvent(finish="stop")]
    assert filtered.event(ChatEvent(index=1, text="END")) == []
    assert filtered.end() == [ChatEvent(index=1, finish="stop")], "its vendor never said that it had ended"
    message = Message(role="assistant", content=(Text("END"),), tool_calls=(ToolCall("c1", "read", "{}"),))
    reply = ChatReply(id="", model="m", created_s=0, choices=(message,), finishes=("tool_calls",))
    assert StopAt(("END",)).reply(reply).choices[0] == Message(role="assistant")


BREAKS = pytest.mark.parametrize(
    "broken",
    [ERROR, b"data: {nonsense\n\n", ProviderFailure("cut", kind="cut")],
    ids=["error", "nonsense", "cut"],
)


@BREAKS
@pytest.mark.parametrize("cadence", [None, b"100ms", b"sentence"])
def test_what_breaks_after_a_stop_has_ended_the_answer_harms_nobody(
    broken: Step, cadence: bytes | None
) -> None:
    """The caller has all it is to have; the vendor's part that nobody sees is billed as the estimate it is."""
    answer = stream(text("One is. EN"), text("D and"), text(" more"), broken)
    it, caller = ask(OutputSettings(stop=("END",)), answer=answer, header=cadence, stream=True)
    assert "".join(texts(caller)) == "One is. "
    assert caller.body.count(b'"finish_reason":"stop"') == 1
    assert caller.body.endswith(DONE)
    assert b'"error"' not in caller.body
    [posting] = it.ledger.postings
    assert (posting.estimated, len(posting.attempts)) == (True, 1)
    assert posting.amount_nanos > 0
    assert posting.attempts[0].outcome in {"error_mid_stream", "malformed_reply", "cut"}


@BREAKS
def test_what_breaks_while_one_choice_goes_on_is_told(broken: Step) -> None:
    other = event(choices=[{"index": 1, "delta": {"content": "Two"}}])
    with pytest.raises(ProviderFailure):
        ask(OutputSettings(stop=("END",)), answer=stream(text("One END"), other, broken), stream=True, n=2)


THOUGHT = event(choices=[{"index": 0, "delta": {"reasoning_content": "secretly"}}])


def test_thoughts_are_not_shown() -> None:
    answer = stream(THOUGHT, text("Hi."), FINISH, USAGE, DONE)
    _, plain = ask(answer=answer, stream=True)
    assert b"secretly" in plain.body
    _, stripped = ask(OutputSettings(reasoning="strip"), answer=answer, stream=True)
    assert b"secretly" not in stripped.body and texts(stripped) == ["Hi."]
    message = Message(role="assistant", content=(Reasoning("secretly", "sig"), Text("Hi.")))
    reply = ChatReply(id="", model="m", created_s=0, choices=(message,), finishes=("stop",))
    assert Thoughtless().reply(reply).choices[0].content == (Text("Hi."),)


TOOLS = [{"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}]


@pytest.mark.parametrize(
    ("dialect", "tools", "refused"),
    [("anthropic", TOOLS, True), ("anthropic", None, False), ("openai", TOOLS, False)],
)
def test_thoughts_that_must_come_back_cannot_be_withheld(dialect: str, tools: Any, refused: bool) -> None:
    it = House(Vendor("sim", full(whole(**USED))))
    [target] = it.table.find("small").targets
    target.provider.dialect = dialect
    face = OPENAI
    members = {"reasoning_effort": "high"} | ({} if tools is None else {"tools": tools})
    wording = it.pipeline._wordings.of(face, face.open(chat(**members), CHATS), "req_1")

    def look() -> None:
        OutputCare([OutputSettings(reasoning="strip")]).inspect(
            it.context(), wording, (target,), Story(it.context(), it.clock)
        )

    if not refused:
        look()
        return
    with pytest.raises(Invalid) as refusal:
        look()
    assert refusal.value.reason == "reasoning_withheld"


@pytest.mark.parametrize(
    ("cadence", "pieces"),
    [
        ("sentence", ["One is. ", "Two is. ", "END and more"]),
        ("whole", ["One is. Two is. END and more"]),
        ("token", ["One is", ". Two", " is. EN", "D and more"]),
    ],
)
def test_a_stream_comes_in_the_pieces_its_caller_wishes(cadence: str, pieces: list[str]) -> None:
    it, caller = ask(header=cadence.encode(), stream=True)
    assert texts(caller) == pieces
    assert caller.body.endswith(DONE)
    assert it.ledger.postings[0].amount_nanos == 9 * 1_000 + 3 * 2_000


def test_no_wish_is_quicker_than_the_rule_and_one_may_be_slower() -> None:
    _, quicker = ask(OutputSettings(cadence="sentence"), header=b"token", stream=True)
    assert len(texts(quicker)) == 3
    _, slower = ask(OutputSettings(cadence="sentence"), header=b" WHOLE ", stream=True)
    assert len(texts(slower)) == 1


def test_a_whole_answer_has_no_cadence_and_nonsense_is_refused() -> None:
    _, caller = ask(header=b"whole", answer=full(whole(**USED)))
    assert caller.status == 200
    with pytest.raises(Invalid) as refusal:
        ask(header=b"hourly", stream=True)
    assert refusal.value.reason == "invalid_header"


@pytest.mark.parametrize("cadence", ["sentence", "100ms", "whole"])
def test_nobody_goes_on_reading_for_a_caller_that_left(cadence: str) -> None:
    it, caller = House(Vendor("sim", stream(text("One is. Tw"), HANG))), Caller()
    it.pipeline.inspections = (OutputCare(()),)
    context = it.context()
    context.header = lambda _name: cadence.encode()

    async def scene() -> None:
        inquiry = Inquiry(OPENAI, CHATS, chat(stream=True))
        serving = asyncio.create_task(it.pipeline.serve(context, inquiry, caller, Story(context, it.clock)))
        while not caller.started:
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        serving.cancel()
        await asyncio.wait((serving,))
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(scene())
    assert it.ledger.postings[0].estimated


@pytest.mark.parametrize(("cadence", "left"), [("sentence", True), ("whole", False)])
def test_an_answer_that_breaks_off_has_no_success_mark(cadence: str, left: bool) -> None:
    answer = stream(text("One is. Tw"), text("o"), ProviderFailure("cut", kind="cut"))
    it, caller = House(Vendor("sim", answer)), Caller()
    it.pipeline.inspections = (OutputCare(()),)
    context = it.context()
    context.header = lambda _name: cadence.encode()
    with pytest.raises(ProviderFailure):
        run(
            it.pipeline.serve(
                context, Inquiry(OPENAI, CHATS, chat(stream=True)), caller, Story(context, it.clock)
            )
        )
    assert DONE not in caller.body and caller.complete
    assert "".join(texts(caller)) == ("One is. Two" if left else "")
    assert it.ledger.postings[0].amount_nanos > 0
