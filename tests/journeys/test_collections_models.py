"""A collection's model changes under its users, on the real platform: they see one space or the other, whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.kernel.errors import Invalid
from penstock.kernel.settings import Settings
from penstock.ports.index import Place
from penstock.wiring import adapters
from tests.journeys.knowledge_scene import OTHER, Member, Scene, scene, with_other
from tests.stage import stage
from tests.support import run

SUBJECTS = ("pump", "gate", "valve", "turbine", "spillway", "filter", "sensor", "boat", "crane", "fuse")
TEXTS = {
    f"d{number}": f"The {subject} stands in hall {number}. Look after the {subject} every week. " * 12
    for number, subject in enumerate(SUBJECTS)
}


async def rows(it: Scene, collection: dict[str, Any], space: str) -> list[tuple[str, int, str, bytes]]:
    """Return what stands in the index: document, position, digest and vector of every chunk."""
    library = it.it.platform.library
    assert library is not None
    place = Place("acme/search/web", collection["id"])
    found = []
    after = ("", -1)
    while page := await library.index.scan(place, space, after=after):
        found += [(row.document.id, row.chunk.position, row.chunk.digest, row.chunk.vector) for row in page]
        after = (page[-1].document.id, page[-1].chunk.position)
    return found


async def reached(kim: Member, migration: dict[str, Any], *states: str) -> dict[str, Any]:
    """Wait until a migration is in one of `states`."""
    async with asyncio.timeout(30):
        while True:
            told = await kim.ok("GET", f"/v1/collections/guides/migrations/{migration['id']}")
            if told["status"] in states:
                return dict(told)
            await asyncio.sleep(0.05)


def test_a_change_of_model_is_checked_and_switched_while_it_is_searched(tmp_path: Path) -> None:
    async def steps() -> None:
        async with scene(tmp_path) as it:
            kim = await it.member()
            collection = await kim.ok(
                "POST", "/v1/collections", {"name": "guides", "chunk_tokens": 48}, status=201
            )
            documents = [{"id": name, "text": text} for name, text in TEXTS.items()]
            job = await kim.ended("guides", await kim.put("guides", *documents))
            assert job["status"] == "complete" and job["counts"]["chunks"] > 20
            spaces: set[str] = set()

            async def searching() -> None:
                while True:
                    told = await kim.ok(
                        "POST", "/v1/collections/guides/search", {"query": "where is the crane?", "k": 3}
                    )
                    assert told["results"][0]["document"] == "d8" and not told["stale"]
                    spaces.add(told["space"])

            search = asyncio.create_task(searching())
            begun = await kim.ok("POST", "/v1/collections/guides/migrations", {"model": OTHER}, status=202)
            late = await kim.put("guides", {"id": "late", "text": "The ladder leans beside the intake."})
            done = await reached(kim, begun, "switched", "failed", "blocked")
            assert done["status"] == "switched", done
            assert done["check"]["probes"] == 11 and done["check"]["dense_recall"] >= 0.99
            assert done["check"]["known_after"] >= done["check"]["known_before"] - 0.1
            assert (await kim.ended("guides", late))["status"] == "complete"
            await asyncio.sleep(0.2)
            search.cancel()
            told = await kim.ok("GET", "/v1/collections/guides")
            assert spaces == {collection["space"], told["space"]} and told["model"] == OTHER
            before, after = await rows(it, told, collection["space"]), await rows(it, told, told["space"])
            assert {row[0] for row in before} == {row[0] for row in after} == {*TEXTS, "late"}
            assert not {row[3] for row in before} & {row[3] for row in after}, "no vector is of both"
            await kim.ok("POST", f"/v1/collections/guides/migrations/{begun['id']}/rollback")
            assert (await kim.ok("GET", "/v1/collections/guides"))["space"] == collection["space"]
            assert (await kim.found("guides", "where is the ladder?"))[0] == "late"
            # What was built bit by bit is what is built at once, chunk for chunk.
            await kim.ok("POST", "/v1/collections", {"name": "whole", "chunk_tokens": 48}, status=201)
            everything = [*documents, {"id": "late", "text": "The ladder leans beside the intake."}]
            await kim.ended("whole", await kim.put("whole", *everything))
            whole = await kim.ok("GET", "/v1/collections/whole")
            rebuilt = await rows(it, whole, whole["space"])
            assert [row[:3] for row in rebuilt] == [row[:3] for row in before]

    run(steps(), 90.0)


def test_an_upgrade_that_changes_the_vectors_is_told_and_followed(tmp_path: Path) -> None:
    def version(settings: Settings, number: str) -> Settings:
        changed = with_other(settings, model=OTHER)
        [other] = changed.embedding_models
        prefix = {"1": "passage: ", "2": "text: "}[number]
        other = msgspec.structs.replace(other, version=number, query_prefix=prefix, passage_prefix=prefix)
        return msgspec.structs.replace(changed, embedding_models=(other,))

    async def steps() -> None:
        async with stage(tmp_path, altered=lambda settings: version(settings, "1")) as first:
            kim = await Scene(first).member()
            await kim.ok("POST", "/v1/collections", {"name": "guides"}, status=201)
            documents = [{"id": name, "text": text} for name, text in TEXTS.items()]
            assert (await kim.ended("guides", await kim.put("guides", *documents)))["status"] == "complete"
        async with stage(tmp_path, altered=lambda settings: version(settings, "2")) as second:
            kim = Member(second, kim.caller)
            told = await kim.ok("POST", "/v1/collections/guides/search", {"query": "crane"})
            assert told["results"][0]["document"] == "d8"
            assert told["stale"] is (told["space"] != f"{OTHER}@2.mean")
            [migration] = (await kim.ok("GET", "/v1/collections/guides/migrations"))["data"]
            await reached(kim, migration, "switched", "ended")
            told = await kim.ok("POST", "/v1/collections/guides/search", {"query": "where is the crane?"})
            assert (told["stale"], told["space"]) == (False, f"{OTHER}@2.mean")
            assert told["results"][0]["document"] == "d8" and told["results"][0]["score"] > 0

    run(steps(), 90.0)


@pytest.mark.postgres
def test_a_collection_lives_in_postgres_as_well(tmp_path: Path, fresh_postgres: Callable[[], str]) -> None:
    async def steps() -> None:
        async with scene(tmp_path, index=fresh) as it:
            kim = await it.member()
            await kim.ok("POST", "/v1/collections", {"name": "guides"}, status=201)
            documents = [{"id": name, "text": text} for name, text in TEXTS.items()]
            assert (await kim.ended("guides", await kim.put("guides", *documents)))["status"] == "complete"
            begun = await kim.ok("POST", "/v1/collections/guides/migrations", {"model": OTHER}, status=202)
            done = await reached(kim, begun, "switched", "failed", "blocked")
            assert done["status"] == "switched" and done["check"]["dense_recall"] >= 0.99, done
            assert (await kim.found("guides", "where is the crane?"))[0] == "d8"
            await kim.ok("DELETE", "/v1/collections/guides/documents/d8")
            assert "d8" not in await kim.found("guides", "where is the crane?", k=50)

    fresh = fresh_postgres()
    run(steps(), 90.0)


def test_without_its_extra_whoever_asks_is_told_and_all_else_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.adapters.index.embedded._DRIVERS", ("qdrant_edge", "no_such_driver"))
    monkeypatch.setitem(adapters.EXTRAS, "no_such_driver", "index")

    async def steps() -> None:
        async with scene(tmp_path) as it:
            kim = await it.member()
            for method, path in (("GET", ""), ("POST", ""), ("POST", "/guides/search")):
                status, told = await kim.ask(method, f"/v1/collections{path}", {})
                assert status == 400 and told["error"]["code"] == "not_installed"
                assert "penstock[index]" in told["error"]["message"]
            asked = {"model": "sim/model", "messages": [{"role": "user", "content": "hello"}]}
            await kim.ok("POST", "/v1/chat/completions", asked)

    run(steps(), 60.0)


def test_an_index_that_there_is_no_adapter_for_is_refused_at_the_start(tmp_path: Path) -> None:
    async def steps() -> None:
        with pytest.raises(Invalid, match="no adapter") as refused:
            async with scene(tmp_path, index="nowhere"):
                pass
        assert refused.value.field == "collections.index"

    run(steps(), 60.0)
