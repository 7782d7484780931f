"""Prompts and answers on a whole platform: known as far as their teams let, read by few, and forgotten for good.

What is forgotten is the content alone: the audit of requests and the books stay whole, word for word.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from penstock.kernel.errors import Forbidden, NotFound
from penstock.kernel.events import RequestEvent
from penstock.kernel.settings import ContentSettings, GuardSettings, LakeSettings, Settings
from penstock.mechanisms.tenancy import KeyDoc
from penstock.sdk.client import Client
from penstock.sdk.contents import ContentDecision, Forgetting
from penstock.sdk.oversight import AuditQuery
from tests.stage import MODEL, Stage, stage, until
from tests.support import run

SECRET = "the spillway code is heron"
FLAGGED = "how would a dam breach go"


def kept(settings: Settings) -> Settings:
    """Keep contents, flag a topic, and fill a lake at once."""
    return msgspec.structs.replace(
        settings,
        contents=ContentSettings(most="full"),
        guards=(GuardSettings(org="acme", never=("dam breach",), topics="flag"),),
        lake=LakeSettings(store=True, flush_s=0.5),
    )


class House:
    """A platform, its owner, and people of two teams who ask."""

    def __init__(self, it: Stage, owner: Client) -> None:
        self.it, self.owner = it, owner

    async def key(
        self, user: str, team: str = "search", *, org: str = "acme", role: str = "caller"
    ) -> Client:
        """Return a client under a new key."""
        doc = KeyDoc(id="", mac="", org=org, team=team, project="web", user=user, role=role)
        _, token = await self.it.platform.tenancy.create_key(doc)
        return self.owner.under(token)

    async def records(self) -> dict[str, RequestEvent]:
        """Return every audit record of the stream by its request, each once; none is on its way."""
        audit = self.it.platform.audit
        await until(_true(lambda: not audit.queued), 5.0)
        assert audit.produced == audit.delivered
        messages = await self.it.platform.stores.stream.read("audit", 0, limit=1_000)
        events = [msgspec.json.decode(message.value, type=RequestEvent) for message in messages]
        assert len(events) == audit.produced
        return {event.request_id: event for event in events}

    async def written(self) -> None:
        """Wait until every content is sealed."""
        care = self.it.platform.contents
        assert care is not None and care.store is not None
        store = care.store
        await until(_true(lambda: not store.queued), 5.0)
        assert (store.dropped, store.failures) == (0, 0)

    def in_clear(self, words: str) -> list[str]:
        """Return the files that hold words anybody could read."""
        data = Path(self.it.platform.settings.store.data)
        return [
            str(file) for file in data.rglob("*") if file.is_file() and words.encode() in file.read_bytes()
        ]


def _true(holds: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def told() -> bool:
        return holds()

    return told


@asynccontextmanager
async def house(folder: Path) -> AsyncIterator[House]:
    """Put the platform up, in which the team "search" lets everything be known and "legal" nothing."""
    async with stage(folder, altered=kept) as it:
        owner = await it.caller(role="owner")
        async with Client(it.url.removesuffix("/v1"), owner.token) as client:
            for team, mode in (("search", "full"), ("legal", "none")):
                await client.contents.decide(ContentDecision(team=team, mode=mode))
            yield House(it, client)


async def ask(who: Client, words: str, *, stream: bool = False) -> str:
    """Ask; return the request's id."""
    asked = [{"role": "user", "content": words}]
    if not stream:
        return (await who.chat.create(model=MODEL, messages=asked)).request_id
    async with who.chat.stream(model=MODEL, messages=asked) as answer:
        async for _ in answer:
            pass
        return answer.request_id


async def unreadable(who: Client, *ids: str) -> None:
    """See that nothing is kept of these requests, as far as somebody can tell."""
    for id in ids:
        with pytest.raises(NotFound):
            await who.contents.read(id)


