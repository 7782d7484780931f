"""What every index must keep about finding: promises 2, 4 and 9 of `ports/index.py` as cases.

Every case has places of its own, so suites may share one store.
"""

from __future__ import annotations

import hashlib
import math
import random
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import mul

from penstock.contracts.case import Contract, Harness, expect, expect_error
from penstock.kernel.errors import Invalid
from penstock.ports.index import Chunk, Document, Hit, Index, Place, Question, Row, Scalar, Where

SEARCHES: Contract[Index] = Contract("index")

SPACE = "tiny@1"
DIMENSIONS = 16


@dataclass(slots=True)
class IndexHarness(Harness[Index]):
    """A harness that may also give an index that cannot be reached, and look for bytes in all that the store keeps."""

    cut_off: Callable[[], Awaitable[Index]] | None = None
    keeps: Callable[[bytes], Awaitable[bool]] | None = None


def place(h: Harness[Index], collection: str = "papers") -> Place:
    """Return a place of this case alone."""
    return Place(h.name("acme"), collection)


def packed(numbers: Sequence[float]) -> bytes:
    """Return a vector as the port has it."""
    return struct.pack(f"<{len(numbers)}f", *numbers)


def towards(axis: int, *, lean: float = 0.0) -> bytes:
    """Return a vector along an axis, leaning to the next one: its cosine to the axis falls as `lean` grows."""
    numbers = [0.0] * DIMENSIONS
    numbers[axis % DIMENSIONS], numbers[(axis + 1) % DIMENSIONS] = 1.0, lean
    return packed(numbers)


