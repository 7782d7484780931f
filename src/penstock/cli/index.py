"""`penstock index`: put files into a collection, see how that went, search it, move it to another model.

Promise: what could not be read, sent or indexed whole is named with its reason, and the exit code is 1 then; nothing is
deleted that was not named.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from cyclopts import App, Parameter
from rich.console import RenderableType
from rich.text import Text

from penstock.cli.index_files import Failed, batches, files_of
from penstock.cli.index_sending import Sending
from penstock.cli.output import dollars, facts, line, table, when
from penstock.cli.server import HERE, Server
from penstock.kernel.errors import Invalid, NotFound
from penstock.sdk.client import Client
from penstock.sdk.knowledge import (
    CollectionInfo,
    CollectionRequest,
    Condition,
    Job,
    JobPage,
    Migration,
    SearchRequest,
    SearchResult,
)

index = App(name="index", help="Put documents into collections, search them, move them to another model.")

LOOK_S: Final = 0.5
LOOK_MOST_S: Final = 5.0
SHOWN_CHARS: Final = 240
FAILURES_SHOWN: Final = 50
JOBS_SHOWN: Final = 20
IN_PART: Final = "indexed_in_part"

Name = Annotated[str, Parameter(help="Collection.", show_default=False)]
Model = Annotated[str, Parameter(help="Embedding model; the server's own by default.", show_default=False)]


class _Added(msgspec.Struct, frozen=True, kw_only=True):
    """What became of everything that was sent."""

    collection: str
    files: int
    jobs: tuple[Job, ...]
    failed: tuple[Failed, ...]


@index.command
def add(
    name: Name,
    paths: Annotated[
        list[Path], Parameter(help="Files and folders; - is standard input.", allow_leading_hyphen=True)
    ],
    *,
    model: Model = "",
    chunk_tokens: Annotated[int | None, Parameter(help="Of a chunk, where the collection is new.")] = None,
    acl: Annotated[str, Parameter(help="Labels, by comma: only a search with one of them finds these.")] = "",
    wait: Annotated[bool, Parameter(help="Wait until all is indexed.")] = True,
    server: Server = HERE,
) -> int:
    """Put files into a collection, which is made where there is none. A file's id is its path as given."""

    async def adding(client: Client) -> _Added:
        await _made(client, CollectionRequest(name=name, model=model, chunk_tokens=chunk_tokens))
        unread: list[Failed] = []
        sending = Sending(client, name, _labels(acl))
        files = 0
        for batch in batches(files_of(paths, unread)):
            files += len(batch)
            await sending.send(batch)
        if wait:
            await sending.end()
        indexed = [each for sent in sending.sent for each in _failures(sent.job, sent.ids)]
        return _Added(
            collection=name,
            files=files + len(unread),
            jobs=tuple(sent.job for sent in sending.sent),
            failed=(*unread, *sending.failed, *indexed),
        )

    added = server.ask(adding)
    server.show(added, *_told(added))
    return 1 if added.failed else 0


@index.command
def status(name: Name, job: Annotated[str, Parameter(help="Job.")] = "", *, server: Server = HERE) -> None:
    """Show a collection and its newest jobs, or one job with what failed and why."""
    if job:
        one = server.ask(lambda client: client.collections.job(name, job))
        failed = _failures(one, ())
        server.show(one, facts(_job_facts(one)), *([_failure_table(failed)] if failed else []))
        return

    async def both(client: Client) -> tuple[CollectionInfo, JobPage]:
        return await client.collections.get(name), await client.collections.job_page(name, limit=JOBS_SHOWN)

    found, newest = server.ask(both)
    rows = [_job_row(each) for each in newest.jobs]
    columns = (
        *("job", "began", "status", ">documents", ">in part", ">failed"),
        *(">chunks", ">embedded", ">reused", ">cost"),
    )
    server.show(
        {"collection": found, "jobs": newest.jobs},
        facts(_facts(found)),
        table(columns, rows, empty="No jobs."),
    )


