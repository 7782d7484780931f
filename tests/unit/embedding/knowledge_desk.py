"""A desk for the tests of collections: the slice's own parts over real rows, a real stream and real blobs, with an
index in memory, a parser of paragraphs and an embedder whose every answer can be scripted.

    async with desk(tmp_path) as it:
        collection = await it.collection("guides")
        job = await it.put(collection, a="some text", b="other text")
        job = await it.ended(job)
"""

from __future__ import annotations

import asyncio
import math
from array import array
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from penstock.adapters.blobs.embedded import FileBlobs
from penstock.adapters.records.sqlite import SqliteRecords
from penstock.adapters.stream.embedded import SegmentStream
from penstock.embedding.catalog.announcing import Announcer
from penstock.embedding.catalog.backlog import Backlog
from penstock.embedding.catalog.collections import COLLECTIONS, DOCUMENTS, CollectionBook, CollectionDoc
from penstock.embedding.catalog.document_locks import DocumentLocks
from penstock.embedding.catalog.embedder import Embedded, Purpose, Space
from penstock.embedding.catalog.events import Events
from penstock.embedding.catalog.jobs import ENDS, JOBS, LISTS, JobBook, JobDoc
from penstock.embedding.catalog.library import Library
from penstock.embedding.catalog.sources import SOURCES, Sources
from penstock.embedding.ingest.building import Builder
from penstock.embedding.ingest.ingest import Ingest
from penstock.embedding.ingest.intake import Intake, Sent
from penstock.embedding.ingest.removal import Removal
from penstock.embedding.migrations.migration import MIGRATIONS, MigrationBook
from penstock.embedding.migrations.migrations import Migrations
from penstock.embedding.upkeep import Upkeep
from penstock.kernel.clock import SystemClock
from penstock.kernel.context import Principal
from penstock.kernel.errors import Invalid, NotFound, Unauthenticated
from penstock.kernel.ids import new_id
from penstock.kernel.settings_collections import CollectionSettings
from penstock.ports.encoder import Lane, Tokenized
from penstock.ports.index import Question
from penstock.ports.parsers import Block, Parsed
from tests.unit.embedding.memory_index import MemoryIndex

KIM = Principal(key_id="key_kim", org="acme", team="search", project="web", user="kim")
EVE = Principal(key_id="key_eve", org="evil", team="team", project="web", user="eve")
DIMENSIONS = 8


def vector_of(text: str, space: str, dimensions: int = DIMENSIONS) -> bytes:
    """Return the vector that a space gives a text: the same always, another in every space."""
    digest = sha256(f"{space}\0{text}".encode()).digest()
    numbers = [digest[at] - 127.5 for at in range(dimensions)]
    length = math.sqrt(sum([number * number for number in numbers]))
    return array("f", [number / length for number in numbers]).tobytes()


class Paragraphs:
    """Reads UTF-8 in paragraphs. What begins with ``%BAD`` cannot be read, with ``%PART`` not all of it."""

    async def parse(self, content: bytes, media_type: str, name: str = "") -> Parsed:
        """Return the paragraphs."""
        text = content.decode()
        if text.startswith("%BAD"):
            raise Invalid("This cannot be read.", code="unreadable", field="content", remedy="Mend it.")
        return Parsed(
            blocks=tuple([Block(text=each) for each in text.split("\n\n") if each.strip()]),
            language="en",
            omitted=("page 2: it is damaged",) if text.startswith("%PART") else (),
        )

    async def close(self) -> None:
        """Let nothing go."""


@dataclass
class ScriptedEmbedder:
    """Embeds by digest. `versions` are the models there are; `refuse` may raise before anything is computed."""

    versions: dict[str, str] = field(default_factory=lambda: {"m/one": "1", "m/two": "1"})
    refuse: Callable[[Principal, Sequence[str]], None] | None = None
    texts: list[str] = field(default_factory=list)
    """Every passage that was embedded, in order."""
    gate: asyncio.Event | None = None
    """What a call waits for before it answers."""
    calls: int = 0
    noisy: str = ""
    """A space whose vectors mean nothing: each is another one every time."""

    def space(self, model: str) -> Space:
        """Return a model's space."""
        if model not in self.versions:
            raise NotFound("There is no such model.", code="model_not_found", field="model", value=model)
        return Space(model=model, version=self.versions[model], dimensions=DIMENSIONS, max_tokens=32)

    async def tokenize(self, texts: Sequence[str], *, model: str) -> Sequence[Tokenized]:
        """Return a token a word."""
        found = []
        for text in texts:
            at, spans = 0, []
            for word in text.split():
                at = text.index(word, at)
                spans.append((at, at + len(word)))
                at += len(word)
            found.append(Tokenized(tuple(range(len(spans))), tuple(spans)))
        return found

    async def embed(
        self, who: Principal, texts: Sequence[str], *, model: str, lane: Lane, purpose: Purpose
    ) -> Embedded:
        """Return vectors by digest."""
        self.calls += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.refuse is not None:
            self.refuse(who, texts)
        if purpose == "passage":
            self.texts += texts
        space = self.space(model)
        noise = new_id("noise_") if space.name == self.noisy else ""
        return Embedded(
            vectors=tuple([vector_of(text + noise, space.name) for text in texts]),
            tokens=sum([len(text.split()) for text in texts]),
            cost_nanos=10 * len(texts),
        )

    async def token_vectors(
        self, who: Principal, texts: Sequence[str], *, model: str, lane: Lane
    ) -> tuple[bytes, ...]:
        """There are none."""
        raise Invalid("There are none.")

    async def rerank(
        self, who: Principal, model: str, query: str, documents: Sequence[str]
    ) -> tuple[float, ...]:
        """There is none."""
        raise Invalid("There is none.")


