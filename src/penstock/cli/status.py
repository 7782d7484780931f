"""`penstock status`: how a running server is, once or for as long as one looks."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.console import RenderableType

from penstock.cli.live import follow, paint, together
from penstock.cli.output import Page, facts, line, table
from penstock.cli.overview import picture, summary
from penstock.cli.server import HERE, Server
from penstock.kernel.errors import Forbidden, NotFound, PenstockError, Unavailable
from penstock.sdk.client import Client
from penstock.sdk.replies import Status
from penstock.sdk.requests import Overview


def status(
    *,
    live: Annotated[
        bool, Parameter(name=("--live", "--watch", "-l"), negative="", show_default=False)
    ] = False,
    full_screen: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    org: Annotated[str, Parameter(help="Organisation; your key's own by default.", show_default=False)] = "",
    server: Server = HERE,
) -> int:
    """See how a running server is: what breaks first, latency, errors, spending, dependencies, providers.

    Parameters
    ----------
    live
        Go on until Ctrl-C: a picture on a terminal, one line per change otherwise (one JSON object with --json).
    full_screen
        With --live: use the terminal's second screen, so that nothing stays of it.
    """
    if live:
        return server.watch(lambda client: _watch(client, org, server, alternate=full_screen))

    async def both(client: Client) -> tuple[Status, Overview | PenstockError]:
        now = await client.status()
        try:
            return now, await client.overview.get(org)
        except (Unavailable, NotFound, Forbidden) as error:  # what can be told is told
            return now, error

    now, sight = server.ask(both)
    seen = sight if isinstance(sight, Overview) else None
    told = {**msgspec.to_builtins(now), "overview": seen}
    page = Page()
    width = page.width if page.is_terminal else 100
    shown: RenderableType = line(f"No overview: {sight}") if seen is None else picture(seen, width=width)
    server.show(told, _facts(now), *_tables(now), line(""), shown)
    return 0


def _facts(now: Status) -> RenderableType:
    down = [name for name, works in now.dependencies.items() if not works]
    waiting, dropped = now.metering_waiting, now.metering_dropped
    metering = () if waiting is None else (("metering", f"{waiting} waiting, {dropped} dropped"),)
    return facts(
        (
            ("version", now.version),
            ("up", f"{now.uptime_s:,.0f} s" + (", draining" if now.draining else "")),
            ("down", ", ".join(down) or "nothing"),
            ("requests under way", now.in_flight),
            ("connections", now.connections),
            ("models", now.models),
            ("audit", f"{now.audit_waiting} waiting, {now.audit_dropped} dropped"),
            *metering,
        )
    )


def _tables(now: Status) -> Sequence[RenderableType]:
    return (
        table(("provider", ">models"), now.providers.items(), empty="No provider."),
        table(("back end", "breaker", ">quota left"), _back_ends(now), empty="No back end was called yet."),
        table(("model not served", "why"), now.unpriced.items(), empty="Every model has a price."),
    )


def _back_ends(now: Status) -> Iterator[tuple[str, str, str]]:
    """Yield each back end with its breaker, and what is left of its vendor's limit where the vendor tells it."""
    for name in sorted({*now.breakers, *now.quotas}):
        left = now.quotas.get(name)
        yield name, now.breakers.get(name, "closed"), "" if left is None else f"{left:.0%}"


@dataclass(slots=True)
class _Sight:
    """What the picture is made of: the latest overview, and what became of the connection."""

    overview: Overview | None = None
    state: str = ""


async def _watch(client: Client, org: str, server: Server, *, alternate: bool) -> None:
    page = Page()
    sight, changed = _Sight(), asyncio.Event()

    def seen(now: Overview, _skipped: int) -> None:
        sight.overview = now
        changed.set()

    def lost(state: str) -> None:
        sight.state = state
        changed.set()

    def draw() -> RenderableType:
        if sight.overview is None:
            return line(sight.state or "Waiting for the first figures …", "dim")
        width, height = page.size
        return picture(sight.overview, width=width, height=height, state=sight.state)

    if server.json or not (sys.stdout.isatty() and page.is_interactive):
        await follow(lambda: client.overview.live(org), lambda now, _: server.tell(now, summary(now)), say)
    await together(
        follow(lambda: client.overview.live(org), seen, lost), paint(page, draw, changed, alternate=alternate)
    )


def say(state: str) -> None:
    """Say on standard error what became of the connection, "" that it is back."""
    sys.stderr.write(f"penstock: {state or 'Connected again.'}\n")
    sys.stderr.flush()
