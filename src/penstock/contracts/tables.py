"""What every engine of tables must keep: the promises of `ports/tables.py` as cases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import msgspec

from penstock.contracts.case import Contract, Harness, expect, expect_error
from penstock.kernel.errors import Invalid
from penstock.kernel.events import Call, RequestEvent
from penstock.ports.tables import RECORDS_MOST, SQL_BYTES_MOST, Bounds, Packed, Part, Tables

CASES: Contract[Tables] = Contract("tables")
DAY_S = 1_795_219_200.0
"""2026-11-21T00:00:00Z."""
HOUR_S = 3_600.0
NO_RECORDS = (b"", b"garbage", b"[1]", b"{}", b'{"at_s": 5}', b'{"request_id": "a", "at_s": "x"}')
NO_QUESTIONS = (
    "",
    "selec",
    "SELECT 1; SELECT 2",
    "CREATE TABLE a AS SELECT 1",
    "INSERT INTO audit SELECT * FROM audit",
    "DROP VIEW audit",
    "SET threads = 1",
    "ATTACH 'other.db'",
    "INSTALL httpfs",
    "CALL pragma_version()",
    "PRAGMA version",
)


@dataclass(slots=True)
class TablesHarness(Harness[Tables]):
    """A harness that knows how a question may try to leave the table.

    `escapes` are questions that reach for a file, the network, the environment or a setting of this engine; none may
    find anything. `forget(file, column)` returns a file as it was before that column was known.
    """

    escapes: Sequence[str] = ()


def record(id: str, at_s: float = DAY_S, **facts: object) -> bytes:
    """Return the JSON of an event."""
    event = RequestEvent(request_id=id, at_s=at_s)
    return msgspec.json.encode(msgspec.structs.replace(event, **facts))


async def each(values: Sequence[bytes]) -> AsyncIterator[bytes]:
    """Yield files."""
    for value in values:
        yield value


def files_of(packed: Packed) -> list[bytes]:
    """Return the parts' bytes."""
    return [part.value for part in packed.parts]


def places_of(parts: Sequence[Part]) -> list[tuple[str, str, int, int]]:
    """Return where each part belongs and its rows."""
    return [(part.org, part.day, part.hour, part.rows) for part in parts]


async def answer(h: Harness[Tables], files: Sequence[bytes], sql: str) -> tuple[tuple[object, ...], ...]:
    """Return the rows of an answer."""
    return (await h.port.ask(each(files), sql, Bounds())).rows


@CASES.case(1)
async def every_record_is_in_one_part(h: Harness[Tables]) -> None:
    """By organisation, day and hour of its end, at their very borders; ids and non-records are left out and counted."""
    strange = "o'x\"/../é \n%;--"
    records = [
        record("a", DAY_S - 0.001, org="acme"),
        record("b", DAY_S, org="acme"),
        record("c", DAY_S + HOUR_S - 0.001, org="acme"),
        record("d", DAY_S + HOUR_S, org=strange),
        record("e", 0.0),
    ]
    packed = await h.port.pack(
        [*records, *NO_RECORDS, record("b", DAY_S + HOUR_S, org="acme")], [record("k"), b"garbage"]
    )
    wanted = [
        ("", "1970-01-01", 0, 1),
        ("acme", "2026-11-20", 23, 1),
        ("acme", "2026-11-21", 0, 2),
        (strange, "2026-11-21", 1, 1),
    ]
    places = sorted(places_of(packed.parts))
    expect(places == wanted, "each part has its place and its rows", places=places)
    expect(packed.repeated == 1, "a repeated id is counted", repeated=packed.repeated)
    expect(packed.rejected == len(NO_RECORDS), "what is no record is counted", rejected=packed.rejected)
    ids = await answer(h, files_of(packed), "SELECT request_id FROM audit ORDER BY at_s")
    expect([id for (id,) in ids] == list("eabcd"), "every record is in the parts once", ids=ids)
    known = await h.port.pack(records, [records[1], record("d")])
    expect(known.repeated == 2 and len(known.parts) == 3, "what is known already is left out", known=known)
    for count in (0, RECORDS_MOST + 1):
        await expect_error(Invalid, h.port.pack([b"{}"] * count), f"{count} records are refused")


@CASES.case(2)
async def the_same_records_give_the_same_parts(h: Harness[Tables]) -> None:
    """A batch that is packed again after a crash has the same places and the same rows."""
    records = [record(f"r{n % 90}", DAY_S + n * 97, org=f"o{n % 3}", cost_nanos=n) for n in range(200)]
    first, again = await h.port.pack(records, records[:5]), await h.port.pack(records, records[:5])
    expect(places_of(first.parts) == places_of(again.parts), "the places are the same")
    rows = [
        await answer(h, files_of(packed), "SELECT * FROM audit ORDER BY ALL") for packed in (first, again)
    ]
    expect(rows[0] == rows[1], "and so are the rows: of records with one id, the first")


