"""What every records store must keep about transactions: promises 1, 2 and 6 of `ports/records.py` as cases.

A harness opens the store with `COLLECTIONS`. Tenants carry the case's own name, so suites may share one store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from penstock.contracts.case import BrokenPromise, Contract, Harness, expect, expect_error
from penstock.kernel.errors import Conflict, StaleVersion
from penstock.ports.records import Collection, Records, Row, Write

TRANSACTIONS: Contract[Records] = Contract("records")

COLLECTIONS = (
    Collection(name="contract_people", indexes=("team", "town"), unique=("mail",)),
    Collection(name="contract_things"),
)
PEOPLE, THINGS = "contract_people", "contract_things"


@dataclass(slots=True)
class RecordsHarness(Harness[Records]):
    """A harness that may also give a handle on a store that cannot be reached (a file: a closed one)."""

    cut_off: Callable[[], Awaitable[Records]] | None = None


def put(tenant: str, id_: str, value: bytes = b"v", *, expected: int | None = None, **indexed: str) -> Write:
    """Return a write of a person."""
    return Write(collection=PEOPLE, tenant=tenant, id=id_, value=value, indexed=indexed, expected=expected)


def gone(tenant: str, id_: str, *, expected: int | None = None) -> Write:
    """Return a deletion of a person."""
    return Write(collection=PEOPLE, tenant=tenant, id=id_, value=None, expected=expected)


def ids(rows: Sequence[Row]) -> list[str]:
    """Return the ids alone."""
    return [row.id for row in rows]


# ---------------------------------------------------------------------------- promise 1: all or none, durably


@TRANSACTIONS.case(1, 2)
async def one_refused_write_undoes_all(h: Harness[Records]) -> None:
    """Wherever the refused write stands, none of the others leaves a trace in rows, versions or indexes."""
    tenant = h.name("acme")
    await h.port.transact([put(tenant, "old", team="red", mail="old@x")])
    good = [put(tenant, "old", b"changed", team="blue", mail="new@x"), put(tenant, "fresh", team="blue")]
    for writes in ([put(tenant, "old", expected=7), *good], [*good, put(tenant, "third", expected=1)]):
        await expect_error(StaleVersion, h.port.transact(writes), "an unexpected version refuses")
    await expect_error(
        Conflict, h.port.transact([*good, put(tenant, "third", mail="new@x")]), "a duplicate refuses"
    )
    row = await h.port.get(PEOPLE, tenant, "old")
    expect(row == Row("old", b"v", 1, {"team": "red", "mail": "old@x"}), "the row is as it was", row=row)
    expect(not await h.port.find(PEOPLE, tenant, "team", "blue"), "no index knows of it")
    expect(ids(await h.port.find(PEOPLE, tenant, "team", "red")) == ["old"], "the old entry is there")
    expect(await h.port.count(PEOPLE, tenant) == 1, "nothing was added")
    versions = await h.port.transact(good)
    expect(list(versions) == [2, 1], "no version was used up", versions=versions)


@TRANSACTIONS.case(1)
async def what_was_acknowledged_survives_a_crash(h: Harness[Records]) -> None:
    """Rows, deletions, indexes and versions are there when the store is opened again."""
    tenant = h.name("acme")
    await h.port.transact([put(tenant, f"p{i}", bytes([i]), team="red") for i in range(100)])
    await h.port.transact([gone(tenant, "p50"), put(tenant, "p51", b"new", team="blue")])
    port = await h.reopen()
    expect(await port.count(PEOPLE, tenant) == 99, "every row but the deleted one")
    expect(await port.get(PEOPLE, tenant, "p50") is None, "the deleted row is gone")
    row = await port.get(PEOPLE, tenant, "p51")
    expect(row == Row("p51", b"new", 2, {"team": "blue"}), "the changed row is changed", row=row)
    expect(len(await port.find(PEOPLE, tenant, "team", "red")) == 98, "the index is whole")


@TRANSACTIONS.case(1, 6)
async def concurrent_increments_lose_none(h: Harness[Records]) -> None:
    """Read, add one, write if unchanged, from two handles at once: the sum is right."""
    tenant, other = h.name("acme"), await h.peer()
    await h.port.transact([put(tenant, "sum", b"0")])

    async def add(port: Records) -> None:
        for _ in range(500):
            row = await port.get(PEOPLE, tenant, "sum")
            if row is None:
                raise BrokenPromise("a row nobody deleted is there")
            try:
                await port.transact(
                    [put(tenant, "sum", str(int(row.value) + 1).encode(), expected=row.version)]
                )
            except StaleVersion:
                continue
            return
        raise BrokenPromise("somebody makes progress")

    await asyncio.gather(*(add((h.port, other)[i % 2]) for i in range(16)))
    row = await h.port.get(PEOPLE, tenant, "sum")
    expect(row and (row.value, row.version) == (b"16", 17), "each of 16 counted once", row=row)


@TRANSACTIONS.case(1, 8)
async def concurrent_creations_admit_one(h: Harness[Records]) -> None:
    """Of many that make the same row, or take the same unique value, at one moment one succeeds."""
    tenant, other = h.name("acme"), await h.peer()
    writes = [put(tenant, "same", b"%d" % i, expected=0) for i in range(12)]
    writes += [put(tenant, f"p{i}", mail="same@x") for i in range(12)]
    answers = await asyncio.gather(
        *((h.port, other)[i % 2].transact([write]) for i, write in enumerate(writes)), return_exceptions=True
    )
    for part, kind in ((answers[:12], StaleVersion), (answers[12:], Conflict)):
        won = [answer for answer in part if not isinstance(answer, BaseException)]
        expect(len(won) == 1, "one succeeds", won=won)
        expect(
            all(isinstance(lost, kind) for lost in part if isinstance(lost, BaseException)),
            "the others are told",
        )
    expect(await h.port.count(PEOPLE, tenant) == 2, "two rows were made")


@TRANSACTIONS.case(1)
async def crossing_transactions_both_end(h: Harness[Records]) -> None:
    """Transactions over the same rows in opposite orders neither hang nor mix."""
    tenant, other = h.name("acme"), await h.peer()
    names = [f"p{i}" for i in range(10)]

    async def stamp(port: Records, mark: int, order: Sequence[str]) -> None:
        await port.transact([put(tenant, name, b"%d" % mark, team=str(mark)) for name in order])

    await asyncio.gather(
        *(stamp((h.port, other)[i % 2], i, names if i % 4 < 2 else names[::-1]) for i in range(12))
    )
    rows = await h.port.scan(PEOPLE, tenant)
    expect(
        len({row.value for row in rows}) == 1,
        "the last transaction wrote all",
        values=[r.value for r in rows],
    )
    expect(
        {row.version for row in rows} == {12}, "each wrote each row once", versions=[r.version for r in rows]
    )


# ------------------------------------------------------------------------- promises 2 and 6: versions


@TRANSACTIONS.case(2, 6)
async def versions_count_and_are_checked(h: Harness[Records]) -> None:
    """1, 2, 3; below, at and above the current one; 0 means it must not exist."""
    tenant, port = h.name("acme"), h.port
    await expect_error(
        StaleVersion, port.transact([put(tenant, "p", expected=1)]), "there is no version 1 yet"
    )
    for expected in (0, 1, 2, None):
        versions = await port.transact([put(tenant, "p", expected=expected)])
        expect(
            list(versions) == [(expected or 0) + 1 if expected is not None else 4], "they count", got=versions
        )
    for expected in (0, 3, 5):
        await expect_error(
            StaleVersion, port.transact([put(tenant, "p", expected=expected)]), "4 is the current one"
        )
        await expect_error(
            StaleVersion, port.transact([gone(tenant, "p", expected=expected)]), "to delete as well"
        )
    expect(list(await port.transact([gone(tenant, "p", expected=4)])) == [0], "deleting returns 0")


@TRANSACTIONS.case(6)
async def a_row_made_again_starts_above_its_last_version(h: Harness[Records]) -> None:
    """Also after a crash, and for whoever expects it not to exist; a deleted row has no version to expect."""
    tenant, port = h.name("acme"), h.port
    await port.transact([put(tenant, "p", team="red")])
    await port.transact([put(tenant, "p", team="red")])
    await port.transact([gone(tenant, "p")])
    expect(await port.get(PEOPLE, tenant, "p") is None, "it is gone")
    expect(not await port.find(PEOPLE, tenant, "team", "red"), "from its indexes")
    expect(not await port.scan(PEOPLE, tenant), "from scans")
    expect(await port.count(PEOPLE, tenant) == 0, "and from the count")
    expect(list(await port.transact([gone(tenant, "p"), gone(tenant, "never")])) == [0, 0], "twice is once")
    await expect_error(StaleVersion, port.transact([put(tenant, "p", expected=2)]), "version 2 was deleted")
    port = await h.reopen()
    version = (await port.transact([put(tenant, "p", expected=0)]))[0]
    expect(version > 2, "it starts above its last version", version=version)


@TRANSACTIONS.case(1, 6)
async def writes_to_one_row_apply_in_their_order(h: Harness[Records]) -> None:
    """Written, deleted and written again in one transaction, a row is what the last write says."""
    tenant = h.name("acme")
    steps = [put(tenant, "p", b"1", team="red", expected=0), put(tenant, "p", b"2", team="blue", expected=1)]
    versions = await h.port.transact(
        [*steps, gone(tenant, "p", expected=2), put(tenant, "p", b"3", team="red")]
    )
    expect(list(versions[:3]) == [1, 2, 0] and versions[3] > 2, "each has its version", versions=versions)
    row = await h.port.get(PEOPLE, tenant, "p")
    expect(row == Row("p", b"3", versions[3], {"team": "red"}), "the last write stands", row=row)
    expect(not await h.port.find(PEOPLE, tenant, "team", "blue"), "what was between left nothing")
