"""`penstock ledger`: check that the books are whole, by a running server or straight from its store."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import uvloop
from cyclopts import App, Parameter

from penstock.cli.deployment import DEFAULTS, Deployment
from penstock.cli.output import dollars, facts, line
from penstock.cli.server import HERE, Server
from penstock.ports.ledger import Verdict
from penstock.sdk.replies import LedgerReport
from penstock.wiring.books import verify_offline

ledger = App(name="ledger", help="Check that the books are whole.")


@ledger.command
def verify(
    *,
    offline: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    server: Server = HERE,
    deployment: Deployment = DEFAULTS,
) -> int:
    """Walk the whole ledger: hash chains, conservation, balances. Exit code 1 when something is wrong.

    Parameters
    ----------
    offline
        Read the ledger's own store instead of asking a server; also while one runs.
    """
    report = _offline(deployment) if offline else server.ask(lambda client: client.ledger.verify())
    lines = [
        facts(
            (
                ("entries", f"{report.entries:,}"),
                ("operations", f"{report.operations:,}, of which {report.pending:,} under way"),
                ("spent", dollars(report.posted_nanos)),
                ("held", dollars(report.held_nanos)),
                *((f"head of {writer}", head) for writer, head in report.heads.items()),
            )
        ),
        line("The books are whole." if report.whole else f"{len(report.problems)} problems:"),
        *(line(f"  {problem}") for problem in report.problems),
    ]
    server.show(report, *lines)
    return 0 if report.whole else 1


def _offline(deployment: Deployment) -> LedgerReport:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        verdict: Verdict = runner.run(verify_offline(deployment.settings()))
    return msgspec.convert({**msgspec.to_builtins(verdict), "whole": not verdict.problems}, LedgerReport)
