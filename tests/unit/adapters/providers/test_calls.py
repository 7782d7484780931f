"""What vendors are asked beside chats: where it goes, in whose words, and what becomes of an answer that is none."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from msgspec.structs import replace

from penstock.adapters.providers.azure import AzureProvider
from penstock.adapters.providers.gemini import GeminiProvider
from penstock.adapters.providers.openai import OpenAIProvider
from penstock.dialects import anthropic_errors, openai_errors
from penstock.kernel.chat import Text
from penstock.kernel.embed import EmbedRequest, ModerationRequest, RerankRequest
from penstock.ports.providers import CallTimers, EmbedCall, ModerateCall, ProviderFailure, RerankCall
from penstock.ports.secrets import Secret
from tests.support import run
from tests.unit.adapters.providers.vendors import JSON, Vendor, at, call
from tests.unit.net.rig import calling, silent, until, upstream

KEY = Secret("vk4711-very-secret")
COHERE = json.dumps({"id": "r", "results": [{"index": 1, "relevance_score": 0.9}]}).encode()
TEI = b'[{"index":1,"score":0.9}]'
JUDGED = b'{"id":"m","model":"m","results":[{"flagged":false}]}'
ASKED = RerankRequest(model="m", query="q", documents=("a", "b"))
RAW = RerankRequest(model="m", query="q", documents=("a",), dialect="tei", raw_scores=True)


def rerank(request: RerankRequest = ASKED) -> RerankCall:
    return RerankCall(request=request, request_id="req-7", timers=CallTimers())


def embed(request: EmbedRequest) -> EmbedCall:
    return EmbedCall(request=request, request_id="req-7", timers=CallTimers())


@pytest.mark.parametrize(
    ("vendor", "base", "target", "answer"),
    [
        ("", "/v1", "/v1/rerank", COHERE),
        ("vllm", "/v1", "/v1/rerank", COHERE),
        ("cohere", "/compatibility/v1", "/v2/rerank", COHERE),
        ("cohere", "/v2", "/v2/rerank", COHERE),
        ("cohere", "", "/v2/rerank", COHERE),
        ("tei", "/v1", "/rerank", TEI),
        ("tei", "/tei/v1", "/tei/rerank", TEI),
        ("tei", "", "/rerank", TEI),
    ],
)
def test_a_reranker_is_asked_where_and_in_the_words_its_server_has(vendor, base, target, answer):
    played = Vendor((200, JSON, answer))
    options: dict[str, Any] = {"vendor": vendor} if vendor else {}
    reply = at(played, OpenAIProvider, lambda each: each.rerank(rerank()), path=base, key=KEY, **options)
    assert [(each.index, each.score) for each in reply.results] == [(1, 0.9)]
    (request,) = played.requests
    assert request.path == target
    assert request.header(b"x-request-id") == b"req-7"
    assert request.header(b"authorization") == b"Bearer vk4711-very-secret"
    assert ("texts" in json.loads(request.body)) is (answer is TEI)


def test_texts_are_judged_at_the_servers_moderations():
    played = Vendor((200, JSON, JUDGED))
    call = ModerateCall(
        request=ModerationRequest(model="m", inputs=((Text("a"),),)), request_id="req-7", timers=CallTimers()
    )
    reply = at(played, OpenAIProvider, lambda each: each.moderate(call), path="/v1")
    assert not reply.results[0].flagged
    assert (played.requests[0].path, json.loads(played.requests[0].body)) == (
        "/v1/moderations",
        {"input": "a", "model": "m"},
    )


@pytest.mark.parametrize(
    ("version", "target"),
    [("", "/openai/v1/embeddings"), ("2024-10-21", "/openai/deployments/my%20d/embeddings?api-version=2024-10-21")],
)  # fmt: skip
def test_azure_embeds_at_the_path_of_its_version(version, target):
    played = Vendor((200, JSON, b'{"data":[{"index":0,"embedding":[1.0]}],"usage":{"prompt_tokens":2}}'))
    options: dict[str, Any] = {"api_version": version} if version else {}
    request = EmbedRequest(model="my d", texts=("a",))
    reply = at(played, AzureProvider, lambda each: each.embed(embed(request)), key=KEY, **options)
    assert reply.input_tokens == 2
    (asked,) = played.requests
    assert asked.path + (f"?{asked.query.decode()}" if asked.query else "") == target
    assert asked.header(b"api-key") == b"vk4711-very-secret"


@pytest.mark.parametrize("model", ["g", "models/g"])
def test_gemini_is_told_the_resource_and_answers_for_the_model_asked(model):
    played = Vendor((200, JSON, b'{"embeddings":[{"values":[1.0]}],"usageMetadata":{"promptTokenCount":2}}'))
    request = EmbedRequest(model=model, texts=("a",), dimensions=1)
    reply = at(played, GeminiProvider, lambda each: each.embed(embed(request)), key=KEY)
    assert (reply.model, len(reply.vectors), reply.input_tokens) == (model, 1, 2)
    assert played.requests[0].path == "/v1beta/models/g:batchEmbedContents"
    wanted = {"model": "models/g", "outputDimensionality": 1, "content": {"parts": [{"text": "a"}]}}
    assert json.loads(played.requests[0].body) == {"requests": [wanted]}


@pytest.mark.parametrize(
    ("adapter", "call"),
    [
        (GeminiProvider, lambda each: each.embed(embed(EmbedRequest(model="g", tokens=((1,),))))),
        (
            OpenAIProvider,
            lambda each: each.embed(embed(EmbedRequest(model="m", dialect="gemini", parted=(("a", "b"),)))),
        ),
        (
            OpenAIProvider,
            lambda each: each.rerank(rerank(RAW)),
        ),
    ],
)  # fmt: skip
def test_what_a_wire_cannot_say_is_refused_and_never_sent(adapter, call):
    played = Vendor((200, JSON, b"{}"))
    with pytest.raises(ProviderFailure) as refused:
        at(played, adapter, call)
    assert (refused.value.kind, refused.value.dispatched) == ("invalid", False)
    assert played.requests == []


@pytest.mark.parametrize(
    "answer", [b'{"results":[{"index":2,"relevance_score":1}]}', b"[]x", b'[{"index":0}]', b"{}"]
)
def test_an_answer_that_is_none_is_malformed(answer):
    played = Vendor((200, JSON, answer))
    with pytest.raises(ProviderFailure) as failed:
        at(played, OpenAIProvider, lambda each: each.rerank(rerank()))
    assert failed.value.kind == "malformed_reply"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, b'{"message":"model \'gone\' not found"}', "not_found"),
        (401, b'{"message":"invalid api token"}', "unauthenticated"),
        (429, b'{"error":"Model is overloaded","error_type":"overloaded"}', "overloaded"),
        (
            413,
            b'{"error":"batch size 40 > maximum allowed batch size 32","error_type":"Validation"}',
            "invalid",
        ),
    ],
)
def test_the_errors_of_rerankers_are_understood(status, body, kind):
    played = Vendor((status, JSON, body))
    with pytest.raises(ProviderFailure) as failed:
        at(played, OpenAIProvider, lambda each: each.rerank(rerank()), path="/v1")
    assert failed.value.kind == kind


@pytest.mark.parametrize(("max_waiting", "connect_s"), [(0, 5.0), (9, 0.05)])
def test_a_pool_of_ours_that_is_full_or_slow_is_not_told_as_the_vendors_overload(max_waiting, connect_s):
    async def scene() -> ProviderFailure:
        async with (
            upstream(silent) as (up, origin),
            calling(connections_per_origin=1, max_waiting=max_waiting) as client,
        ):
            provider = OpenAIProvider("mine", base_url=f"{origin}/v1", client=client)
            first = asyncio.create_task(provider.chat(call()))
            await until(lambda: up.connections == 1)
            timers = CallTimers(connect_s=connect_s)
            with pytest.raises(ProviderFailure) as caught:
                await provider.chat(replace(call(), timers=timers))
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            return caught.value

    failure = run(scene())
    assert (failure.kind, failure.dispatched, failure.retry_after_s) == ("pool_exhausted", False, 1.0)
    assert openai_errors.render_error(failure)[0] == 503
    assert anthropic_errors.render_error(failure)[0] == 529
    assert b"retry-after: 1\r\n" in openai_errors.retry_headers(failure)