def chunk(text: str, position: int = 0, *, vector: bytes = b"", tokens: bytes = b"") -> Chunk:
    """Return a chunk of this text."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Chunk(position=position, digest=digest, text=text, vector=vector or towards(0), tokens=tokens)


def document(
    id_: str,
    *texts: str,
    vector: bytes = b"",
    version: str = "1",
    language: str = "",
    labels: tuple[str, ...] = (),
    metadata: Mapping[str, Scalar] | None = None,
) -> Document:
    """Return a document of these texts, each a chunk, all with one vector."""
    chunks = tuple(chunk(text, position, vector=vector) for position, text in enumerate(texts))
    return Document(
        id=id_, version=version, chunks=chunks, language=language, labels=labels, metadata=metadata or {}
    )


def ids(hits: Sequence[Hit]) -> list[str]:
    """Return whose chunks were found, best first."""
    return [hit.document for hit in hits]


def asked(
    limit: int = 50, *, labels: tuple[str, ...] = (), where: tuple[Where, ...] = (), words: str = "water"
) -> Question:
    """Return a question along axis 0 that also asks for a word."""
    return Question(vector=towards(0), words=words, limit=limit, labels=labels, where=where)


async def scanned(port: Index, here: Place, space: str = SPACE, *, limit: int = 1_000) -> list[Row]:
    """Follow the pages of a scan to the end."""
    rows: list[Row] = []
    after = ("", -1)
    while page := await port.scan(here, space, after=after, limit=limit):
        expect(len(page) <= limit, "a page is as long as asked for at most", limit=limit, got=len(page))
        rows += page
        after = page[-1].document.id, page[-1].chunk.position
    return rows


async def texts(port: Index, here: Place, space: str = SPACE) -> list[str]:
    """Return the texts that a scan gives."""
    return [row.chunk.text for row in await scanned(port, here, space)]


# ------------------------------------------------------------------------------------ promise 2: who sees what


@SEARCHES.case(2)
async def labels_are_denied_by_default(h: Harness[Index]) -> None:
    """Who has no label sees what is unlabelled; any one label that meets is enough; labels meet whole."""
    here = place(h)
    labelled = {
        "open": (),
        "staff": ("staff",),
        "both": ("staff", "board"),
        "board": ("board",),
        "quoted": ("a'b\"c,d}",),
        "nul": ("a\x00b",),
        "cut": ("a",),
    }
    documents = [document(id_, f"water {id_}", labels=labels) for id_, labels in labelled.items()]
    await h.port.put(here, SPACE, documents)
    for has in (
        (),
        ("staff",),
        ("board",),
        ("Staff",),
        ("sta",),
        ("staff", "board"),
        ("a'b\"c,d}",),
        ("a\x00b",),
    ):
        may_see = {id_ for id_, labels in labelled.items() if not labels or set(labels) & set(has)}
        found = await h.port.search(here, SPACE, asked(labels=has))
        expect(set(ids(found.dense)) == may_see, "by meaning", labels=has, found=ids(found.dense))
        expect(set(ids(found.words)) == may_see, "by words", labels=has, found=ids(found.words))
    await h.port.put(here, SPACE, [document("open", "water open", labels=("board",))])
    found = await h.port.search(here, SPACE, asked())
    expect(
        not found.dense and not found.words, "a label that is added counts at once", found=ids(found.dense)
    )


FILTERS: tuple[tuple[tuple[Where, ...], set[str]], ...] = (
    ((Where(field="kind", any_of=("law",)),), {"a", "b"}),
    ((Where(field="kind", any_of=("law", "tax")),), {"a", "b", "c"}),
    ((Where(field="kind", any_of=("LAW", "la", "law ", "")),), set()),
    ((Where(field="year", any_of=(2020,)),), {"a", "c"}),
    ((Where(field="year", at_least=2020, at_most=2021),), {"a", "b", "c"}),
    ((Where(field="year", at_least=2020.5),), {"b", "d"}),
    ((Where(field="year", at_most=-1),), {"e"}),
    ((Where(field="year", any_of=(2020, 2021), at_least=2021),), {"b"}),
    ((Where(field="new", any_of=(True,)),), {"a"}),
    ((Where(field="new", any_of=(1,)),), {"b"}),
    ((Where(field="new", at_least=0),), {"b"}),
    ((Where(field="new", any_of=("True", "1")),), {"c"}),
    ((Where(field="odd ' \" % \x00", any_of=("' OR 1=1 --",)),), {"d"}),
    ((Where(field="id", any_of=("a", "e")),), {"a", "e"}),
    ((Where(field="title", any_of=("Paper b",)),), {"b"}),
    ((Where(field="url", any_of=("https://x/c",)),), {"c"}),
    ((Where(field="language", any_of=("en",)),), {"a", "b", "c", "d", "e"}),
    ((Where(field="nowhere", any_of=("x",)),), set()),
    ((Where(field="kind", any_of=("law",)), Where(field="year", any_of=(2021,))), {"b"}),
)
"""Conditions, and the documents of the case below that pass them."""


@SEARCHES.case(2)
async def filters_let_through_exactly_what_passes(h: Harness[Index]) -> None:
    """Values of every kind, bounds, the document's own fields, conditions together; for both kinds of search."""
    here = place(h)
    rows: dict[str, dict[str, Scalar]] = {
        "a": {"kind": "law", "year": 2020, "new": True},
        "b": {"kind": "law", "year": 2021.0, "new": 1},
        "c": {"kind": "tax", "year": 2020.0, "new": "True"},
        "d": {"year": 2030, "odd ' \" % \x00": "' OR 1=1 --", "new": False},
        "e": {"year": -5, "kind": "the law", "id": "a", "title": "Paper b"},
    }
    documents = [
        Document(
            id=id_,
            version="1",
            chunks=(chunk(f"water {id_}"),),
            title=f"Paper {id_}",
            url=f"https://x/{id_}",
            language="en",
            metadata=row,
        )
        for id_, row in rows.items()
    ]
    await h.port.put(here, SPACE, documents)
    for where, passing in FILTERS:
        found = await h.port.search(here, SPACE, asked(where=where))
        expect(set(ids(found.dense)) == passing, "by meaning", where=where, found=ids(found.dense))
        expect(set(ids(found.words)) == passing, "by words", where=where, found=ids(found.words))
    for wrong in (
        Where(field="", any_of=("x",)),
        Where(field="kind"),
        Where(field="year", at_least=math.nan),
        Where(field="year", any_of=(math.inf,)),
    ):
        await expect_error(Invalid, h.port.search(here, SPACE, asked(where=(wrong,))), f"{wrong} is none")


