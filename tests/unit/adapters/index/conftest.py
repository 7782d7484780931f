"""The fixture of the tests of the embedded index's engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.adapters.index.embedded_engine import Engine
from penstock.adapters.index.embedded_wire import Limits
from tests.contracts.index_engines import LARGE


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    """Give a function that opens an engine on one folder; the one before is closed first."""
    engines: list[Engine] = []

    def opening(limits: Limits = LARGE) -> Engine:
        while engines:
            engines.pop().close()
        engines.append(Engine(tmp_path / "index", limits))
        return engines[-1]

    yield opening
    for engine in engines:
        engine.close()
