"""Chat through the client, over a socket and in process: what goes, what comes, and every way it can end.

Promise: parameters go through as given; what was cut or ended with an error raises, after what came before it; no key
is in any error. Who leaves early has tests of their own: test_leaving.py.
"""

from __future__ import annotations

import asyncio
import traceback

import msgspec
import pytest

from penstock.dialects.openai_errors import render_error_event
from penstock.kernel import errors
from penstock.sdk.answers import Message
from penstock.sdk.client import Client
from penstock.sdk.transport import Reply
from tests.support import run
from tests.unit.sdk.wires import EVENTS, JSON, KEY, WAYS, Pieces, Scripted, reaching

ASK = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
TOLD = b"x-request-id: req_1\r\nx-penstock-route: a/m\r\nx-penstock-cost-nanos: 18150\r\n"
USAGE = {
    "prompt_tokens": 3,
    "completion_tokens": 2,
    "total_tokens": 5,
    "prompt_tokens_details": {"cached_tokens": 1},
}
DONE = b"data: [DONE]\n\n"
both = pytest.mark.parametrize("way", WAYS)


def chunk(text: str = "", **more) -> bytes:
    """One event of an answer."""
    told = {
        "id": "c1",
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}],
    }
    return b"data: %b\n\n" % msgspec.json.encode(told | more)


STREAM = chunk("Hel") + chunk("lo") + chunk(choices=[], usage=USAGE) + DONE


def streaming(*pieces: bytes, ends: bool = True):
    """A handler that writes pieces, then ends its reply properly or breaks it off."""

    async def handle(request, responder):
        responder.begin(200, EVENTS + TOLD)
        for piece in pieces:
            responder.write(piece)
            await asyncio.sleep(0)
        if ends:
            responder.finish()
        else:
            await asyncio.sleep(0.02)  # over a socket, what was written is on its way first
            responder.abort()

    return handle


async def read(client: Client) -> tuple[list[str], errors.PenstockError | None]:
    """Return the text of each chunk, and what it ended with."""
    said: list[str] = []
    try:
        async with client.chat.stream(**ASK) as stream:
            while (piece := await anext(stream, None)) is not None:
                said.append(piece.text)
    except errors.PenstockError as error:
        return said, error
    return said, None


# ------------------------------------------------------------------------------------------------------------- whole


@both
def test_a_whole_answer_comes_with_what_it_cost_and_where_it_went(way):
    async def handle(request, responder):
        message = {"role": "assistant", "content": "Hi", "unknown": 1}
        body = {
            "id": "c1",
            "created": 7,
            "model": "m",
            "choices": [{"message": message, "finish_reason": "stop"}],
        }
        responder.send(200, JSON + TOLD, msgspec.json.encode(body | {"usage": USAGE}))

    async def ask():
        async with reaching(way, handle) as (transport, _):
            return await Client(transport=transport).chat.create(**ASK)

    answer = run(ask())
    assert (answer.text, answer.choices[0].finish_reason) == ("Hi", "stop")
    assert (answer.request_id, answer.route, answer.cost_nanos) == ("req_1", "a/m", 18150)
    assert answer.usage.prompt_tokens_details.cached_tokens == 1
    assert b'"unknown"' in answer.body


@both
def test_every_parameter_goes_through_and_headers_stand_beside(way):
    seen = []

    async def handle(request, responder):
        seen.append((request, msgspec.json.decode(request.body)))
        responder.send(200, JSON, b'{"choices": []}')

    more = {
        "tools": [{"type": "function"}],
        "n": 2,
        "max_tokens": None,
        "x_vendor": {"a": [1.5]},
        "user": "ada",
    }

    async def ask():
        async with reaching(way, handle) as (transport, _):
            chat = Client(transport=transport).chat
            return await chat.create(
                **ASK, **more, feature="search", idempotency_key="k1", traceparent="00-a-b-01"
            )

    assert run(ask()).text == ""
    ((request, body),) = seen
    assert body == ASK | more
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    asked = {
        name: request.header(name) for name in (b"x-penstock-feature", b"idempotency-key", b"traceparent")
    }
    assert list(asked.values()) == [b"search", b"k1", b"00-a-b-01"]
    assert request.header(b"authorization") == f"Bearer {KEY}".encode()


