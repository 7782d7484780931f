"""The Gemini codec among strangers: whatever bytes come, and whatever another dialect says, the outcome has a name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.dialects.codec import StreamHead
from penstock.dialects.gemini import CODEC, StreamParser, StreamRenderer
from penstock.kernel.chat import ChatEvent
from penstock.kernel.errors import Invalid, PenstockError, Upstream
from tests.unit.dialects import shapes
from tests.unit.dialects.test_gemini_replies import BODIES as REPLIES
from tests.unit.dialects.test_gemini_requests import BODIES as REQUESTS

JUNK = (
    "null",
    "true",
    "-1",
    "1e300",
    '"x"',
    '"\\u0000"',
    "[]",
    "{}",
    "[5]",
    '{"x_y":1}',
    '{"text":{}}',
    "[[]]",
)
HEAD = StreamHead(id="r", model="m", created_s=1)
T = TypeVar("T")


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) inside a JSON value."""
    keys = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in keys for place in [(value, key), *places(inner)]]


@st.composite
def spoiled(draw, bodies: list[Any]) -> bytes:
    """A recorded body with junk in one or two places."""
    body = json.loads(json.dumps(draw(st.sampled_from(bodies))))
    for _ in range(draw(st.integers(1, 2))):
        holder, key = draw(st.sampled_from(places(body)))
        holder[key] = json.loads(draw(st.sampled_from(JUNK)))
    return json.dumps(body).encode()


def unless(kind: type[PenstockError], work: Callable[[], T]) -> T | PenstockError:
    """Return what `work` does, or the error when it is of `kind`; any other error is a failure of the test."""
    try:
        return work()
    except kind as error:
        return error


def streamed(events: list[ChatEvent]) -> list[Any]:
    renderer = StreamRenderer(HEAD)
    out = b"".join([renderer.event(each) for each in events]) + renderer.done()
    return [json.loads(block.removeprefix(b"data: ")) for block in out.split(b"\n\n") if block]


@given(spoiled(REQUESTS))
@settings(max_examples=150)
def test_a_spoiled_request_is_read_or_refused_with_a_remedy(body):
    request = unless(Invalid, lambda: CODEC.parse_request(body))
    if isinstance(request, PenstockError):
        assert request.remedy
    else:
        assert json.loads(CODEC.render_request(request, "").body)


@given(spoiled(REPLIES))
@settings(max_examples=150)
def test_a_spoiled_reply_is_read_or_the_providers_fault(body):
    reply = unless(Upstream, lambda: CODEC.parse_reply(body))
    assert isinstance(reply, PenstockError) or json.loads(CODEC.render_reply(reply))


@given(spoiled(REPLIES))
@settings(max_examples=150)
def test_a_spoiled_event_is_read_or_the_providers_fault(body):
    block = b"data: " + body + b"\n\n"
    assert CODEC.facts().feed(block) in range(6)
    events = unless(Upstream, lambda: StreamParser().feed(block))
    assert isinstance(events, PenstockError) or len(streamed(events)) <= len(events)


@given(shapes.requests())
@settings(max_examples=100)
def test_a_request_of_openai_is_said_or_refused_by_name(request):
    rendered = unless(Invalid, lambda: CODEC.render_request(request, ""))
    if isinstance(rendered, PenstockError):
        assert (rendered.reason, bool(rendered.field)) == ("untranslatable", True)
    else:
        assert "contents" in json.loads(rendered.body)


@given(shapes.replies())
@settings(max_examples=100)
def test_a_reply_of_openai_is_said_unless_it_holds_foreign_parts(reply):
    rendered = unless(Invalid, lambda: CODEC.render_reply(reply))
    if isinstance(rendered, PenstockError):
        assert rendered.reason == "untranslatable"
    else:
        assert len(json.loads(rendered)["candidates"]) == len(reply.choices)


@given(st.lists(shapes.EVENTS, max_size=6))
@settings(max_examples=100)
def test_every_event_of_openai_is_said_as_json(events):
    said = streamed(events)
    ended = [each for event in said for each in event.get("candidates", ()) if "finishReason" in each]
    assert len(ended) == sum(bool(event.finish) for event in events)


@pytest.mark.parametrize(
    "body", [b"", b"5", b"[" * 100_000, b'{"contents":' + b'{"a":' * 100 + b"1" + b"}" * 101, b"\xff"]
)
def test_bytes_that_are_no_request_are_refused(body):
    with pytest.raises(Invalid):
        CODEC.parse_request(body)
