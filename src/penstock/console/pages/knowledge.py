"""Knowledge: collections, what is in them, how their jobs ended, their way to another model; and a search, explained.

Promises: everything is done as an API key that the person gives (`held_key`), so that its project, limits, budgets and
audit hold as for every other customer; a failure is shown with its reason; what is deleted is asked about once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal, cast, get_args
from urllib.parse import quote, urlencode

from starlette.responses import Response

from penstock.console import held_key, searching
from penstock.console.inputs import FORM_ERRORS, Reading
from penstock.console.visits import Page, Visit
from penstock.kernel.errors import Invalid, PenstockError, Unauthenticated
from penstock.sdk.client import Client
from penstock.sdk.knowledge import CollectionInfo, SearchAnswer

NEEDS: Final = "use models"
COLLECTIONS_SHOWN: Final = 100
DOCUMENTS_A_PAGE: Final = 25
JOBS_SHOWN: Final = 50
ADD: Final = "penstock index add handbook guides/"
KINDS: Final = {
    "complete": "ok", "indexed": "ok", "switched": "ok", "ready": "accent",
    "partial": "warn", "blocked": "warn", "failed": "bad",
}  # fmt: skip
"""How a state of a document, a job or a migration is shown."""
UNDER_WAY: Final = ("building", "checking")
STEPS: Final = {
    "building": ("cancel",),
    "checking": ("cancel",),
    "blocked": ("switch", "cancel"),
    "ready": ("switch", "cancel"),
    "switched": ("rollback", "finish"),
    "rolled_back": ("switch", "finish"),
}
"""What can be done about a migration."""
WORDS: Final = {
    "switch": (
        "Switch",
        "Searches go to the new space from now on. You can go back while the old rows are kept.",
    ),
    "rollback": ("Roll back", "Searches go to the space of before again."),
    "cancel": ("Cancel", "What was built for the new model is let go of."),
    "finish": (
        "Let go of the other",
        "The rows that are not searched now are deleted: there is no way back then.",
    ),
}
Step = Literal["switch", "rollback", "cancel", "finish"]
Serve = Callable[[Visit, Client], Awaitable[Response]]


def with_key(serve: Serve) -> Callable[[Visit], Awaitable[Response]]:
    """Serve a page as the key that the person gave; ask for one where there is none that holds."""

    async def served(visit: Visit) -> Response:
        key = held_key.held_key(visit)
        if not key:
            return _ask(visit)
        async with visit.console.connect(key, visit.peer) as client:
            try:
                return await serve(visit, client)
            except Unauthenticated:
                ended = Invalid("The key you gave has ended.", field="key", remedy="Give another.")
                response = _ask(visit, problem=ended)
                held_key.let_go(response, visit)
                return response

    return served


def _ask(visit: Visit, *, problem: PenstockError | None = None) -> Response:
    status = problem.status if problem else 200
    return visit.render(
        "pages/knowledge_key.html", status=status, problem=problem, may_keys=visit.may("write keys")
    )


async def take_key(visit: Visit) -> Response:
    """Take the key to look with, or let go of it."""
    key = (await visit.form()).get("key", "")
    if not key:
        response = visit.go("/knowledge")
        held_key.let_go(response, visit)
        return response
    if not held_key.is_token(key):
        return _ask(visit, problem=Invalid("This is no key.", field="key", remedy="It begins with pen-."))
    async with visit.console.connect(key, visit.peer) as client:
        try:
            await held_key.checked(client)
        except FORM_ERRORS as problem:
            return _ask(visit, problem=problem)
    response = visit.go("/knowledge")
    held_key.hold(response, visit, key)
    return response


async def index(visit: Visit, client: Client) -> Response:
    """Show the collections of the key's project."""
    who = await client.me()
    listed = await client.collections.list()
    shown = await asyncio.gather(*[client.collections.get(each.name) for each in listed[:COLLECTIONS_SHOWN]])
    return visit.render(
        "pages/knowledge.html",
        who=who,
        rows=[(each, path_of(each.name)) for each in shown],
        total=len(listed),
        add=ADD,
    )


async def collection(visit: Visit, client: Client) -> Response:
    """Show a collection, with its search."""
    return await _collection(visit, client, {})


async def search(visit: Visit, client: Client) -> Response:
    """Search it."""
    form = await visit.form()
    reading = Reading(form)
    request = searching.read(reading)
    if reading.wrong:
        return await _collection(visit, client, form, wrong=reading.wrong)
    try:
        answer = await client.collections.search(_name(visit), request)
    except FORM_ERRORS as problem:
        return await _collection(visit, client, form, problem=problem)
    return await _collection(visit, client, form, answer=answer)


async def _collection(
    visit: Visit,
    client: Client,
    typed: Mapping[str, str],
    *,
    answer: SearchAnswer | None = None,
    problem: PenstockError | None = None,
    wrong: dict[str, str] | None = None,
) -> Response:
    return _render(
        visit,
        "pages/knowledge_search.html",
        await client.collections.get(_name(visit)),
        status=problem.status if problem else 400 if wrong else 200,
        typed=typed,
        answer=answer,
        results=searching.explained(answer) if answer else (),
        problem=problem,
        wrong=wrong or {},
        reranks=searching.RERANKS,
        evidence=searching.EVIDENCE,
        add=ADD,
    )


