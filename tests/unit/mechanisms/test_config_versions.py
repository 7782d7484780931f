"""Versions of the routing configuration: checked whole, switched everywhere, taken back, never fatal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from penstock.adapters.records.sqlite import SqliteRecords
from penstock.adapters.signals.embedded import EmbeddedSignals
from penstock.gateway.routing import Endpoint, RouteTable
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Conflict, Invalid, NotFound
from penstock.kernel.settings import RoutingDocument, Settings
from penstock.mechanisms import config_versions
from penstock.mechanisms.canary_switch import CanarySwitch
from penstock.mechanisms.config_versions import COLLECTION, COLLECTIONS, HEAD, PLATFORM, ConfigVersions
from penstock.mechanisms.price_data import FreeRule, PriceOverride, PriceOverrides
from penstock.mechanisms.prices import PriceBook
from penstock.ports.records import Write
from penstock.wiring.catalogue import Catalogue
from tests.mutated_configs import missed, sound
from tests.support import run
from tests.unit.gateway.doubles import NamedProvider

PRICES = PriceBook.load(
    PriceOverrides(
        prices=(
            PriceOverride(provider="sim", model="small", input="1", output="2"),
            PriceOverride(provider="sim", model="large", input="10", output="30"),
        ),
        free=(FreeRule(provider="own"),),
    )
)
Versions = ConfigVersions[RouteTable]
FILE = RoutingDocument()


class Nodes:
    """Nodes on one store and one wire."""

    def __init__(self, records: SqliteRecords, signals: EmbeddedSignals, clock: ManualClock) -> None:
        self.records, self.signals, self.clock = records, signals, clock

    def node(self) -> tuple[Versions, Catalogue]:
        catalogue = Catalogue(Settings(), PRICES, self.clock)
        endpoints = cast("dict[str, Endpoint]", catalogue.providers())
        for name, models in (("sim", ("small", "large")), ("own", ("llama",))):
            endpoints[name] = Endpoint(provider=NamedProvider(name), models=models)
        return ConfigVersions(self.records, self.signals, self.clock, catalogue, FILE), catalogue


def on_nodes(folder: Path, case: Callable[[Nodes], Awaitable[None]]) -> None:
    """Run a case on a fresh store."""

    async def whole() -> None:
        clock = ManualClock()
        records = await SqliteRecords.open(folder / "records.sqlite", COLLECTIONS, clock)
        signals = EmbeddedSignals()
        try:
            await case(Nodes(records, signals, clock))
        finally:
            await signals.close()
            await records.close()

    run(whole())


def to(model: str, *, percent: float = 0, name: str = "gpt") -> dict[str, Any]:
    """Return a document with one route to a model of `sim`."""
    route: dict[str, Any] = {"model": name, "targets": [{"provider": "sim", "model": model}]}
    if percent:
        route["canary"] = {"percent": percent, "targets": [{"provider": "own", "model": "llama"}]}
    return {"routes": [route]}


def answers(catalogue: Catalogue) -> str:
    """Return which back end a node asks for `gpt`."""
    return catalogue.current().find("gpt").targets[0].label


def test_sixty_mutated_configurations_are_refused_with_every_mistake_and_the_one_in_force_stays(
    tmp_path: Path,
) -> None:
    async def case(nodes: Nodes) -> None:
        versions, catalogue = nodes.node()
        await versions.apply(sound(), author="anna", why="first")
        before = catalogue.current()
        assert missed(versions.check, 60) == []
        with pytest.raises(Invalid):
            await versions.apply({"routes": [{"model": "x"}]}, author="anna", why="slip")
        assert catalogue.current() is before
        assert versions.current.number == 1

    on_nodes(tmp_path, case)


def test_what_one_node_applies_the_other_routes_by_within_a_second(tmp_path: Path) -> None:
    async def case(nodes: Nodes) -> None:
        (first, _), (second, there) = nodes.node(), nodes.node()
        watching = asyncio.create_task(second.watch())
        await asyncio.sleep(0.05)
        await first.apply(to("large"), author="anna", why="more")
        async with asyncio.timeout(5):
            while second.current.number != 1:
                await asyncio.sleep(0.01)
        assert answers(there) == "sim/large"
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    on_nodes(tmp_path, case)


def test_going_back_uses_the_table_that_was_kept_and_twice_goes_two_steps(tmp_path: Path) -> None:
    async def case(nodes: Nodes) -> None:
        versions, catalogue = nodes.node()
        await versions.apply(to("small"), author="anna", why="one")
        kept = catalogue.current()
        await versions.apply(to("large"), author="anna", why="two")
        back = await versions.rollback(author="ben", why="dear")
        assert catalogue.current() is kept
        assert (back.number, back.again, back.author, back.why) == (3, 1, "ben", "dear")
        again = await versions.rollback(author="ben", why="the file will do")
        assert (again.again, versions.document) == (0, FILE)
        with pytest.raises(NotFound):
            catalogue.current().find("gpt")
        await versions.rollback(2, author="ben", why="after all")
        assert answers(catalogue) == "sim/large"
        assert [each.number for each in await versions.history()] == [5, 4, 3, 2, 1, 0]

    on_nodes(tmp_path, case)


def test_nothing_applied_is_nothing_to_go_back_to(tmp_path: Path) -> None:
    async def case(nodes: Nodes) -> None:
        versions, _ = nodes.node()
        with pytest.raises(NotFound):
            await versions.rollback(author="ben", why="?")
        with pytest.raises(NotFound):
            await versions.rollback(7, author="ben", why="?")

    on_nodes(tmp_path, case)


def test_of_two_who_looked_at_the_same_version_one_is_refused(tmp_path: Path) -> None:
    async def case(nodes: Nodes) -> None:
        (first, _), (second, _) = nodes.node(), nodes.node()
        await first.apply(to("small"), author="anna", why="one", based_on=0)
        with pytest.raises(Conflict):
            await second.apply(to("large"), author="ben", why="two", based_on=0)
        assert second.current.number == 0
        done = await asyncio.gather(
            first.apply(to("large"), author="anna", why="x"),
            second.apply(to("small"), author="ben", why="y"),
            return_exceptions=True,
        )
        refused = [each for each in done if isinstance(each, Conflict)]
        assert len(done) - len(refused) == len(await first.history()) - 2
        assert await there_is_one_row_per_version(nodes)

    on_nodes(tmp_path, case)


async def there_is_one_row_per_version(nodes: Nodes) -> bool:
    """Tell whether the head is the newest row."""
    rows = await nodes.records.scan(COLLECTION, PLATFORM, limit=1000)
    numbers = [int(row.id) for row in rows if row.id != HEAD]
    head = await nodes.records.get(COLLECTION, PLATFORM, HEAD)
    return head is not None and int(head.value) == max(numbers) == len(numbers)


@pytest.mark.parametrize("rubbish", [b"{", b'{"number": 2, "document": {"routes": [{"model": "x"}]}}'])
def test_a_bad_stored_version_takes_no_node_down(tmp_path: Path, rubbish: bytes) -> None:
    async def case(nodes: Nodes) -> None:
        versions, _ = nodes.node()
        await versions.apply(to("small"), author="anna", why="one")
        await versions.apply(to("large"), author="anna", why="two")
        await nodes.records.transact(
            [Write(collection=COLLECTION, tenant=PLATFORM, id=f"{2:012d}", value=rubbish)]
        )
        late, there = nodes.node()
        await late.start()
        assert (late.current.number, answers(there)) == (1, "sim/small")
        assert list(late.refused) == [2]

    on_nodes(tmp_path, case)


def test_a_node_that_starts_takes_the_newest_version_and_one_without_its_provider_the_file(
    tmp_path: Path,
) -> None:
    async def case(nodes: Nodes) -> None:
        versions, _ = nodes.node()
        await versions.apply(to("large"), author="anna", why="one")
        late, there = nodes.node()
        await late.start()
        assert answers(there) == "sim/large"
        poor = ConfigVersions(
            nodes.records, nodes.signals, nodes.clock, Catalogue(Settings(), PRICES, nodes.clock), FILE
        )
        await poor.start()
        assert poor.current.number == 0
        assert "sim" in poor.refused[1]

    on_nodes(tmp_path, case)


def test_only_the_newest_versions_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_versions, "KEPT_VERSIONS", 3)

    async def case(nodes: Nodes) -> None:
        versions, _ = nodes.node()
        for number in range(5):
            await versions.apply(to("small", name=f"gpt-{number}"), author="anna", why="more")
        assert [each.number for each in await versions.history()] == [5, 4, 3, 0]
        with pytest.raises(NotFound):
            await versions.rollback(2, author="ben", why="too old")

    on_nodes(tmp_path, case)


def test_rows_are_written_with_a_version_or_neither_is(tmp_path: Path) -> None:
    async def case(nodes: Nodes) -> None:
        versions, _ = nodes.node()

        def row(expected: int) -> Write:
            return Write(collection=COLLECTION, tenant="*", id="~beside", value=b"1", expected=expected)

        await versions.apply(to("small"), author="anna", why="with it", also=[row(0)])
        beside = await nodes.records.get(COLLECTION, "*", "~beside")
        assert beside is not None and versions.current.number == 1
        with pytest.raises(Conflict):
            await versions.apply(to("small", name="gpt-2"), author="anna", why="stale", also=[row(0)])
        await versions.refresh()
        assert versions.current.number == 1
        switch = CanarySwitch(versions)
        await versions.apply(to("small", percent=5), author="anna", why="try llama")
        await switch.rollback("gpt", "it is worse")
        await switch.rollback("gpt", "it was out already")
        assert (versions.current.number, versions.current.why) == (3, "it is worse")
        await switch.rollback("gpt", "it was out already", [row(beside.version)])
        assert (versions.current.number, versions.document.routes[0].canary.percent) == (4, 0)

    on_nodes(tmp_path, case)


def test_a_canary_is_taken_back_and_advanced_as_a_version_that_says_why(tmp_path: Path) -> None:
    async def case(nodes: Nodes) -> None:
        versions, catalogue = nodes.node()
        await versions.apply(to("small", percent=5), author="anna", why="try llama")
        switch = CanarySwitch(versions)
        await switch.advance("gpt", 25)
        assert versions.document.routes[0].canary.percent == 25
        await switch.rollback("gpt", "errors 2 % → 9 %")
        rules = catalogue.current().find("gpt").rules
        assert rules is not None
        assert rules.canary_percent == 0
        assert versions.current.why == "errors 2 % → 9 %"
        with pytest.raises(NotFound):
            await switch.rollback("small", "has none")

    on_nodes(tmp_path, case)
