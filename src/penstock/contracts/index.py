"""What every index must keep: the promises of `ports/index.py` as cases; those about finding are in index_search.py and
index_words.py, those about bounds in index_bounds.py.

Every case has places of its own, so suites may share one store.
"""

from __future__ import annotations

import asyncio
import hashlib

from penstock.contracts.case import CUT_OFF, BrokenPromise, Contract, Harness, expect, expect_error, needs
from penstock.contracts.index_bounds import BOUNDS, NAMES
from penstock.contracts.index_search import (
    DIMENSIONS,
    SEARCHES,
    SPACE,
    IndexHarness,
    asked,
    chunk,
    document,
    ids,
    packed,
    place,
    scanned,
    texts,
    towards,
)
from penstock.contracts.index_words import WORDS
from penstock.contracts.records import ODD
from penstock.kernel.errors import Invalid, Unavailable
from penstock.ports.index import (
    LIMIT_MOST,
    NAME_BYTES_MOST,
    Document,
    Index,
    Place,
    Question,
)

CASES: Contract[Index] = Contract("index", [*SEARCHES.cases, *WORDS.cases, *BOUNDS.cases])

LOOK = "look for bytes in all that the store keeps"
HANG_S = 30.0

# ----------------------------------------------------------------------- promise 1: whole documents, all or none


@CASES.case(1, 5)
async def a_put_replaces_whole_documents(h: Harness[Index]) -> None:
    """Every chunk that stood for a document goes, however many come; neighbours and other spaces stay as they are."""
    here, port = place(h), h.port
    await port.put(here, SPACE, [document("a", "one", "two", "three"), document("b", "else")])
    await port.put(here, "tiny@2", [document("a", "elsewhere")])
    await port.put(here, SPACE, [document("a", "four", version="2", labels=("x",), metadata={"k": 1})])
    rows = await scanned(port, here)
    expect(
        [row.chunk.text for row in rows] == ["four", "else"], "nothing of the former is left", rows=len(rows)
    )
    now = rows[0].document
    expect(
        (now.version, now.labels, dict(now.metadata)) == ("2", ("x",), {"k": 1}), "with its new head", now=now
    )
    found = await port.search(here, SPACE, Question(vector=towards(0), words="one two three"))
    expect(ids(found.dense) == ["b"] and not found.words, "nor found", found=found)
    expect(await texts(port, here, "tiny@2") == ["elsewhere"], "the other space is as it was")
    await port.put(here, SPACE, [document("a")])
    counts = await port.count(here, SPACE)
    expect(
        (counts.documents, counts.chunks) == (2, 1), "one without chunks is kept without any", counts=counts
    )
    await port.put(here, SPACE, [document("c", "first"), document("c", "last")])
    expect(await texts(port, here) == ["else", "last"], "of two of one id in a call, the last stands")


@CASES.case(1)
async def a_put_is_all_or_nothing(h: Harness[Index]) -> None:
    """Wherever the document stands that is refused, none of the others is put or replaced."""
    here, port = place(h), h.port
    await port.put(here, SPACE, [document("a", "before")])
    bad = document("bad", "text", vector=towards(0) + b"\0\0\0\0")
    good = [document("a", "after"), document("new", "new")]
    for documents in ([bad, *good], [*good, bad], [good[0], bad, good[1]]):
        await expect_error(Invalid, port.put(here, SPACE, documents), "a vector too long is refused")
        expect(await texts(port, here) == ["before"], "and nothing is changed")
        expect((await port.count(here)).documents == 1, "nor added")


