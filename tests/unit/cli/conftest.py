"""A server far away for whoever asks for one, and a command line that manages it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from penstock.cli.main import main
from tests.unit.cli.far import KEY, Far


@pytest.fixture
def far() -> Iterator[Far]:
    it = Far()
    yield it
    it.close()


@pytest.fixture
def penstock(far, monkeypatch, capsys, tmp_path) -> Callable[..., tuple[int, str, str]]:
    """Run a command line against `far`; returns its exit code, output and complaints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PENSTOCK_URL", far.url)
    monkeypatch.setenv("PENSTOCK_KEY", KEY)

    def run_it(*words: str) -> tuple[int, str, str]:
        code = main(words)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run_it