def test_what_a_team_lets_be_known_is_read_by_its_own_and_forgotten_for_good(tmp_path: Path) -> None:
    async def journey() -> None:
        async with house(tmp_path) as h:
            ann, bob, lea = await h.key("ann"), await h.key("bob"), await h.key("lea", "legal")
            whole, streamed = await ask(ann, SECRET), await ask(ann, SECRET, stream=True)
            bobs, leas = await ask(bob, "anything else"), await ask(lea, SECRET)
            await h.written()
            before = await h.records()

            # What was asked and answered, as it passed; the hashes are of that, and equal words have equal ones.
            reviewer = await h.key("rita", role="reviewer")
            for id in (whole, streamed):
                content = await reviewer.contents.read(id)
                assert SECRET in content.prompt
                assert "model" in content.answer
                assert (content.user, content.face) == ("ann", "openai")
            assert "data: [DONE]" in (await reviewer.contents.read(streamed)).answer
            hashed = [(before[id].prompt_hash, before[id].answer_hash) for id in (whole, streamed, bobs)]
            assert len({each for pair in hashed for each in pair}) == 6
            assert (before[leas].prompt_hash, before[leas].answer_hash) == ("", "")
            assert before[leas].cost_nanos > 0
            assert h.in_clear(SECRET) == []

            # Nobody else: another team, another organisation, a role that judges no answers.
            foreign = await h.key("eve", org="other", role="admin")
            await unreadable(await h.key("mia", "sales", role="reviewer"), whole)
            await unreadable(foreign, whole)
            await unreadable(h.owner, leas)
            with pytest.raises(Forbidden):
                await (await h.key("aud", role="auditor")).contents.read(whole)

            # Forgotten: for everybody, at once, also by who kept a copy of the files.
            copies = {file: file.read_bytes() for file in _contents(h) if file.is_file()}
            assert (await h.owner.contents.forget(Forgetting(user="ann"))).keys == 1
            for file, value in copies.items():
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(value)
            await unreadable(h.owner, whole, streamed)
            assert (await h.owner.contents.read(bobs)).user == "bob"

            # The audit and the books are what they were, and who read and forgot is in the audit of changes.
            assert await h.records() == before
            report = await h.owner.ledger.verify()
            assert (report.whole, report.operations) == (True, 4)
            assert report.posted_nanos == sum(event.cost_nanos for event in before.values())
            told = {change.action for change in await h.owner.changes.list(org="acme")}
            assert told >= {"content.rule", "content.read", "content.forget"}
            await until(lambda: _asked(h, before), 10.0)

        # So it stays after a restart.
        async with stage(tmp_path, altered=kept) as again:
            owner = await again.caller(role="owner")
            async with Client(again.url.removesuffix("/v1"), owner.token) as client:
                await unreadable(client, whole, streamed)
                assert (await client.contents.read(bobs)).user == "bob"

    run(journey())


def _contents(h: House) -> list[Path]:
    return list((Path(h.it.platform.settings.store.data) / "contents").rglob("*"))


async def _asked(h: House, before: dict[str, RequestEvent]) -> bool:
    """Tell whether the lake has every record, with its hash ("" where the team forbids it)."""
    answer = await h.owner.audit.query(AuditQuery(sql="SELECT request_id, prompt_hash FROM audit"))
    return dict(answer.rows) == {id: event.prompt_hash for id, event in before.items()}


def test_what_a_guard_flags_is_kept_for_good_and_the_rest_is_not(tmp_path: Path) -> None:
    async def journey() -> None:
        async with house(tmp_path) as h:
            sam, lea = await h.key("sam", "sales"), await h.key("lea", "legal")
            flagged, plain, forbidden = (
                await ask(sam, FLAGGED),
                await ask(sam, SECRET),
                await ask(lea, FLAGGED),
            )
            await h.written()
            seen = await h.records()
            assert "flagged" in seen[flagged].flags and "flagged" in seen[forbidden].flags
            assert FLAGGED in (await h.owner.contents.read(flagged)).prompt
            await unreadable(h.owner, plain, forbidden)
            assert seen[plain].prompt_hash and not seen[forbidden].prompt_hash
            names = [file.name for file in _contents(h)]
            assert any(name.startswith("content%2Fflagged") for name in names)
            # A team that changes its mind is felt by the next request.
            await h.owner.contents.decide(ContentDecision(team="sales", mode="full"))
            later = await ask(sam, SECRET)
            await h.written()
            assert SECRET in (await h.owner.contents.read(later)).prompt

    run(journey())
