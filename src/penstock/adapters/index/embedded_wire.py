"""What the gateway and the helper process of the embedded index say to each other: one question and one answer a verb.

Every message is msgpack; the kind of a question is its tag. What a question refuses is a ValueError in the helper.
"""

from __future__ import annotations

import msgspec

from penstock.ports.index import Counts, Document, Found, Place, Precision, Question, Row


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Up to which number of chunks a space is searched and kept in which way, and the bytes of all in memory.

    Of `exact_most` chunks each one is looked at (50,000 × 384 take about 2 ms, and no building); above there is a
    graph, and of `scan_most` that pass a filter still each one is. The words of `memory_words_most` are made anew at
    each loading, those of more lie on disk.
    """

    exact_most: int = 50_000
    scan_most: int = 20_000
    memory_words_most: int = 2_000
    memory_bytes: int = 2 << 30


class Start(msgspec.Struct, frozen=True):
    """How the helper begins."""

    folder: str
    limits: Limits


class Put(msgspec.Struct, frozen=True, tag=True):
    """`Index.put`. The answer is empty."""

    place: Place
    space: str
    documents: list[Document]
    precision: Precision


class Search(msgspec.Struct, frozen=True, tag=True):
    """`Index.search`. The answer is a Found; of who is not `patient` None, when the space must be loaded first."""

    place: Place
    space: str
    question: Question
    patient: bool = False


class Delete(msgspec.Struct, frozen=True, tag=True):
    """`Index.delete`. The answer is a number."""

    place: Place
    documents: list[str] | None
    space: str


class Known(msgspec.Struct, frozen=True, tag=True):
    """`Index.known`. The answer is a map of digests to vectors."""

    place: Place
    space: str
    digests: list[str]


class Scan(msgspec.Struct, frozen=True, tag=True):
    """`Index.scan`. The answer is a list of Row."""

    place: Place
    space: str
    after: tuple[str, int]
    limit: int


class Count(msgspec.Struct, frozen=True, tag=True):
    """`Index.count`. The answer is a Counts."""

    place: Place
    space: str


class Compact(msgspec.Struct, frozen=True, tag=True):
    """Begin to compact, or look whether round `round` has ended (0: begin). The answer is a Compacting."""

    round: int


class Ping(msgspec.Struct, frozen=True, tag=True):
    """See that the rows can be read. The answer is empty."""


class Look(msgspec.Struct, frozen=True, tag=True):
    """Look how the helper stands: every row and file is counted, for who measures. The answer is a Status."""


class Compacting(msgspec.Struct, frozen=True):
    """A round of compacting: its number, whether it has ended, and why it failed if it did."""

    round: int
    ended: bool
    error: str = ""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How the helper stands: work that waits, spaces in memory and their bytes, graphs among them, rows in all."""

    waiting: int
    loaded: int
    loaded_bytes: int
    graphs: int
    graph_builds: int
    failures: int
    rows: int
    disk_bytes: int


Ask = Put | Search | Delete | Known | Scan | Count | Compact | Ping | Look

ENCODER = msgspec.msgpack.Encoder()
ASK = msgspec.msgpack.Decoder(Ask)
FOUND = msgspec.msgpack.Decoder(Found | None)
ROWS = msgspec.msgpack.Decoder(list[Row])
COUNTS = msgspec.msgpack.Decoder(Counts)
KNOWN = msgspec.msgpack.Decoder(dict[str, bytes])
COMPACTING = msgspec.msgpack.Decoder(Compacting)
STATUS = msgspec.msgpack.Decoder(Status)
NUMBER = msgspec.msgpack.Decoder(int)