@SEARCHES.case(2)
async def filters_work_inside_the_search(h: Harness[Index]) -> None:
    """Where one in a hundred passes, and all that pass are the farthest, `limit` of them come back all the same."""
    here = place(h)
    rare = {f"{i:04}" for i in range(0, 1_000, 100)}
    documents = [
        document(
            f"{i:04}",
            f"water {'deep ' * 12}" if f"{i:04}" in rare else "water",
            vector=towards(0, lean=3.0 if f"{i:04}" in rare else 0.001 * (i % 50)),
            metadata={"rare": f"{i:04}" in rare},
            labels=("rare",) if f"{i:04}" in rare else ("common",),
        )
        for i in range(1_000)
    ]
    await h.port.put(here, SPACE, documents)
    await h.port.compact()  # whatever is built for large spaces is built now
    for question in (
        asked(8, labels=("rare", "common"), where=(Where(field="rare", any_of=(True,)),)),
        asked(8, labels=("rare",)),
    ):
        found = await h.port.search(here, SPACE, question)
        for kind, hits in (("by meaning", found.dense), ("by words", found.words)):
            expect(
                len(hits) == 8 and set(ids(hits)) <= rare, f"{kind}: all that was asked for", found=ids(hits)
            )
    all_rare = await h.port.search(here, SPACE, asked(50, labels=("rare",)))
    expect(set(ids(all_rare.dense)) == rare == set(ids(all_rare.words)), "and no others when there are fewer")


@SEARCHES.case(2)
async def the_best_come_first_with_their_scores(h: Harness[Index]) -> None:
    """Cosines as they are, falling, whatever the vectors' lengths; what a hit says of its chunk is what was put."""
    here = place(h)
    leans = {"near": 0.0, "off": 0.5, "far": 2.0}
    documents = [document(id_, f"water {id_}", vector=towards(0, lean=lean)) for id_, lean in leans.items()]
    documents += [document("long", "x", vector=packed([3.0, 3.0, *[0.0] * (DIMENSIONS - 2)]))]
    documents += [document("behind", "x", vector=packed([-2.0, *[0.0] * (DIMENSIONS - 1)]))]
    documents += [document("nowhere", "x", vector=packed([0.0] * DIMENSIONS))]
    await h.port.put(here, SPACE, documents)
    hits = (await h.port.search(here, SPACE, asked(words=""))).dense
    expect(ids(hits) == ["near", "off", "long", "far", "nowhere", "behind"], "nearest first", found=ids(hits))
    for hit, score in zip(
        hits, (1.0, 1 / math.sqrt(1.25), math.sqrt(0.5), 1 / math.sqrt(5), 0.0, -1.0), strict=True
    ):
        expect(abs(hit.score - score) < 1e-3, "the score is the cosine", hit=hit.document, score=hit.score)
    expect(hits[0].chunk == documents[0].chunks[0] and hits[0].version == "1", "the chunk as it was put")
    found = await h.port.search(here, SPACE, asked(2, words=""))
    expect(
        ids(found.dense) == ["near", "off"] and not found.words, "no more than asked for, and only as asked"
    )
    only_words = await h.port.search(here, SPACE, Question(words="far"))
    expect(ids(only_words.words) == ["far"] and not only_words.dense, "by words alone")
    nothing = await h.port.search(here, SPACE, Question())
    expect(not nothing.dense and not nothing.words, "who asks for nothing gets nothing")