@index.command
def search(
    name: Name,
    query: Annotated[str, Parameter(help="What is looked for.")],
    *,
    k: Annotated[int, Parameter(help="How many results.")] = 5,
    acl: Annotated[str, Parameter(help="Labels that the asker has, by comma.")] = "",
    where: Annotated[
        list[str] | None, Parameter(help="Only documents whose metadata field=value; may be repeated.")
    ] = None,
    rerank: Annotated[str, Parameter(help="auto, none, late, or a model.", show_default=False)] = "",
    min_score: Annotated[float | None, Parameter(help="Nothing below this score.")] = None,
    explain: Annotated[bool, Parameter(help="What each score is made of.", negative="")] = False,
    server: Server = HERE,
) -> None:
    """Find passages by meaning and by words."""
    request = SearchRequest(
        query=query,
        k=k,
        acl=_labels(acl),
        where=tuple(map(_condition, where or ())),
        rerank=rerank or None,
        explain=explain,
        min_score=min_score,
    )
    found = server.ask(lambda client: client.collections.search(name, request))
    meaning = found.score
    worth = f", worth an answer from {meaning.threshold:.2f} on" if meaning.threshold is not None else ""
    told = line(f"{len(found.results)} found in {found.took_ms:.0f} ms · score: {meaning.name}{worth}", "dim")
    warned = [line(each, "yellow") for each in found.warnings]
    passages = [part for result in found.results for part in _passage(result)]
    server.show(found, told, *warned, *passages)


@index.command
def reembed(
    name: Name,
    *,
    model: Annotated[str, Parameter(help="The new model.", show_default=False)] = "",
    manual: Annotated[bool, Parameter(help="Switch when told to, not by itself.", negative="")] = False,
    step: Annotated[
        Literal["switch", "rollback", "cancel", "finish"] | None,
        Parameter(help="Take the newest migration's next step, or back."),
    ] = None,
    wait: Annotated[bool, Parameter(help="Wait for its end, or for the check.")] = True,
    server: Server = HERE,
) -> int:
    """Embed a collection for another model beside what is searched, check it, and switch; or steer that."""
    if bool(model) == bool(step):
        raise Invalid("Name the new model, or a step.", field="model", limit="one of --model and --step")

    async def moving(client: Client) -> Migration:
        calls = client.collections
        if step:
            newest = max(await calls.migrations(name), key=lambda each: each.created_at, default=None)
            if newest is None:
                raise NotFound("There was no migration.", field="collection", value=name)
            return await calls.steer(name, newest.id, step)
        begun = await calls.migrate(name, model, "manual" if manual else "auto")
        pause_s = LOOK_S
        while wait and _goes_on(begun):
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LOOK_MOST_S)
            begun = await calls.migration(name, begun.id)
        return begun

    made = server.ask(moving)
    server.show(made, facts(_migration_facts(made)))
    return 1 if made.status in {"failed", "blocked"} else 0


@index.command(name="list")
def listed(
    name: Annotated[str, Parameter(help="Collection; all of them without it.")] = "", *, server: Server = HERE
) -> None:
    """List the collections of your key's project, or the documents of one."""
    if name:
        documents = server.ask(lambda client: client.collections.documents(name))
        rows = [
            (each.id, each.status, each.chunks, each.language, ", ".join(each.acl), when(each.changed_at))
            for each in documents
        ]
        columns = ("document", "status", ">chunks", "language", "labels", "changed")
        server.show(documents, table(columns, rows, empty="It is empty."))
        return
    found = server.ask(lambda client: client.collections.list())
    made = [(each.name, each.space, each.precision, "yes" if each.stale else "") for each in found]
    server.show(found, table(("collection", "space", "rows", "stale"), made, empty="There is no collection."))


@index.command
def remove(
    name: Name,
    documents: Annotated[list[str] | None, Parameter(help="Documents, by id.")] = None,
    *,
    everything: Annotated[bool, Parameter(help="The whole collection.", negative="")] = False,
    server: Server = HERE,
) -> None:
    """Delete documents, or with --everything the collection."""
    if bool(documents) == everything:
        raise Invalid("Name documents, or say --everything.", field="documents", limit="one of the two")

    async def removing(client: Client) -> None:
        if everything:
            await client.collections.delete(name)
        for document in documents or ():
            await client.collections.remove(name, document)

    server.ask(removing)
    what = "The collection is" if everything else f"{len(documents or ())} documents are"
    server.show({"collection": name, "deleted": documents or everything}, line(f"{what} deleted."))


# ------------------------------------------------------------------------------------------------------------- adding


async def _made(client: Client, request: CollectionRequest) -> None:
    """Make the collection unless it is there."""
    try:
        await client.collections.get(request.name)
    except NotFound:
        await client.collections.create(request)


def _labels(text: str) -> tuple[str, ...]:
    """Return labels as they are typed, by comma."""
    return tuple(label.strip() for label in text.split(",") if label.strip())


