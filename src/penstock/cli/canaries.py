"""`penstock canaries`: how canaries do beside production, and how near each is to being taken out; once or live."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter
from rich.console import Group, RenderableType
from rich.text import Text

from penstock.cli.drawing import meter
from penstock.cli.live import follow, paint, together
from penstock.cli.output import Page, line, table
from penstock.cli.server import HERE, Server
from penstock.cli.status import say
from penstock.console.formats import count, duration, share
from penstock.sdk.client import Client
from penstock.sdk.routing import Canaries, Canary, CanaryArm

METER_CHARS = 10
NONE = "No route has a canary. Give one to a route with `penstock config routes apply FILE`."
EMPTY = "It has no evidence yet."


def canaries(
    *,
    live: Annotated[
        bool, Parameter(name=("--live", "--watch", "-l"), negative="", show_default=False)
    ] = False,
    server: Server = HERE,
) -> int:
    """See how canaries do beside production, and how near each is to being taken out.

    Parameters
    ----------
    live
        Go on until Ctrl-C: a picture on a terminal, one line per change otherwise (one JSON object with --json).
    """
    if live:
        return server.watch(lambda client: _watch(client, server))
    found = server.ask(lambda client: client.routing.canaries())
    server.show(found, *_picture(found))
    return 0


def _picture(found: Canaries) -> Sequence[RenderableType]:
    if not found.canaries:
        return [line(NONE)]
    return [part for each in found.canaries for part in (*_canary(each), line(""))][:-1]


def _canary(canary: Canary) -> Sequence[RenderableType]:
    told = f"{canary.route}: {canary.state}, {canary.percent:g} % to {', '.join(canary.labels)}"
    if canary.state != "on trial":
        return [line(told, "bold"), *([line(canary.why)] if canary.why else [])]
    rows = [
        (
            each.metric.replace("_", " "),
            figure(each.metric, canary.control),
            figure(each.metric, canary.newcomer),
            f"{each.evidence:.3g} of {each.bound:.4g}",
            meter(each.nearness, 1.0, METER_CHARS),
        )
        for each in canary.evidence
    ]
    heads = ("metric", ">production", ">canary", ">evidence", "to being taken out")
    return [line(told, "bold"), table(heads, rows, empty=EMPTY)]


def figure(metric: str, arm: CanaryArm) -> str:
    """Return what one side did by a metric, as people read it."""
    if metric == "errors":
        return f"{arm.failed:,} of {arm.calls:,} ({share(arm.failed, arm.calls)})"
    if metric == "quality":
        return f"{arm.score:.2f} of {count(arm.scores)} scores" if arm.scores else "no scores"
    return duration(arm.first_token_ms if metric == "first_token" else arm.latency_ms)


def _summary(found: Canaries) -> Text:
    parts = [
        f"{each.route} {each.state} {each.percent:g} %, {each.newcomer.failed} of {each.newcomer.calls} failed, "
        f"{max((one.nearness for one in each.evidence), default=0.0):.0%} to being taken out"
        for each in found.canaries
    ]
    return line("  ".join(parts) or NONE)


@dataclass(slots=True)
class _Sight:
    """What the picture is made of: the latest canaries, and what became of the connection."""

    canaries: Canaries | None = None
    state: str = ""

    def draw(self) -> RenderableType:
        if self.canaries is None:
            return line(self.state or "Waiting for the first figures …", "dim")
        state = [line(self.state, "bold yellow")] if self.state else []
        return Group(*state, *_picture(self.canaries))


async def _watch(client: Client, server: Server) -> None:
    page, sight, changed = Page(), _Sight(), asyncio.Event()

    def seen(found: Canaries, _skipped: int) -> None:
        sight.canaries = found
        changed.set()

    def lost(state: str) -> None:
        sight.state = state
        changed.set()

    if server.json or not (sys.stdout.isatty() and page.is_interactive):
        await follow(client.routing.watch_canaries, lambda found, _: server.tell(found, _summary(found)), say)
    await together(follow(client.routing.watch_canaries, seen, lost), paint(page, sight.draw, changed))
