"""Fixtures for the suites of the ports: a server that may be harmed, and folders that nobody has used."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.services import PostgresServer


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    """Give a PostgreSQL that the tests of one file may harm."""
    with PostgresServer(durable=True) as server:
        yield server


@pytest.fixture
def fresh_folder(tmp_path: Path) -> Callable[[], Path]:
    """Give a function that returns a new, empty folder."""
    numbers = itertools.count()

    def fresh() -> Path:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        return folder

    return fresh