@CASES.case(1, 2)
async def a_document_is_never_seen_half(h: Harness[Index]) -> None:
    """Searches and scans beside replacements: of each document all chunks of one version, and each document always."""
    here, peer = place(h), await h.peer()
    done = asyncio.Event()

    def edition(number: int) -> list[Document]:
        version = str(number)
        return [
            document(id_, *(f"water {version} {i}" for i in range(1 + number % 4)), version=version)
            for id_ in "ab"
        ]

    await h.port.put(here, SPACE, edition(0))

    async def write() -> None:
        try:
            for number in range(1, 30):
                await h.port.put(here, SPACE, edition(number))
        finally:
            done.set()

    async def watch(port: Index) -> int:
        looks = 0
        while not done.is_set():
            found = await port.search(here, SPACE, asked(100))
            for kind, hits in (("meaning", found.dense), ("words", found.words)):
                seen = {(hit.document, hit.version) for hit in hits}
                versions = {version for _, version in seen}
                expect({id_ for id_, _ in seen} == {"a", "b"}, "each is there", by=kind, seen=seen)
                expect(len(versions) == 1, "the call is seen as one", by=kind, seen=seen)
                whole = 2 * (1 + int(versions.pop()) % 4)
                expect(len(hits) == whole, "with every chunk", by=kind, seen=seen, chunks=len(hits))
            rows = await port.scan(here, SPACE)
            versions = {row.document.version for row in rows}
            expect(len(versions) == 1, "a page of a scan too", versions=versions)
            looks += 1
        return looks

    _, *looks = await asyncio.gather(write(), watch(h.port), watch(peer), watch(h.port))
    expect(sum(looks) > 0, "somebody looked")


# -------------------------------------------------------------------------------------- promise 2: places apart


