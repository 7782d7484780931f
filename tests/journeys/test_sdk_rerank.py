"""The official Cohere SDK orders documents over three servers: Cohere's own, one like vLLM, one like TEI; and a caller
of TEI's wire over each.

Promise: the order is the same whoever answers; searches are billed as Cohere bills them and tokens as the others count
them; documents told are the caller's own; a refusal is an exception of the SDK that says what to do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import cohere
import pytest
from cohere.errors import BadRequestError, NotFoundError, ServiceUnavailableError, UnauthorizedError
from msgspec.structs import replace
from openai import AsyncOpenAI

from penstock.kernel.settings import PriceSettings, ProviderSettings, Settings
from penstock.simulator.server import SimulatorOptions
from tests.journeys.three_wires import root
from tests.stage import Caller, Stage, stage
from tests.support import run

QUERY = "how full is the lake"
DOCUMENTS = ["A mill.", "the lake is full", "the lake"]
ORDER = [1, 2, 0]
SERVERS = ("cohere", "vllm", "tei")
SEARCH_NANOS = 2_500_000
ONCE = {"max_attempts": 1}
Steps = Callable[[Stage, Caller, Any], Awaitable[None]]
every_server = pytest.mark.parametrize("server", SERVERS)


def _providers(url: str) -> tuple[ProviderSettings, ...]:
    address = url.removesuffix("/v1")
    where = {"cohere": f"{address}/compatibility/v1", "vllm": url, "tei": url}
    return tuple(
        ProviderSettings(
            name=name,
            kind="openai",
            vendor="sim" if name == "vllm" else "",
            base_url=base,
            models=(f"{name}-model",),
        )
        for name, base in where.items()
    )


def _priced(settings: Settings) -> Settings:
    """Cohere's at a price for each search, TEI's by tokens as the simulator bills them."""
    searched = PriceSettings(provider="cohere", model="*", per_request="0.0025")
    return replace(
        settings,
        prices=(searched, PriceSettings(provider="tei", model="*", input="0.15"), *settings.prices),
    )


def journey(folder: Path, steps: Steps) -> None:
    """Take `steps` with a client of its own key."""

    async def whole() -> None:
        sim = SimulatorOptions(search_nanos=SEARCH_NANOS)
        async with stage(folder, simulator=sim, others=_providers, altered=_priced, resilience=ONCE) as it:
            caller = await it.caller()
            async with cohere.AsyncClientV2(caller.token, base_url=root(it), max_retries=0) as client:
                await steps(it, caller, client)

    run(whole())


@every_server
def test_documents_are_ordered_and_billed_as_their_server_bills(tmp_path: Path, server: str) -> None:
    async def steps(it: Stage, caller: Caller, client: Any) -> None:
        reply = await client.rerank(model=f"{server}-model", query=QUERY, documents=DOCUMENTS)
        assert [each.index for each in reply.results] == ORDER
        assert reply.results[0].relevance_score == pytest.approx(0.8)
        two = await client.rerank(model=f"{server}-model", query=QUERY, documents=DOCUMENTS, top_n=2)
        assert [each.index for each in two.results] == ORDER[:2]
        truth, spent = await it.truth(2), await it.settled(caller, 2)
        if server == "tei":  # it tells no usage: billed by the bound, and said to be an estimate
            assert spent.posted_nanos >= sum(row.cost_nanos for row in truth) > 0
        else:
            assert spent.posted_nanos == sum(row.cost_nanos for row in truth) > 0
        if server == "cohere":
            assert reply.meta.billed_units.search_units == 1
            assert spent.posted_nanos == 2 * SEARCH_NANOS

    journey(tmp_path, steps)


def test_a_large_order_is_held_and_billed_by_its_searches(tmp_path: Path) -> None:
    """Given 201 documents, which are 3 searches, then a budget of 2 refuses them and one without pays 3."""

    async def steps(it: Stage, caller: Caller, client: Any) -> None:
        many = ["the lake"] * 201
        poor = await it.caller(max_request_nanos=2 * SEARCH_NANOS)
        async with cohere.AsyncClientV2(poor.token, base_url=root(it), max_retries=0) as stinted:
            with pytest.raises(cohere.errors.TooManyRequestsError) as dear:
                await stinted.rerank(model="cohere-model", query=QUERY, documents=many)
        assert dear.value.body["error"]["code"] == "request_too_expensive"
        await client.rerank(model="cohere-model", query=QUERY, documents=many)
        [row] = await it.truth()
        assert (row.searches, (await it.settled(caller)).posted_nanos) == (3, 3 * SEARCH_NANOS)

    journey(tmp_path, steps)


@every_server
def test_teis_own_wire_is_served_over_every_server(tmp_path: Path, server: str) -> None:
    """Nobody ships an SDK for TEI: its wire is spoken plainly."""

    async def steps(it: Stage, caller: Caller, _client: Any) -> None:
        asked = {"query": QUERY, "texts": DOCUMENTS, "return_text": True, "truncate": True}
        async with AsyncOpenAI(base_url=root(it), api_key=caller.token, max_retries=0) as http:
            told: Any = await http.post("/rerank", body={**asked, "model": f"{server}-model"}, cast_to=object)
        assert [(each["index"], each["text"]) for each in told] == [(at, DOCUMENTS[at]) for at in ORDER]

    journey(tmp_path, steps)


def test_refusals_are_this_sdks_exceptions_and_say_what_to_do(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: Any) -> None:
        with pytest.raises(NotFoundError) as missing:
            await client.rerank(model="gone", query=QUERY, documents=DOCUMENTS)
        assert "gone" in missing.value.body["message"]
        with pytest.raises(BadRequestError) as empty:
            await client.rerank(model="cohere-model", query="", documents=DOCUMENTS)
        assert empty.value.body["error"]["param"] == "query"
        with pytest.raises(BadRequestError, match="max_tokens_per_doc"):
            await client.rerank(model="tei-model", query=QUERY, documents=DOCUMENTS, max_tokens_per_doc=9)
        with pytest.raises(BadRequestError) as unable:
            await client.rerank(model="local/extractive", query=QUERY, documents=DOCUMENTS)
        assert unable.value.body["error"]["code"] == "model_not_able"
        assert it.simulator.truth.rows() == []
        for server in SERVERS:
            it.simulator.order("overloaded")
            with pytest.raises(ServiceUnavailableError):
                await client.rerank(model=f"{server}-model", query=QUERY, documents=DOCUMENTS)
        async with cohere.AsyncClientV2("pen-nobody-x", base_url=root(it), max_retries=0) as nobody:
            with pytest.raises(UnauthorizedError) as unknown:
                await nobody.rerank(model="cohere-model", query=QUERY, documents=DOCUMENTS)
            assert "API key" in unknown.value.body["message"]
        assert (await it.spent(caller)).posted_nanos == 0

    journey(tmp_path, steps)