class Uncompressed:
    """Keeps matrices as they are."""

    async def compress(self, matrices: Sequence[bytes], dimensions: int) -> tuple[bytes, ...]:
        """Return them."""
        return tuple(matrices)


@dataclass
class Keys:
    """Knows Kim and Eve, until their keys are revoked."""

    alive: dict[str, Principal] = field(default_factory=lambda: {each.key_id: each for each in (KIM, EVE)})

    async def principal_of(self, key_id: str) -> Principal:
        """Return whose key it is."""
        if key_id not in self.alive:
            raise Unauthenticated("This key is revoked.")
        return self.alive[key_id]


@dataclass
class IndexFinder:
    """Finds by words alone."""

    index: MemoryIndex

    async def documents(
        self, collection: CollectionDoc, who: Principal, query: str, *, labels: Sequence[str], limit: int
    ) -> Sequence[str]:
        """Return the documents that have most of the words."""
        question = Question(words=query, labels=tuple(labels), limit=limit)
        found = await self.index.search(collection.place, collection.space, question)
        return [hit.document for hit in found.words]


@dataclass
class Desk:
    """Everything that works on collections, in this process."""

    library: Library
    index: MemoryIndex
    embedder: ScriptedEmbedder
    keys: Keys
    ingest: Ingest
    announcer: Announcer
    intake: Intake
    removal: Removal
    migrations: Migrations
    upkeep: Upkeep
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def work(self, workers: int = 2) -> None:
        """Begin to work on what is on the stream."""
        self.tasks += [asyncio.create_task(self.library.backlog.fill())]
        self.tasks += [asyncio.create_task(self.ingest.worker()) for _ in range(workers)]

    async def work_together(self, documents: int) -> None:
        """Begin to work once so many documents have come from the stream: they are taken together."""
        self.work(0)
        while self.library.backlog.waiting < documents:
            await asyncio.sleep(0.01)
        self.tasks += [asyncio.create_task(self.ingest.worker())]

    async def stop(self) -> None:
        """Stop as a process that is killed does: nothing is finished."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()

    async def collection(
        self, name: str = "guides", model: str = "m/one", who: Principal = KIM
    ) -> CollectionDoc:
        """Make a collection."""
        doc = CollectionDoc(
            uid=new_id("col_"),
            name=name,
            org=who.org,
            owner=f"{who.org}/{who.team}/{who.project}",
            key_id=who.key_id,
            created_s=self.library.clock.wall_s(),
            space=self.embedder.space(model).name,
        )
        await self.library.book.add(doc)
        return doc

    async def put(self, collection: CollectionDoc, who: Principal = KIM, **texts: str) -> JobDoc:
        """Send documents."""
        sent = [Sent(id=name, content=text.encode()) for name, text in texts.items()]
        return await self.intake.take(collection, who, sent)

    async def ended(self, job: JobDoc, within_s: float = 10.0) -> JobDoc:
        """Wait for a job's end."""
        async with asyncio.timeout(within_s):
            while True:
                now = await self.library.jobs.get(job.id)
                if now is None or not now.is_open:
                    assert now is not None
                    return now
                await asyncio.sleep(0.01)

    async def texts(self, collection: CollectionDoc, space: str = "") -> dict[str, list[str]]:
        """Return what stands in the index, by document."""
        found: dict[str, list[str]] = {}
        for row in await self.index.scan(collection.place, space or collection.space):
            found.setdefault(row.document.id, []).append(row.chunk.text)
        return found


@asynccontextmanager
async def desk(
    folder: Path,
    *,
    index: MemoryIndex | None = None,
    embedder: ScriptedEmbedder | None = None,
    settings: CollectionSettings | None = None,
) -> AsyncGenerator[Desk]:
    """Open a desk in `folder`; one opened there again finds what the first left."""
    clock, settings = SystemClock(), settings or CollectionSettings()
    kinds = (COLLECTIONS, DOCUMENTS, SOURCES, JOBS, ENDS, LISTS, MIGRATIONS)
    rows = await SqliteRecords.open(folder / "records.sqlite", kinds, clock)
    stream = await SegmentStream.open(folder / "stream", clock)
    blobs = FileBlobs(folder / "blobs", clock)
    index = index or MemoryIndex()
    embedder, keys, runner = embedder or ScriptedEmbedder(), Keys(), new_id("runner_")
    sources = Sources(rows, blobs, clock)
    library = Library(
        book=CollectionBook(rows),
        jobs=JobBook(rows),
        sources=sources,
        events=Events(stream),
        locks=DocumentLocks(),
        backlog=Backlog(stream, clock, runner),
        index=index,
        embedder=embedder,
        principals=keys,
        clock=clock,
        runner=runner,
    )
    builder = Builder(index, Paragraphs(), embedder, sources, Uncompressed())
    announcer, removal = Announcer(library), Removal(library)
    migrations = Migrations(
        library, MigrationBook(rows), announcer, IndexFinder(index), kept_days=settings.old_space_days
    )
    ingest = Ingest(library, builder, documents_at_once=settings.batch_documents)
    ingest.follow = migrations.follow
    it = Desk(
        library=library,
        index=index,
        embedder=embedder,
        keys=keys,
        ingest=ingest,
        announcer=announcer,
        intake=Intake(library, announcer, settings),
        removal=removal,
        migrations=migrations,
        upkeep=Upkeep(library, announcer, removal, migrations, kept_days=30, is_eager=True),
    )
    try:
        yield it
    finally:
        await it.stop()
        await rows.close()
        await stream.close()
        await blobs.close()
