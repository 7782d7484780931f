"""The drill of collections: two tenants write, delete and search while the gateway is killed, and their model changes.

A document of version v says v in each of its pieces, and whose it is. So whoever searches sees at once another tenant's
piece, a half of a document, two versions of one, or a vector of another space (the very text of a piece that never
changes must be found with a cosine of 1, whatever space is searched).

Promise: what is told as broken is what a customer would see over HTTP, but for the last look, which compares the rows
of every space in the index with those of a collection built at once from what the documents are now. No change of model
may fail: nothing is wrong with either model.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from penstock.net.client import HttpClient, Origin, Timers
from penstock.sdk.knowledge import JobCounts

LOCAL: Final = "local/all-MiniLM-L6-v2"
OTHER: Final = "passages"
MODELS: Final = (LOCAL, OTHER)
TENANTS: Final = ("acme", "evil")
DOCUMENTS: Final = 24
STEADY: Final = "steady"
PER_WRITE: Final = 8
ALIVE_S: Final = (0.3, 4.0)
ALIVE_CHANGING_S: Final = (0.3, 8.0)
"""How long a gateway lives, at random; a change of model takes longer."""
TIMERS: Final = Timers(connect_s=2.0, first_byte_s=30.0, between_chunks_s=30.0, total_s=30.0)
SAME: Final = 0.985
"""Least cosine of a text with itself: rows are kept in half precision, and batches compute a little differently."""
SUBJECTS: Final = ("pump", "gate", "valve", "turbine", "spillway", "filter", "sensor", "crane")
STEADY_TEXTS: Final = {
    f"{STEADY}{number}": f"The {subject} of the old plant was painted green long ago and nobody ever moved it."
    for number, subject in enumerate(SUBJECTS)
}
TOML: Final = """\
discover = false

[server]
host = "127.0.0.1"
port = 0

[store]
data = "{data}"

[collections]
open_jobs = 200
batch_documents = 4

[[providers]]
name = "local"
kind = "local"
free = true

[[routes]]
model = "passages"
targets = [{{ provider = "local", model = "local/all-MiniLM-L6-v2" }}]

