"""Spare vectors: what was paid for and not used yet is kept for the next try of its own collection, and no other."""

from __future__ import annotations

import hashlib
from typing import cast

import pytest

from penstock.embedding.catalog.collections import CollectionDoc, Source
from penstock.embedding.catalog.sources import Sources
from penstock.embedding.ingest import building
from penstock.embedding.ingest.building import Bill, Builder, Opened, Spare
from penstock.kernel.context import Principal
from penstock.ports.index import Place
from penstock.ports.parsers import Block, Parsed
from tests.support import run
from tests.unit.embedding.knowledge_desk import DIMENSIONS, KIM, Paragraphs, ScriptedEmbedder
from tests.unit.embedding.memory_index import MemoryIndex

LEE = Principal(key_id="l", org="globex", team="t", project="p", user="")


def builder() -> tuple[Builder, ScriptedEmbedder]:
    """Return a builder over an index in which nothing ever stands."""
    embedder = ScriptedEmbedder()
    return Builder(MemoryIndex(), Paragraphs(), embedder, cast("Sources", None), None), embedder


def collection(who: Principal, name: str = "guides") -> CollectionDoc:
    """Return a collection."""
    owner = f"{who.org}/{who.team}/{who.project}"
    return CollectionDoc(
        uid=f"{who.org}-{name}", name=name, org=who.org, owner=owner, key_id="k", created_s=0, space="m/one@1"
    )


def opened(*texts: str) -> list[Opened]:
    """Return documents of one paragraph each."""
    return [
        Opened(
            text,
            Source(kept="", digest=hashlib.sha256(text.encode()).hexdigest(), size_bytes=len(text)),
            Parsed(blocks=(Block(text=text),), language="en"),
        )
        for text in texts
    ]


def test_spare_vectors_are_their_own_collections_alone_until_the_index_has_them() -> None:
    async def whole() -> None:
        it, embedder = builder()

        async def paid(where: CollectionDoc, who: Principal = KIM) -> int:
            bill = Bill()
            built = await it.build(who, where, where.space, opened("one"), bill)
            assert len(built) == 1
            return bill.tokens

        own, other, foreign = collection(KIM), collection(KIM, "other"), collection(LEE)
        assert (await paid(own), await paid(own)) == (1, 0)
        assert (await paid(other), await paid(foreign, LEE)) == (1, 1), "nobody learns what another has"
        assert embedder.texts == ["one"] * 3
        # What the index has is spare no longer; another collection's is still.
        it.let_go(own.place, own.space, await it.build(KIM, own, own.space, opened("one"), Bill()))
        assert (await paid(own), await paid(other), await paid(foreign, LEE)) == (1, 0, 0)

    run(whole())


def test_the_oldest_spare_vectors_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    async def whole() -> None:
        it, embedder = builder()
        own = collection(KIM)
        await it.build(KIM, own, own.space, opened("one"), Bill())
        monkeypatch.setattr(building, "SPARE_BYTES", 2 * 4 * DIMENSIONS)
        for text in ("two", "two", "three", "two", "one"):
            await it.build(KIM, own, own.space, opened(text), Bill())
        assert embedder.texts == ["one", "two", "three", "one"]

    run(whole())


def test_what_is_spare_is_counted_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "SPARE_BYTES", 100)
    spare, keys = Spare(), [(Place("t", "c"), "s", str(number)) for number in range(3)]
    for number in range(200):
        spare.keep(keys[number % 3], bytes(20 + number % 20))
    held = sum(len(kept) for kept in map(spare.get, keys) if kept is not None)
    assert spare.held_bytes == held <= 100 and len(spare)
    for key in keys:
        spare.let_go(key)
    assert (spare.held_bytes, len(spare)) == (0, 0)
    spare.keep(keys[0], bytes(101))
    assert (spare.held_bytes, len(spare)) == (0, 0)
