"""`/v1/rerank` by a model in this machine: both wires' members mean something, and nothing is cut without a word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from penstock.embedding.search import late_interaction
from penstock.embedding.search.late_interaction import LocalReranker
from penstock.embedding.serving.provider import LocalModels
from penstock.embedding.serving.service import EmbeddingService
from penstock.embedding.serving.tokens import CHARS_PER_TOKEN
from penstock.kernel.clock import ManualClock
from penstock.kernel.embed import RerankReply, RerankRequest
from penstock.kernel.settings_embedding import EmbeddingSettings
from penstock.ports.providers import CallTimers, ChatProvider, ProviderFailure, RerankCall
from tests.counting_encoder import CountingEncoder
from tests.support import run

MOST = 6
"""Tokens that the model reads, two of them marks."""


class Chats:
    """What quotes; it is not asked here."""

    name = vendor = limit_name = "local"


class Lengths:
    """Finds a passage the better the longer it is, as read."""

    async def compress(self, matrices: Sequence[bytes], dimensions: int) -> tuple[bytes, ...]:
        return tuple(matrices)

    async def match(self, question: bytes, passages: Sequence[bytes], dimensions: int) -> tuple[float, ...]:
        return tuple([len(each) / (4 * dimensions) for each in passages])

    async def close(self) -> None:
        """Let nothing go."""


def reranked(*documents: str, query: str = "q", **asked: Any) -> RerankReply:
    """Have documents ordered."""

    async def whole() -> RerankReply:
        service = EmbeddingService([CountingEncoder(max_tokens=MOST)], EmbeddingSettings(), ManualClock())
        reranker = LocalReranker(service, Lengths())
        provider = LocalModels(cast("ChatProvider", Chats()), service, reranker=reranker)
        request = RerankRequest(model="local/counting", query=query, documents=documents, **asked)
        try:
            return await provider.rerank(
                RerankCall(request=request, request_id="r", timers=CallTimers(), tenant="a/t")
            )
        finally:
            await service.close()

    return run(whole())


def lengths(reply: RerankReply) -> dict[int, float]:
    """Return how many tokens of each document were read, with its marks."""
    return {each.index: each.score for each in reply.results}


def test_what_is_longer_than_the_model_reads_is_cut_and_named() -> None:
    reply = reranked("one two", "a b c d", "a b c d e", "", *["x"] * 62, "a b c d e f g")
    assert reply.truncated == ("documents[2]", "documents[66]")
    assert lengths(reply)[1] == lengths(reply)[2] == MOST and lengths(reply)[0] == 4
    assert not reranked("a b c d", "one").truncated, "what fits exactly is not cut"
    assert reranked("a", query="q w e r t").truncated == ("query",)
    assert reranked("a b c d e", dialect="tei", truncate=True).truncated == ("texts[0]",)


@pytest.mark.parametrize(
    ("most", "read", "cut"),
    [(1, (3, 3), (0, 1)), (2, (4, 4), (0,)), (3, (5, 4), ()), (4, (5, 4), ()), (9, (5, 4), ())],
)
def test_a_document_is_read_as_far_as_its_caller_says(
    most: int, read: tuple[int, int], cut: tuple[int, ...]
) -> None:
    reply = reranked("one  two three", "four five", document_tokens=most)
    assert tuple(lengths(reply)[at] for at in (0, 1)) == read
    assert reply.truncated == tuple(f"documents[{at}]" for at in cut)


def test_a_limit_above_the_models_own_changes_nothing() -> None:
    reply = reranked("a b c d e", document_tokens=5_000)
    assert lengths(reply) == {0: MOST} and reply.truncated == ("documents[0]",)


def test_a_text_cut_by_its_characters_is_named_though_few_tokens_are_left_of_it() -> None:
    wide = f"a{' ' * CHARS_PER_TOKEN * MOST}b"
    reply = reranked(wide, "a b")
    assert lengths(reply) == {0: 3, 1: 4} and reply.truncated == ("documents[0]",)
    assert reranked(wide, "a b", document_tokens=2).truncated == ("documents[0]",)
    assert not reranked(wide.replace("  ", "", 1), "a b").truncated, "exactly as many characters as are read"


def test_teis_own_default_refuses_what_is_too_long_by_the_name_its_caller_wrote() -> None:
    assert not reranked("a b c d", dialect="tei", truncate=False).truncated
    with pytest.raises(ProviderFailure) as refusal:
        reranked("a", "a b c d e", dialect="tei", truncate=False)
    error = refusal.value
    assert (error.kind, error.field, error.limit) == ("context_overflow", "texts[1]", MOST)
    assert '"truncate": true' in (error.remedy or "")
    with pytest.raises(ProviderFailure) as refusal:
        reranked("a", query="q w e r t", dialect="tei", truncate=False)
    assert refusal.value.field == "query"


def test_raw_scores_are_the_models_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from_shelf = late_interaction.shipped("all-MiniLM-L6-v2")
    monkeypatch.setattr(late_interaction, "shipped", lambda _model: from_shelf)
    raw = reranked("a b", dialect="tei", raw_scores=True)
    assert lengths(raw) == {0: 4}
    assert 0 <= lengths(reranked("a b", dialect="tei"))[0] <= 1