[[embedding_models]]
name = "passages"
version = "1"
dimensions = 384
max_tokens = 256
query_prefix = "passage: "
passage_prefix = "passage: "
"""


def text_of(tenant: str, name: str, version: int) -> str:
    """Return a document: three sections, each of which says whose it is, which and of what version."""
    about = SUBJECTS[int(name.removeprefix("d")) % len(SUBJECTS)]
    parts = [
        f"## Part {part}\n\nThe {about} of {tenant} number {name} in its version {version:03} has a part {part} "
        f"that somebody of {tenant} looks after on every day of the week but Sunday, rain or shine."
        for part in ("one", "two", "three")
    ]
    return "# Plant\n\n" + "\n\n".join(parts)


@dataclass
class Wanted:
    """What a document may be now: the version told as taken last (0: gone), and those sent since without an answer."""

    taken: int = 0
    sent: set[int] = field(default_factory=set)

    @property
    def versions(self) -> set[int]:
        """The versions it may be of; 0 for none."""
        return {self.taken, *self.sent}


@dataclass
class Tally:
    """What a drill saw."""

    kills: int = 0
    kills_in_migration: int = 0
    searches: int = 0
    cut_off: int = 0
    """Calls that ended with the gateway."""
    documents_taken: int = 0
    documents_deleted: int = 0
    migrations: int = 0
    spaces: set[str] = field(default_factory=set)
    broken: list[str] = field(default_factory=list)
    jobs: dict[str, int] = field(default_factory=dict)
    start_max_s: float = 0.0
    resume_max_s: float = 0.0
    """The longest from a start to its first search answered."""
    rows: int = 0
    seconds: float = 0.0


class Customer:
    """One tenant's caller, and what it knows of its documents."""

    def __init__(self, tenant: str, token: str, tally: Tally, draw: random.Random) -> None:
        self.tenant = tenant
        self.others = [each for each in TENANTS if each != tenant]
        self._token = token
        self._tally = tally
        self._draw = draw
        self.wanted = {f"d{number:02}": Wanted() for number in range(DOCUMENTS)}
        self.version = 0
        self.pieces = 0
        """How many pieces a whole document has."""
        self.port = 0
        self.client = HttpClient()

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Return the answer to a call below the collection. Raises PenstockError when the gateway is gone."""
        content = b"" if body is None else json.dumps(body).encode()
        lines = f"authorization: Bearer {self._token}\r\n".encode()
        reply = await self.client.request(
            Origin("http", "127.0.0.1", self.port), method.encode(), f"/v1/collections{path}".encode(),
            lines, content, TIMERS,
        )  # fmt: skip
        return reply.status, json.loads(await reply.read(8 << 20))

    async def ok(self, method: str, path: str, body: object = None) -> Any:
        """Return an answer that must be good."""
        status, told = await self.ask(method, path, body)
        if status >= 300:
            self.broke(f"{method} {path}: {status} {told}")
        return told

    def broke(self, what: str) -> None:
        """Note a broken promise."""
        self._tally.broken.append(f"{self.tenant}: {what}"[:600])

    # --------------------------------------------------------------------------------------------------- writing

    async def prepare(self) -> None:
        """Make the collection, with the documents that never change."""
        await self.ok("POST", "", {"name": "guides", "chunk_tokens": 64, "overlap_percent": 0})
        job = await self.ok("POST", "/guides/documents", {"documents": [
            {"id": name, "text": text} for name, text in STEADY_TEXTS.items()
        ]})  # fmt: skip
        await self.ended(job["id"])
        await self.write(list(self.wanted))
        [job] = [each for each in (await self.ok("GET", "/guides/jobs"))["data"] if each["id"] != job["id"]]
        told = await self.ended(job["id"])
        self.pieces = told["counts"]["chunks"] // DOCUMENTS
        if self.pieces < 3 or told["counts"]["chunks"] % DOCUMENTS:
            self.broke(f"a drill needs documents in pieces: {told}")

    async def write(self, names: Sequence[str]) -> None:
        """Send documents in a new version."""
        self.version += 1
        version = self.version
        for name in names:
            self.wanted[name].sent.add(version)
        documents = [
            {
                "id": name,
                "text": text_of(self.tenant, name, version),
                "name": f"{name}.md",
                "version": str(version),
            }
            for name in names
        ]
        status, told = await self.ask("POST", "/guides/documents", {"documents": documents})
        if status == 202:
            self._tally.documents_taken += len(names)
            for name in names:
                self.wanted[name] = Wanted(version)
        elif status != 429:
            self.broke(f"documents were refused: {status} {told}")

    async def delete(self, name: str) -> None:
        """Delete a document."""
        self.wanted[name].sent.add(0)
        status, told = await self.ask("DELETE", f"/guides/documents/{name}")
        if status in (200, 404):
            self._tally.documents_deleted += status == 200
            self.wanted[name] = Wanted(0)
        else:
            self.broke(f"a deletion was refused: {status} {told}")

    async def writing(self) -> None:
        """Write and delete until the gateway is gone."""
        while True:
            names = self._draw.sample(list(self.wanted), PER_WRITE)
            await self.write(names)
            if self._draw.random() < 0.5:
                await self.delete(self._draw.choice(names))
            await asyncio.sleep(self._draw.uniform(0.05, 0.3))

    async def changing(self) -> None:
        """Have the model changed, to the other and back, until the gateway is gone."""
        while True:
            told = await self.ok("GET", "/guides")
            last = ([{"status": "ended"}, *await self.changes()])[-1]
            if last["status"] == "switched":
                await self.ok("POST", f"/guides/migrations/{last['id']}/finish")
            elif last["status"] == "ended":
                [model] = [each for each in MODELS if each != told["model"]]
                status, _ = await self.ask("POST", "/guides/migrations", {"model": model})
                self._tally.migrations += status == 202
            await asyncio.sleep(0.1)

    # -------------------------------------------------------------------------------------------------- searching

    async def searching(self) -> None:
        """Search, and look hard at every answer, until the gateway is gone."""
        while True:
            await self.look_at(self._draw.choice(list(self.wanted)))
            await self.look_for(self._draw.choice(list(STEADY_TEXTS)))

    async def search(self, **asked: object) -> Mapping[str, Any]:
        """Search."""
        told: Mapping[str, Any] = await self.ok("POST", "/guides/search", {"explain": True, **asked})
        self._tally.searches += 1
        if "results" in told:
            self._tally.spaces.add(told["space"])
            for each in told["results"]:
                if any(other in each["text"] for other in self.others):
                    self.broke(f"another tenant's: {each['text']}")
        return told

    async def look_at(self, name: str) -> None:
        """See that a document is whole, of one version, and gone when it was deleted."""
        before = self.wanted[name].versions
        where = [{"field": "id", "any_of": [name]}]
        told = await self.search(
            query=f"the plant of {self.tenant}", k=50, candidates=50, where=where, rerank="none"
        )
        results = told.get("results", [])
        versions = {each["version"] for each in results} | {
            str(int(each["text"].partition("its version ")[2][:3]))
            for each in results
            if "its version" in each["text"]
        }
        if len(versions) > 1:
            self.broke(f"two versions of {name}: {sorted(versions)}")
        if results and len({each["position"] for each in results}) != self.pieces:
            self.broke(f"a part of {name}: {[each['position'] for each in results]} of {self.pieces}")
        if before == {0} == self.wanted[name].versions and results:
            self.broke(f"{name} was deleted and is found: {versions}")

    async def look_for(self, name: str) -> None:
        """See that what never changes is found, by a vector of the space that is searched."""
        told = await self.search(query=STEADY_TEXTS[name], k=1, rerank="none")
        results = told.get("results", [])
        if not results or results[0]["document"] != name:
            self.broke(f"{name} is not found: {results}")
        elif (results[0]["scores"]["cosine"] or 0.0) < SAME:
            self.broke(f"{name} has a vector of another space: {told['space']} {results[0]['scores']}")

    # ----------------------------------------------------------------------------------------------------- the end

    async def ended(self, job_id: str, within_s: float = 60.0) -> Any:
        """Return a job that has ended, or as it is when it should have."""
        told = await self.ok("GET", f"/guides/jobs/{job_id}")
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while told["status"] in ("queued", "running"):
                    await asyncio.sleep(0.05)
                    told = await self.ok("GET", f"/guides/jobs/{job_id}")
        return told

    async def settle(self) -> None:
        """See that every job ends, and truthfully; and every change of model, which makes jobs of its own."""
        seen: set[str] = set()
        await self._settle_jobs(seen)
        await self.changed()
        await self._settle_jobs(seen)

    async def _settle_jobs(self, seen: set[str]) -> None:
        """See to every job that is not `seen`, and to those that come meanwhile: they are listed before the others."""
        while fresh := [name for name in await self._jobs() if name not in seen]:
            for name in fresh:
                seen.add(name)
                told = await self.ended(name)
                self._tally.jobs[told["status"]] = self._tally.jobs.get(told["status"], 0) + 1
                if not is_true(told):
                    self.broke(f"a job that does not tell the truth: {told}")

    async def _jobs(self) -> list[str]:
        """Return the ids of all jobs there are now, newest first."""
        return [each["id"] for each in await self._listed("jobs")]

    async def changed(self) -> None:
        """See that every change of model ends well, and lets go of what was to be let go of."""
        with suppress(TimeoutError):
            async with asyncio.timeout(60):
                while not all(map(_is_done, await self.changes())):
                    await asyncio.sleep(0.1)
        for each in await self.changes():
            if not _is_done(each):
                self.broke(f"a change of model that did not end well: {each}")

    async def changes(self) -> list[Mapping[str, Any]]:
        """Return all changes of model."""
        return await self._listed("migrations")

    async def _listed(self, what: str) -> list[Mapping[str, Any]]:
        """Return all there is on a list, page by page."""
        found: list[Mapping[str, Any]] = []
        page: Mapping[str, Any] = {"has_more": True, "last_id": ""}
        while page["has_more"]:
            page = await self.ok("GET", f"/guides/{what}?limit=100&after={page['last_id']}")
            found += page["data"]
        return found

    async def rebuilt(self) -> dict[str, Any]:
        """Build a collection at once of what the documents are now, for each space that holds them.

        Returns the ids of the collection that grew and of those that were built, by their spaces.
        """
        documents = [{"id": name, "text": text} for name, text in STEADY_TEXTS.items()]
        page = await self.ok("GET", "/guides/documents?limit=100")
        for told in page["data"]:
            name = told["id"]
            if name.startswith(STEADY):
                continue
            version = int(told["version"])
            if told["status"] != "indexed" or version not in self.wanted[name].versions:
                self.broke(f"{name} is {told['status']} in {version}, wanted {self.wanted[name]}")
            text = text_of(self.tenant, name, version)
            documents.append({"id": name, "text": text, "name": f"{name}.md", "version": str(version)})
        for name, wanted in self.wanted.items():
            if 0 not in wanted.versions and name not in {each["id"] for each in documents}:
                self.broke(f"{name} is lost, wanted {wanted}")
        told = await self.ok("GET", "/guides")
        whole: dict[str, str] = {}
        for space in (told["space"], told["previous"]):
            if space is not None:
                whole[space] = await self.whole(space, documents)
        return {"grown": told["id"], "whole": whole}

    async def whole(self, space: str, documents: Sequence[Mapping[str, object]]) -> str:
        """Return the id of a collection built at once in a space."""
        name, model = f"whole{MODELS.index(space.rpartition('@')[0])}", space.rpartition("@")[0]
        made = await self.ok(
            "POST", "", {"name": name, "model": model, "chunk_tokens": 64, "overlap_percent": 0}
        )
        job = await self.ok("POST", f"/{name}/documents", {"documents": documents})
        async with asyncio.timeout(60):
            while (await self.ok("GET", f"/{name}/jobs/{job['id']}"))["status"] != "complete":
                await asyncio.sleep(0.05)
        return str(made["id"])


def _is_done(change: Mapping[str, Any]) -> bool:
    """Tell whether a change of model ended well: finished, or switched with the rows of before kept for days."""
    return change["status"] == "ended" or (change["status"] == "switched" and bool(change["rollback_until"]))


def is_true(job: Mapping[str, Any]) -> bool:
    """Tell whether a job that was waited for ended well, and accounts for each of its documents once. Nothing of these
    documents can be left out.
    """
    counts = msgspec.convert(job["counts"], JobCounts)
    is_well = job["status"] == "complete" and not counts.failed and not counts.in_part
    return is_well and counts.ended == counts.documents
