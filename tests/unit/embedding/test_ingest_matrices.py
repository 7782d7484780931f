"""Token vectors at ingest: what is known is not computed again, and what a limit has no room for waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from penstock.embedding.catalog.embedder import Space
from penstock.kernel.context import Principal
from penstock.kernel.errors import OverLimit
from penstock.ports.encoder import Lane
from tests.support import run
from tests.unit.embedding.knowledge_desk import DIMENSIONS, ScriptedEmbedder, desk
from tests.unit.embedding.test_ingest_truth import CHUNKS, LONG


class Late(ScriptedEmbedder):
    """Tells tokens' vectors, and remembers of which texts."""

    def __init__(self) -> None:
        """Refuse none of them."""
        super().__init__()
        self.matrices: list[str] = []
        self.refuse_matrices: Callable[[Sequence[str]], None] | None = None

    def space(self, model: str) -> Space:
        """Return a space with tokens' vectors."""
        return msgspec.structs.replace(super().space(model), late=True)

    async def token_vectors(
        self, who: Principal, texts: Sequence[str], *, model: str, lane: Lane
    ) -> tuple[bytes, ...]:
        """Return a row each."""
        if self.refuse_matrices is not None:
            self.refuse_matrices(texts)
        self.matrices += texts
        return tuple([bytes(4 * DIMENSIONS) for _ in texts])


def test_token_vectors_that_the_document_has_are_not_computed_again(tmp_path: Path) -> None:
    async def steps() -> None:
        embedder = Late()
        async with desk(tmp_path, embedder=embedder) as it:
            it.work(1)
            collection = await it.collection()
            await it.library.book.change(
                collection.uid, lambda doc: msgspec.structs.replace(doc, keep_token_vectors=True)
            )
            await it.ended(await it.put(collection, a=LONG, b="another"))
            assert embedder.matrices == embedder.texts
            known = len(embedder.texts)
            await it.ended(await it.put(collection, a=f"{LONG}\n\nan end"))
            assert embedder.matrices == embedder.texts and 1 <= len(embedder.texts) - known <= 2
            rows = await it.index.scan(collection.place, collection.space)
            assert len(rows) > CHUNKS and all(row.chunk.tokens for row in rows)

    run(steps())


def test_token_vectors_that_a_limit_keeps_waiting_are_asked_for_by_fewer_and_computed_once(
    tmp_path: Path,
) -> None:
    async def steps() -> None:
        embedder, calls = Late(), 0

        def refuse(texts: Sequence[str]) -> None:
            nonlocal calls
            calls += 1
            if len(texts) > 2 or calls in {5, 9}:
                raise OverLimit("Wait.", retry_after_s=0.01)

        async with desk(tmp_path, embedder=embedder) as it:
            it.work(1)
            collection = await it.collection()
            await it.library.book.change(
                collection.uid, lambda doc: msgspec.structs.replace(doc, keep_token_vectors=True)
            )
            embedder.refuse_matrices = refuse
            job = await it.ended(await it.put(collection, a=LONG))
            assert (job.status, job.counts.chunks) == ("complete", CHUNKS)
            assert sorted(embedder.matrices) == sorted(embedder.texts) and len(embedder.texts) == CHUNKS
            rows = await it.index.scan(collection.place, collection.space)
            assert len(rows) == CHUNKS and all(row.chunk.tokens for row in rows)
            assert len(it.ingest._builder._spare_matrices) == len(it.ingest._builder._spare) == 0

    run(steps())