@CASES.case(2, 5, 6)
async def places_never_meet(h: Harness[Index]) -> None:
    """The same ids, texts and spaces under tenants and collections of odd names: each sees and counts its own."""
    stem, port = h.name("acme"), h.port
    places = [Place(f"{stem}{name}"[-NAME_BYTES_MOST // 4 :], "c") for name in NAMES[: len(ODD)]]
    places += [Place(stem, name) for name in NAMES]
    places += [
        Place(f"{stem}\x00c", "d"),
        Place(stem, "c\x00d"),
        Place(stem, f"c/{stem}"),
        Place(f"{stem}/c", stem),
    ]
    for number, here in enumerate(places):
        await port.put(here, SPACE, [document("p", f"water number{number}", version=str(number))])
    digests = [hashlib.sha256(f"water number{number}".encode()).hexdigest() for number in range(len(places))]
    for number, here in enumerate(places):
        found = await port.search(here, SPACE, asked(100))
        versions = [hit.version for hit in (*found.dense, *found.words)]
        expect(versions == [str(number)] * 2, "only what is the place's own", place=here, versions=versions)
        expect(await texts(port, here) == [f"water number{number}"], "a scan too", place=here)
        counts = await port.count(here)
        expect((counts.documents, counts.chunks) == (1, 1), "and counted alone", place=here, counts=counts)
        known = await port.known(here, SPACE, digests)
        expect(list(known) == [digests[number]], "and known alone", place=here, known=len(known))
    expect(await port.delete(places[0]) == 1, "deleted alone", place=places[0])
    for here in places[1:]:
        expect((await port.count(here)).chunks == 1, "nobody else's goes along", place=here)
    for absent in (Place(stem[:-1], "c"), Place(f"{stem}\uffff", "c"), Place(stem, "C "), Place("c", stem)):
        found = await port.search(absent, SPACE, asked())
        expect(not found.dense and not found.words, "who has nothing sees nothing", place=absent)
        expect(
            (await port.count(absent)).documents == 0 == await port.delete(absent),
            "has nothing",
            place=absent,
        )


# -------------------------------------------------------------------- promise 3: at once, and never again


@CASES.case(3, 5)
async def what_is_deleted_is_never_found_again(h: Harness[Index]) -> None:
    """By name, all at once, from one space or every one; the number says how many there were; each reading agrees."""
    here, port = place(h), h.port
    documents = [document(f"d{i}", f"water {i}", f"water again {i}") for i in range(10)]
    await port.put(here, SPACE, documents)
    await port.put(here, "tiny@2", documents[:5])
    found = await port.search(here, SPACE, asked(100))
    expect(len(found.dense) == 20 == len(found.words), "they are there")
    expect(await port.delete(here, []) == 0, "no name is no document")
    expect(await port.delete(here, ["d0", "d0", "nobody"], space=SPACE) == 1, "each counts once")
    expect(await port.delete(here, ["d0", "d1"]) == 2, "one in two spaces too")
    expect(await port.delete(here, ["d1"]) == 0, "what is gone is gone")
    for compacted in (False, True):
        found = await port.search(here, SPACE, asked(100))
        left = {f"d{i}" for i in range(2, 10)}
        expect(set(ids(found.dense)) == left == set(ids(found.words)), "found no more", compacted=compacted)
        expect(
            len(found.dense) == 16 == len(found.words), "every chunk of the others is", compacted=compacted
        )
        found = await port.search(here, SPACE, asked(16))
        expect(len(found.dense) == 16 == len(found.words), "none takes another's room", compacted=compacted)
        expect(
            (await port.count(here, SPACE)).chunks == 16 == len(await texts(port, here)), "counted no more"
        )
        expect((await port.count(here)).documents == 8, "a document of two spaces counts once")
        expect(not await port.known(here, SPACE, [documents[1].chunks[0].digest]), "nor known")
        await port.compact()
    expect(await port.delete(here, space="tiny@2") == 3, "all of one space")
    expect((await port.count(here)).chunks == 16, "and no other's")
    await port.put(here, SPACE, [documents[0]])
    expect(await port.delete(here) == 9, "all there are")
    found = await port.search(here, SPACE, asked())
    expect(
        not found.dense and not found.words and not await texts(port, here), "nothing is left", found=found
    )
    await port.put(here, SPACE, [document("d1", "water reborn")])
    found = await port.search(here, SPACE, asked())
    expect(ids(found.dense) == ["d1"] == ids(found.words), "a deleted name may come back")


@CASES.case(3)
async def deleted_rows_leave_the_disk(h: Harness[Index]) -> None:
    """After `compact` no byte of a deleted or replaced text, label, word or vector is among what the store keeps."""
    here, port = place(h), h.port
    secret, vector = (
        "xyzzyplugh" + h.unique[-6:].lower(),
        packed([0.5 * (i in {3, 7, 8, 14}) for i in range(DIMENSIONS)]),
    )
    await port.put(here, SPACE, [document(f"kept {i}", f"water {i}") for i in range(20)])
    kept = document(
        "doomed", f"water {secret}", vector=vector, labels=(f"label{secret}",), metadata={"m": f"v{secret}"}
    )
    await port.put(here, SPACE, [kept])
    await port.put(here, SPACE, [document("changed", f"water {secret}", vector=vector)])
    found = await port.search(here, SPACE, Question(words=secret))
    expect(ids(found.words) == ["changed"], "it was there", found=found)
    await port.compact()  # whatever is built for large spaces has it now
    await port.put(here, SPACE, [document("changed", "water clean")])
    await port.delete(here, ["doomed"])
    await port.compact()
    expect((await port.count(here)).documents == 21, "the others are there")
    expect(len((await port.search(here, SPACE, asked())).words) == 21, "and found")
    keeps = needs(h.keeps if isinstance(h, IndexHarness) else None, LOOK)
    expect(not await keeps(secret.encode()), "no text is left")
    expect(not await keeps(vector), "no vector is left")


# ------------------------------------------------------------------------------ promises 5 to 7: exact, after kills


@CASES.case(5)
async def a_scan_misses_nothing_and_repeats_nothing(h: Harness[Index]) -> None:
    """Every page size; ids that sort oddly; in the order of their UTF-8, then of position; heads and chunks whole."""
    here, port = place(h), h.port
    names = [f"{text}{i}" for text in ("a", "a\x00", "ä", "Z", "🜁", "\uffff") for i in range(4)]
    await port.put(
        here, SPACE, [document(name, *(f"{name} {i}" for i in range(3)), language="en") for name in names]
    )
    await port.delete(here, names[::5])
    left = sorted((name for i, name in enumerate(names) if i % 5), key=str.encode)
    whole = [(name, position, f"{name} {position}") for name in left for position in range(3)]
    for limit in (1, 2, 3, len(whole) - 1, len(whole), LIMIT_MOST):
        rows = await scanned(port, here, limit=limit)
        got = [(row.document.id, row.chunk.position, row.chunk.text) for row in rows]
        expect(got == whole, "each once, in order", limit=limit, got=got[:5])
    expect(all(row.document.language == "en" and not row.document.chunks for row in rows), "with its head")
    counts = await port.count(here, SPACE)
    expect((counts.documents, counts.chunks) == (len(left), len(whole)), "counted as scanned", counts=counts)
    expect(counts.bytes > 0, "and with its bytes", counts=counts)


@CASES.case(6)
async def known_vectors_come_back(h: Harness[Index]) -> None:
    """Of the digests asked for those that stand there, in this space, however many documents have them."""
    here, port = place(h), h.port
    await port.put(
        here, SPACE, [document("a", "shared", vector=towards(1)), document("b", "shared", vector=towards(1))]
    )
    await port.put(here, SPACE, [document("c", "alone", vector=towards(2, lean=0.25))])
    await port.put(here, "tiny@2", [document("c", "other", vector=towards(3))])
    asked_for = [chunk(text).digest for text in ("shared", "alone", "other", "absent")]
    known = await port.known(here, SPACE, asked_for)
    expect(set(known) == set(asked_for[:2]), "those that are there", known=len(known))
    expect(
        known[asked_for[0]] == towards(1) and known[asked_for[1]] == towards(2, lean=0.25),
        "their own vectors",
    )
    await port.delete(here, ["a", "c"])
    expect(list(await port.known(here, SPACE, asked_for)) == asked_for[:1], "as long as one of them stands")
    expect(not await port.known(here, SPACE, []), "nothing asked is nothing known")


@CASES.case(1, 3, 7)
async def a_crash_loses_nothing(h: Harness[Index]) -> None:
    """Kill after kill: what was put is found in both ways, what was deleted is not, replacements are whole."""
    here, alive = place(h), dict[str, int]()
    for generation in range(3):
        fresh = [f"d{generation}{i:02}" for i in range(20)]
        gone = [fresh[0], *sorted(alive)[:3]]
        await h.port.put(here, SPACE, [document(id_, f"water {id_}") for id_ in fresh])
        await h.port.delete(here, gone)
        await h.port.put(here, SPACE, [document(fresh[1], "water new", "water newer", version="2")])
        alive |= dict.fromkeys(fresh, 1) | {fresh[1]: 2}
        alive = {id_: chunks for id_, chunks in alive.items() if id_ not in gone}
        port = await h.reopen()
        found = await port.search(here, SPACE, asked(200))
        for kind, hits in (("meaning", found.dense), ("words", found.words)):
            seen = {id_: ids(hits).count(id_) for id_ in ids(hits)}
            expect(seen == alive, "what was promised holds", by=kind, generation=generation, seen=seen)
        just = await port.search(here, SPACE, asked(len(found.dense)))
        expect(len(just.dense) == len(found.dense) == len(just.words), "and none takes another's room")
        expect((await port.count(here)).documents == len(alive), "and counted")
        if generation == 1:
            await port.compact()


# ------------------------------------------------------------------------------------------ promise 10: unreachable


@CASES.case(10)
async def an_unreachable_index_says_so(h: Harness[Index]) -> None:
    """Every verb raises Unavailable; none hangs."""
    cut_off = needs(h.cut_off if isinstance(h, IndexHarness) else None, CUT_OFF)
    here, port = place(h), await cut_off()
    for verb in (
        port.put(here, SPACE, [document("d", "text")]),
        port.search(here, SPACE, asked()),
        port.delete(here, ["d"]),
        port.known(here, SPACE, [chunk("text").digest]),
        port.scan(here, SPACE),
        port.count(here),
        port.compact(),
    ):
        try:
            async with asyncio.timeout(HANG_S):
                await expect_error(Unavailable, verb, "an unreachable index raises Unavailable")
        except TimeoutError:
            raise BrokenPromise("nothing hangs") from None
