"""`penstock requests`: each one as it ends, those of the past, and one with what happened inside it."""

from __future__ import annotations

import sys
from typing import Annotated, Final

from cyclopts import App, Parameter
from rich.console import RenderableType
from rich.text import Text

from penstock.cli.drawing import stretch
from penstock.cli.live import follow
from penstock.cli.output import Page, dollars, facts, line, table
from penstock.cli.request_line import STYLES, heading, model, request_line
from penstock.cli.server import HERE, Server
from penstock.cli.status import say
from penstock.cli.which import ALL, Which, moment
from penstock.console.formats import duration
from penstock.console.formats import moment as second
from penstock.kernel.errors import Invalid, NotFound
from penstock.sdk.client import Client
from penstock.sdk.requests import RequestDetail, RequestPage, RequestView, SpanView

requests = App(name="requests", help="See requests: as they end, those of the past, one from inside.")

PAGE_ROWS: Final = 200
"""The most that the server gives at a time."""
SEARCHED: Final = 1_000
"""So many of the latest requests are searched for a part of an id."""
PART_LEAST: Final = 6
NAME_CHARS: Final = 28


@requests.command
def tail(*, which: Which = ALL, server: Server = HERE) -> int:
    """Show requests as they end, one line each, until Ctrl-C. With --json: one object each.

    The server tells at most 20 a second; how many it left out is told too.
    """
    return server.watch(lambda client: _tail(client, which, server))


async def _tail(client: Client, which: Which, server: Server) -> None:
    last_skipped = 0
    if not server.json:
        Page().print(heading(_width()), soft_wrap=True)
        sys.stdout.flush()

    def seen(request: RequestView, skipped: int) -> None:
        nonlocal last_skipped
        if skipped > last_skipped:
            told = skipped - last_skipped
            server.tell({"skipped": told}, line(f"… {told:,} more were not shown", "dim"))
        last_skipped = skipped
        server.tell(request, request_line(request, _width()))

    def lost(state: str) -> None:
        nonlocal last_skipped
        last_skipped = 0
        say(state)

    await follow(lambda: client.requests.live(**which.filter()), seen, lost)


@requests.command(name="list")
def show_all(
    *,
    since: Annotated[str, Parameter(show_default=False)] = "",
    until: Annotated[str, Parameter(show_default=False)] = "",
    limit: int = 50,
    after: Annotated[str, Parameter(show_default=False)] = "",
    which: Which = ALL,
    server: Server = HERE,
) -> None:
    """List requests, the latest first.

    Parameters
    ----------
    since
        Not before this: 90m, 24h or 7d ago, or a UTC time such as 2026-11-20 or 2026-11-20T08:30.
    until
        Before this, said alike.
    limit
        How many at most.
    after
        Go on after a page: what it says at its end.
    """
    if limit < 1:
        raise Invalid("At least one.", field="--limit", value=limit)
    wanted = which.filter(moment("since", since), moment("until", until))

    async def read(client: Client) -> RequestPage:
        rows: list[RequestView] = []
        cursor = after
        while len(rows) < limit:
            page = await client.requests.list(after=cursor, limit=min(limit - len(rows), PAGE_ROWS), **wanted)
            rows.extend(page.requests)
            cursor = page.after
            if not cursor:
                break
        return RequestPage(requests=tuple(rows), after=cursor)

    page = server.ask(read)
    width = _width()
    lines: list[Text] = [request_line(each, width) for each in page.requests]
    if not lines:
        lines = [line("No request matches.")]
    else:
        lines.insert(0, heading(width))
    if page.after:
        lines.append(line(f"more: --after {page.after}", "dim"))
    server.show(page, *lines)


@requests.command
def show(request_id: str, *, server: Server = HERE) -> None:
    """Show one request: who, what, how it ended, what it cost, and when what happened inside it.

    Parameters
    ----------
    request_id
        Its id, or a part of it that no other of the latest thousand has, such as `tail` shows.
    """
    detail = server.ask(lambda client: _find(client, request_id))
    page = Page()
    width = page.width if page.is_terminal else 100
    calls = [_calls(detail.request), line("")] if len(detail.request.calls) > 1 else []
    server.show(detail, _facts(detail), line(""), *calls, *waterfall(detail.spans, width))


