"""Contents: kept for those who asked, unreadable for all others, and gone for good when a key is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.adapters.blobs.embedded import FileBlobs
from penstock.adapters.records.sqlite import SqliteRecords
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Broken, Invalid, NotFound, Unavailable
from penstock.mechanisms import changes
from penstock.mechanisms.changes import Changes
from penstock.mechanisms.contents import keys, rules, store
from penstock.mechanisms.contents.keys import ContentKeys
from penstock.mechanisms.contents.rules import ContentRules
from penstock.mechanisms.contents.sealing import AesSeal
from penstock.mechanisms.contents.store import CONTENT_BYTES, Content, ContentStore, Kept
from tests.support import run
from tests.unit.mechanisms.people_stage import ADMIN

NOON_S = 1_795_219_200.0 + 43_200
DAY_S = 86_400
COLLECTIONS = (*keys.COLLECTIONS, *rules.COLLECTIONS, *store.COLLECTIONS, *changes.COLLECTIONS)


class Stage:
    def __init__(self, records: SqliteRecords, blobs: FileBlobs, clock: ManualClock, folder: Path) -> None:
        self.records, self.blobs, self.clock, self.folder = records, blobs, clock, folder
        self.rules = ContentRules(records, clock)
        self.count = 0

    def keys(self, master: bytes = b"m" * 32) -> ContentKeys:
        return ContentKeys(self.records, AesSeal(), master, self.clock)

    def store(self, keys: ContentKeys | None = None, **options: object) -> ContentStore:
        blobs = options.pop("blobs", self.blobs)
        return ContentStore(keys or self.keys(), AesSeal(), blobs, self.records, self.clock, **options)

    def content(
        self, text: str = "the prompt", *, org: str = "acme", user: str = "ann", is_flagged: bool = False
    ) -> Content:
        self.count += 1
        id = f"req_{int(self.clock.wall_s() * 1000):012x}{self.count:020x}"
        kept = Kept("open", user, "openai", text.encode(), b"the answer")
        return Content(request_id=id, org=org, kept=kept, is_flagged=is_flagged)

    def on_disk(self) -> bytes:
        return b"".join(path.read_bytes() for path in self.folder.glob("blobs/*/objects/*/*"))


def staged(folder: Path, case: Callable[[Stage], Awaitable[None]]) -> None:
    async def opened() -> None:
        clock = ManualClock(wall_s=NOON_S)
        records = await SqliteRecords.open(folder / "records.sqlite", COLLECTIONS, clock)
        blobs = FileBlobs(folder / "blobs", clock)
        try:
            await case(Stage(records, blobs, clock, folder))
        finally:
            await blobs.close()
            await records.close()

    run(opened())


async def lost(work: Awaitable[object]) -> bool:
    try:
        await work
    except NotFound:
        return True
    return False


def test_what_is_kept_is_read_by_its_organisation_only_and_is_nowhere_in_clear(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        contents = stage.store()
        kept = [stage.content(f"secret words {n}") for n in range(3)]
        for content in kept:
            contents.keep(content)
        assert contents.queued == 3
        await contents.flush()
        assert (contents.produced, contents.delivered, contents.queued) == (3, 3, 0)
        for content in kept:
            assert await contents.read("acme", content.request_id) == content.kept
            assert await lost(contents.read("other", content.request_id))
        assert b"secret" not in stage.on_disk()
        for unknown in (stage.content().request_id, "req_x", "", "../x"):
            assert await lost(contents.read("acme", unknown))

    staged(tmp_path, case)


def test_a_rule_that_is_set_while_rules_are_read_stands(tmp_path: Path, monkeypatch) -> None:
    """What was read before it was written must not undo it, even for a moment."""

    async def case(stage: Stage) -> None:
        await stage.rules.put("acme", "x", "full")
        scan = stage.records.scan

        async def scanned(*of: Any, **how: Any) -> Any:
            rows = await scan(*of, **how)
            if not how.get("after"):
                await stage.rules.put("acme", "x", "none")
            return rows

        monkeypatch.setattr(stage.records, "scan", scanned)
        await stage.rules.load()
        assert stage.rules.mode("acme", "x") == "none"
        monkeypatch.undo()
        await stage.rules.load()
        assert stage.rules.mode("acme", "x") == "none"

    staged(tmp_path, case)


def test_rules_are_the_teams_then_its_organisations_then_hash_and_outlive_a_restart(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        await stage.rules.put("acme", "", "none", by=ADMIN)
        await stage.rules.put("acme", "open", "full", by=ADMIN)
        await stage.rules.put("acme", "open", "hash", by=ADMIN)
        again = ContentRules(stage.records, stage.clock)
        await again.load()
        for known in (stage.rules, again):
            modes = [
                known.mode(*who) for who in (("acme", "open"), ("acme", "x"), ("beta", "open"), ("", ""))
            ]
            assert modes == ["hash", "none", "hash", "hash"]
        page = await Changes(stage.records, b"s" * 32).page("acme")
        assert [(each.action, each.subject) for each in page] == [
            ("content.rule", "open"),
            ("content.rule", "open"),
            ("content.rule", "acme"),
        ]
        for org, team in (("", "x"), ("o" * 201, ""), ("o", "t" * 201)):
            with pytest.raises(Invalid):
                await stage.rules.put(org, team, "full")

    staged(tmp_path, case)


def test_to_forget_a_person_takes_the_persons_contents_waiting_ones_too(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        contents = stage.store()
        ann, bob = stage.content(user="ann"), stage.content(user="bob")
        flagged = stage.content(user="ann", is_flagged=True)
        for content in (ann, bob, flagged):
            contents.keep(content)
        await contents.flush()
        waiting = stage.content(user="ann")
        contents.keep(waiting)
        assert await contents.forget("other", user="ann") == 0
        assert await contents.forget("acme", user="ann") == 2
        for content in (ann, flagged, waiting):
            assert await lost(contents.read("acme", content.request_id))
        assert await contents.read("acme", bob.request_id) == bob.kept
        later = stage.content(user="ann")
        contents.keep(later)
        await contents.flush()
        assert await contents.read("acme", later.request_id) == later.kept
        for content in (ann, waiting):
            assert await lost(contents.read("acme", content.request_id))
        assert await contents.forget("acme") == 2
        assert await lost(contents.read("acme", bob.request_id))

    staged(tmp_path, case)


def test_a_day_is_shredded_with_its_keys_and_the_flagged_stay(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        contents = stage.store()
        old, flagged = stage.content(), stage.content(is_flagged=True)
        contents.keep(old)
        contents.keep(flagged)
        await contents.flush()
        stage.clock.advance(7 * DAY_S)
        assert await contents.trim() == 0
        assert await contents.read("acme", old.request_id) == old.kept
        copy = {
            name: await stage.blobs.get("audit:acme", name) for name in await stage.blobs.list("audit:acme")
        }
        stage.clock.advance(DAY_S)
        assert await contents.trim() == 1
        for name, value in copy.items():  # whoever kept a copy of the files has nothing of it
            await stage.blobs.name("audit:acme", name, value)
        assert await lost(contents.read("acme", old.request_id))
        assert await contents.read("acme", flagged.request_id) == flagged.kept

    staged(tmp_path, case)


def test_a_content_of_one_request_cannot_be_passed_for_anothers(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        contents = stage.store()
        first, second = stage.content("one"), stage.content("two")
        contents.keep(first)
        contents.keep(second)
        await contents.flush()
        (name,) = await stage.blobs.list("audit:acme")
        blob = store._decode_blob(await stage.blobs.get("audit:acme", name))
        swapped = [
            store.Sealed(blob[0].request_id, blob[0].key_id, blob[1].box),
            store.Sealed(blob[1].request_id, blob[1].key_id, blob[1].box[:-1] + b"\0"),
        ]
        await stage.blobs.name("audit:acme", name, store._encode(swapped))
        for content in (first, second):
            with pytest.raises(Broken):
                await contents.read("acme", content.request_id)
        with pytest.raises(Broken):
            await stage.store(stage.keys(b"x" * 32)).read("acme", first.request_id)

    staged(tmp_path, case)


def test_what_has_no_room_is_dropped_and_counted(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        size = stage.content().size
        contents = stage.store(capacity_bytes=2 * size)
        for _ in range(3):
            contents.keep(stage.content())
        assert (contents.produced, contents.queued, contents.dropped) == (3, 2, 1)
        await contents.flush()
        contents.keep(stage.content())
        assert (contents.delivered, contents.queued, contents.dropped) == (2, 1, 1)
        wide = stage.store()
        wide.keep(stage.content("x" * (CONTENT_BYTES - 10)))
        wide.keep(stage.content("x" * (CONTENT_BYTES - 9)))
        assert (wide.queued, wide.dropped) == (1, 1)
        wide.miss()
        assert (wide.produced, wide.queued, wide.dropped) == (3, 1, 2)

    staged(tmp_path, case)


def test_a_store_that_is_down_is_waited_for_and_none_is_kept_twice(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:

        class Down:
            left = 2

            def __getattr__(self, name: str) -> object:
                return getattr(stage.blobs, name)

            async def name(self, *args: object) -> object:
                self.left -= 1
                if self.left == 0:
                    raise Unavailable
                return await stage.blobs.name(*args)

        contents = stage.store(blobs=Down())
        for org in ("acme", "beta"):
            contents.keep(stage.content(org=org))
        with pytest.raises(Unavailable):
            await contents.flush()
        assert (contents.delivered, contents.queued) == (1, 1)
        await contents.flush()
        assert (contents.delivered, contents.queued) == (2, 0)
        assert [len(await stage.blobs.list(f"audit:{org}")) for org in ("acme", "beta")] == [1, 1]

    staged(tmp_path, case)


def test_whoever_forgets_waits_for_what_is_being_written_and_none_is_counted_twice(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        contents = stage.store()
        first = stage.content()
        contents.keep(first)
        writing = asyncio.create_task(contents.flush())
        await asyncio.sleep(0)
        assert await contents.forget("acme") == 1
        await writing
        assert (contents.delivered, contents.queued) == (1, 0)
        assert len(await stage.blobs.list("audit:acme")) == 1
        assert await lost(contents.read("acme", first.request_id))

    staged(tmp_path, case)


def test_closing_writes_what_waits_and_counts_what_it_cannot(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        contents = stage.store()
        contents.start()
        contents.keep(stage.content())
        await contents.close()
        assert (contents.delivered, contents.dropped, contents.queued) == (1, 0, 0)

        class Down:
            async def name(self, *args: object) -> object:
                raise Unavailable

        contents = stage.store(blobs=Down())
        contents.keep(stage.content())
        await contents.close()
        assert (contents.delivered, contents.dropped, contents.queued) == (0, 1, 0)

    staged(tmp_path, case)


def test_two_processes_share_a_key(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        both = (stage.store(), stage.store())
        kept = [stage.content(), stage.content()]
        for contents, content in zip(both, kept, strict=True):
            contents.keep(content)
            await contents.flush()
        for content in kept:
            assert await both[0].read("acme", content.request_id) == content.kept
        assert await stage.records.count("content_keys", "audit:acme") == 1

    staged(tmp_path, case)


def test_a_request_that_ends_after_midnight_is_found(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        contents = stage.store()
        content = stage.content()
        stage.clock.advance(DAY_S / 2 + 60)
        contents.keep(content)
        await contents.flush()
        assert await contents.read("acme", content.request_id) == content.kept

    staged(tmp_path, case)
