"""Contents and feedback over the management API: who decides, who reads, who forgets, who scores, and what is told."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.adapters.blobs.embedded import FileBlobs
from penstock.adapters.records.sqlite import SqliteRecords
from penstock.adapters.traces.sqlite import SqliteTraces
from penstock.gateway.contents import ContentCare
from penstock.mechanisms.changes import COLLECTIONS as CHANGES
from penstock.mechanisms.contents import keys, rules, store
from penstock.mechanisms.contents.keys import ContentKeys
from penstock.mechanisms.contents.rules import ContentRules
from penstock.mechanisms.contents.sealing import AesSeal
from penstock.mechanisms.contents.store import Content, ContentStore, Kept
from penstock.mechanisms.recent import Recent
from tests.unit.gateway.management.office import ORG, TEAM, Office, office
from tests.unit.gateway.management.sight_rig import event

RULES, FORGET = "/api/v1/contents/rules", "/api/v1/contents/forget"
COLLECTIONS = (*keys.COLLECTIONS, *rules.COLLECTIONS, *store.COLLECTIONS, *CHANGES)


class Shelf:
    """What is kept, and by whom."""

    def __init__(self, it: Office, contents: ContentStore) -> None:
        self.it, self.contents, self.count = it, contents, 0

    async def keep(self, user: str, team: str = TEAM, org: str = ORG) -> str:
        """Keep a content; return its request's id."""
        self.count += 1
        id = f"req_{int(self.it.clock.wall_s() * 1000):012x}{self.count:020x}"
        kept = Kept(team, user, "openai", b"asked \xff", b"answered")
        self.contents.keep(Content(request_id=id, org=org, kept=kept))
        await self.contents.flush()
        return id


@asynccontextmanager
async def shelved(it: Office, folder: Path, *, keeps: bool = True) -> AsyncGenerator[Shelf]:
    """Give the office contents."""
    records = await SqliteRecords.open(folder / "contents.sqlite", COLLECTIONS, it.clock)
    blobs = FileBlobs(folder / "contents", it.clock)
    seal = AesSeal()
    contents = ContentStore(ContentKeys(records, seal, b"m" * 32, it.clock), seal, blobs, records, it.clock)
    care = ContentCare(ContentRules(it.records, it.clock), b"h" * 32, contents if keeps else None)
    it.app.state.management = replace(it.management, contents=care)
    try:
        yield Shelf(it, contents)
    finally:
        await blobs.close()
        await records.close()


def content(id: str) -> str:
    return f"/api/v1/requests/{id}/content"


