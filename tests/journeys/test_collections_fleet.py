"""Collections of a fleet: what one node took in, every other works on, finds and forgets; else nobody is served."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.embedding.catalog.sources import PIECE_BYTES, SOURCES
from tests.journeys.knowledge_scene import OTHER, Member, scene
from tests.journeys.test_collections_models import reached
from tests.support import run

pytestmark = pytest.mark.postgres
PEPPER = "5a" * 32
VAULT = "The vault stands behind the turbine hall."
TEXT = VAULT + " " * (2 * PIECE_BYTES) + "Its door is painted green."
"""A document of three pieces."""


def node(folder: Path) -> Path:
    """Return the folder of a node that knows the keys of its fellows."""
    secrets = folder / "data" / "secrets"
    secrets.mkdir(mode=0o700, parents=True)
    (secrets / "pepper").write_text(PEPPER)
    (secrets / "pepper").chmod(0o600)
    return folder


def test_two_nodes_share_what_they_find_and_what_it_was_made_of(
    tmp_path: Path, fresh_postgres: Callable[[], str]
) -> None:
    """The large document comes to the first node; the second builds the new model's space of it."""
    url = fresh_postgres()

    async def steps() -> None:
        async with (
            scene(node(tmp_path / "one"), store={"records_url": url}, index=url) as first,
            scene(node(tmp_path / "two"), store={"records_url": url}, index=url) as second,
        ):
            here = await first.member()
            there = Member(second.it, here.caller)
            await here.ok("POST", "/v1/collections", {"name": "guides"}, status=201)
            job = await here.put("guides", {"id": "vault", "text": TEXT}, {"id": "lunch", "text": "Soup."})
            assert (await here.ended("guides", job))["status"] == "complete"
            assert (await there.found("guides", "where is the vault?"))[0] == "vault"
            begun = await there.ok("POST", "/v1/collections/guides/migrations", {"model": OTHER}, status=202)
            done = await reached(there, begun, "switched", "blocked", "failed")
            assert done["status"] == "switched", done
            for each in (here, there):
                assert (await each.found("guides", "what colour is the door?"))[0] == "vault"
            await there.ok("DELETE", "/v1/collections/guides/documents/vault")
            assert await here.found("guides", "where is the vault?") == ["lunch"]
            rows = first.it.platform.stores.records
            [collection] = (await here.ok("GET", "/v1/collections"))["data"]
            assert await rows.count(SOURCES.name, collection["id"]) == 1, "what was deleted left no piece"

    run(steps(), 90.0)


def test_nodes_that_share_their_records_and_not_the_index_serve_no_collections(
    tmp_path: Path, fresh_postgres: Callable[[], str]
) -> None:
    url = fresh_postgres()

    async def steps() -> None:
        async with scene(node(tmp_path), store={"records_url": url}) as it:
            kim = await it.member()
            for method, path in (("GET", ""), ("POST", ""), ("POST", "/guides/search")):
                status, told = await kim.ask(method, f"/v1/collections{path}", {})
                assert (status, told["error"]["code"]) == (400, "collections_not_shared")
                assert "collections.index" in str(told)
            asked = {"model": "sim/model", "messages": [{"role": "user", "content": "hello"}]}
            await kim.ok("POST", "/v1/chat/completions", asked)

    run(steps(), 60.0)
