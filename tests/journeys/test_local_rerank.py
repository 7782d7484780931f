"""`/v1/rerank` by the real model in this machine over real sockets, in both wires: what is cut is said, what cannot be
told is refused by name, and TEI's own defaults are served.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx

from tests.stage import stage
from tests.support import run

MODEL = "local/all-MiniLM-L6-v2"
GATE = "The sluice gate opens when the water rises above four metres."
CHEESE = "Cheddar is aged in cool caves for a year."
QUERY = "When does the gate open?"
LONG = f"{'cheese ' * 400}{GATE}"
MARK = "x-penstock-truncated"
Ask = Callable[..., Awaitable[httpx.Response]]


def journey(folder: Path, steps: Callable[[Ask], Awaitable[None]]) -> None:
    """Take `steps` with a caller's key."""

    async def whole() -> None:
        async with stage(folder) as it, httpx.AsyncClient(base_url=it.url, timeout=30) as http:
            headers = {"authorization": f"Bearer {(await it.caller()).token}"}

            async def ask(**members: Any) -> httpx.Response:
                return await http.post(
                    "/rerank", json={"model": MODEL, "query": QUERY, **members}, headers=headers
                )

            await steps(ask)

    run(whole())


def test_in_coheres_words(tmp_path: Path) -> None:
    async def steps(ask: Ask) -> None:
        whole = await ask(documents=[CHEESE, GATE])
        assert [each["index"] for each in whole.json()["results"]] == [1, 0]
        assert MARK not in whole.headers and "truncated" not in whole.json()
        cut = await ask(documents=[CHEESE, LONG, GATE])
        assert (cut.headers[MARK], cut.json()["truncated"]) == ("1", ["documents[1]"])
        assert cut.json()["results"][0]["index"] == 2, "what stands behind the cut was not read"
        short = await ask(documents=[f"Cheese, cheese and cheese. {GATE}", CHEESE], max_tokens_per_doc=5)
        assert (short.headers[MARK], short.json()["truncated"]) == ("2", ["documents[0]", "documents[1]"])
        scores = [
            {each["index"]: each["relevance_score"] for each in told.json()["results"]}
            for told in (whole, short)
        ]
        assert scores[1][0] < scores[0][1]

    journey(tmp_path, steps)


def test_in_teis_words_with_its_own_defaults(tmp_path: Path) -> None:
    async def steps(ask: Ask) -> None:
        told = await ask(texts=[CHEESE, GATE])
        assert told.status_code == 200 and [each["index"] for each in told.json()] == [1, 0]
        refused = await ask(texts=[CHEESE, LONG])
        assert refused.status_code == 400
        error = refused.json()["error"]
        assert (error["code"], error["param"]) == ("context_length_exceeded", "texts[1]")
        assert '"truncate": true' in error["remedy"]
        cut = await ask(texts=[CHEESE, LONG], truncate=True)
        assert cut.status_code == 200 and cut.headers[MARK] == "1"
        raw = {
            each["index"]: each["score"] for each in (await ask(texts=[CHEESE, GATE], raw_scores=True)).json()
        }
        calibrated = {each["index"]: each["score"] for each in told.json()}
        assert raw[1] > raw[0] and raw != calibrated

    journey(tmp_path, steps)
