"""The graph over one large space's vectors, by qdrant-edge: written once by a process of its own, then only read.

A graph holds the chunks up to a number (`at`). What came later lies beside it and is searched one by one, what was
deleted since is left out of its answers; the next graph takes both in. So no search waits for one that is being built,
and a kill leaves either the old one or the new one.

Promises: `nearest` gives `limit` of those passing when there are so many. Few that pass are all looked at, so that a
filter costs no recall; of many, more are fetched until enough pass, and where links do not lead to enough (the same
vector many times over makes islands) all are looked at after all.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from qdrant_edge import (
    Distance,
    EdgeConfig,
    EdgeOptimizersConfig,
    EdgeShard,
    EdgeVectorParams,
    Filter,
    HasIdCondition,
    HnswIndexConfig,
    Point,
    Query,
    QueryRequest,
    SearchParams,
    UpdateOperation,
)

from penstock.adapters.index.embedded_columns import Bools
from penstock.adapters.index.embedded_exact import Numbers, Scored
from penstock.adapters.index.embedded_vectors import Floats

M: Final = 32
EF_CONSTRUCT: Final = 128
EF: Final = 512
"""Candidates that a search keeps; of a filtered one more, as what passes lies farther apart."""
EF_MOST: Final = 1_024
SCAN_MOST: Final = 20_000
"""Rows that pass, up to which all of them are looked at."""
FETCH_MOST: Final = 10_000
AT: Final = "at"
DRAFT: Final = ".draft"
_UPDATE_ROWS: Final = 1_000
_ROW_BYTES: Final = 200
"""What a row costs in memory beside its vector, which the system may drop: links and numbers."""


def config(dimensions: int) -> EdgeConfig:
    """Return how a graph is built: one segment, no log (the rows are the truth), every deleted row taken out."""
    return EdgeConfig(
        vectors=EdgeVectorParams(size=dimensions, distance=Distance.Cosine),
        hnsw_config=HnswIndexConfig(m=M, ef_construct=EF_CONSTRUCT, full_scan_threshold=1),
        optimizers=EdgeOptimizersConfig(
            deleted_threshold=1e-9,
            vacuum_min_vector_number=1,
            default_segment_number=1,
            max_segment_size=1 << 40,
            indexing_threshold=1,
        ),
        wal_enabled=False,
    )


def come_to(folder: Path) -> tuple[int, int]:
    """Return up to which number a graph has the rows, and how many it has. Raises OSError where there is none."""
    at, size = (folder / AT).read_text().split()
    return int(at), int(size)


class GraphDraft:
    """A graph being written into a folder that nobody reads yet."""

    def __init__(self, folder: Path, dimensions: int, *, before: Path | None = None) -> None:
        """Begin with nothing, or with a copy of the graph `before`."""
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        if before is None:
            folder.mkdir(parents=True)
            self._shard = EdgeShard.create(str(folder), config(dimensions))
        else:
            shutil.copytree(before, folder)
            (folder / AT).unlink()
            self._shard = EdgeShard.load(str(folder), config(dimensions))

    def add(self, numbers: Sequence[int], vectors: Floats) -> None:
        """Add rows; one that is here already is written over."""
        rows = vectors.tolist()
        for first in range(0, len(rows), _UPDATE_ROWS):
            last = first + _UPDATE_ROWS
            points = [
                Point(id=n, vector=v) for n, v in zip(numbers[first:last], rows[first:last], strict=True)
            ]
            self._shard.update(UpdateOperation.upsert_points(points))

    def drop(self, numbers: Sequence[int]) -> None:
        """Take rows out; one that is not here is none of ours."""
        self._shard.update(UpdateOperation.delete_points(list(numbers)))

    def finish(self, at: int) -> None:
        """Link everything, and write down that it holds all up to `at`."""
        self._shard.optimize()
        size = self._shard.info().points_count
        self._shard.flush()
        self._shard.close()
        with (self._folder / AT).open("w") as file:
            file.write(f"{at} {size}")
            file.flush()
            os.fsync(file.fileno())


class Graph:
    """A graph that is read."""

    def __init__(self, folder: Path, scan_most: int = SCAN_MOST) -> None:
        """Open it. Raises ValueError or OSError when it is not whole."""
        self.folder = folder
        self.at, size = come_to(folder)
        self._scan_most = scan_most
        self._shard = EdgeShard.load(str(folder))
        self.size = self._shard.info().points_count
        if self.size != size:
            message = f"the graph has {self.size} rows of {size}"
            raise ValueError(message)

    @property
    def bytes(self) -> int:
        """Return about how much memory it takes that cannot be dropped."""
        return self.size * _ROW_BYTES

    def close(self) -> None:
        """Let go."""
        self._shard.close()

    def nearest(self, vector: Floats, limit: int, numbers: Numbers, passing: Bools) -> Scored:
        """Return the nearest of `numbers` (all that are in it and not deleted before it was opened) that pass."""
        count = int(np.count_nonzero(passing))
        if not count:
            return []
        if count <= self._scan_most:
            return self._among(vector, limit, numbers[passing])
        fetch = limit if count == self.size else int(limit * self.size / count * 1.3) + 16
        while fetch <= FETCH_MOST:
            found = self._search(vector, fetch, None, ef=min(EF_MOST, EF * self.size // count))
            wanted = np.array([number for number, _ in found], np.int64)
            places = np.searchsorted(numbers, wanted).clip(max=len(numbers) - 1)
            keep = passing[places] & (numbers[places] == wanted)
            kept = [each for each, passes in zip(found, keep.tolist(), strict=True) if passes]
            if len(kept) >= min(limit, count):
                return kept[:limit]
            fetch *= 4
        return self._among(vector, limit, numbers[passing])

    def _among(self, vector: Floats, limit: int, numbers: Numbers) -> Scored:
        return self._search(vector, limit, Filter(must=[HasIdCondition(set(numbers.tolist()))]))

    def _search(self, vector: Floats, limit: int, among: Filter | None, *, ef: int = EF) -> Scored:
        """Search along the links, or one by one among those named: links need not lead to every one of them."""
        found = self._shard.query(
            QueryRequest(
                query=Query.Nearest(vector.tolist()),
                limit=limit,
                filter=among,
                params=SearchParams(hnsw_ef=max(ef, 2 * limit), exact=among is not None),
            )
        )
        return [(int(str(each.id)), each.score) for each in found]
