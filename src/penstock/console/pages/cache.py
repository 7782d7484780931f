"""The cache of answers: how it serves, what it saves, and having it forget; and what vendors' own prompt caches save.

Promises: figures are one organisation's; nothing is forgotten without being named and asked about once more; where no
answers are kept the page says what to set, and still shows what vendors keep.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from starlette.responses import Response

from penstock.console.inputs import FORM_ERRORS, Reading
from penstock.console.routing import requests_of
from penstock.console.visits import Page, Visit
from penstock.kernel.errors import NotFound, PenstockError
from penstock.sdk.replies import CacheFigures, Purge

WHAT: Final = (
    (
        "tag",
        "A tag",
        "As x-penstock-cache-tags names it, e.g. doc:42; feature:NAME and route:NAME are given by itself.",
    ),
    ("model", "A model", "The public name callers use."),
    ("key", "One answer", "Its key, as the reply's x-penstock-cache says it: 16 characters."),
    ("everything", "All of them", "Of this organisation."),
)
"""What can be forgotten: name, label, hint."""
CLASSES: Final = {
    "static": "facts that do not change",
    "semi": "what changes within hours",
    "live": "never kept",
}
SET_IT: Final = '[cache]\nurl = "memory:"      # each process its own; or "redis://…", shared by all'


async def index(visit: Visit) -> Response:
    """Show the figures."""
    return await _page(visit, _org(visit, visit.query("org")), {})


async def purge(visit: Visit) -> Response:
    """Have it forget."""
    form = await visit.form()
    org, reading = _org(visit, form.get("org", "")), Reading(form)
    what = reading.choice("what", [name for name, _, _ in WHAT], "tag")
    value = reading.text("value", most=256)
    if what != "everything" and not value:
        reading.wrong["value"] = "Say which."
    if reading.wrong:
        return await _page(visit, org, form, wrong=reading.wrong)
    asked = Purge(
        org=org,
        tag=value if what == "tag" else None,
        model=value if what == "model" else None,
        key=value if what == "key" else None,
        everything=what == "everything",
    )
    try:
        made = await visit.client.cache.purge(asked)
    except FORM_ERRORS as problem:
        return await _page(visit, org, form, problem=problem)
    told = f"{made.forgotten:,} answers are forgotten here, and within a second everywhere."
    return visit.go(f"/cache?{urlencode({'org': org})}" if org else "/cache", notice=told)


async def _page(
    visit: Visit,
    org: str,
    typed: Mapping[str, str],
    *,
    problem: PenstockError | None = None,
    wrong: dict[str, str] | None = None,
) -> Response:
    found: CacheFigures | None = None
    try:
        found = await visit.client.cache.status(org)
    except NotFound:
        if problem is not None:
            raise
    prompts = await visit.client.cache.prompts(org)
    return visit.render(
        "pages/cache.html",
        status=problem.status if problem else 400 if wrong else 200,
        org=org,
        found=found,
        asked=found.hits + found.misses if found else 0,
        classes=[(name, CLASSES.get(name, ""), each) for name, each in sorted(found.classes.items())]
        if found
        else [],
        prompts=[(row, requests_of(row.backend, org)) for row in prompts],
        saved_nanos=sum(row.saved_nanos for row in prompts),
        what=WHAT,
        typed=typed,
        problem=problem,
        wrong=wrong or {},
        may_purge=visit.may("purge the cache of answers"),
        set_it=SET_IT,
    )


def _org(visit: Visit, org: str) -> str:
    return org.strip()[:64] if visit.me.role == "owner" else ""


PAGES: Final = (
    Page(path="/cache", serve=index, needs="read the cache of answers"),
    Page(path="/cache/purge", serve=purge, needs="purge the cache of answers", method="POST"),
)