def test_where_nothing_is_known_of_contents_it_says_so(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        admin = await it.as_("admin")
        for method, path, body in (
            ("GET", RULES, None),
            ("PUT", RULES, {"mode": "full"}),
            ("GET", content("req_1"), None),
            ("POST", FORGET, {"everything": True}),
        ):
            told = await it.ask(method, path, body, by=admin)
            assert (told.status, told.error["code"]) == (404, "contents_off")
        async with shelved(it, tmp_path, keeps=False):
            assert (await it.ask("GET", RULES, by=admin)).json["most"] == "hash"
            assert (await it.ask("GET", content("req_1"), by=admin)).error["code"] == "contents_off"

    office(tmp_path, case)


def test_a_team_admin_decides_for_the_team_and_an_admin_for_all(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        async with shelved(it, tmp_path):
            narrow, admin = await it.as_("team-admin"), await it.as_("admin")

            async def put(by: Any, team: str, mode: str, org: str = "") -> int:
                return (await it.ask("PUT", RULES, {"org": org, "team": team, "mode": mode}, by=by)).status

            assert await put(narrow, TEAM, "full") == 200
            assert [await put(narrow, team, "none") for team in ("", "other")] == [403, 403]
            assert [await put(admin, team, "none") for team in ("", "other")] == [200, 200]
            assert await put(admin, "", "none", "foreign") == 403
            assert await put(admin, "", "some") == 400
            assert await put(await it.as_("developer"), TEAM, "full") == 403
            seen = (await it.ask("GET", RULES, by=await it.as_("auditor"))).json
            assert (seen["most"], seen["default"]) == ("full", "hash")
            assert seen["rules"] == [
                {"team": "", "mode": "none"},
                {"team": "other", "mode": "none"},
                {"team": TEAM, "mode": "full"},
            ]
            own = (await it.ask("GET", RULES, by=narrow)).json["rules"]
            assert [each["team"] for each in own] == ["", TEAM]
            assert len([change for change in await it.told() if change.action == "content.rule"]) == 3

    office(tmp_path, case)


def test_a_content_is_read_by_who_reaches_its_author_and_that_is_written_down(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        async with shelved(it, tmp_path) as shelf:
            developer = await it.as_("developer")
            own = await shelf.keep(developer.id)
            mates, others = await shelf.keep("mate"), await shelf.keep("far", team="other")

            async def read(role: str, id: str) -> int:
                return (await it.ask("GET", content(id), by=await it.as_(role))).status

            assert [await read("developer", each) for each in (own, mates, others)] == [200, 404, 404]
            assert [await read("reviewer", each) for each in (own, mates, others)] == [200, 200, 404]
            assert [await read("admin", each) for each in (own, mates, others)] == [200, 200, 200]
            assert await read("auditor", own) == 403
            hidden = await it.ask("GET", content(mates), by=developer)
            unknown = "req_" + "0" * 32
            absent = await it.ask("GET", content(unknown), by=developer)
            assert hidden.error["message"].replace(mates, unknown) == absent.error["message"]
            assert (await it.ask("GET", f"{content(own)}?org=foreign", by=developer)).status == 403
            told = (await it.ask("GET", content(own), by=developer)).json
            assert (told["prompt"], told["answer"], told["user"]) == (
                "asked \ufffd",
                "answered",
                developer.id,
            )
            reads = [change for change in await it.told() if change.action == "content.read"]
            assert len(reads) == 7
            assert (reads[-1].subject, reads[-1].actor_id) == (own, developer.id)

    office(tmp_path, case)


def test_what_an_admin_has_forgotten_is_read_by_nobody(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        async with shelved(it, tmp_path) as shelf:
            admin, owner = await it.as_("admin"), await it.as_("owner")
            ann, bob = await shelf.keep("ann"), await shelf.keep("bob")
            foreign = await shelf.keep("ann", org="foreign")
            for wrong in ({}, {"user": "ann", "everything": True}):
                assert (await it.ask("POST", FORGET, wrong, by=admin)).status == 400
            assert (
                await it.ask("POST", FORGET, {"user": "ann"}, by=await it.as_("team-admin"))
            ).status == 403
            assert (await it.ask("POST", FORGET, {"user": "ann"}, by=admin)).json == {"keys": 1}
            assert (await it.ask("GET", content(ann), by=owner)).status == 404
            assert (await it.ask("GET", content(bob), by=owner)).status == 200
            assert (await it.ask("GET", f"{content(foreign)}?org=foreign", by=owner)).status == 200
            assert (await it.ask("POST", FORGET, {"everything": True}, by=admin)).json == {"keys": 1}
            assert (await it.ask("GET", content(bob), by=owner)).status == 404
            forgets = [change for change in await it.told() if change.action == "content.forget"]
            assert [change.subject for change in forgets] == ["ann", ORG]

    office(tmp_path, case)


@pytest.mark.parametrize(
    ("body", "score"),
    [
        ({"score": 0.25}, 0.25),
        ({"score": 0}, 0.0),
        ({"score": 1}, 1.0),
        ({"thumb": "up"}, 1.0),
        ({"thumb": "down"}, 0.0),
        ({}, None),
        ({"score": 1, "thumb": "up"}, None),
        ({"score": 1.01}, None),
        ({"score": -0.01}, None),
        ({"score": True}, None),
        ({"thumb": "sideways"}, None),
    ],
)
def test_an_answer_is_scored_once_from_0_to_1(
    tmp_path: Path, body: dict[str, Any], score: float | None
) -> None:
    async def case(it: Office) -> None:
        developer = await it.as_("developer")
        recent = Recent(it.clock)
        it.app.state.management = replace(it.management, recent=recent)
        seen = event(org=ORG, team=TEAM, user=developer.id)
        recent([seen])
        path = f"/api/v1/requests/{seen.request_id}"
        told = await it.ask("POST", f"{path}/feedback", body, by=developer)
        if score is None:
            assert told.status == 400
            return
        assert (told.status, told.json["score"]) == (200, score)
        assert (await it.ask("GET", path, by=developer)).json["score"] == score
        again = await it.ask("POST", f"{path}/feedback", body, by=developer)
        assert (again.status, again.error["code"]) == (409, "already_scored")

    office(tmp_path, case)


def test_who_may_score_is_the_key_it_was_asked_with_and_who_reaches_the_author(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        key, developer = await it.as_("caller"), await it.as_("developer")
        recent = Recent(it.clock)
        traces = await SqliteTraces.open(tmp_path / "traces.sqlite")
        it.app.state.management = replace(it.management, recent=recent, traces=traces)
        mine = event(org=ORG, team=TEAM, user="customer", key_id=key.id, request_id="req_1")
        others = event(org=ORG, team=TEAM, user="customer", key_id="k", request_id="req_2")
        foreign = event(org="foreign", team=TEAM, user=developer.id, key_id="k", request_id="req_3")
        recent([mine, others, foreign])

        async def scored(by: Any, id: str) -> int:
            return (await it.ask("POST", f"/api/v1/requests/{id}/feedback", {"thumb": "up"}, by=by)).status

        assert [await scored(key, id) for id in ("req_1", "req_2", "req_3")] == [200, 404, 404]
        assert [await scored(developer, id) for id in ("req_2", "req_3")] == [404, 404]
        assert await scored(await it.as_("auditor"), "req_2") == 403
        assert await scored(await it.as_("reviewer"), "req_2") == 200
        await traces.close()

    office(tmp_path, case)