async def documents(visit: Visit, client: Client) -> Response:
    """Show a page of its documents."""
    after = visit.query("after")[:256]
    found = await client.collections.get(_name(visit))
    page = await client.collections.document_page(found.name, after, DOCUMENTS_A_PAGE)
    here = f"{path_of(found.name)}/documents"
    return _render(
        visit,
        "pages/knowledge_documents.html",
        found,
        rows=page.documents,
        after=after,
        later=f"{here}?{urlencode({'after': page.after})}" if page.after else "",
    )


async def delete(visit: Visit, client: Client) -> Response:
    """Delete a document."""
    form = await visit.form()
    document, after = form.get("id", ""), form.get("after", "")
    await client.collections.remove(_name(visit), document)
    back = f"{path_of(_name(visit))}/documents" + (f"?{urlencode({'after': after})}" if after else "")
    return visit.go(back, notice=f"{document[:100]} is deleted: no search finds it.")


async def jobs(visit: Visit, client: Client) -> Response:
    """Show a page of its jobs, the latest first."""
    after = visit.query("after")[:64]
    found, page = await asyncio.gather(
        client.collections.get(_name(visit)),
        client.collections.job_page(_name(visit), after, JOBS_SHOWN),
    )
    base = f"{path_of(found.name)}/jobs"
    return _render(
        visit,
        "pages/knowledge_jobs.html",
        found,
        rows=[(job, f"{base}/{quote(job.id, safe='')}") for job in page.jobs],
        here=f"{base}?{urlencode({'after': after})}" if after else base,
        newest=base if after else "",
        older=f"{base}?{urlencode({'after': page.after})}" if page.after else "",
        is_open=any(job.is_open for job in page.jobs),
    )


async def job(visit: Visit, client: Client) -> Response:
    """Show a job with every failure and its reason."""
    found = await client.collections.get(_name(visit))
    told = await client.collections.job(found.name, _id(visit))
    return _render(
        visit,
        "pages/knowledge_job.html",
        found,
        job=told,
        here=f"{path_of(found.name)}/jobs/{quote(told.id, safe='')}",
        may_retry=not told.is_open and any(each.retryable for each in told.failures),
    )


async def steer_job(visit: Visit, client: Client) -> Response:
    """Try a job's failures again, or call it off."""
    name, job_id, step = _name(visit), _id(visit), (await visit.form()).get("step", "")
    if step == "retry":
        await client.collections.retry(name, job_id)
        notice = "What may succeed is tried again."
    elif step == "cancel":
        await client.collections.cancel(name, job_id)
        notice = "The job is called off. What it has begun it ends."
    else:
        raise Invalid("A job can be tried again or called off.", field="step", value=step[:20])
    return visit.go(f"{path_of(name)}/jobs/{quote(job_id, safe='')}", notice=notice)


async def migrations(visit: Visit, client: Client) -> Response:
    """Show its migrations, the latest first."""
    return await _migrations(visit, client, {})


async def migrate(visit: Visit, client: Client) -> Response:
    """Begin a migration, or take the next step of one."""
    form, name = await visit.form(), _name(visit)
    step = form.get("step", "")
    try:
        if step in get_args(Step):
            told = await client.collections.steer(name, form.get("id", ""), cast("Step", step))
        else:
            automatic = form.get("switch") == "auto"
            told = await client.collections.migrate(
                name, form.get("model", ""), "auto" if automatic else "manual"
            )
    except FORM_ERRORS as problem:
        return await _migrations(visit, client, form, problem=problem)
    return visit.go(
        f"{path_of(name)}/migrations",
        notice=f"The change to {told.after} is {told.status.replace('_', ' ')}.",
    )


async def _migrations(
    visit: Visit, client: Client, typed: Mapping[str, str], *, problem: PenstockError | None = None
) -> Response:
    found, every = await asyncio.gather(
        client.collections.get(_name(visit)), client.collections.migrations(_name(visit))
    )
    latest = sorted(every, key=lambda each: (each.created_at, each.id), reverse=True)[:JOBS_SHOWN]
    base = f"{path_of(found.name)}/jobs"
    return _render(
        visit,
        "pages/knowledge_migrations.html",
        found,
        status=problem.status if problem else 200,
        rows=[(each, STEPS.get(each.status, ()), f"{base}/{quote(each.job, safe='')}") for each in latest],
        words=WORDS,
        typed=typed,
        problem=problem,
        is_open=any(each.status in UNDER_WAY for each in latest),
    )


def _render(
    visit: Visit, template: str, found: CollectionInfo, *, status: int = 200, **values: object
) -> Response:
    return visit.render(template, status=status, found=found, at=path_of(found.name), kinds=KINDS, **values)


def path_of(name: str) -> str:
    """Return where a collection is, below the console."""
    return f"/knowledge/{quote(name, safe='')}"


def _name(visit: Visit) -> str:
    return str(visit.request.path_params["name"])


def _id(visit: Visit) -> str:
    return str(visit.request.path_params["id"])


def _page(path: str, serve: Serve, method: str = "GET") -> Page:
    return Page(path=f"/knowledge{path}", serve=with_key(serve), needs=NEEDS, method=method)


PAGES: Final = (
    _page("", index),
    Page(path="/knowledge", serve=take_key, needs=NEEDS, method="POST"),
    _page("/{name}", collection),
    _page("/{name}", search, "POST"),
    _page("/{name}/documents", documents),
    _page("/{name}/documents", delete, "POST"),
    _page("/{name}/jobs", jobs),
    _page("/{name}/jobs/{id}", job),
    _page("/{name}/jobs/{id}", steer_job, "POST"),
    _page("/{name}/migrations", migrations),
    _page("/{name}/migrations", migrate, "POST"),
)
