"""`penstock cache`: what kept answers save, and having them forgotten."""

from __future__ import annotations

from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from penstock.cli.output import dollars, facts, line, table
from penstock.cli.server import HERE, Server
from penstock.console.formats import share
from penstock.sdk.client import Client
from penstock.sdk.replies import CacheFigures, PromptCacheRow, Purge

cache = App(name="cache", help="See what kept answers save, and have them forgotten.")

Org = Annotated[str, Parameter(help="Organisation; your key's own by default.")]


@cache.command
def status(*, org: Org = "", server: Server = HERE) -> None:
    """Show how the cache serves an organisation, since the server started, and what vendors' own caches saved."""
    found, prompts = server.ask(lambda client: _both(client, org))
    asked = found.hits + found.misses
    rows = [
        ("organisation", found.org),
        ("served", f"{found.hits} of {asked}" + (f" ({found.hits * 100 // asked} %)" if asked else "")),
        ("served stale", str(found.stale)),
        ("kept", str(found.kept)),
        ("not kept", str(found.not_kept)),
        ("saved", dollars(found.saved_nanos)),
    ]
    rows += [
        (f"class {name}", f"{each.hits} served, {each.kept} kept, {dollars(each.saved_nanos)} saved")
        for name, each in sorted(found.classes.items())
    ]
    rows += [
        (
            f"semantic, {each.team}",
            f"{each.hits} served of {each.lookups} look-ups, {dollars(each.net_nanos)} saved net"
            + (f"; suspended: {each.suspended}" if each.suspended else ""),
        )
        for each in found.semantic
    ]
    rows += [(f"store: {name}", f"{figure:,}") for name, figure in (found.store or {}).items()]
    vendors = [
        (
            each.backend,
            f"{each.requests:,}",
            share(each.cached_tokens, each.input_tokens),
            dollars(each.saved_nanos),
        )
        for each in prompts
    ]
    heads = ("vendor's prompt cache", ">requests", ">of tokens in", ">saved")
    told = {**msgspec.to_builtins(found), "prompts": prompts}
    server.show(told, facts(rows), table(heads, vendors, empty="No provider answered since the start."))


async def _both(client: Client, org: str) -> tuple[CacheFigures, tuple[PromptCacheRow, ...]]:
    return await client.cache.status(org), await client.cache.prompts(org)


@cache.command
def purge(
    *,
    tag: Annotated[str, Parameter(help="Only answers with this tag, e.g. doc:42.", show_default=False)] = "",
    model: Annotated[str, Parameter(help="Only answers of this model.", show_default=False)] = "",
    key: Annotated[
        str, Parameter(help="Only the answer of this key, as x-penstock-cache tells it.", show_default=False)
    ] = "",
    everything: Annotated[bool, Parameter(help="All of them.", negative="", show_default=False)] = False,
    org: Org = "",
    server: Server = HERE,
) -> None:
    """Forget answers of an organisation, on every node within a second."""
    request = Purge(org=org, tag=tag or None, model=model or None, key=key or None, everything=everything)
    made = server.ask(lambda client: client.cache.purge(request))
    server.show(made, line(f"{made.forgotten} forgotten here"))