@SEARCHES.case(2)
async def spaces_are_never_mixed(h: Harness[Index]) -> None:
    """A search sees one space; a vector of another length than the space's is refused, to put and to search."""
    here, other = place(h), "tiny@2"
    await h.port.put(here, SPACE, [document("a", "water one"), document("b", "water old")])
    longer = packed([1.0] * (DIMENSIONS * 2))
    await h.port.put(here, other, [document("a", "water two", vector=longer)])
    found = await h.port.search(here, SPACE, asked())
    expect(set(ids(found.dense)) == {"a", "b"} == set(ids(found.words)), "one space", found=ids(found.dense))
    texts = {hit.chunk.text for hit in (*found.dense, *found.words)}
    expect(texts == {"water one", "water old"}, "nothing of the other", texts=texts)
    found = await h.port.search(here, other, Question(vector=longer, words="water"))
    expect(
        [hit.chunk.text for hit in (*found.dense, *found.words)] == ["water two"] * 2,
        "nor the other way round",
    )
    await expect_error(
        Invalid, h.port.search(here, SPACE, Question(vector=longer)), "too long for this space"
    )
    wrong = (longer, towards(0)[:-4], towards(0)[:-1], packed([math.nan] * DIMENSIONS), b"")
    for vector in wrong:
        bad = Document(
            id="c", version="1", chunks=(Chunk(position=0, digest="0" * 64, text="water", vector=vector),)
        )
        await expect_error(
            Invalid, h.port.put(here, SPACE, [document("d", "water"), bad]), "not this space's"
        )
    expect((await h.port.count(here, SPACE)).documents == 2, "and nothing is left of it")
    unknown = await h.port.search(here, "tiny@3", asked())
    expect(not unknown.dense and not unknown.words, "a space that nobody wrote is empty")


# ------------------------------------------------------------------------------------------ promise 4: recall


def _clustered(rng: random.Random, centres: Sequence[Sequence[float]]) -> list[float]:
    numbers = [each + rng.gauss(0, 0.35) for each in rng.choice(centres)]
    length = math.sqrt(sum(map(mul, numbers, numbers)))
    return [each / length for each in numbers]


@SEARCHES.case(4)
async def recall_holds_at_every_share(h: Harness[Index]) -> None:
    """Tenants with 60 %, 20 %, 5 % and 1 % of the rows, clusters spread over all: recall@10 ≥ .99, filtered or not."""
    rng = random.Random(7)  # noqa: S311 - vectors, not secrets; the same every time
    centres = [[rng.gauss(0, 1) for _ in range(DIMENSIONS)] for _ in range(60)]
    for share in (1_200, 400, 100, 20):
        here = Place(h.name(f"tenant {share}"), "papers")
        rows = [_clustered(rng, centres) for _ in range(share)]
        documents = [
            document(str(i), "water", vector=packed(row), metadata={"tenth": i % 10})
            for i, row in enumerate(rows)
        ]
        for first in range(0, share, 500):
            await h.port.put(here, SPACE, documents[first : first + 500])
        await h.port.compact()  # whatever is built for large spaces is built now
        for tenths in (range(10), range(5), range(1)):
            where = () if len(tenths) == 10 else (Where(field="tenth", any_of=tuple(tenths)),)
            met = wanted = 0
            for _ in range(10):
                asked_for = _clustered(rng, centres)
                question = Question(vector=packed(asked_for), where=where, limit=10)
                found = {int(id_) for id_ in ids((await h.port.search(here, SPACE, question)).dense)}
                passing = [i for i in range(share) if i % 10 in tenths]
                best = sorted(passing, key=lambda i: -sum(map(mul, rows[i], asked_for)))[:10]
                met, wanted = met + len(found & set(best)), wanted + len(best)
            expect(met >= 0.99 * wanted, "recall@10", rows=share, tenths=len(tenths), met=met, wanted=wanted)
