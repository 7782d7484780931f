"""What every records store must keep: the promises of `ports/records.py` as cases; those about transactions are in
records_transactions.py.

A harness opens the store with `COLLECTIONS`. Tenants carry the case's own name, so suites may share one store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from penstock.contracts.case import CUT_OFF, BrokenPromise, Contract, Harness, expect, expect_error, needs
from penstock.contracts.records_transactions import (
    PEOPLE,
    THINGS,
    TRANSACTIONS,
    RecordsHarness,
    gone,
    ids,
    put,
)
from penstock.kernel.errors import Conflict, Invalid, Unavailable
from penstock.ports.records import Records, Row, Write

CASES: Contract[Records] = Contract("records", list(TRANSACTIONS.cases))

TEXT_BYTES = 512
VALUE_BYTES = 1 << 20
HANG_S = 30.0

ODD = (
    "a",
    "A",
    "ä",
    "é",
    "e\u0301",
    "a b",
    "a\x00b",
    "%",
    "_",
    "'",
    '"',
    "\\",
    "--",
    "🜁",
    " a",
    "a ",
    "\n",
    "ß",
    "Ω",
)
"""Texts that a careless collation, pattern or quotation would confuse."""


async def walked(page: Callable[[str], Awaitable[Sequence[Row]]]) -> list[Row]:
    """Follow pages to the end."""
    rows: list[Row] = []
    while found := await page(after := rows[-1].id if rows else ""):
        expect(
            found[0].id.encode() > after.encode(),
            "a page begins after the last",
            after=after,
            first=found[0].id,
        )
        rows += found
    return rows


async def walked_back(page: Callable[[str], Awaitable[Sequence[Row]]]) -> list[Row]:
    """Follow pages from the end to the beginning."""
    rows: list[Row] = []
    while found := await page(before := rows[-1].id if rows else ""):
        expect(
            not before or found[0].id.encode() < before.encode(),
            "a page ends before the last",
            before=before,
            last=found[0].id,
        )
        rows += found
    return rows


def in_byte_order(texts: Sequence[str]) -> list[str]:
    """Return texts in the order of their UTF-8."""
    return sorted(texts, key=str.encode)


# --------------------------------------------------------------------- promises 3 and 4: finding and scanning


@CASES.case(3)
async def find_returns_exactly_the_rows_of_a_value(h: Harness[Records]) -> None:
    """Whatever the text; after rows change value, drop an index or go; in byte order."""
    tenant = h.name("acme")
    await h.port.transact([put(tenant, f"id {text}", team=text, town="here") for text in ODD])
    for text in ODD:
        found = ids(await h.port.find(PEOPLE, tenant, "team", text))
        expect(found == [f"id {text}"], "one row has this value", value=text, found=found)
    found = ids(await h.port.find(PEOPLE, tenant, "town", "here"))
    expect(found == in_byte_order([f"id {text}" for text in ODD]), "all, in the order of ids", found=found)
    await h.port.transact(
        [put(tenant, "id a", team="A", town="there"), put(tenant, "id A", town="here"), gone(tenant, "id %")]
    )
    expect(ids(await h.port.find(PEOPLE, tenant, "team", "A")) == ["id a"], "the changed value counts")
    expect(not await h.port.find(PEOPLE, tenant, "team", "a"), "the former value does not")
    expect(not await h.port.latest(PEOPLE, tenant, "team", "a"), "nor from the end")
    expect(len(await h.port.find(PEOPLE, tenant, "town", "here")) == len(ODD) - 2, "nor do rows that left")


@CASES.case(3, 4)
async def pages_meet_without_gap_or_overlap(h: Harness[Records]) -> None:
    """Every page size, full and half-full last pages, ids that sort oddly: each row once, in byte order."""
    tenant = h.name("acme")
    names = [f"{text}{i}" for text in ("a", "a\x00", "ä", "Z", "🜁") for i in range(6)]
    await h.port.transact([put(tenant, name, name.encode(), team="red") for name in names])
    await h.port.transact([gone(tenant, name) for name in names[::7]])
    left = in_byte_order([name for i, name in enumerate(names) if i % 7])
    for limit in (1, 5, len(left) - 1, len(left), len(left) + 1, 1_000):
        scanned = await walked(lambda after, n=limit: h.port.scan(PEOPLE, tenant, after=after, limit=n))
        expect(ids(scanned) == left, "scan: each row once, in order", limit=limit, ids=ids(scanned))
        expect(all(row.value == row.id.encode() for row in scanned), "each with its own value")
        found = await walked(
            lambda after, n=limit: h.port.find(PEOPLE, tenant, "team", "red", after=after, limit=n)
        )
        expect(ids(found) == left, "find: each row once, in order", limit=limit, ids=ids(found))
        back = await walked_back(
            lambda before, n=limit: h.port.latest(PEOPLE, tenant, "team", "red", before=before, limit=n)
        )
        expect(ids(back) == left[::-1], "latest: each row once, backwards", limit=limit, ids=ids(back))
    expect(await h.port.count(PEOPLE, tenant) == len(left), "and counted once")
    first = await h.port.scan(PEOPLE, tenant, limit=3)
    expect(len(first) == 3, "a page is as long as asked for")
    expect(len(await h.port.find(PEOPLE, tenant, "team", "red", limit=3)) == 3, "on either road")
    last = await h.port.latest(PEOPLE, tenant, "team", "red", limit=3)
    expect(ids(last) == left[:-4:-1], "and from the end", ids=ids(last))


# -------------------------------------------------------------------------------------- promise 5: tenants


@CASES.case(5, 8)
async def tenants_never_meet(h: Harness[Records]) -> None:
    """The same ids, index values and unique values under several tenants, odd names included."""
    stem = h.name("acme")
    tenants = [f"{stem}{text}" for text in ("", *ODD)]
    for i, tenant in enumerate(tenants):
        versions = await h.port.transact([put(tenant, "p", b"%d" % i, team="red", mail="p@x", expected=0)])
        expect(list(versions) == [1], "nobody was here before", tenant=tenant)
    await h.port.transact([gone(tenants[0], "p")])
    for absent in (tenants[0], stem[:-1], f"{stem}\uffff"):
        expect(await h.port.get(PEOPLE, absent, "p") is None, "who has no row gets none", tenant=absent)
        expect(not await h.port.scan(PEOPLE, absent), "sees none", tenant=absent)
        expect(not await h.port.find(PEOPLE, absent, "team", "red"), "finds none", tenant=absent)
        expect(not await h.port.latest(PEOPLE, absent, "team", "red"), "from neither end", tenant=absent)
        expect(await h.port.count(PEOPLE, absent) == 0, "and has none", tenant=absent)
    for i, tenant in enumerate(tenants[1:], 1):
        row = await h.port.get(PEOPLE, tenant, "p")
        expect(row and row.value == b"%d" % i, "the row is the tenant's own", tenant=tenant, row=row)
        for rows in (
            await h.port.scan(PEOPLE, tenant),
            await h.port.find(PEOPLE, tenant, "team", "red"),
            await h.port.find(PEOPLE, tenant, "mail", "p@x"),
            await h.port.latest(PEOPLE, tenant, "mail", "p@x"),
        ):
            expect(list(rows) == [row], "and the only one", tenant=tenant, rows=rows)
        expect(await h.port.count(PEOPLE, tenant) == 1, "and counted alone", tenant=tenant)
        expect(await h.port.get(THINGS, tenant, "p") is None, "another collection is another place")


# ------------------------------------------------------------------------------- promises 7 to 9, and errors


@CASES.case(7)
async def values_and_texts_return_as_they_were(h: Harness[Records]) -> None:
    """Every byte, nothing, and exactly a mebibyte; ids and index values of exactly 512 bytes."""
    tenant = h.name("acme")
    values = (b"", bytes(range(256)), b"\x00", b"{}", b"x" * VALUE_BYTES)
    for value in values:
        await h.port.transact([put(tenant, "p", value)])
        row = await h.port.get(PEOPLE, tenant, "p")
        expect(row and row.value == value, "byte for byte", size=len(value))
    for text in (*ODD, "x" * TEXT_BYTES, "ä" * (TEXT_BYTES // 2), "🜁" * (TEXT_BYTES // 4)):
        await h.port.transact([put(tenant, text, text.encode(), team=text, mail=text)])
        row = await h.port.get(PEOPLE, tenant, text)
        expect(
            row == Row(text, text.encode(), 1, {"team": text, "mail": text}), "letter for letter", text=text
        )


@CASES.case(7)
async def what_is_out_of_bounds_is_invalid(h: Harness[Records]) -> None:
    """One byte over each bound, undeclared names, impossible pages: Invalid, and nothing is written."""
    tenant, port = h.name("acme"), h.port
    long = "x" * (TEXT_BYTES + 1)
    writes = (
        [put(tenant, long)],
        [put(tenant, "ä" * (TEXT_BYTES // 2) + "x")],
        [put(tenant, "")],
        [put(tenant, "\ud800")],
        [put(long, "p")],
        [put(tenant, "p", team=long)],
        [put(tenant, "p", b"x" * (VALUE_BYTES + 1))],
        [put(tenant, "p", colour="red")],
        [put(tenant, "p", expected=-1)],
        [Write(collection="undeclared", tenant=tenant, id="p", value=b"v")],
        [Write(collection=THINGS, tenant=tenant, id="p", value=b"v", indexed={"team": "red"})],
        list[Write](),
        [put(tenant, f"p{i}") for i in range(101)],
    )
    for wrong in writes:
        await expect_error(
            Invalid, port.transact(wrong), f"{len(wrong)} writes like {wrong[:1]!r:.200} are refused"
        )
    for reading in (
        port.get("undeclared", tenant, "p"),
        port.count("undeclared", tenant),
        port.find(PEOPLE, tenant, "colour", "red"),
        port.find(THINGS, tenant, "team", "red"),
        port.scan(PEOPLE, tenant, limit=0),
        port.scan(PEOPLE, tenant, limit=1_001),
        port.find(PEOPLE, tenant, "team", "red", limit=0),
        port.find(PEOPLE, tenant, "team", "red", limit=1_001),
        port.latest(PEOPLE, tenant, "colour", "red"),
        port.latest(PEOPLE, tenant, "team", "red", limit=0),
        port.latest(PEOPLE, tenant, "team", "red", limit=1_001),
    ):
        await expect_error(Invalid, reading, "out of bounds")
    expect(await port.count(PEOPLE, tenant) == 0, "nothing was written")
    expect(
        len(await port.transact([put(tenant, f"p{i:03}") for i in range(100)])) == 100,
        "a hundred are not too many",
    )
    expect(len(await port.scan(PEOPLE, tenant, limit=1_000)) == 100, "nor a page of a thousand")


@CASES.case(8)
async def a_unique_value_has_one_row(h: Harness[Records]) -> None:
    """A second row is a duplicate; the same row, a freed value and a value that changes hands are not."""
    tenant, port = h.name("acme"), h.port
    await port.transact([put(tenant, "a", mail="a@x"), put(tenant, "b", mail="b@x")])
    error = await expect_error(
        Conflict, port.transact([put(tenant, "c", mail="a@x")]), "a second row is refused"
    )
    expect(getattr(error, "reason", "") == "duplicate", "by its name", error=error)
    await expect_error(
        Conflict,
        port.transact([put(tenant, "c", mail="c@x"), put(tenant, "d", mail="c@x")]),
        "in one transaction too",
    )
    await port.transact([put(tenant, "a", b"again", mail="a@x")])
    await port.transact([put(tenant, "a", mail="b@x"), put(tenant, "b", mail="a@x")])
    expect(ids(await port.find(PEOPLE, tenant, "mail", "a@x")) == ["b"], "two rows may swap")
    await port.transact([put(tenant, "c", mail="a@x"), gone(tenant, "b")])
    expect(ids(await port.find(PEOPLE, tenant, "mail", "a@x")) == ["c"], "a value may change hands")
    await port.transact([put(tenant, "c")])
    await port.transact([put(tenant, "d", mail="a@x")])
    expect(ids(await port.find(PEOPLE, tenant, "mail", "a@x")) == ["d"], "a freed value is free")


@CASES.case(9)
async def an_unreachable_store_says_so(h: Harness[Records]) -> None:
    """Every verb raises Unavailable; none hangs."""
    cut_off = needs(h.cut_off if isinstance(h, RecordsHarness) else None, CUT_OFF)
    tenant, port = h.name("acme"), await cut_off()
    for verb in (
        port.transact([put(tenant, "p")]),
        port.get(PEOPLE, tenant, "p"),
        port.find(PEOPLE, tenant, "team", "red"),
        port.latest(PEOPLE, tenant, "team", "red"),
        port.scan(PEOPLE, tenant),
        port.count(PEOPLE, tenant),
    ):
        try:
            async with asyncio.timeout(HANG_S):
                await expect_error(Unavailable, verb, "an unreachable store raises Unavailable")
        except TimeoutError:
            raise BrokenPromise("nothing hangs") from None
