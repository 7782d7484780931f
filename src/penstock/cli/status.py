"""`penstock status`: how a running server is."""

from __future__ import annotations

from penstock.cli.output import facts, table
from penstock.cli.server import HERE, Server


def status(*, server: Server = HERE) -> None:
    """See how a running server is: dependencies, providers, breakers, requests under way."""
    now = server.ask(lambda client: client.status())
    down = [name for name, works in now.dependencies.items() if not works]
    server.show(
        now,
        facts(
            (
                ("version", now.version),
                ("up", f"{now.uptime_s:,.0f} s" + (", draining" if now.draining else "")),
                ("down", ", ".join(down) or "nothing"),
                ("requests under way", now.in_flight),
                ("connections", now.connections),
                ("models", now.models),
                ("audit", f"{now.audit_waiting} waiting, {now.audit_dropped} dropped"),
            )
        ),
        table(("provider", ">models"), now.providers.items(), empty="No provider."),
        table(("back end", "breaker"), now.breakers.items(), empty="Every breaker is closed."),
        table(("model not served", "why"), now.unpriced.items(), empty="Every model has a price."),
    )