def test_a_message_of_an_answer_can_be_sent_back_as_it_is():
    wire = Scripted({"choices": []})
    said = msgspec.json.decode(
        b'{"role": "assistant", "content": null, "tool_calls": [{"id": "t1", "type": "function", "function": '
        b'{"name": "look", "arguments": "{"}}]}',
        type=Message,
    )
    run(Client(transport=wire).chat.create(model="m", messages=[said]))
    assert msgspec.json.decode(wire.calls[0][2])["messages"] == [
        {
            "role": "assistant",
            "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "look", "arguments": "{"}}],
        }
    ]


@pytest.mark.parametrize("cost", [b"", b"-1", b"1.5", b"\xb2", b"9" * 20])
def test_a_cost_that_is_no_amount_is_not_told(cost):
    wire = Scripted(Reply(200, [(b"x-penstock-cost-nanos", cost)], b'{"choices": []}'))
    assert run(Client(transport=wire).chat.create(**ASK)).cost_nanos is None


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"stream": True}, "stream"),
        ({"metadata": object()}, "body"),
        ({"feature": "a\r\nx: y"}, "x-penstock-feature"),
        ({"idempotency_key": "\u00e9"}, "idempotency-key"),
    ],
)
@pytest.mark.parametrize("method", ["create", "stream"])
def test_what_cannot_be_sent_is_refused_before_anything_is(given, field, method):
    wire = Scripted()

    async def ask():
        made = getattr(Client(transport=wire).chat, method)(**ASK, **given)
        return await made

    with pytest.raises(errors.Invalid) as refusal:
        run(ask())
    assert refusal.value.field == field
    assert wire.calls == []


# ----------------------------------------------------------------------------------------------------------- streamed


@both
def test_a_streamed_answer_comes_chunk_by_chunk_with_usage_and_route(way):
    seen = []

    async def handle(request, responder):
        seen.append(msgspec.json.decode(request.body))
        await streaming(STREAM)(request, responder)

    async def ask():
        async with reaching(way, handle) as (transport, stats):
            async with Client(transport=transport).chat.stream(**ASK, seed=1) as stream:
                told = (stream.request_id, stream.route, stream.cost_nanos, stream.usage)
                said = [piece.text async for piece in stream]
            return told, said, stream.usage, stats.clients_gone

    told, said, usage, gone = run(ask())
    assert told == ("req_1", "a/m", 18150, None)
    assert said == ["Hel", "lo", ""]
    assert usage.total_tokens == 5
    assert seen == [ASK | {"stream": True, "stream_options": {"include_usage": True}, "seed": 1}]
    assert gone == 0


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_the_chunks_are_the_same_at_every_split(size):
    pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    said, error = run(read(Client(transport=Scripted(Pieces(*pieces)))))
    assert (said, error) == (["Hel", "lo", ""], None)


@both
def test_an_answer_that_was_cut_raises_after_what_came(way):
    async def ask():
        async with reaching(way, streaming(chunk("Hel"), ends=False)) as (transport, _):
            return await read(Client(transport=transport))

    said, error = run(ask())
    assert said == ["Hel"]
    assert isinstance(error, errors.Unavailable)


@both
def test_an_answer_that_ends_properly_without_its_end_mark_is_not_whole(way):
    async def ask():
        async with reaching(way, streaming(chunk("Hel"))) as (transport, _):
            return await read(Client(transport=transport))

    said, error = run(ask())
    assert (said, type(error), error.reason) == (["Hel"], errors.Upstream, "stream_cut")


