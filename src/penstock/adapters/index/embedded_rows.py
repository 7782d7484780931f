"""The file of the embedded index: the truth that graphs and words are made from, and made from again after a crash.

Promises: a put or a delete is one durable transaction; a number once drawn is never drawn again, so what was made from
a space up to a number lacks only what has a higher one; a space deleted as a whole is gone at once, its rows leave
piece by piece.

An engine older than 3.51.3 is refused: it can corrupt a WAL file that is reset under load (sqlite.org/wal.html).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

from penstock.adapters.index.checks import FLOAT, digest, dimensions
from penstock.adapters.index.embedded_lines import (
    Change,
    Head,
    Space,
    chunk_line,
    chunk_of,
    document_line,
    head_of,
)
from penstock.adapters.index.embedded_sql import SCHEMA_VERSION, Sql
from penstock.adapters.index.embedded_vectors import KINDS, restored, stacked, stored
from penstock.kernel.errors import Unavailable
from penstock.ports.index import Document, Hit, Place, Precision, Row, Scalar

BUSY_MS: Final = 10_000
SQLITE_LEAST: Final = (3, 51, 3)
SCAN_BYTES_MOST: Final = 16 << 20
"""After which a page of a scan ends."""
TOKENS_BYTES_MOST: Final = 16 << 20
"""Of one search's hits; the lesser ones come without."""
_METADATA: Final = msgspec.msgpack.Decoder(dict[str, Scalar])
_LABELS: Final = msgspec.msgpack.Decoder(tuple[str, ...])


def check_engine() -> None:
    """Raise Unavailable when the engine is too old to be trusted with a file."""
    version = apsw.sqlite_lib_version()
    if tuple(map(int, version.split("."))) < SQLITE_LEAST:
        raise Unavailable("This SQLite can corrupt its files.", value=version, remedy="Upgrade apsw.")


