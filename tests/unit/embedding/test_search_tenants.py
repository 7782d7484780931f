"""What a search keeps for the next one is its tenant's alone, and so is what its answer tells of that."""

from __future__ import annotations

import msgspec

from penstock.embedding.search.late_interaction import LateInteraction
from penstock.embedding.search.rerank import Reranking
from penstock.embedding.search.search import Searcher
from penstock.kernel.clock import ManualClock
from penstock.kernel.context import Principal
from penstock.ports.index import Chunk, Document
from tests.support import run
from tests.unit.embedding.memory_index import MemoryIndex
from tests.unit.embedding.test_search import ASK, KIM, Alike, Scripted, collection, unit

LEE = Principal(key_id="k", org="globex", team="t", project="p", user="")


def test_nobody_learns_from_what_was_computed_what_another_tenant_asked_for() -> None:
    async def whole() -> None:
        index, embedder = MemoryIndex(), Scripted()
        searcher = Searcher(index, embedder, Reranking(embedder, LateInteraction(Alike())), ManualClock())
        chunk = Chunk(position=0, digest="d", text="the same text 10", vector=unit(1, 0))
        computed: list[int] = []
        for who in (KIM, KIM, LEE):
            where = msgspec.structs.replace(collection(), org=who.org, owner=f"{who.org}/t/p")
            await index.put(where.place, where.space, [Document(id="a", version="v", chunks=(chunk,))])
            computed.append((await searcher.search(who, where, ASK)).rerank.computed)
        assert computed == [1, 0, 1]

    run(whole())
