"""The suite finds bugs: each is seeded into the embedded index, one at a time, and the case named catches it."""

from __future__ import annotations

import time

import numpy as np
import pytest

from penstock.adapters.index import embedded_columns, embedded_exact, embedded_space
from penstock.adapters.index.embedded_columns import Columns
from penstock.adapters.index.embedded_engine import Engine
from penstock.adapters.index.embedded_exact import Chunks
from penstock.adapters.index.embedded_graph import Graph
from penstock.adapters.index.embedded_rows import Rows
from penstock.adapters.index.embedded_space import LoadedSpace
from penstock.adapters.index.embedded_sql import Sql
from penstock.adapters.index.embedded_upkeep import Upkeep
from penstock.adapters.index.embedded_wire import Limits
from penstock.adapters.index.embedded_words import Words
from penstock.contracts.index import CASES
from tests.contracts.engines import edited, kept
from tests.contracts.index_engines import LARGE
from tests.contracts.index_in_process import in_process_index
from tests.support import run

SMALL = Limits()


def filters_after_the_search(patch):
    """What does not pass is taken out of the answer, not out of the search."""
    honest = LoadedSpace.nearest

    def nearest(space, question, passing, rows):
        found = honest(space, question, None, rows)
        keep = space.chunks.alive if passing is None else passing
        return [each for each in found if keep[np.searchsorted(space.chunks.numbers, each[0])]]

    patch.setattr(LoadedSpace, "nearest", nearest)


def filters_words_after_the_search(patch):
    """The engine of words finds `limit`, and what does not pass is taken out of these."""
    honest = Words.find

    def find(words, terms, limit, passing, _allowed):
        found = honest(words, terms, limit, None, None)
        return [each for each in found if passing is None or passing(np.array([each[0]]))[0]]

    patch.setattr(Words, "find", find)


def forgets_labels(patch):
    """Who has no label sees everything."""
    honest = Columns.add

    def add(columns, heads):
        honest(columns, heads)
        columns._labelled = False

    patch.setattr(Columns, "add", add)


def takes_truth_for_one(patch):
    """True is 1."""
    patch.setattr(embedded_columns, "_key", lambda value: (False, value))


def keeps_the_rest_of_a_document(patch):
    """Of a document that is replaced only the first chunk goes."""
    for name in ("drop_chunks", "chunks_of"):
        other = edited(getattr(Sql, name), ("document = ?", "document = ? AND position = 0"))
        patch.setattr(Sql, name, other)


def mixes_tenants(patch):
    """The tenant is no part of a space's key."""
    patch.setattr(Sql, "space", edited(Sql.space, ("tenant = ?", "length(?) > 0")))


def mixes_spaces(patch):
    """The first space of a place is taken for any."""
    patch.setattr(Sql, "space", edited(Sql.space, ("space = ?", "length(?) > 0")))


def leaves_dead_rows_alive(patch):
    """What is deleted stays among the vectors."""
    patch.setattr(Chunks, "drop", lambda chunks, numbers: None)


def leaves_dead_words(patch):
    """What is deleted stays among the words."""
    patch.setattr(Words, "drop", lambda words, numbers: None)


def overstates_a_graph(patch):
    """A graph says that it has come further than it has."""
    honest = Graph.__init__

    def opened(graph, folder, scan_most):
        honest(graph, folder, scan_most)
        graph.at += 20

    patch.setattr(Graph, "__init__", opened)


def trusts_the_links(patch):
    """What the links do not lead to is given up."""
    patch.setattr(Graph, "_among", lambda graph, *asked: [])


def forgets_the_length(patch):
    """A vector's length counts in the score."""
    patch.setattr(embedded_exact, "unit", lambda matrix: matrix)
    patch.setattr(embedded_space, "unit", lambda matrix: matrix)


def parses_words(patch):
    """A question's words are a query."""

    def worded(space, question, _passing):
        query = space.words._index.parse_query(question.words, ["words"])
        searcher = space.words._index.searcher()
        hits = searcher.search(query, question.limit).hits
        numbers = searcher.fast_field_values("number", [address for _, address in hits])
        return [(number, score) for number, (score, _) in zip(numbers, hits, strict=True)]

    patch.setattr(LoadedSpace, "worded", worded)


def commits_outside_the_turn(patch):
    """Who searches between the commit and the space that follows it sees rows that its vectors do not know of."""

    def commit(engine, rows, change):
        rows.commit()
        time.sleep(0.005)  # so that somebody does
        with engine._library.if_loaded(change.space.number) as loaded:
            if loaded is not None:
                with loaded.turns.writing():
                    loaded.apply(change)

    patch.setattr(Engine, "_commit", commit)


