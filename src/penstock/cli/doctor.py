"""`penstock doctor`: is this deployment well, and does every store keep what it promises?"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from rich.console import Console
from rich.status import Status

from penstock.cli.deployment import DEFAULTS, Deployment
from penstock.cli.output import line, table
from penstock.wiring.doctor import Finding, examine


def doctor(*, deployment: Deployment = DEFAULTS) -> int:
    """Check this deployment: settings, safety, every store against its promises, every provider.

    It may run while the deployment serves. A store's cases are told as kept, broken or not tried: some need a harm
    (a full disk, a store cut off) that nobody does to a live deployment. Exit code 1 when anything is not well; what
    was not tried does not count.
    """
    settings, env = deployment.settings(), deployment.environment()

    async def all_of() -> list[Finding]:
        found: list[Finding] = []
        with Status("looking …", console=Console(file=sys.stderr)) as progress:
            async for finding in examine(settings, env):
                found.append(finding)
                progress.update(f"{len(found)} looked at, last {finding.what} …")
        return found

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(all_of())
    rows = [(each.what, "ok" if each.well else "FAILED", each.told) for each in found]
    people = table(("what", "", "found"), rows, empty="Nothing was looked at.")
    deployment.show(found, people, line(_total(found)))
    return 0 if all(each.well for each in found) else 1


def _total(found: list[Finding]) -> str:
    """Say what became of the cases of every store together."""
    cases = [each.cases for each in found if each.cases is not None]
    kept, broken = sum(each.kept for each in cases), sum(each.broken for each in cases)
    return f"Cases of contracts: {kept} kept, {broken} broken, {sum(each.not_tried for each in cases)} not tried."