@CASES.case(3)
async def a_merge_keeps_every_row_once_in_order(h: Harness[Tables]) -> None:
    """Of files that share rows too; or only what carries one of the flags; or nothing."""
    early = await h.port.pack(
        [record(f"a{n}", DAY_S + n, flags=("x", "kept") if n % 5 == 0 else ("x",)) for n in range(50)]
    )
    late = await h.port.pack([record(f"b{n}", DAY_S + n + 0.5) for n in range(50)])
    files = [*files_of(late), *files_of(early), *files_of(early)]
    pieces = [piece async for piece in h.port.merge(each(files))]
    numbers = [(piece.number, piece.of) for piece in pieces]
    expect(
        numbers == [(n, len(pieces)) for n in range(1, len(pieces) + 1)],
        "pieces are numbered",
        numbers=numbers,
    )
    rows = await answer(h, [piece.value for piece in pieces], "SELECT request_id FROM audit")
    wanted = [f"{letter}{n}" for n in range(50) for letter in "ab"]
    expect([id for (id,) in rows] == wanted, "every row is there once, in order of time", rows=rows[:9])
    kept = [piece.value async for piece in h.port.merge(each(files), flags=("kept", "o'ther"))]
    expect(
        await answer(h, kept, "SELECT count(*), sum(len(flags)) FROM audit") == ((10, 20),),
        "the flagged stay",
    )
    none = [piece async for piece in h.port.merge(each(files), flags=("none",))]
    expect(not none, "of nothing nothing is made", pieces=len(none))


@CASES.case(4)
async def a_question_sees_the_table_and_nothing_else(h: Harness[Tables]) -> None:
    """One SELECT it is; whatever it reaches for beside the table is refused, and the table stays what it is."""
    mine = files_of(await h.port.pack([record("mine", org="mine")]))
    theirs = files_of(await h.port.pack([record("theirs", org="theirs")]))
    await answer(h, theirs, "SELECT count(*) FROM audit")
    escapes = h.escapes if isinstance(h, TablesHarness) else ()
    refused = (*escapes, *NO_QUESTIONS, "x" * (SQL_BYTES_MOST + 1))
    await asyncio.gather(
        *(expect_error(Invalid, answer(h, mine, sql), f"{sql[:60]!r} is refused") for sql in refused)
    )
    rows = await answer(h, mine, "SELECT org, request_id FROM audit")
    expect(rows == (("mine", "mine"),), "only the files given are seen, unchanged", rows=rows)
    expect(await answer(h, (), "SELECT count(*) FROM audit") == ((0,),), "of no files the table is empty")


@CASES.case(5)
async def an_answer_is_bounded_and_says_so(h: Harness[Tables]) -> None:
    """At, and one over, the bound of rows; and the bound of bytes."""
    files = files_of(await h.port.pack([record(f"r{n}") for n in range(11)]))
    for rows, truncated in ((10, True), (11, False), (12, False)):
        found = await h.port.ask(each(files), "SELECT request_id FROM audit", Bounds(rows=rows))
        expect(len(found.rows) == min(rows, 11), "no more rows than asked for", rows=len(found.rows))
        expect(found.truncated == truncated, "it says whether there was more", bound=rows)
    wide = Bounds(answer_bytes=10_000)
    found = await h.port.ask(each(files), "SELECT repeat('x', 3000) FROM audit", wide)
    expect(len(found.rows) == 3 and found.truncated, "no more bytes than allowed", rows=len(found.rows))


@CASES.case(6)
async def a_question_that_takes_too_much_ends(h: Harness[Tables]) -> None:
    """In time, in memory and in files; and the next one is answered."""
    files = files_of(await h.port.pack([record("a")]))
    endless = "SELECT sum(sqrt(range)) FROM range(10000000000000)"
    greedy = "SELECT list(range) FROM range(400000000)"
    for sql, bounds, reason in (
        (endless, Bounds(time_s=0.5), "query_too_slow"),
        (greedy, Bounds(memory_bytes=64 << 20), "query_too_large"),
        ("SELECT 1", Bounds(files_bytes=len(files[0]) - 1), "query_too_large"),
    ):
        error = await expect_error(Invalid, h.port.ask(each(files), sql, bounds), f"{sql[:40]!r} is ended")
        told = error.reason if isinstance(error, Invalid) else ""
        expect(told == reason, "the error says what there was too much of", reason=told)
    expect(await answer(h, files, "SELECT count(*) FROM audit") == ((1,),), "the next one is answered")


@CASES.case(7)
async def fields_come_back_with_their_defaults(h: Harness[Tables]) -> None:
    """Every field of an event, given or not, and the money to the last nano-dollar."""
    full = msgspec.structs.replace(
        RequestEvent(request_id="full", at_s=DAY_S),
        org="acme",
        user="ann",
        status=502,
        stream=True,
        cost_nanos=(1 << 53) + 1,
        temperature=0.5,
        latency_ms=1.25,
        calls=(Call("openai", "gpt", 1.0, 2.5, "ok", 7, 11, 13),),
        flags=("a", "b"),
        parent_sampled=False,
    )
    bare = RequestEvent(request_id="bare", at_s=DAY_S)
    files = files_of(await h.port.pack([msgspec.json.encode(full), msgspec.json.encode(bare)]))
    names = ", ".join(f'"{name}"' for name in RequestEvent.__struct_fields__)
    for event in (full, bare):
        asked = f"SELECT {names} FROM audit WHERE status = {event.status}"  # noqa: S608 because all of it is ours
        rows = await answer(h, files, asked)
        calls = [msgspec.structs.asdict(call) for call in event.calls]
        facts: dict[str, object] = {**msgspec.structs.asdict(event), "calls": calls, "flags": [*event.flags]}
        wanted = tuple(facts[name] for name in RequestEvent.__struct_fields__)
        expect(rows == (wanted,), "every field comes back", rows=rows, wanted=wanted)
