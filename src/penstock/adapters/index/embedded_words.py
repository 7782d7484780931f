"""The words of one space, by tantivy: BM25 over stems and over pairs of letters.

Promises: `find` sees what was committed, ranked by BM25, and gives `limit` of the passing ones when so many match; what
is kept on disk says up to which number it has come (`at`), and never says more than it holds, so what a crash takes
away is caught up from the rows. Only terms are kept, no text. Words in memory have threads only while they are changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import tantivy

from penstock.adapters.index.embedded_exact import Numbers, Scored
from penstock.adapters.index.embedded_text import Terms, analyser, cut

HEAP_BYTES: Final = 32_000_000
SET_MOST: Final = 2_000
"""Passing rows that are named to the engine; of more, enough hits are fetched for `limit` to pass."""
AT: Final = "at"
NUMBER, WORDS, GRAMS = "number", "words", "grams"
WRITER_BYTES: Final = 3 << 20
"""What an open writer takes beside the texts told to it; it has six threads, too."""
_LEAST_BYTES: Final = 64 << 10
_TERMS_SHARE: Final = 2
"""Bytes in memory of a character of text, about: what is not on disk yet, or never will be."""
_FREQ: Final = "freq"
_Query: Final = tantivy.Query
_SHOULD: Final = tantivy.Occur.Should
_MUST: Final = tantivy.Occur.Must


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field(NUMBER, indexed=True, fast=True)
    builder.add_text_field(WORDS, tokenizer_name="default", index_option=_FREQ)
    builder.add_text_field(GRAMS, tokenizer_name=GRAMS, index_option=_FREQ)
    return builder.build()


class Words:
    """An index of words, on disk or (without a folder) in memory. One thread at a time changes it."""

    def __init__(self, low: int, folder: Path | None = None) -> None:
        """Open or make it; `low` is what all numbers are above. Raises ValueError or OSError when it cannot be read."""
        self.folder = folder
        self.at = low
        self._told_bytes = 0
        self.dirty = False
        self.pending = 0
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self.at = int((folder / AT).read_text()) if (folder / AT).exists() else low
        self._schema = _schema()
        self._index = tantivy.Index(self._schema, path=str(folder) if folder is not None else None)
        pairs = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.ngram(1, 2)).build()
        self._index.register_tokenizer(GRAMS, pairs)
        self._index.config_reader("manual")
        self._index.reload()
        self._writer: tantivy.IndexWriter | None = None

    @property
    def bytes(self) -> int:
        """Return about how much memory this takes."""
        return _LEAST_BYTES + self._told_bytes + (WRITER_BYTES if self._writer is not None else 0)

    # ------------------------------------------------------------------------------------------------- changing

    def add(self, texts: Iterable[tuple[int, str, str]]) -> None:
        """Add texts by number and language; seen after `commit`."""
        writer = self._open()
        for number, language, text in texts:
            spaced, runs = cut(text)
            document = tantivy.Document()
            document.add_unsigned(NUMBER, number)
            document.add_pre_tokenized_text(WORDS, analyser(language).pre_tokenize(spaced))
            if runs:
                document.add_text(GRAMS, "\n".join(runs))
            writer.add_document(document)
            self._told_bytes += _TERMS_SHARE * len(text)
            self.pending += 1

    def drop(self, numbers: Iterable[int]) -> None:
        """Drop texts by number; seen after `commit`."""
        gone = list(numbers)
        for first in range(0, len(gone), SET_MOST):
            few = _Query.term_set_query(self._schema, NUMBER, gone[first : first + SET_MOST])
            self._open().delete_documents_by_query(few)

    def commit(self) -> None:
        """Let everything so far be seen, and on disk be kept."""
        if not self.dirty:
            return
        self._open().commit()
        if self.folder is None:
            self.close()  # there are many small spaces, and opening it again takes less than a millisecond
        else:
            self._told_bytes = 0
        self._index.reload()
        self._note()
        self.dirty, self.pending = False, 0

    def ruin(self) -> None:
        """Have what is on disk made anew at the next opening."""
        if self.folder is not None:
            (self.folder / AT).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go, once what merges has merged."""
        if self._writer is not None:
            self._writer.wait_merging_threads()
            self._writer = None

    # -------------------------------------------------------------------------------------------------- finding

    def find(
        self, terms: Terms, limit: int, passing: Callable[[Numbers], Any] | None, allowed: Numbers | None
    ) -> Scored:
        """Return the best `limit` that pass: `passing` tells of numbers whether they do, `allowed` are all that do."""
        query = self._query(terms)
        if query is None:
            return []
        searcher = self._index.searcher()
        if allowed is not None and len(allowed) <= SET_MOST:
            few = _Query.const_score_query(_Query.term_set_query(self._schema, NUMBER, allowed.tolist()), 0.0)
            query, passing = _Query.boolean_query([(_MUST, query), (_MUST, few)]), None
        share = (
            1.0 if passing is None or allowed is None else max(len(allowed), 1) / max(searcher.num_docs, 1)
        )
        fetch = limit if passing is None else int(limit / share * 1.3) + 16
        while True:
            hits = searcher.search(query, fetch, count=False).hits
            numbers = searcher.fast_field_values(NUMBER, [address for _, address in hits])
            found = [
                (int(number or 0), float(score)) for number, (score, _) in zip(numbers, hits, strict=True)
            ]
            if passing is not None and found:
                keep = passing(np.array([number for number, _ in found], np.int64))
                found = [each for each, passes in zip(found, keep.tolist(), strict=True) if passes]
            if len(found) >= limit or len(hits) < fetch:
                return found[:limit]
            fetch *= 4

    def _query(self, terms: Terms) -> tantivy.Query | None:
        parts = [self._any_of(forms) for forms in terms.words]
        parts += [self._term(GRAMS, gram) for gram in terms.grams]
        return _Query.boolean_query([(_SHOULD, part) for part in parts]) if parts else None

    def _any_of(self, forms: Sequence[str]) -> tantivy.Query:
        """Return a query for a word in any of its forms, whose best counts."""
        queries = [self._term(WORDS, form) for form in forms]
        return queries[0] if len(queries) == 1 else _Query.disjunction_max_query(queries)

    def _term(self, field: str, term: str) -> tantivy.Query:
        return _Query.term_query(self._schema, field, term, index_option=_FREQ)

    # ------------------------------------------------------------------------------------------------- its parts

    def _open(self) -> tantivy.IndexWriter:
        self.dirty = True
        if self._writer is None:
            self._writer = self._index.writer(HEAP_BYTES, 1)
            self._writer.garbage_collect_files()  # what a crash left would be in the way of a file of the same name
        return self._writer

    def _note(self) -> None:
        """Write down how far it has come, after what it has come to."""
        if self.folder is None:
            return
        draft = self.folder / f"{AT}.draft"
        with draft.open("w") as file:
            file.write(str(self.at))
            file.flush()
            os.fsync(file.fileno())
        draft.rename(self.folder / AT)