@requests.command
def score(
    request_id: str,
    score: Annotated[float, Parameter(help="From 0 (bad) to 1 (good).")],
    *,
    server: Server = HERE,
) -> None:
    """Say how good the answer of a request was, once; a canary is judged by it."""
    given = server.ask(lambda client: client.requests.score(request_id, score))
    server.show(given, line(f"{given.request_id}: {given.score:g}"))


async def _find(client: Client, part: str) -> RequestDetail:
    """Return the request with this id, or the only one whose id has this part. Raises NotFound, Invalid."""
    try:
        return await client.requests.get(part)
    except NotFound:
        if len(part) < PART_LEAST:
            raise
        found: set[str] = set()
        after, seen = "", 0
        while seen < SEARCHED:
            page = await client.requests.list(limit=PAGE_ROWS, after=after)
            found.update(each.request_id for each in page.requests if part in each.request_id)
            after, seen = page.after, seen + PAGE_ROWS
            if not after:
                break
        if not found:
            raise
    if len(found) > 1:
        raise Invalid(
            "More than one request has this in its id.",
            field="request_id",
            value=part,
            limit=", ".join(sorted(found)[:3]),
            remedy="Give more of it.",
        )
    return await client.requests.get(found.pop())


def _facts(detail: RequestDetail) -> RenderableType:
    it = detail.request
    tokens = f"{it.input_tokens:,} in ({it.cached_tokens:,} cached), {it.output_tokens:,} out"
    whose = (("org", it.org), ("team", it.team), ("project", it.project), ("user", it.user))
    optional = (
        ("feature", it.feature),
        ("error", it.error),
        ("finished by", it.finish),
        ("cache", it.cache),
        ("trace", it.trace_id),
        ("flags", ", ".join(it.flags)),
        ("score", "" if detail.score is None else f"{detail.score:g}"),
    )
    return facts(
        (
            ("request", it.request_id),
            ("ended", f"{second(it.at_s)}Z, {it.outcome} ({it.status})"),
            ("who", " ".join(f"{level}:{name}" for level, name in whose if name)),
            ("key", it.key_id),
            ("model", model(it)),
            ("route", it.route or "none"),
            ("tokens", tokens),
            ("cost", f"{dollars(it.cost_nanos)}{', estimated' if it.estimated else ''}"),
            ("first token", duration(it.first_token_ms)),
            ("took", duration(it.latency_ms)),
            ("calls", f"{it.attempts}{', streamed' if it.stream else ''}"),
            *((name, value) for name, value in optional if value),
        )
    )


def _calls(it: RequestView) -> RenderableType:
    rows = [
        (f"{each.provider}/{each.model}", each.outcome, duration(each.ended_ms - each.began_ms),
         f"{each.input_tokens:,}", f"{each.output_tokens:,}", dollars(each.cost_nanos))
        for each in it.calls
    ]  # fmt: skip
    return table(("call", "outcome", ">took", ">in", ">out", ">cost"), rows, empty="")


def waterfall(spans: tuple[SpanView, ...], width: int) -> list[Text]:
    """Draw when each span began and ended, one line each, `width` wide."""
    if not spans:
        return [line("No spans were kept.", "dim")]
    whole = max(each.ended_ms for each in spans)
    chars = max(width - NAME_CHARS - 10, 10)
    told: list[Text] = []
    for each in spans:
        name = line(f"{'  ' * each.depth}{each.name}")
        name.truncate(NAME_CHARS - 1, overflow="ellipsis", pad=True)
        drawn = stretch(each.began_ms, each.ended_ms, whole, chars)
        style = STYLES["failed"] if each.error else "bold cyan" if each.depth == 0 else "cyan"
        took = f"{duration(each.ended_ms - each.began_ms):>8} "
        told.append(Text.assemble(name, " ", took, (drawn, style)))
        if each.error:
            told.append(line(f"{' ' * (NAME_CHARS + 9)}{each.error}", style))
    return told


def _width() -> int | None:
    page = Page()
    return page.width if page.is_terminal else None
