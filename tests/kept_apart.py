"""Answers kept for one tenant, and others who try to meet them: by asking, by the clock, by the management API.

Promise: it is the product, over real sockets and with its cache on; each question is used once, so that a hit can come
from nobody but the tenant that asked it before; the clock is held to the tenant's own hits too, which it must tell.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from penstock.kernel.errors import PenstockError
from penstock.mechanisms.tenancy import KeyDoc
from penstock.sdk.client import Client
from penstock.sdk.replies import Purge
from tests.matrix.counts import Clocked, clocked
from tests.stage import MODEL, Stage, stage

CACHE = {"url": "memory:"}
TENANTS = {
    "another team": ("acme", "web"),
    "another organisation": ("globex", "web"),
    "the same names elsewhere": ("globex", "search"),
}
OWN = ("acme", "search")


@dataclass(frozen=True, slots=True)
class Apart:
    """What others met: `hits` of `asked` questions that only the owner had asked, replies that told of the entry
    (`told`), what the management API let them do or see (`probed`), and the clocks. `own_hits` were the owner's.
    """

    asked: int
    hits: int
    own_hits: int
    told: tuple[str, ...]
    probed: tuple[str, ...]
    clocks: tuple[Clocked, ...]
    own_clock: Clocked


async def kept_apart(folder: Path, questions: int, pairs: int) -> Apart:
    """Try everything."""
    async with _asking(folder) as (it, ask, clients):
        hits = own_hits = 0
        told: list[str] = []
        names: list[str] = []
        for number in range(questions):
            question = f"question {number}"
            await ask(OWN, question)
            again = await ask(OWN, question)
            own_hits += _is_hit(again)
            names.append(again.headers.get("x-penstock-cache", ""))
            for name, tenant in TENANTS.items():
                before = it.simulator.truth.summary().requests
                reply = await ask(tenant, question)
                hits += _is_hit(reply) or it.simulator.truth.summary().requests == before
                told += [f"{name}: {header}" for header in reply.headers if _tells(header, reply)]
        probed = await _probed(clients, names, questions)
        clocks = [await _clock(ask, OWN, tenant, name, pairs) for name, tenant in TENANTS.items()]
        own = await _clock(ask, OWN, OWN, "its own", pairs)
    return Apart(questions * len(TENANTS), hits, own_hits, tuple(told), tuple(probed), tuple(clocks), own)


Ask = Callable[[tuple[str, str], str], Awaitable[httpx.Response]]


@asynccontextmanager
async def _asking(folder: Path) -> AsyncIterator[tuple[Stage, Ask, dict[tuple[str, str], Client]]]:
    async with stage(folder, cache=CACHE) as it, httpx.AsyncClient(base_url=it.url, timeout=30) as http:
        keys: dict[tuple[str, str], str] = {}
        clients: dict[tuple[str, str], Client] = {}
        for tenant in (OWN, *TENANTS.values()):
            doc = KeyDoc(id="", mac="", org=tenant[0], team=tenant[1], project="", user="kim", role="admin")
            keys[tenant] = (await it.platform.tenancy.create_key(doc))[1]
            clients[tenant] = Client(it.url.removesuffix("/v1"), keys[tenant])

        async def ask(tenant: tuple[str, str], question: str) -> httpx.Response:
            body: dict[str, Any] = {
                "model": MODEL,
                "messages": [{"role": "user", "content": question}],
                "temperature": 0,
                "max_tokens": 8,
            }
            headers = {"authorization": f"Bearer {keys[tenant]}"}
            reply = await http.post("/chat/completions", json=body, headers=headers)
            reply.raise_for_status()
            return reply

        try:
            yield it, ask, clients
        finally:
            for client in clients.values():
                await client.close()


def _is_hit(reply: httpx.Response) -> bool:
    return reply.headers.get("x-penstock-cache", "").startswith("hit")


def _tells(header: str, reply: httpx.Response) -> bool:
    """Tell whether a header of a fresh reply speaks of a kept one."""
    return header == "age" or (header == "x-penstock-cache" and "miss" not in reply.headers[header])


async def _probed(clients: dict[tuple[str, str], Client], names: list[str], questions: int) -> list[str]:
    """Ask the management API about the owner's entries, as others; returns what it told or did."""
    found: list[str] = []
    keys = [part.partition("=")[2] for name in names for part in name.split("; ") if part.startswith("key=")]
    if len(keys) != questions:
        found.append(f"{len(keys)} of {questions} entries were named to their owner")
    for name, tenant in TENANTS.items():
        if tenant[0] == OWN[0]:
            continue  # an administrator of the organisation reaches all of its teams
        client = clients[tenant]
        purged = [(await client.cache.purge(Purge(key=key))).forgotten for key in keys[:20]]
        if any(purged):
            found.append(f"{name} purged {sum(purged)} answers of others by their keys")
        for asked in (client.cache.status(OWN[0]), client.cache.purge(Purge(org=OWN[0], everything=True))):
            try:
                await asked
            except PenstockError:
                continue
            found.append(f"{name} reached the cache of {OWN[0]}")
    return found


async def _clock(ask: Ask, owner: tuple[str, str], other: tuple[str, str], what: str, pairs: int) -> Clocked:
    """Time `other` asking what `owner` keeps, and what nobody does."""
    for number in range(pairs):
        await ask(owner, f"{what} kept {number}")
    kept, fresh = itertools.count(), itertools.count()
    return await clocked(
        f"{what}: kept by the owner, and by nobody",
        lambda: ask(other, f"{what} kept {next(kept)}"),
        lambda: ask(other, f"{what} none {next(fresh)}"),
        pairs,
    )
