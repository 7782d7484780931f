"""One space in memory: what its documents say, its chunks' vectors or the graph of them, and its words.

All of it is made from the rows and says how far it has come (`at`). Promises: whoever holds `turns` for reading sees
the space as of one commit; `nearest` and `worded` find only what passes, and `limit` of it when there are so many.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from penstock.adapters.index.embedded_columns import Bools, Columns
from penstock.adapters.index.embedded_exact import Chunks, Numbers, Scored, nearest_of
from penstock.adapters.index.embedded_graph import Graph
from penstock.adapters.index.embedded_lines import Change
from penstock.adapters.index.embedded_rows import Rows
from penstock.adapters.index.embedded_sql import Sql
from penstock.adapters.index.embedded_text import asked
from penstock.adapters.index.embedded_turns import Turns
from penstock.adapters.index.embedded_vectors import Floats, mixed, restored, unit
from penstock.adapters.index.embedded_words import Words
from penstock.ports.index import Question

PAGE: Final = 2_000


class LoadedSpace:
    """A space in memory. Changes come in the order of their commits, by `apply` or `catch_up`."""

    def __init__(self, number: int, low: int, words: Words, graph: Graph | None) -> None:
        """Begin empty; `catch_up` brings the rest. `words` and `graph` may have come further already."""
        self.number = number
        self.low = low
        self.at = low
        self.words = words
        self.graph = graph
        self.broken = False
        self.turns = Turns()
        self.columns = Columns()
        self.chunks = Chunks()

    @property
    def bytes(self) -> int:
        """Return about how much memory this takes."""
        graph = self.graph.bytes if self.graph is not None else 0
        return self.columns.bytes + self.chunks.bytes + self.words.bytes + graph

    @property
    def rows(self) -> int:
        """Return how many chunks are alive."""
        return self.chunks.size - self.chunks.dead

    @property
    def wasted(self) -> bool:
        """Tell whether more than half of what lies here is dead."""
        return self.chunks.dead > max(PAGE, self.chunks.size // 2)

    def close(self) -> None:
        """Let everything go; what was told to the words is kept first."""
        if not self.broken:
            self.words.commit()
        self.words.close()
        if self.graph is not None:
            self.graph.close()

    # ------------------------------------------------------------------------------------------------- changing

    def apply(self, change: Change) -> None:
        """Follow a transaction."""
        place = {head.number: at for at, head in enumerate(change.heads, self.columns.size)}
        self.columns.add(change.heads)
        self.chunks.add(change.numbers, [place[owner] for owner in change.owners], change.vectors)
        self.chunks.drop(change.gone)
        self.words.add(change.texts)
        self.words.drop(change.gone)
        self.at = self.words.at = change.space.at

    def catch_up(self, rows: Rows, upto: int) -> None:
        """Follow everything that was committed up to a number."""
        self._catch_up_chunks(rows, upto, self._catch_up_heads(rows, upto))
        after = self.at
        while page := rows.page(Sql.gone, after, upto, PAGE):
            self.chunks.drop([chunk for _, chunk in page])
            after = page[-1][0]
        follow(self.words, rows, upto)
        self.at = upto

    def adopt(self, graph: Graph) -> Graph | None:
        """Search this graph from now on; returns the one before, which nobody uses any more."""
        before, self.graph = self.graph, graph
        self.chunks.hand_over(graph.at)
        return before

    def _catch_up_heads(self, rows: Rows, upto: int) -> Callable[[list[Any]], list[int]]:
        """Follow the documents; return what tells the places of those that lines of chunks belong to.

        A chunk was put with its document, so whoever follows one follows the other.
        """
        first, after, seen = self.columns.size, self.at, [np.zeros(0, np.int64)]
        while heads := rows.heads(after, upto, PAGE):
            self.columns.add(heads)
            seen.append(np.array([head.number for head in heads], np.int64))
            after = heads[-1].number
        documents = np.concatenate(seen)
        return lambda page: (first + np.searchsorted(documents, [line[1] for line in page])).tolist()

    def _catch_up_chunks(self, rows: Rows, upto: int, places: Callable[[list[Any]], list[int]]) -> None:
        after = self.at
        graphed = min(self.graph.at, upto) if self.graph is not None else after
        while after < graphed and (page := rows.page(Sql.owners, after, graphed, PAGE)):
            self.chunks.add([line[0] for line in page], places(page), None)
            after = page[-1][0]
        after = max(after, graphed)
        while page := rows.page(Sql.vectors, after, upto, PAGE):
            vectors = mixed([line[2] for line in page], [line[3] for line in page])
            self.chunks.add([line[0] for line in page], places(page), vectors)
            after = page[-1][0]

    # ------------------------------------------------------------------------------------------------- finding

    @contextmanager
    def reading(self, question: Question) -> Generator[None]:
        """Hold the space still while a question is answered, its words as fresh as its rows."""
        with self.turns.reading(lambda: bool(question.words) and self.words.dirty, self._freshen):
            yield

    def fail(self) -> None:
        """Say that this is not what the rows are: it is read anew, and its words are made anew."""
        self.broken = True
        self.words.ruin()

    def _freshen(self) -> None:
        try:
            self.words.commit()  # of the words there are by then: they may have been written anew meanwhile
        except Exception:  # because words that cannot be kept are made anew, whatever is wrong with them
            self.fail()

    def passing(self, question: Question) -> Bools | None:
        """Tell of each chunk whether it is alive and its document passes; None: all that were ever here do."""
        documents = self.columns.passing(question)
        return None if documents is None and not self.chunks.dead else self.chunks.passing(documents)

    def nearest(self, question: Question, passing: Bools | None, rows: Rows) -> Scored:
        """Return the nearest that pass, best first; where all are to be looked at, what a graph has is read anew."""
        vector: Floats = unit(restored(0, [question.vector]))[0]
        mask = self.chunks.alive if passing is None else passing
        found = self.chunks.nearest(vector, question.limit, mask)
        if self.graph is not None:
            since = self.chunks.since
            graphed = vector, question.limit, self.chunks.numbers[:since], mask[:since]
            if question.exact:
                found += nearest_of(_vectors(rows, self.low, self.graph.at), *graphed)
            else:
                found += self.graph.nearest(*graphed)
            found.sort(key=lambda each: -each[1])
        return found[: question.limit]

    def worded(self, question: Question, passing: Bools | None) -> Scored:
        """Return those that pass by their words, best first."""
        terms = asked(question.words, self.columns.languages, question.language)
        if passing is None or int(np.count_nonzero(passing)) == self.rows:
            return self.words.find(terms, question.limit, None, None)
        numbers = self.chunks.numbers

        def keep(wanted: Numbers) -> Bools:
            return passing[np.searchsorted(numbers, wanted)]

        return self.words.find(terms, question.limit, keep, numbers[passing])


def _vectors(rows: Rows, after: int, upto: int) -> Generator[tuple[Numbers, Floats]]:
    """Read the vectors of the chunks above a number and up to one, in pages, with their numbers."""
    while page := rows.page(Sql.vectors, after, upto, PAGE):
        numbers = np.array([line[0] for line in page], np.int64)
        yield numbers, mixed([line[2] for line in page], [line[3] for line in page])
        after = page[-1][0]


def follow(words: Words, rows: Rows, upto: int) -> None:
    """Bring words from where they are to a number."""
    after = words.at
    while page := rows.page(Sql.texts, after, upto, PAGE):
        words.drop(line[0] for line in page)  # a crash may have kept them, and not that it did
        words.add(page)
        after = page[-1][0]
    after = words.at
    while page := rows.page(Sql.gone, after, upto, PAGE):
        words.drop(chunk for _, chunk in page)
        after = page[-1][0]
    words.at = max(words.at, upto)
