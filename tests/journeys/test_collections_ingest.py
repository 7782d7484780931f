"""Collections on the real platform: from documents to what is found, with the real model and the embedded index."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.journeys.knowledge_scene import LOCAL, Member, Scene, scene
from tests.support import run

PUMPS = "# Pumps\n\nA centrifugal pump must be primed before it starts.\n\n## Bearings\n\nGrease the bearings monthly."
GATES = "The sluice gate opens when the water rises above four metres."
CHEESE = "Cheddar is aged in cool caves for a year."


def journey(folder: Path, steps: Callable[[Scene, Member], Awaitable[None]], **collections: Any) -> None:
    """Take `steps` with a member that has a collection, `guides`."""

    async def whole() -> None:
        async with scene(folder, **collections) as it:
            kim = await it.member()
            told = await kim.ok("POST", "/v1/collections", {"name": "guides"}, status=201)
            assert told["model"] == LOCAL and told["space"].startswith(f"{LOCAL}@") and not told["stale"]
            await steps(it, kim)

    run(whole(), 60.0)


def test_documents_of_every_way_in_are_found_by_meaning(tmp_path: Path) -> None:
    async def steps(_it: Scene, kim: Member) -> None:
        job = await kim.put(
            "guides",
            {"id": "pumps", "text": PUMPS, "name": "pumps.md", "metadata": {"year": 2024}},
            {"id": "gates", "content": base64.b64encode(GATES.encode()).decode(), "media_type": "text/plain"},
        )
        assert job["status"] in ("queued", "running", "complete")
        job = await kim.ended("guides", job)
        assert (job["status"], job["counts"]["documents"], job["counts"]["done"]) == ("complete", 2, 2)
        raw = await kim.ok(
            "POST", "/v1/collections/guides/documents?id=food/cheese&title=Cheese", CHEESE.encode(), 202,
            **{"content-type": "text/plain"},
        )  # fmt: skip
        lines = "\n".join([json.dumps({"id": "x", "text": "Sand filters clean the river's water."}), "{"])
        bulk = await kim.ok("POST", "/v1/collections/guides/bulk", lines.encode(), 202)
        assert (await kim.ended("guides", raw))["status"] == "complete"
        bulk = await kim.ended("guides", bulk)
        assert bulk["status"] == "partial"
        assert [(each["line"], each["code"], each["retryable"]) for each in bulk["failures"]] == [
            (2, "invalid_json", False)
        ]
        assert (await kim.found("guides", "How do I get a pump going?"))[0] == "pumps"
        assert (await kim.found("guides", "when does the barrier lift?"))[0] == "gates"
        assert (await kim.found("guides", "dairy maturing"))[0] == "food/cheese"
        where = [{"field": "year", "at_least": 2020}]
        assert await kim.found("guides", "water", where=where) == ["pumps"]
        told = await kim.ok("GET", "/v1/collections/guides/documents/food/cheese")
        assert (told["status"], told["title"], told["chunks"]) == ("indexed", "Cheese", 1)
        page = await kim.ok("GET", "/v1/collections/guides/documents?limit=2")
        assert [each["id"] for each in page["data"]] == ["food/cheese", "gates"] and page["has_more"]
        jobs = await kim.ok("GET", "/v1/collections/guides/jobs?limit=2")
        assert [each["id"] for each in jobs["data"]] == [bulk["id"], raw["id"]], "the newest first"
        older = await kim.ok("GET", f"/v1/collections/guides/jobs?limit=2&after={jobs['last_id']}")
        assert ([each["id"] for each in older["data"]], older["has_more"]) == ([job["id"]], False)
        whole = await kim.ok("GET", "/v1/collections/guides")
        assert whole["documents"] == whole["searchable"]["documents"] == 4

    journey(tmp_path, steps)


def test_a_deleted_document_is_found_no_more_and_its_bytes_are_gone(tmp_path: Path) -> None:
    async def steps(_it: Scene, kim: Member) -> None:
        secret = "the vault stands behind the turbine hall" + " " * 140_000  # too large for a row
        job = await kim.put("guides", {"id": "a", "text": secret}, {"id": "b", "text": GATES})
        assert (await kim.ended("guides", job))["status"] == "complete"
        assert "a" in await kim.found("guides", "where is the vault?")
        assert [path for path in (tmp_path / "data" / "documents").rglob("*") if path.is_file()]
        told = await kim.ok("DELETE", "/v1/collections/guides/documents/a")
        assert told == {"id": "a", "object": "collection.document", "deleted": True}
        assert await kim.found("guides", "where is the vault?") == ["b"]
        assert not [path for path in (tmp_path / "data" / "documents").rglob("*") if path.is_file()]
        assert (await kim.ask("GET", "/v1/collections/guides/documents/a"))[0] == 404
        assert (await kim.ask("DELETE", "/v1/collections/guides/documents/a"))[0] == 404
        await kim.ok("DELETE", "/v1/collections/guides")
        assert (await kim.ask("GET", "/v1/collections/guides"))[0] == 404
        await kim.ok("POST", "/v1/collections", {"name": "guides"}, status=201)
        assert await kim.found("guides", "when does the gate open?") == []

    journey(tmp_path, steps)


def test_what_was_deleted_leaves_the_disk_of_the_index_by_itself(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "index"

    def holding(words: bytes) -> list[Path]:
        return [path for path in folder.rglob("*") if path.is_file() and words in path.read_bytes()]

    async def steps(_it: Scene, kim: Member) -> None:
        secret = "the vault stands behind the turbine hall"
        job = await kim.put("guides", {"id": "a", "text": secret}, {"id": "b", "text": GATES})
        assert (await kim.ended("guides", job))["status"] == "complete"
        assert holding(secret.encode())
        await kim.ok("DELETE", "/v1/collections/guides/documents/a")
        async with asyncio.timeout(20):
            while holding(secret.encode()):
                await asyncio.sleep(0.05)
        assert holding(GATES.encode())
        await kim.ok("DELETE", "/v1/collections/guides")  # the last one: nobody has any now
        async with asyncio.timeout(20):
            while holding(GATES.encode()):
                await asyncio.sleep(0.05)

    journey(tmp_path, steps, compact_s=0.3)


def test_another_project_sees_nothing_and_in_one_labels_decide(tmp_path: Path) -> None:
    async def steps(it: Scene, kim: Member) -> None:
        job = await kim.ended("guides", await kim.put("guides", {"id": "gates", "text": GATES}))
        for eve in (await it.member(project="other"), await it.member(org="evil")):
            assert (await eve.ok("GET", "/v1/collections"))["data"] == []
            for method, path in (
                ("GET", ""), ("DELETE", ""), ("GET", "/documents"), ("GET", "/documents/gates"),
                ("DELETE", "/documents/gates"), ("GET", f"/jobs/{job['id']}"), ("POST", f"/jobs/{job['id']}/retry"),
                ("GET", "/migrations"),
            ):  # fmt: skip
                status, told = await eve.ask(method, f"/v1/collections/guides{path}")
                assert (status, told["error"]["code"]) == (404, "not_found"), path
            assert (await eve.ask("POST", "/v1/collections/guides/search", {"query": "gate"}))[0] == 404
            await eve.ok("POST", "/v1/collections", {"name": "guides"}, status=201)
            assert (await eve.ask("GET", f"/v1/collections/guides/jobs/{job['id']}"))[0] == 404
            assert await eve.found("guides", "when does the gate open?") == []
        assert await kim.found("guides", "when does the gate open?") == ["gates"]
        job = await kim.put("guides", {"id": "shut", "text": f"{GATES} Or so.", "acl": ["staff"]})
        await kim.ended("guides", job)
        assert await kim.found("guides", "sluice gate") == ["gates"]
        assert set(await kim.found("guides", "sluice gate", acl=["staff", "x"])) == {"gates", "shut"}
        assert await kim.found("guides", "sluice gate", acl=["x"]) == ["gates"]

    journey(tmp_path, steps)


def test_an_ingest_spends_as_its_key_and_ends_with_it(tmp_path: Path) -> None:
    async def steps(it: Scene, kim: Member) -> None:
        eve = await it.member()
        await it.it.platform.tenancy.revoke_key(eve.caller.id)
        limited = await it.member(models=("sim/model",))
        job = await limited.ended("guides", await limited.put("guides", {"id": "a", "text": GATES}))
        assert (job["status"], job["failures"][0]["retryable"]) == ("failed", True)
        assert job["failures"][0]["code"] == "model_not_allowed"
        again = await kim.ok("POST", f"/v1/collections/guides/jobs/{job['id']}/retry", status=202)
        assert (await kim.ended("guides", again))["status"] == "complete"
        assert (await kim.ask("GET", "/v1/collections/guides"))[0] == 200
        assert (await eve.ask("GET", "/v1/collections/guides"))[0] == 401
        settled = await it.it.settled(kim.caller)
        assert settled.postings >= 1 and not settled.held_nanos

    journey(tmp_path, steps)


def test_errors_name_field_value_limit_and_remedy(tmp_path: Path) -> None:
    wrong = [
        ("", {"name": "Guides"}, "name", "63"),
        ("", {"name": "guides"}, "name", ""),
        ("", {"name": "b", "model": "local/none"}, "model", LOCAL),
        ("", {"name": "b", "chunk_tokens": 4_000}, "chunk_tokens", "256"),
        ("", {"name": "b", "overlap": 1}, "", ""),
        ("/guides/documents", {"documents": []}, "documents", "1"),
        (
            "/guides/documents",
            {"documents": [{"text": "a"}, {"id": "a/../b", "text": "a"}]},
            "documents[1].id",
            "256",
        ),
        (
            "/guides/documents",
            {"documents": [{"id": "a", "text": ""}]},
            "documents[0].text",
            "1 to 1000 bytes",
        ),
        ("/guides/documents", {"documents": [{"id": "a", "text": "a" * 1_001}]}, "documents[0].text", "1000"),
        ("/guides/documents", {"documents": [{"id": "a", "content": "%"}]}, "documents[0].content", ""),
        ("/guides/documents", {"documents": [{"id": "a", "text": "a"}] * 2}, "documents[1].id", "once"),
        ("/guides/search", {"query": ""}, "query", ""),
        ("/guides/migrations", {"model": LOCAL}, "model", LOCAL),
    ]

    async def steps(_it: Scene, kim: Member) -> None:
        for path, body, field, limit in wrong:
            status, told = await kim.ask("POST", f"/v1/collections{path}", body)
            error = told["error"]
            assert status in (400, 404, 409), (path, body, told)
            assert field in (error.get("param") or ""), (body, error)
            assert limit in error["message"], (body, error)
        assert (await kim.ask("GET", "/v1/collections/guides/nothing"))[0] == 404
        assert (await kim.ask("GET", "/v1/collections?limit=0"))[0] == 400
        assert (await kim.ok("GET", "/v1/collections/guides/jobs"))["data"] == []

    journey(tmp_path, steps, document_bytes=1_000)


def test_a_changed_document_makes_kept_answers_go(tmp_path: Path) -> None:
    async def steps() -> None:
        async with scene(tmp_path, cache={"url": "memory:"}) as it:
            kim = await it.member()
            await kim.ok("POST", "/v1/collections", {"name": "guides"}, status=201)
            await kim.ended("guides", await kim.put("guides", {"id": "gates", "text": GATES}))
            found = await kim.ok(
                "POST", "/v1/collections/guides/search", {"query": "when does the gate open?"}
            )
            tags = ", ".join(found["tags"])
            assert tags == "doc:guides/gates"
            asked = {"model": "sim/model", "messages": [{"role": "user", "content": GATES}], "temperature": 0}
            headers = {"x-penstock-cache-ttl-class": "static", "x-penstock-cache-tags": tags}

            async def asks_the_vendor() -> bool:
                before = len(it.it.simulator.truth.rows())
                await kim.ok("POST", "/v1/chat/completions", asked, **headers)
                return len(it.it.simulator.truth.rows()) > before

            async def forgotten() -> None:
                async with asyncio.timeout(10):
                    while not await asks_the_vendor():
                        await asyncio.sleep(0.05)

            assert await asks_the_vendor() and not await asks_the_vendor()
            await kim.ended(
                "guides", await kim.put("guides", {"id": "gates", "text": f"{GATES} Not on Sundays."})
            )
            await forgotten()
            assert not await asks_the_vendor()
            await kim.ok("DELETE", "/v1/collections/guides/documents/gates")
            await forgotten()

    run(steps(), 60.0)