@both
@pytest.mark.parametrize(
    "raised",
    [
        errors.OverBudget("No money."),
        errors.Overloaded("The server is shutting down.", code="draining"),
        errors.TimedOut("Too slow.", code="slow_client", remedy="Read faster."),
        errors.Invalid("No.", field="n", value=7, limit=5),
    ],
    ids=lambda error: error.reason,
)
def test_an_error_at_the_end_of_a_stream_is_raised_as_itself_after_what_came(way, raised):
    handler = streaming(chunk("Hel") + render_error_event(raised))

    async def ask():
        async with reaching(way, handler) as (transport, _):
            return await read(Client(transport=transport))

    said, error = run(ask())
    assert said == ["Hel"]
    # A refined code has no status beside it here: its family is what the type tells.
    kind = errors.Unavailable if isinstance(raised, errors.Unavailable) else type(raised)
    assert isinstance(error, kind)
    assert (error.reason, str(error)) == (raised.reason, str(raised))


def test_what_fails_after_the_end_mark_does_not_matter():
    pieces = Pieces(STREAM, errors.Unavailable("cut"))
    assert run(read(Client(transport=Scripted(pieces)))) == (["Hel", "lo", ""], None)
    assert pieces.closed


@pytest.mark.parametrize(
    "data", [b"data: {\n\n", b"data: []\n\n", b"data: \xff\n\n", b"data: " + b"x" * 1_100_000]
)
def test_a_chunk_that_is_none_is_an_error_and_closes_the_reply(data):
    pieces = Pieces(chunk("Hel"), data)
    said, error = run(read(Client(transport=Scripted(pieces))))
    assert (said, type(error)) == (["Hel"], errors.Upstream)
    assert pieces.closed


def test_a_stream_is_read_only_while_it_is_open_and_only_once():
    async def ask():
        client = Client(transport=Scripted(Pieces(STREAM)))
        stream = client.chat.stream(**ASK)
        with pytest.raises(errors.Invalid, match="not open"):
            await anext(stream)
        async with stream:
            pass
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        with pytest.raises(errors.Invalid, match="once"):
            await stream.__aenter__()

    run(ask())


# ------------------------------------------------------------------------------------------------------------ refusals


@both
@pytest.mark.parametrize(
    "raised",
    [
        errors.OverLimit("Slow down.", limit=5, retry_after_s=2.5),
        errors.OverBudget("No money."),
        errors.Unauthenticated(f"Not {KEY}."),
        errors.StaleVersion(),
        errors.Overloaded("Full.", retry_after_s=1.0),
        errors.Broken("The mill turned backwards."),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("streamed", [True, False])
def test_a_refusal_comes_back_as_the_class_it_was_without_the_key(way, raised, streamed):
    async def handle(request, responder):
        raise raised

    async def ask():
        async with reaching(way, handle) as (transport, _):
            client = Client(transport=transport)
            try:
                await client.chat.create(**ASK) if not streamed else await client.chat.stream(
                    **ASK
                ).__aenter__()
            except errors.PenstockError as error:
                shown = "".join(
                    traceback.TracebackException.from_exception(error, capture_locals=False).format()
                )
                return error, shown + repr(error) + str(vars(error)) + repr(client) + repr(vars(client))
        raise AssertionError("nothing was raised")

    error, shown = run(ask())
    kind = errors.PenstockError if isinstance(raised, errors.Broken) else type(raised)
    assert type(error) is kind
    assert error.reason == raised.reason
    wait_s = getattr(raised, "retry_after_s", None)
    assert error.retry_after_s == wait_s
    assert KEY not in shown


def test_a_server_that_is_not_there_is_one_sentence_with_its_remedy_and_no_key():
    async def ask():
        async with Client("http://127.0.0.1:1", KEY) as client:
            await client.chat.create(**ASK)

    with pytest.raises(errors.Unavailable) as refusal:
        run(ask())
    assert refusal.value.reason == "server_down"
    assert "penstock up" in str(refusal.value)
    assert KEY not in str(refusal.value)
