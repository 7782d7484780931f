"""The drill of collections, run: kill after kill, then the last look; tests/fleet/knowledge says what for."""

from __future__ import annotations

import asyncio
import random
import time
from array import array
from collections.abc import Sequence
from operator import mul
from pathlib import Path
from typing import Any

from penstock.adapters.index.embedded import EmbeddedIndex
from penstock.kernel.errors import PenstockError
from penstock.ports.index import Place
from tests.fleet.config import Tenant, provision
from tests.fleet.knowledge import ALIVE_CHANGING_S, ALIVE_S, SAME, TENANTS, TOML, Customer, Tally
from tests.fleet.process import Child, node


async def drill(folder: Path, kills: int, seed: int = 20261121) -> Tally:
    """Kill the gateway `kills` times, every other time while a model changes; returns what was seen."""
    tally, draw, began_s = Tally(), random.Random(seed), time.monotonic()
    config = folder / "penstock.toml"
    config.write_text(TOML.format(data=folder / "data"))
    made = await provision(config, [Tenant(org=tenant) for tenant in TENANTS])
    everybody = [Customer(tenant, key.token, tally, draw) for tenant, key in zip(TENANTS, made, strict=True)]
    spare = await _spare(config)
    try:
        await _begun(spare, everybody, tally)
        for customer in everybody:
            await customer.prepare()
        for number in range(kills):
            gateway, spare = spare, await _spare(config)
            await _lived(gateway, everybody, tally, draw, changes=number % 2 == 1)
            await _begun(spare, everybody, tally)
        for customer in everybody:
            await customer.settle()
            await customer.look_for("steady0")
        looks = [await customer.rebuilt() for customer in everybody]
        await spare.stop()
        await _compare(folder / "data" / "index", everybody, looks, tally)
    finally:
        for customer in everybody:
            await customer.client.close()
        await spare.close()
    tally.seconds = time.monotonic() - began_s
    return tally


async def _spare(config: Path) -> Child:
    """Return a gateway that has imported everything and waits."""
    child = node(config, "--wait")
    await child.launch()
    await child.warm()
    return child


async def _begun(gateway: Child, everybody: Sequence[Customer], tally: Tally) -> None:
    """Have a spare begin, and wait until it answers a search."""
    began_s = time.monotonic()
    gateway.go()
    await gateway.ready()
    tally.start_max_s = max(tally.start_max_s, time.monotonic() - began_s)
    for customer in everybody:
        customer.port = gateway.port
    for customer in everybody:
        if customer.pieces:
            await customer.look_for("steady0")
    tally.resume_max_s = max(tally.resume_max_s, time.monotonic() - began_s)


async def _lived(
    gateway: Child, everybody: Sequence[Customer], tally: Tally, draw: random.Random, *, changes: bool
) -> None:
    """Use a gateway for a random while, then kill it."""
    works = [work() for customer in everybody for work in (customer.writing, customer.searching)]
    if changes:
        works += [customer.changing() for customer in everybody]
    tasks = [asyncio.create_task(work) for work in works]
    await asyncio.sleep(draw.uniform(*(ALIVE_CHANGING_S if changes else ALIVE_S)))
    for task in tasks:
        if task.done():
            await task  # nothing ends before the gateway does but by a mistake of the drill or of the gateway
    if changes:
        tally.kills_in_migration += await _is_changing(everybody)
    await gateway.kill()
    tally.kills += 1
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(ended, PenstockError):
            raise ended if isinstance(ended, BaseException) else AssertionError("a customer left")
        tally.cut_off += 1
    await gateway.close()


async def _is_changing(everybody: Sequence[Customer]) -> bool:
    for customer in everybody:
        if (await customer.ok("GET", "/guides"))["building"]:
            return True
    return False


async def _compare(
    folder: Path, everybody: Sequence[Customer], looks: Sequence[dict[str, Any]], tally: Tally
) -> None:
    """See that what grew bit by bit is what is built at once, chunk for chunk, and that nothing else stands there."""
    index = EmbeddedIndex(folder)
    try:
        for customer, look in zip(everybody, looks, strict=True):
            owner = f"{customer.tenant}/search/web"
            for space in tally.spaces | look["whole"].keys():
                grown = await _rows(index, Place(owner, look["grown"]), space)
                built = look["whole"].get(space)
                whole = {} if built is None else await _rows(index, Place(owner, built), space)
                tally.rows += len(whole)
                if grown.keys() != whole.keys():
                    more, less = sorted(grown.keys() - whole.keys()), sorted(whole.keys() - grown.keys())
                    customer.broke(f"rows too many in {space}: {more[:3]}, missing: {less[:3]}")
                if any(_cosine(vector, whole[key]) < SAME for key, vector in grown.items() if key in whole):
                    customer.broke(f"a vector in {space} is not what its text has")
    finally:
        await index.close()


async def _rows(index: EmbeddedIndex, place: Place, space: str) -> dict[tuple[str, str, int, str], bytes]:
    """Return every row's vector by document, version, position and digest."""
    found: dict[tuple[str, str, int, str], bytes] = {}
    after = ("", -1)
    while page := await index.scan(place, space, after=after):
        for row in page:
            found[row.document.id, row.document.version, row.chunk.position, row.chunk.digest] = (
                row.chunk.vector
            )
        after = (page[-1].document.id, page[-1].chunk.position)
    return found


def _cosine(one: bytes, other: bytes) -> float:
    return sum(map(mul, array("f", one), array("f", other)))
