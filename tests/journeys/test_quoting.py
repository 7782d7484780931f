"""`local/extractive` over the whole platform with the real model: what is meant is found though no word is shared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from penstock.adapters.providers.local import NOTHING, PREFACE, PREFACE_MEANT
from penstock.embedding.serving.service import Vectors
from penstock.kernel.settings import EmbeddingSettings
from penstock.mechanisms.tenancy import KeyDoc
from tests.stage import stage
from tests.support import run

TEXT = (
    "The office is closed on public holidays. Staff receive twenty-five days of paid vacation a year. "
    "Invoices are settled within thirty days. The cafeteria serves soup."
)
QUESTION = "How much leave do employees get?"


@pytest.mark.parametrize("installed", [True, False])
def test_it_quotes_by_meaning_where_the_model_is_and_says_which(installed: bool, tmp_path: Path) -> None:
    async def whole() -> None:
        chosen = EmbeddingSettings(local=installed)
        async with (
            stage(tmp_path, altered=lambda known: msgspec.structs.replace(known, embedding=chosen)) as it,
            httpx.AsyncClient(base_url=it.url, timeout=30) as http,
        ):
            await it.platform.embedding.warm()
            caller = await it.caller()

            async def ask(question: str) -> list[str]:
                messages = [{"role": "system", "content": TEXT}, {"role": "user", "content": question}]
                body: dict[str, Any] = {"model": "local/extractive", "messages": messages}
                headers = {"authorization": f"Bearer {caller.token}"}
                reply = await http.post("/chat/completions", json=body, headers=headers)
                reply.raise_for_status()
                return reply.json()["choices"][0]["message"]["content"].splitlines()

            by_words = await ask("When is the cafeteria closed?")
            assert by_words[0] == (PREFACE_MEANT if installed else PREFACE)
            said = await ask(QUESTION)
            if installed:
                assert said[0] == PREFACE_MEANT and any("twenty-five days" in quote for quote in said[1:])
            else:
                assert said == [NOTHING]

    run(whole())


def test_what_is_quoted_from_is_looked_at_in_its_own_tenants_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One's prompts stand in nobody else's share of the machine, nor among the vectors kept for others."""

    async def whole() -> None:
        async with stage(tmp_path) as it, httpx.AsyncClient(base_url=it.url, timeout=30) as http:
            service, asked = it.platform.embedding, list[str]()
            embed = service.embed

            async def noted(texts: Sequence[str], *, tenant: str, **chosen: Any) -> Vectors:
                asked.append(tenant)
                return await embed(texts, tenant=tenant, **chosen)

            monkeypatch.setattr(service, "embed", noted)
            for org in ("acme", "globex"):
                doc = KeyDoc(id="", mac="", org=org, team="search", project="web", user="kim")
                _, token = await it.platform.tenancy.create_key(doc)
                messages = [{"role": "system", "content": TEXT}, {"role": "user", "content": QUESTION}]
                reply = await http.post(
                    "/chat/completions",
                    json={"model": "local/extractive", "messages": messages},
                    headers={"authorization": f"Bearer {token}"},
                )
                reply.raise_for_status()
            assert asked == ["acme/search", "globex/search"]

    run(whole())
