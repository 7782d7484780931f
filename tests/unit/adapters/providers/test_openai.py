"""The wire's adapter against vendors that answer oddly: every byte they see and every failure they cause."""

from __future__ import annotations

import asyncio
import json

import pytest

from penstock.adapters.providers.openai import OpenAIProvider
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Invalid
from penstock.net.client import HttpClient
from penstock.net.server import Server
from penstock.ports.providers import CallTimers, ChatCall, ProviderFailure
from penstock.ports.secrets import Secret
from tests.support import run

BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
OK = b'{"choices":[{"finish_reason":"stop"}]}'
CHUNK = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}\n\n'
LAST = b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
JSON, SSE = b"content-type: application/json\r\n", b"content-type: text/event-stream\r\n"


def call(*, stream=False, **timers) -> ChatCall:
    return ChatCall(model="m", body=BODY, stream=stream, request_id="req-7", timers=CallTimers(**timers))


def at(vendor, work, *, path="/v1", **options):
    """Run `work(provider)` against a vendor whose handler is `vendor(request, responder)`."""

    async def session():
        server = Server(
            vendor, allowed_hosts=None, cors=None,
            error_renderer=lambda error, path: (error.status, JSON, b"{}"),
        )  # fmt: skip
        await server.start("127.0.0.1", 0)
        provider = OpenAIProvider(
            "acme", base_url=f"http://127.0.0.1:{server.port}{path}", client=HttpClient(), **options
        )
        try:
            return await work(provider)
        finally:
            await provider.close()
            await server.close()

    return run(session())


def answering(status, headers, body):
    async def vendor(request, responder):
        responder.send(status, headers, body)

    return vendor


def streaming(*blocks, headers=SSE, cut=False):
    async def vendor(request, responder):
        responder.begin(200, headers)
        for block in blocks:
            responder.write(block)
            await asyncio.sleep(0.01)
        if cut:
            responder.abort()
        else:
            responder.finish()

    return vendor


async def whole(provider):
    reply = await provider.chat(call())
    try:
        return await reply.read(1 << 20)
    finally:
        reply.close()


async def streamed(provider) -> bytes:
    reply = await provider.chat(call(stream=True))
    got = b""
    try:
        while data := await reply.chunk():
            got += data
    finally:
        reply.close()
    return got


def failure(vendor, work=whole, **options) -> ProviderFailure:
    with pytest.raises(ProviderFailure) as raised:
        at(vendor, work, **options)
    return raised.value


# ------------------------------------------------------------------------------------------------ what goes out


def test_the_request_goes_out_as_it_is_with_key_headers_and_id():
    seen = []

    async def vendor(request, responder):
        seen.append(request)
        responder.send(200, JSON, OK)

    assert at(vendor, whole, path="/deep/v1/", key=Secret("sk-1"), headers={"X-Org": "acme"}) == OK
    (request,) = seen
    assert (request.method, request.path, request.body) == ("POST", "/deep/v1/chat/completions", BODY)
    assert request.header(b"authorization") == b"Bearer sk-1"
    assert request.header(b"x-org") == b"acme"
    assert request.header(b"x-request-id") == b"req-7"
    assert request.header(b"content-type") == b"application/json"
    assert request.header(b"accept-encoding") == b"identity"


def test_without_a_key_there_is_no_authorization():
    seen = []

    async def vendor(request, responder):
        seen.append(request.header(b"authorization"))
        responder.send(200, JSON, OK)

    at(vendor, whole)
    assert seen == [None]


def test_a_request_id_cannot_add_a_header():
    async def work(provider):
        odd = ChatCall(model="m", body=BODY, stream=False, request_id="a\r\nx-evil: 1", timers=CallTimers())
        with pytest.raises(Invalid):
            await provider.chat(odd)

    at(answering(200, JSON, OK), work)


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"x y": "1"}, "k"),
        ({"x": "a\r\nb: c"}, "k"),
        ({"Content-Length": "1"}, "k"),
        ({"x": "é"}, "k"),
        ({}, "a\nb"),
        ({}, " k"),
    ],
)
def test_headers_that_could_change_the_message_are_refused(headers, key):
    with pytest.raises(Invalid) as refusal:
        OpenAIProvider("p", base_url="http://x", client=HttpClient(), headers=headers, key=Secret(key))
    assert "a\nb" not in str(refusal.value)


