"""Knowledge: the nouns of the client without `async`; see `sdk/blocking.py`.

Promises: those of `sdk/nouns` and of `sdk/background.py`.
Written by scripts/blocking_client.py: change the async client, then run that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from penstock.sdk.background import BlockingCalls
from penstock.sdk.knowledge import (
    CollectionInfo,
    CollectionRequest,
    DocumentInfo,
    DocumentPage,
    DocumentRequest,
    Job,
    JobPage,
    Migration,
    SearchAnswer,
    SearchRequest,
    Token,
    Vectors,
)
from penstock.sdk.nouns.knowledge import CollectionCalls, EmbeddingCalls, Lane


class BlockingCollectionCalls(BlockingCalls[CollectionCalls]):
    """The collections of a key's project, what is in them, and what is found there."""

    def create(self, request: CollectionRequest) -> CollectionInfo:
        """Make a collection. Raises Conflict where its name is taken."""
        return self._run(self._calls.create(request))

    def list(self) -> tuple[CollectionInfo, ...]:
        """Return the project's collections, oldest first."""
        return self._run(self._calls.list())

    def get(self, name: str) -> CollectionInfo:
        """Return a collection, and how much is in it. Raises NotFound."""
        return self._run(self._calls.get(name))

    def delete(self, name: str) -> None:
        """Delete a collection and everything in it."""
        return self._run(self._calls.delete(name))

    def add(self, name: str, documents: Sequence[DocumentRequest]) -> Job:
        """Have up to 1,000 documents indexed; all of them are taken, or none."""
        return self._run(self._calls.add(name, documents))

    def add_lines(self, name: str, documents: Iterable[DocumentRequest]) -> Job:
        """Have many documents indexed, sent as lines; those that are none are told in the job."""
        return self._run(self._calls.add_lines(name, documents))

    def add_bytes(
        self,
        name: str,
        content: bytes,
        media_type: str = "",
        *,
        id: str = "",
        file: str = "",
        acl: Sequence[str] = (),
    ) -> Job:
        """Have one document indexed as it is, without base64; `file` is its name, `acl` are its labels."""
        work = self._calls.add_bytes(
            name,
            content,
            media_type,
            id=id,
            file=file,
            acl=acl,
        )
        return self._run(work)

    def documents(self, name: str) -> tuple[DocumentInfo, ...]:
        """Return the documents of a collection."""
        return self._run(self._calls.documents(name))

    def document_page(self, name: str, after: str = "", limit: int = 100) -> DocumentPage:
        """Return up to `limit` documents (at most 100) that come after the id `after`."""
        return self._run(self._calls.document_page(name, after, limit))

    def document(self, name: str, document: str) -> DocumentInfo:
        """Return one document, by its id. Raises NotFound."""
        return self._run(self._calls.document(name, document))

    def remove(self, name: str, document: str) -> None:
        """Delete a document; what was told as deleted is never found again."""
        return self._run(self._calls.remove(name, document))

    def jobs(self, name: str) -> tuple[Job, ...]:
        """Return the jobs of a collection, the newest first."""
        return self._run(self._calls.jobs(name))

    def job_page(self, name: str, after: str = "", limit: int = 100) -> JobPage:
        """Return up to `limit` jobs (at most 100), the newest first; with `after`, those older than that one."""
        return self._run(self._calls.job_page(name, after, limit))

    def job(self, name: str, job: str) -> Job:
        """Return one job, with all its failures once it has ended, with the first of them before. Raises NotFound."""
        return self._run(self._calls.job(name, job))

    def retry(self, name: str, job: str) -> Job:
        """Have what failed, and may succeed, tried again."""
        return self._run(self._calls.retry(name, job))

    def cancel(self, name: str, job: str) -> Job:
        """Have what is not yet indexed left alone."""
        return self._run(self._calls.cancel(name, job))

    def search(self, name: str, request: SearchRequest) -> SearchAnswer:
        """Find passages by meaning and by words."""
        return self._run(self._calls.search(name, request))

    def migrate(self, name: str, model: str, switch: Literal["auto", "manual"] = "auto") -> Migration:
        """Begin to embed everything for another model, beside what is searched meanwhile."""
        return self._run(self._calls.migrate(name, model, switch))

    def migrations(self, name: str) -> tuple[Migration, ...]:
        """Return the migrations of a collection."""
        return self._run(self._calls.migrations(name))

    def migration(self, name: str, migration: str) -> Migration:
        """Return one migration. Raises NotFound."""
        return self._run(self._calls.migration(name, migration))

    def steer(
        self,
        name: str,
        migration: str,
        step: Literal["switch", "rollback", "cancel", "finish"],
    ) -> Migration:
        """Take a migration's next step, or back."""
        return self._run(self._calls.steer(name, migration, step))


class BlockingEmbeddingCalls(BlockingCalls[EmbeddingCalls]):
    """Vectors and tokens of texts."""

    def create(
        self,
        *,
        model: str,
        input: str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]],
        lane: Lane = "query",
        timeout_s: float = 120.0,
        **parameters: object,
    ) -> Vectors:
        """Return a vector a text; `lane` "ingest" lets those go first who wait. `parameters` are OpenAI's."""
        work = self._calls.create(
            model=model,
            input=input,
            lane=lane,
            timeout_s=timeout_s,
            **parameters,
        )
        return self._run(work)

    def tokenize(self, texts: Sequence[str], model: str = "") -> tuple[tuple[Token, ...], ...]:
        """Return each text's tokens; without `model` those of the only one there is in the machine."""
        return self._run(self._calls.tokenize(texts, model))
