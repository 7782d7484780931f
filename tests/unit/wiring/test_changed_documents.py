"""Answers are forgotten for every change that was told, once a page; what failed is told again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from penstock.adapters.stream.embedded import SegmentStream
from penstock.embedding.catalog.collections import CollectionDoc
from penstock.embedding.catalog.events import TOPIC, Events
from penstock.kernel.clock import SystemClock
from penstock.kernel.errors import Unavailable
from penstock.wiring import changed_documents
from penstock.wiring.changed_documents import GROUP, ChangedDocuments
from tests.support import run

GUIDES = CollectionDoc(
    uid="col_1", name="guides", org="acme", owner="acme/search/web", key_id="k", created_s=0.0, space="m@1"
)


class Answers:
    """Forgets, but for the first `failures` times."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.forgotten: list[tuple[str, str]] = []

    async def forget(self, org: str, tag: str) -> int:
        """Forget."""
        if self.failures:
            self.failures -= 1
            raise Unavailable("Signals are down.")
        self.forgotten.append((org, tag))
        return 2


def test_what_changed_is_forgotten_and_what_failed_is_told_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changed_documents, "WAIT_S", 0.01)
    monkeypatch.setattr(changed_documents, "VISIBLE_S", 0.01)

    async def steps() -> None:
        stream = await SegmentStream.open(tmp_path, SystemClock())
        await stream.append(TOPIC, [b"no message of ours"])
        await Events(stream).tell(GUIDES, [("a", "1"), ("b", "1"), ("a", "2"), ("c", "")])
        answers = Answers(failures=2)
        hearer = ChangedDocuments(stream, answers, "me")
        hearing = asyncio.create_task(hearer.watch())
        while await stream.lag(TOPIC, GROUP):
            await asyncio.sleep(0.01)
        hearing.cancel()
        assert answers.forgotten == [("acme", f"doc:guides/{name}") for name in "abc"]
        assert (hearer.heard, hearer.forgotten, hearer.failures) == (4, 6, 2)
        assert hearer.unread == 1
        await stream.close()

    run(steps())


def test_it_hears_on_whatever_one_page_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changed_documents, "WAIT_S", 0.01)
    monkeypatch.setattr(changed_documents, "VISIBLE_S", 0.01)

    class Stumbling(Answers):
        async def forget(self, org: str, tag: str) -> int:
            if not self.failures:
                return await super().forget(org, tag)
            self.failures -= 1
            raise KeyError(tag)

    async def steps() -> None:
        stream = await SegmentStream.open(tmp_path, SystemClock())
        await Events(stream).tell(GUIDES, [("a", "1")])
        hearer = ChangedDocuments(stream, Stumbling(failures=1), "me")
        hearing = asyncio.create_task(hearer.watch())
        while await stream.lag(TOPIC, GROUP):
            assert not hearing.done()
            await asyncio.sleep(0.01)
        hearing.cancel()
        assert (hearer.heard, hearer.failures) == (1, 1)
        await stream.close()

    run(steps())