@pytest.mark.parametrize(
    ("vendor", "given_name", "limit_name"),
    [("openai", "", "max_completion_tokens"), ("ollama", "", "max_tokens"), ("ollama", "num", "num")],
)
def test_the_limit_goes_by_the_name_the_vendor_obeys(vendor, given_name, limit_name):
    provider = OpenAIProvider(
        "p", base_url="http://x", client=HttpClient(), vendor=vendor, limit_name=given_name
    )
    assert provider.limit_name == limit_name


def test_models_are_listed():
    async def vendor(request, responder):
        assert (request.method, request.path) == ("GET", "/v1/models")
        responder.send(200, JSON, b'{"object":"list","data":[{"id":"a","created":1},{"id":"b"}]}')

    assert at(vendor, lambda provider: provider.models()) == ["a", "b"]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"data":7}', b"<html>"])
def test_a_list_of_models_that_is_none_is_a_failure(body):
    assert failure(answering(200, JSON, body), lambda provider: provider.models()).kind == "malformed_reply"


# ---------------------------------------------------------------------------------------------------- refusals


def test_a_refusal_keeps_status_body_hint_and_the_vendors_word():
    body = b'{"error":{"message":"slow down","code":"rate_limit_exceeded"}}'
    error = failure(answering(429, JSON + b"retry-after-ms: 1500\r\nx-should-retry: false\r\n", body))
    assert (error.kind, error.vendor_status, error.retry_after_s) == ("rate_limited", 429, 1.5)
    assert (error.body, error.content_type, error.may_retry) == (body, "application/json", False)
    assert error.dispatched
    assert "slow down" in str(error)


def test_a_hint_that_is_a_date_is_measured_from_now():
    clock = ManualClock(wall_s=1_800_000_000.0)
    date = b"retry-after: Fri, 15 Jan 2027 08:01:00 GMT\r\n"
    assert failure(answering(503, JSON + date, b""), clock=clock).retry_after_s == 60.0


def test_a_hint_in_the_body_counts_when_there_is_no_header():
    assert failure(answering(429, JSON, b'{"error":{"message":"Please retry in 2.5s"}}')).retry_after_s == 2.5


def test_a_redirect_is_not_followed_and_says_so():
    error = failure(answering(307, b"location: http://evil.example/\r\n", b""), key=Secret("sk-secret"))
    assert error.kind == "invalid"
    assert "redirect" in str(error)


def test_a_key_never_shows():
    async def vendor(request, responder):
        responder.send(401, JSON, b'{"error":{"message":"Incorrect API key provided"}}')

    error = failure(vendor, key=Secret("sk-very-secret"))
    assert error.kind == "unauthenticated"
    assert "sk-very-secret" not in f"{error}{error!r}{error.__dict__}"


@pytest.mark.parametrize("told", ["vk4711-very-secret", "vk4711-v***cret", "vk4711-v"])
@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_a_vendor_that_tells_the_key_back_is_not_repeated(told, status):
    """Given a key told back in an error, whole or cut short as vendors do, then no part of it is in the failure."""
    body = b'{"error":{"message":"Incorrect API key provided: %b."}}' % told.encode()
    error = failure(answering(status, JSON, body), key=Secret("vk4711-very-secret"))
    assert "vk4711" not in f"{error}{error!r}{error.__dict__}"
    assert "Incorrect API key provided: ***" in str(error)


def test_a_huge_refusal_is_not_read_to_its_end():
    error = failure(answering(500, JSON, b"x" * (1 << 20)))
    assert (error.kind, error.body) == ("server_error", b"")


