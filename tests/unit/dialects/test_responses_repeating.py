"""What a response repeats of its request, and the ids it and its items have, whoever answered; the SDK validates it."""

from __future__ import annotations

import json

import pytest
from openai.types.responses import Response

from penstock.dialects.codec import StreamHead
from penstock.dialects.responses import CODEC, StreamRenderer, render_reply
from penstock.dialects.responses_replies import REPEATED_BYTES, echoed
from penstock.gateway.faces import RESPONSES
from penstock.gateway.wording import Wording
from penstock.kernel.chat import ChatEvent, ChatReply, Message, ToolCall, ToolCallDelta
from penstock.kernel.clock import ManualClock
from tests.unit.dialects.test_responses_replies import CUSTOM, data_of, written


def test_a_call_of_a_custom_tool_has_an_id_of_its_kind():
    message = Message(role="assistant", tool_calls=(ToolCall("c2", "p", "i", CUSTOM),))
    reply = ChatReply(
        id="msg_01", model="m", created_s=7, choices=(message,), finishes=("tool_calls",), usage=None
    )
    assert [item["id"] for item in json.loads(render_reply(reply))["output"]] == ["ctc_01_0"]
    delta = ToolCallDelta(0, "c2", "p", "i", CUSTOM)
    last = data_of(written([ChatEvent(tool_calls=(delta,)), ChatEvent(finish="tool_calls")])[-1])
    assert [item["id"] for item in last["response"]["output"]] == ["ctc_abc_0"]


ASKED = {
    "model": "m", "input": "x", "instructions": "be brief", "max_output_tokens": 99, "temperature": 0.5,
    "metadata": {"run": "7"}, "reasoning": {"effort": "low"}, "text": {"verbosity": "low"}, "truncation": None,
    "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": True}], "parallel_tool_calls": False,
}  # fmt: skip


def test_every_form_of_a_streamed_response_repeats_what_was_asked():
    """As the object has it: what was not mentioned, or is null, with its value of then; the input not at all."""
    assert CODEC.echo is not None
    head = StreamHead(id="req_abc", model="m", created_s=7, echo=CODEC.echo(json.dumps(ASKED).encode()))
    renderer = StreamRenderer(head)
    said = (renderer.event(ChatEvent(text="x")) + renderer.done()).split(b"\n\n")[:-1]
    forms = [each["response"] for each in map(data_of, said) if "response" in each]
    assert len(forms) == 3
    for form in forms:
        Response.model_validate(form)
        same = {name: value for name, value in ASKED.items() if name not in ("input", "reasoning", "text")}
        assert {name: form[name] for name in same} == {**same, "truncation": "disabled"}
        assert form["reasoning"] == {"effort": "low", "summary": None}
        assert form["text"] == {"format": {"type": "text"}, "verbosity": "low"}
        assert (form["id"], form["tool_choice"], form["top_p"]) == ("resp_abc", "auto", None)
        assert "input" not in form


def test_an_answer_kept_of_another_request_repeats_nothing_of_who_asked_then():
    """Answers are shared by requests that differ in these alone; OpenAI's repeat them."""
    whose = {"metadata": {"case": "7"}, "user": "ann", "safety_identifier": "a1", "prompt_cache_key": "k",
             "prompt_cache_retention": "24h"}  # fmt: skip
    asked = b'{"model":"m","input":"x"}'
    body = json.dumps({"id": "resp_1", "model": "m", "status": "completed", "output": [], **whose}).encode()
    wording = Wording(RESPONSES, RESPONSES.open(asked, ""), {CODEC.name: CODEC}, "req_1", ManualClock())
    told = json.loads(wording.written(CODEC.parse_reply(body)))
    Response.model_validate(told)
    assert {name: told.get(name) for name in whose} == {**dict.fromkeys(whose), "metadata": {}}


@pytest.mark.parametrize(("over", "repeated"), [(-1, True), (0, True), (1, False)])
def test_what_is_repeated_is_bounded_and_a_longer_member_is_as_if_not_mentioned(over: int, repeated: bool):
    words = "w" * (REPEATED_BYTES - len('""') - len("9") + over)
    body = json.dumps(
        {"model": "m", "input": "x", "instructions": words, "max_output_tokens": 9, "top_p": 0.5}
    )
    said = echoed(body.encode())
    assert ("instructions" in said, "max_output_tokens" in said) == (True, repeated)
    wide = echoed(json.dumps({"instructions": "w" * REPEATED_BYTES, "max_output_tokens": 9}).encode())
    assert ("instructions" in wide, "max_output_tokens" in wide) == (False, True)