def draws_numbers_anew(patch):
    """The last number drawn is forgotten."""
    patch.setattr(Sql, "set_space", edited(Sql.set_space, ("drawn = ?3", "drawn = min(?3, 7)")))


def leaves_freed_bytes(patch):
    """What is deleted is unlinked and not overwritten."""
    patch.setattr(Sql, "pragmas", edited(Sql.pragmas, ("secure_delete=ON", "secure_delete=OFF")))


def keeps_the_log(patch):
    """The log of the rows is not emptied."""
    patch.setattr(Rows, "checkpoint", lambda rows: True)


def keeps_deleted_vectors(patch):
    """A graph is not built anew without what was deleted."""
    honest = Upkeep._build
    patch.setattr(
        Upkeep, "_build", lambda upkeep, space: honest(upkeep, space) if space.graph is None else None
    )


def forgets_what_went(patch):
    """Words on disk do not hear of what was deleted before a crash."""
    honest = Rows.page
    patch.setattr(
        Rows, "page", lambda rows, sql, *given: [] if sql == Sql.gone else honest(rows, sql, *given)
    )


def counts_twice(patch):
    """A document in two spaces counts twice."""
    patch.setattr(Rows, "different", lambda rows, spaces: sum(space.documents for space in spaces))


def deletes_all_for_none(patch):
    """No name is taken for every name."""
    honest = Engine.delete
    patch.setattr(
        Engine, "delete", lambda engine, place, named, space: honest(engine, place, named or None, space)
    )


SEEDS = [
    (filters_after_the_search, SMALL, "filters_work_inside_the_search"),
    (filters_words_after_the_search, SMALL, "filters_work_inside_the_search"),
    (forgets_labels, SMALL, "labels_are_denied_by_default"),
    (takes_truth_for_one, SMALL, "filters_let_through_exactly_what_passes"),
    (keeps_the_rest_of_a_document, SMALL, "a_put_replaces_whole_documents"),
    (mixes_tenants, SMALL, "places_never_meet"),
    (mixes_spaces, SMALL, "spaces_are_never_mixed"),
    (leaves_dead_rows_alive, SMALL, "what_is_deleted_is_never_found_again"),
    (leaves_dead_words, SMALL, "what_is_deleted_is_never_found_again"),
    (leaves_dead_rows_alive, LARGE, "what_is_deleted_is_never_found_again"),
    (overstates_a_graph, LARGE, "a_crash_loses_nothing"),
    (trusts_the_links, LARGE, "recall_holds_at_every_share"),
    (forgets_the_length, SMALL, "the_best_come_first_with_their_scores"),
    (parses_words, SMALL, "words_are_never_a_query"),
    (commits_outside_the_turn, SMALL, "a_document_is_never_seen_half"),
    (draws_numbers_anew, SMALL, "a_put_replaces_whole_documents"),
    (leaves_freed_bytes, SMALL, "deleted_rows_leave_the_disk"),
    (keeps_the_log, SMALL, "deleted_rows_leave_the_disk"),
    (keeps_deleted_vectors, LARGE, "deleted_rows_leave_the_disk"),
    (forgets_what_went, LARGE, "a_crash_loses_nothing"),
    (counts_twice, SMALL, "what_is_deleted_is_never_found_again"),
    (deletes_all_for_none, SMALL, "what_is_deleted_is_never_found_again"),
]
CASE = {name: case for name, _, case in CASES.cases}


@pytest.mark.parametrize(
    ("seed", "limits", "name"),
    SEEDS,
    ids=[f"{seed.__name__}{'' if limits is SMALL else '_large'}" for seed, limits, _ in SEEDS],
)
def test_the_suite_catches(seed, limits, name, monkeypatch, tmp_path):
    seed(monkeypatch)
    with pytest.raises(Exception):  # noqa: B017 - a seeded bug may show itself in any way
        run(kept(CASE[name], in_process_index(tmp_path, limits)))


KEPT = {(name, limits is SMALL): limits for _, limits, name in SEEDS}


@pytest.mark.parametrize(
    ("name", "limits"),
    [(name, limits) for (name, _), limits in sorted(KEPT.items(), key=lambda each: each[0])],
)
def test_without_a_seed_it_is_kept(name, limits, tmp_path):
    run(kept(CASE[name], in_process_index(tmp_path, limits)))