def test_nobody_listens():
    async def work():
        provider = OpenAIProvider("p", base_url="http://127.0.0.1:1", client=HttpClient())
        with pytest.raises(ProviderFailure) as raised:
            await provider.chat(call())
        await provider.close()
        return raised.value

    error = run(work())
    assert (error.kind, error.dispatched, error.vendor_status) == ("connect_failed", False, 0)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"error":{"message":"Overloaded","type":"overloaded_error"}}', "overloaded"),
        (b'{"error":"model exploded"}', "server_error"),
        (b'{"detail":"no"}', "server_error"),
        (b'{"hello":1}', "malformed_reply"),
        (b"<html>", "malformed_reply"),
        (b"", "malformed_reply"),
        (OK[:-4], "malformed_reply"),
    ],
)
def test_status_200_is_not_an_answer_yet(body, kind):
    assert failure(answering(200, JSON, body)).kind == kind


# ----------------------------------------------------------------------------------------------------- streams


def test_a_stream_comes_through_byte_for_byte():
    assert at(streaming(CHUNK, LAST, DONE), streamed) == CHUNK + LAST + DONE


def test_a_stream_without_the_mark_but_finished_is_whole():
    assert at(streaming(CHUNK, LAST), streamed) == CHUNK + LAST


@pytest.mark.parametrize("spaced", [b'"finish_reason": "length"', b'"finish_reason":"length"'])
def test_a_finish_reason_counts_in_any_spacing(spaced):
    assert at(streaming(CHUNK, LAST.replace(b'"finish_reason":"stop"', spaced)), streamed)


def test_a_stream_that_ends_in_the_middle_is_cut_even_if_http_saw_a_clean_end():
    assert failure(streaming(CHUNK, CHUNK), streamed).kind == "cut"


def test_a_stream_cut_before_its_first_byte_can_be_tried_elsewhere():
    assert failure(streaming(cut=True), streamed).kind == "connection_reset"


def test_an_empty_stream_is_malformed():
    assert failure(streaming(), streamed).kind == "malformed_reply"


def test_silence_before_the_first_byte_is_a_first_byte_timeout():
    async def vendor(request, responder):
        responder.begin(200, SSE)
        await asyncio.sleep(5)

    async def work(provider):
        await provider.chat(call(stream=True, between_chunks_s=0.2))

    assert failure(vendor, work).kind == "first_byte_timeout"


@pytest.mark.parametrize(
    "first",
    [
        b'data: {"error":{"message":"x","type":"overloaded_error"}}\n\n',
        b'event: error\r\ndata: {"type":"error","error":{"type":"overloaded_error","message":"x"}}\r\n\r\n',
    ],
)
def test_an_error_as_first_event_is_a_failure(first):
    error = failure(streaming(first), streamed)
    assert (error.kind, error.vendor_status) == ("overloaded", 200)
    assert b"overloaded_error" in error.body


def test_an_error_after_content_comes_through():
    late = b'data: {"error":{"message":"x"}}\n\n'
    assert at(streaming(CHUNK, late), streamed) == CHUNK + late


def test_a_first_chunk_that_talks_about_errors_is_content():
    talk = CHUNK.replace(b'"x"', json.dumps('the "error" is yours').encode())
    assert at(streaming(talk, LAST, DONE), streamed).startswith(talk)


def test_a_vendor_that_ignores_stream_is_read_as_a_whole():
    async def work(provider):
        reply = await provider.chat(call(stream=True))
        assert not reply.streamed
        return await reply.read(1000)

    assert at(answering(200, JSON, OK), work) == OK


def test_a_cancelled_caller_leaves_no_connection():
    async def vendor(request, responder):
        responder.begin(200, SSE)
        await asyncio.sleep(5)

    async def work(provider):
        waiting = asyncio.ensure_future(provider.chat(call(stream=True)))
        await asyncio.sleep(0.1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.sleep(0.05)
        return provider._client.connections(provider._origin)

    assert at(vendor, work) == (0, 0)


def test_rate_limits_and_headers_are_exposed():
    async def work(provider):
        reply = await provider.chat(call())
        return reply.rates, reply.header(b"x-request-id")

    lines = JSON + b"x-ratelimit-remaining-tokens: 7\r\nx-request-id: v1\r\n"
    rates, vendor_id = at(answering(200, lines, OK), work)
    assert rates.tokens.remaining == 7
    assert vendor_id == b"v1"
