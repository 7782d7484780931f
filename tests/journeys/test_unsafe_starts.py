"""A deployment that cannot be safe does not start: exit code, reason and remedy, never a traceback.

Promise: the real command in processes of its own. The second process, the old SQLite and the canaries are below.
"""

from __future__ import annotations

from pathlib import Path

from tests.evidence.s8_safety import (
    can_be_found,
    embedded,
    leaks_of,
    old_sqlite,
    second_process,
    unsafe_starts,
)
from tests.support import run


def test_every_unsafe_start_is_refused_with_its_reason(tmp_path: Path) -> None:
    assert not [fault for _, _, fault in unsafe_starts(tmp_path) if fault]


def test_a_second_process_on_the_same_stores_is_refused(tmp_path: Path) -> None:
    assert run(second_process(tmp_path))[2] == ""


def test_an_sqlite_that_corrupts_is_refused() -> None:
    assert old_sqlite()[2] == ""


def test_planted_secrets_are_found_nowhere_they_were_not_put(tmp_path: Path) -> None:
    """Given DEBUG, troubled providers, strangers and a kill -9, then no secret is in any output, reply or file."""
    it = run(embedded(tmp_path / "embedded", calls=16), ceiling_s=60)
    assert it.replies > 80
    assert leaks_of(it) == []


def test_the_search_finds_a_secret_in_every_form() -> None:
    assert can_be_found()