def _failures(job: Job, ids: Sequence[str]) -> list[Failed]:
    """Return what failed of a job; a line stands for the file that was sent as it."""
    return [
        Failed(
            each.document
            or (ids[each.line - 1] if each.line and each.line <= len(ids) else f"line {each.line}"),
            each.code,
            each.message + (" (retryable)" if each.retryable else ""),
        )
        for each in job.failures
    ]


# ------------------------------------------------------------------------------------------------------------ telling


def _told(added: _Added) -> Iterator[RenderableType]:
    counts = [job.counts for job in added.jobs]
    rows = [
        ("collection", added.collection),
        ("files", f"{added.files:,}"),
        ("indexed", f"{sum(each.done for each in counts):,}"),
        ("in part", f"{sum(each.in_part for each in counts):,}"),
        ("unchanged", f"{sum(each.unchanged for each in counts):,}"),
        ("failed", f"{sum(each.code != IN_PART for each in added.failed):,}"),
        ("chunks", f"{sum(each.chunks for each in counts):,}"),
        ("near-duplicates", f"{sum(each.near_duplicates for each in counts):,}"),
        ("cost", dollars(sum(each.cost_nanos for each in counts))),
        ("jobs", ", ".join(f"{job.id} {job.status}" for job in added.jobs)),
    ]
    yield facts(rows)
    if added.failed:
        yield _failure_table(added.failed)


def _failure_table(failed: Sequence[Failed]) -> RenderableType:
    rows = [(each.document, each.code, each.message) for each in failed[:FAILURES_SHOWN]]
    return table(("not indexed, or in part", "code", "why"), rows, empty="")


def _facts(found: CollectionInfo) -> list[tuple[str, object]]:
    searchable = found.searchable
    held = f"{searchable.documents:,} documents, {searchable.chunks:,} chunks" if searchable else ""
    return [
        ("collection", found.name),
        ("space", f"{found.space}{' (stale: its model has changed)' if found.stale else ''}"),
        ("searchable", held),
        ("rows", found.precision),
        ("rerank", found.rerank),
        ("moving to", found.building or "–"),
    ]


def _job_row(job: Job) -> tuple[object, ...]:
    counts = job.counts
    done = f"{counts.ended:,}/{counts.documents:,}"
    return (
        job.id,
        when(job.created_at),
        job.status,
        done,
        counts.in_part,
        counts.failed,
        counts.chunks,
        counts.embedded,
        counts.reused,
        dollars(counts.cost_nanos),
    )


def _job_facts(job: Job) -> list[tuple[str, object]]:
    names = (
        *("job", "began", "status", "documents", "in part", "failed"),
        *("chunks", "embedded", "reused", "cost"),
    )
    return list(zip(names, _job_row(job), strict=True))


def _goes_on(made: Migration) -> bool:
    """Tell whether a migration will move by itself."""
    return made.status in {"building", "checking"} or (made.status == "ready" and made.automatic)


def _migration_facts(made: Migration) -> list[tuple[str, object]]:
    check = made.check
    found = (
        f"{check.known_after:.1%} of known documents found, index recall {check.dense_recall:.3f}"
        if check
        else ""
    )
    return [
        ("migration", made.id),
        ("status", made.status),
        ("from", made.before),
        ("to", made.after),
        ("check", found or "–"),
        ("why", made.reason or "–"),
    ]


def _condition(text: str) -> Condition:
    """Return `field=value` as a condition; numbers and true or false are what they say."""
    field, sign, value = text.partition("=")
    if not sign or not field:
        raise Invalid("This is no condition.", field="where", value=text, limit="field=value")
    try:
        meant = msgspec.json.decode(value.encode(), type=int | float | bool)
    except msgspec.DecodeError:
        return Condition(field=field, any_of=(value,))
    return Condition(field=field, any_of=(meant, value))


def _passage(result: SearchResult) -> Iterator[Text]:
    place = f" page {result.page}" if result.page else ""
    heading = f" · {result.heading}" if result.heading else ""
    yield line(f"\n{result.score:.3f}  {result.document}{place}{heading}".lstrip("\n"), "bold")
    if (scores := result.scores) is not None:
        parts = {name: value for name, value in msgspec.structs.asdict(scores).items() if value is not None}
        yield line("       " + ", ".join(f"{name} {value:.4g}" for name, value in parts.items()), "dim")
    said = " ".join(result.text.split())
    yield line(f"       {said[:SHOWN_CHARS]}{'…' if len(said) > SHOWN_CHARS else ''}")
