"""Requests beside chat as admission sees them: bounded in tokens and searches, also once they are reworded."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import Raw

from penstock.gateway.embeddings import EMBEDDINGS, EMBEDDINGS_GEMINI, Embeddings
from penstock.gateway.moderations import MODERATIONS, Moderations
from penstock.gateway.oneshot import OneShot
from penstock.gateway.reranking import RERANKING, TOKENS_PER_DOCUMENT, Reranking
from penstock.kernel.embed import EmbedReply, ModerationReply, Ranked, RerankReply, Verdict
from tests.support import run


def opened(face, body, path: str = "") -> OneShot:
    made = face.open(json.dumps(body).encode(), path)
    assert isinstance(made, OneShot)
    return made


def shouted(call: OneShot) -> OneShot:
    """Return the call with each of its words made longer."""
    call.reword([f"{text}!!!!" for text in call.content().texts])
    return call


def test_every_word_is_read_and_rewritten_in_its_place():
    texts = {"model": "m", "input": ["a", "b"], "user": "kim"}
    call = shouted(opened(EMBEDDINGS, texts))
    assert (call.request.texts, call.request.user) == (("a!!!!", "b!!!!"), "kim!!!!")
    parts = {
        "requests": [
            {"content": {"parts": [{"text": "a"}, {"text": "b"}]}},
            {"content": {"parts": [{"text": "c"}]}},
        ]
    }
    call = shouted(opened(EMBEDDINGS_GEMINI, parts, "/v1beta/models/g:batchEmbedContents"))
    assert call.request.parted == (("a!!!!", "b!!!!"), ("c!!!!",))
    picture = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
    call = shouted(opened(MODERATIONS, {"input": [picture, {"type": "text", "text": "a"}]}))
    assert [getattr(part, "text", "") for part in call.request.inputs[0]] == ["", "a!!!!"]
    call = shouted(opened(RERANKING, {"model": "m", "query": "q", "documents": ["a", "b"]}))
    assert (call.request.query, call.request.documents) == ("q!!!!", ("a!!!!", "b!!!!"))


def test_what_has_no_words_is_told():
    assert opened(EMBEDDINGS, {"model": "m", "input": [1, 2], "odd": 1}).content().unscanned == (
        "extras.odd",
        "tokens",
    )
    titled = {"content": {"parts": [{"text": "a"}]}, "title": "T"}
    call = opened(EMBEDDINGS_GEMINI, titled, "/v1beta/models/g:embedContent")
    assert call.content().unscanned == ("extras.title",)
    picture = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
    assert opened(MODERATIONS, {"input": [picture]}).content().unscanned == ("image",)


def test_longer_words_are_bounded_by_more_tokens():
    for face, body in (
        (EMBEDDINGS, {"model": "m", "input": ["a", "b"]}),
        (MODERATIONS, {"input": ["a", "b"]}),
    ):
        before = opened(face, body).prompt_bytes
        assert shouted(opened(face, body)).prompt_bytes == before + 8


def test_a_reranker_reads_the_query_with_each_document():
    documents = ["d" * 10] * 50
    call = opened(RERANKING, {"model": "m", "query": "q" * 90, "documents": documents})
    assert call.prompt_bytes == 50 * (10 + 90 + TOKENS_PER_DOCUMENT)
    assert call.requests == 1
    call.reword([*documents, "q" * 990])
    assert call.prompt_bytes == 50 * (10 + 990 + TOKENS_PER_DOCUMENT)
    assert call.requests == 1
    call.reword([*documents, "q" * 991])
    assert call.requests == 2


def test_a_picture_is_a_picture_and_not_its_bytes():
    heavy = {"type": "image_url", "image_url": {"url": "data:image/gif;base64," + "A" * 10_000}}
    call = opened(MODERATIONS, {"input": [{"type": "text", "text": "a"}, heavy]})
    assert call.images == 1 and call.prompt_bytes < 200


def test_who_names_no_model_asks_for_the_usual_one():
    assert opened(MODERATIONS, {"input": "a"}).model == "omni-moderation-latest"
    assert opened(RERANKING, {"query": "q", "texts": ["a"]}).model == "rerank"


class Vendor:
    """Answers as it is told, whatever it is asked."""

    def __init__(self, reply: object) -> None:
        self.reply = reply

    async def embed(self, _call: object) -> object:
        return self.reply

    moderate = rerank = embed


def told(counted: int | None, units: int | None) -> list[tuple[Any, OneShot, object]]:
    """Return each kind of call with a request and a vendor's answer that counts so much."""
    usage = {} if counted is None else {"usage": Raw(b'{"total_tokens":%d}' % counted)}
    verdict = Verdict(flagged=False, categories={}, scores={})
    return [
        (
            Embeddings(),
            opened(EMBEDDINGS, {"model": "m", "input": "a"}),
            EmbedReply(model="m", vectors=(b"\0\0\0\0",), input_tokens=counted),
        ),
        (
            Moderations(),
            opened(MODERATIONS, {"input": "a"}),
            ModerationReply(id="m-1", model="m", results=(verdict,), extras=usage),
        ),
        (
            Reranking(),
            opened(RERANKING, {"model": "m", "query": "q", "documents": ["a"]}),
            RerankReply(results=(Ranked(0, 0.5),), input_tokens=counted, search_units=units),
        ),
    ]


@pytest.mark.parametrize(("counted", "units", "billed"), [(None, None, False), (0, 0, False), (3, 1, True)])
def test_zeroes_are_no_bill(counted: int | None, units: int | None, billed: bool) -> None:
    for kind, call, reply in told(counted, units):
        target: Any = SimpleNamespace(model="m", provider=Vendor(reply))
        usage = run(kind.call(call, target, "req_1", SimpleNamespace())).usage
        assert (usage is not None) is billed


def test_searches_alone_are_a_bill() -> None:
    *_, (kind, call, reply) = told(None, 2)
    target: Any = SimpleNamespace(model="m", provider=Vendor(reply))
    assert run(kind.call(call, target, "req_1", SimpleNamespace())).usage.requests == 2
