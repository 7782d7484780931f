"""What every index must keep of texts and bounds: promise 8 of `ports/index.py` as cases."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence

import msgspec

from penstock.contracts.case import Contract, Harness, expect, expect_error
from penstock.contracts.index_search import (
    DIMENSIONS,
    SPACE,
    asked,
    document,
    ids,
    packed,
    place,
    scanned,
    texts,
    towards,
)
from penstock.contracts.records import ODD
from penstock.kernel.errors import Invalid
from penstock.ports.index import (
    LABELS_MOST,
    LIMIT_MOST,
    NAME_BYTES_MOST,
    TEXT_BYTES_MOST,
    TOKENS_BYTES_MOST,
    Chunk,
    Document,
    Index,
    Place,
    Precision,
    Question,
)

BOUNDS: Contract[Index] = Contract("index")

LONGEST = ("x" * NAME_BYTES_MOST, "ä" * (NAME_BYTES_MOST // 2), "🜁" * (NAME_BYTES_MOST // 4))
NAMES = (*ODD, "../../etc", "a/b", "a\\b", ".", "..", "con", "a\tb", "\x7f", "\u202e", "\ufeff", *LONGEST)
"""Names that a careless quotation, path, collation or key would confuse."""


@BOUNDS.case(8)
async def texts_return_letter_for_letter(h: Harness[Index]) -> None:
    """Ids, texts, titles, labels, field names and values: every letter, up to their bounds."""
    here, port = place(h), h.port
    documents = [
        Document(
            id=name,
            version=name,
            title=name,
            url=name,
            labels=(name,),
            metadata={name: name, "int": -(2**53), "float": 0.1, "true": True},
            chunks=(
                Chunk(
                    position=7,
                    digest=hashlib.sha256(name.encode()).hexdigest(),
                    text=f"water {name}",
                    vector=towards(0),
                    tokens=bytes(range(256)),
                    start=5,
                    end=2**31,
                    page=10_000,
                    heading=name,
                ),
            ),
        )
        for name in NAMES
    ]
    await port.put(here, SPACE, documents)
    rows = {row.document.id: row for row in await scanned(port, here)}
    for wanted in documents:
        row = rows.pop(wanted.id, None)
        head = msgspec.structs.replace(wanted, chunks=())
        expect(row and row.document == head and row.chunk == wanted.chunks[0], "as it was", row=row)
        found = await port.search(here, SPACE, asked(200, labels=wanted.labels))
        expect(ids(found.dense) == [wanted.id] == ids(found.words), "its label opens it", label=wanted.id)
        expect(found.dense[0].chunk == wanted.chunks[0], "and a hit is as it was", hit=found.dense[0])
        expect(found.dense[0].metadata == wanted.metadata, "with its values", hit=found.dense[0])
    without = msgspec.structs.replace(asked(200, labels=NAMES), tokens=False)
    found = await port.search(here, SPACE, without)
    expect(not any(hit.chunk.tokens for hit in found.dense), "who wants no tokens gets none")
    expect(not rows and await port.delete(here, NAMES) == len(NAMES), "and each goes by its name")
    big = document("big", "water " * (TEXT_BYTES_MOST // 6))
    await port.put(here, SPACE, [big])
    expect(await texts(port, here) == [big.chunks[0].text], "a text of the greatest length too")


@BOUNDS.case(8)
async def precision_is_as_promised(h: Harness[Index]) -> None:
    """fp32 comes back to the bit; fp16 and int8 so near that the cosine to what was put is above .999 and .99."""
    here, port = place(h), h.port
    numbers = [math.sin(i * i + 1) for i in range(DIMENSIONS)]
    put = packed(numbers)
    kinds: tuple[tuple[Precision, float], ...] = (("fp32", 1.0), ("fp16", 0.9999), ("int8", 0.999))
    leasts: dict[str, float] = dict(kinds)
    for precision, _ in kinds:
        await port.put(here, SPACE, [document(precision, precision, vector=put)], precision=precision)
    for row in await scanned(port, here):
        least = leasts[row.document.id]
        known = (await port.known(here, SPACE, [row.chunk.digest]))[row.chunk.digest]
        expect(
            known == row.chunk.vector and len(known) == len(put), "float32 again", precision=row.document.id
        )
        expect(least < 1 or known == put, "to the bit", precision=row.document.id)
        got = struct.unpack(f"<{DIMENSIONS}f", known)
        cosine = (
            sum(a * b for a, b in zip(got, numbers, strict=True)) / math.hypot(*got) / math.hypot(*numbers)
        )
        expect(cosine >= least - 1e-6, "near enough", precision=row.document.id, cosine=cosine)
    hits = (await port.search(here, SPACE, Question(vector=put))).dense
    expect(
        len(hits) == 3 and min(hit.score for hit in hits) > 0.999,
        "and found",
        scores=[hit.score for hit in hits],
    )


def _out_of_bounds() -> Sequence[Document]:
    good, long = document("d", "text"), "x" * (NAME_BYTES_MOST + 1)
    one = good.chunks[0]
    heads = (
        {"id": ""},
        {"id": long},
        {"id": "\ud800"},
        {"version": long},
        {"title": long * 9},
        {"labels": (long,)},
        {"labels": ("",)},
        {"labels": tuple(map(str, range(LABELS_MOST + 1)))},
        {"metadata": {long: 1}},
        {"metadata": {"": 1}},
        {"metadata": {"k": math.nan}},
        {"metadata": {"k": 2**53 + 1}},
        {"metadata": {"k": "\udfff"}},
        {"metadata": {"k": "x" * 20_000}},
        {"chunks": (one, one)},
    )
    bodies = (
        {"text": "x" * (TEXT_BYTES_MOST + 1)},
        {"text": "\ud800"},
        {"digest": "not hex"},
        {"position": -1},
        {"start": -1},
        {"tokens": b"x" * (TOKENS_BYTES_MOST + 1)},
        {"heading": long * 9},
    )
    replace = msgspec.structs.replace
    return [replace(good, **head) for head in heads] + [
        replace(good, chunks=(replace(one, **b),)) for b in bodies
    ]


@BOUNDS.case(8)
async def what_is_out_of_bounds_is_invalid(h: Harness[Index]) -> None:
    """One over each bound, and text that is none: Invalid, and nothing is written."""
    here, port = place(h), h.port
    long, good = "x" * (NAME_BYTES_MOST + 1), document("d", "text")
    for wrong in _out_of_bounds():
        await expect_error(Invalid, port.put(here, SPACE, [good, wrong]), f"{wrong!r:.300} is refused")
    for verb in (
        port.put(Place(long, "c"), SPACE, [good]),
        port.put(Place("", "c"), SPACE, [good]),
        port.put(Place("t", "\ud800"), SPACE, [good]),
        port.put(here, long, [good]),
        port.put(here, "", [good]),
        port.put(here, SPACE, [document(str(i)) for i in range(1_001)]),
        port.put(here, SPACE, [document("d", *map(str, range(10_001)))]),
        port.search(here, SPACE, asked(0)),
        port.search(here, SPACE, asked(LIMIT_MOST + 1)),
        port.search(here, SPACE, Question(words="x" * (TEXT_BYTES_MOST + 1))),
        port.search(here, SPACE, Question(words="\ud800")),
        port.search(here, SPACE, asked(labels=tuple(map(str, range(LABELS_MOST + 1))))),
        port.scan(here, SPACE, limit=0),
        port.scan(here, SPACE, limit=LIMIT_MOST + 1),
        port.known(here, SPACE, ["0" * 64] * 10_001),
        port.known(here, SPACE, ["not hex"]),
        port.delete(here, ["d"] * 1_001),
        port.delete(here, [long]),
    ):
        await expect_error(Invalid, verb, "out of bounds")
    expect((await port.count(here)).documents == 0, "nothing was written")