class Rows:
    """The file, as one thread sees it."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open the file, which `prepare` has made."""
        flags = (
            apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        )
        # The driver's own types are partly unknown to the checker; what comes out is typed where it is used.
        self._connection: Any = apsw.Connection(str(path), flags=flags)
        self._connection.set_busy_timeout(BUSY_MS)
        self._run: Callable[..., Any] = self._connection.execute
        self._many: Callable[..., Any] = self._connection.executemany

    def prepare(self) -> None:
        """Make or check the schema. Raises Unavailable when a newer Penstock has written the file."""
        self._run(Sql.first)
        if self._run(Sql.journal).get != "wal":
            raise Unavailable("The index needs a file system with shared memory.")
        self.ready()
        self._run(Sql.begin)
        try:
            found = self._run(Sql.schema_version).get
            if found > SCHEMA_VERSION:
                raise Unavailable(
                    "The index was written by a newer Penstock.", value=found, limit=SCHEMA_VERSION
                )
            if not found:
                self._run(Sql.schema)
            self._run(Sql.commit)
        except BaseException:  # because the lock must go whatever happened; it is raised again
            self.give_up()
            raise

    def ready(self) -> None:
        """Set what every connection needs."""
        self._run(Sql.pragmas)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    # ---------------------------------------------------------------------------------------------- transactions

    def begin(self) -> None:
        """Begin to write."""
        self._run(Sql.begin)

    def commit(self) -> None:
        """End what `begin` began: durably."""
        self._run(Sql.commit)

    def give_up(self) -> None:
        """Undo what `begin` began, unless the engine has by itself."""
        if self._connection.in_transaction:
            self._run(Sql.rollback)

    def put(self, place: Place, space: str, documents: Sequence[Document], precision: Precision) -> Change:
        """Put documents that were checked, each of another id. Raises Invalid for vectors of another length."""
        found = self.space(place, space) or self._new_space(place, space)
        vectors = [chunk.vector for document in documents for chunk in document.chunks]
        given = len(vectors[0]) // FLOAT if vectors else 0
        dimensions(found.dimensions, given)
        gone, ended, freed = self._drop(found, [document.id for document in documents])
        draw = itertools.count(found.at + len(gone) + 1)
        kind = KINDS[precision]
        kept = stored(stacked(vectors), precision) if vectors else []
        change = Change(found, gone, [], [], [], restored(kind, kept) if kept else None, [])
        lines: list[tuple[object, ...]] = []
        used, each_vector = 0, iter(kept)
        for document in documents:
            owner = next(draw)
            change.heads.append(head_of(owner, document))
            self._run(Sql.add_document, document_line(owner, found.number, document))
            for chunk in document.chunks:
                number, vector = next(draw), next(each_vector)
                lines.append(chunk_line(number, owner, chunk, kind, vector))
                change.numbers.append(number)
                change.owners.append(owner)
                change.texts.append((number, document.language, chunk.text))
                used += len(vector) + len(chunk.tokens) + len(chunk.text.encode())
        self._many(Sql.add_chunk, lines)
        after = Space(
            found.number,
            found.dimensions or given,
            next(draw) - 1 - found.low,
            found.documents - ended + len(documents),
            found.chunks - len(gone) + len(lines),
            found.bytes - freed + used,
        )
        self._run(Sql.set_space, after)
        return change._replace(space=after)

    def delete(self, space: Space, ids: Sequence[str]) -> tuple[Change, set[str]]:
        """Delete documents by their different ids; returns the change, and the ids of those there were."""
        there = {id_ for id_ in ids if self._run(Sql.document_of, (space.number, id_)).get is not None}
        gone, ended, freed = self._drop(space, sorted(there))
        after = space._replace(
            drawn=space.drawn + len(gone),
            documents=space.documents - ended,
            chunks=space.chunks - len(gone),
            bytes=space.bytes - freed,
        )
        if there:
            self._run(Sql.set_space, after)
        return Change(after, gone, [], [], [], None, []), there

    def bury(self, space: Space) -> None:
        """Delete a space as a whole: from the commit on nobody finds it; its rows go with `purge`."""
        self._run(Sql.bury, (space.number,))

    def _new_space(self, place: Place, space: str) -> Space:
        number = self._run(Sql.new_space, (place.tenant, place.collection, space)).get
        return Space(number, 0, 0, 0, 0, 0)

    def _drop(self, space: Space, ids: Iterable[str]) -> tuple[list[int], int, int]:
        """Delete documents; returns the numbers of their chunks, how many documents there were, and bytes freed."""
        gone: list[int] = []
        ended = freed = 0
        for id_ in ids:
            document = self._run(Sql.document_of, (space.number, id_)).get
            if document is None:
                continue
            for number, size in self._run(Sql.chunks_of, (document,)).fetchall():
                gone.append(number)
                freed += size
            self._run(Sql.drop_chunks, (document,))
            self._run(Sql.drop_document, (document,))
            ended += 1
        self._many(Sql.add_gone, ((space.at + i, number) for i, number in enumerate(gone, 1)))
        return gone, ended, freed

    # --------------------------------------------------------------------------------------------------- reading

    def space(self, place: Place, space: str) -> Space | None:
        """Return a space by its name, None if nobody wrote it."""
        found = self._run(Sql.space, (place.tenant, place.collection, space)).fetchone()
        return Space(*found) if found else None

    def space_of(self, number: int) -> Space | None:
        """Return a space by its number, None once it is deleted."""
        found = self._run(Sql.space_by_number, (number,)).fetchone()
        return Space(*found) if found else None

    def spaces(self, place: Place, space: str) -> list[Space]:
        """Return a place's spaces, or the one named."""
        return [Space(*each) for each in self._run(Sql.spaces, (place.tenant, place.collection, space))]

    def every_space(self) -> list[tuple[int, bool]]:
        """Return the numbers of all spaces, and whether each is alive."""
        return [(number, bool(alive)) for number, alive in self._run(Sql.every_space)]

    def different(self, spaces: Sequence[Space]) -> int:
        """Return how many documents stand in any of these spaces."""
        if len(spaces) <= 1:
            return sum(space.documents for space in spaces)
        return self._run(
            Sql.different, (msgspec.json.encode([space.number for space in spaces]).decode(),)
        ).get

    def hits(self, scores: Sequence[tuple[int, float]], *, tokens: bool) -> list[Hit]:
        """Return chunks by their numbers, with their scores, in this order; numbers that are gone are left out."""
        asked = msgspec.json.encode([number for number, _ in scores]).decode()
        found = {line[0]: line for line in self._run(Sql.some, (asked, int(tokens)))}
        left, hits = TOKENS_BYTES_MOST, list[Hit]()
        for number, score in scores:
            if (line := found.get(number)) is None:
                continue
            left -= len(line[17])
            chunk = chunk_of(line, line[17] if left >= 0 else b"")
            hits.append(
                Hit(
                    document=line[1],
                    version=line[2],
                    title=line[3],
                    url=line[4],
                    language=line[5],
                    metadata=_METADATA.decode(line[7]),
                    chunk=chunk,
                    score=score,
                )
            )
        return hits

    def scan(self, space: Space, after: tuple[str, int], limit: int) -> list[Row]:
        """Return chunks after (document, position)."""
        rows: list[Row] = []
        left = SCAN_BYTES_MOST
        for line in self._run(Sql.scan, (space.number, *after, limit)):
            head = Document(
                id=line[1],
                version=line[2],
                title=line[3],
                url=line[4],
                language=line[5],
                labels=_LABELS.decode(line[6]),
                metadata=_METADATA.decode(line[7]),
                chunks=(),
            )
            rows.append(Row(document=head, chunk=chunk_of(line, line[17])))
            left -= len(line[11]) + len(line[12]) + len(line[17])
            if left <= 0:
                break
        return rows

    def known(self, space: Space, digests: Iterable[str]) -> dict[str, bytes]:
        """Return the vectors of texts that stand in the space."""
        found: dict[str, bytes] = {}
        for each in digests:
            line = self._run(Sql.known, (digest(each), space.low, space.high)).fetchone()
            if line:
                found[each] = restored(line[0], [line[1]]).tobytes()
        return found

    # ----------------------------------------------------------------------------------- what else is made of it

    def page(self, sql: str, after: int, upto: int, limit: int) -> list[Any]:
        """Return lines of one of the statements that catch up: numbers above `after` up to `upto`."""
        return self._run(sql, (after, upto, limit)).fetchall()

    def heads(self, after: int, upto: int, limit: int) -> list[Head]:
        """Return documents by number."""
        return [
            Head(number, id_, title, url, language, _LABELS.decode(labels), _METADATA.decode(metadata))
            for number, id_, title, url, language, labels, metadata in self.page(
                Sql.heads, after, upto, limit
            )
        ]

    def number(self, sql: str, bindings: tuple[int, ...] = ()) -> int:
        """Return the one number of a query."""
        return self._run(sql, bindings).get

    def purge(self, sql: str, low: int, high: int, limit: int) -> int:
        """Delete up to `limit` rows whose numbers lie between, by a statement that purges; returns how many."""
        self._run(sql, (low, high, limit))
        return self._connection.changes()

    def forget(self, space: int) -> None:
        """Delete the last of a space: its name."""
        self._run(Sql.forget, (space,))

    def shrink(self) -> bool:
        """Give free pages back to the disk, some at a time; tells whether there are more."""
        self._run(Sql.vacuum).fetchall()
        return self._run(Sql.free_pages).get > 0

    def has_gone(self, space: Space) -> bool:
        """Tell whether the space has deleted rows since it was last compacted."""
        return bool(self.page(Sql.gone, space.low, space.high, 1))

    def checkpoint(self) -> bool:
        """Bring the log into the file, and empty it; tells whether nobody's reading was in the way."""
        return self._run(Sql.checkpoint).fetchone()[0] == 0
