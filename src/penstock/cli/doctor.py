"""`penstock doctor`: is this deployment well, and does every store keep what it promises?"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from rich.console import Console
from rich.status import Status

from penstock.cli.deployment import DEFAULTS, Deployment
from penstock.cli.output import table
from penstock.wiring.doctor import Finding, examine


def doctor(*, deployment: Deployment = DEFAULTS) -> int:
    """Check this deployment: settings, safety, every store against its promises, every provider.

    It may run while the deployment serves. Exit code 1 when anything is not well.
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
    deployment.show(found, table(("what", "", "found"), rows, empty="Nothing was looked at."))
    return 0 if all(each.well for each in found) else 1
