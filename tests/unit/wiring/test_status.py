"""Which Penstock this is."""

from __future__ import annotations

from importlib import metadata

import pytest

from penstock.wiring import status


def test_the_version_is_that_installed_and_read_from_the_disk_once(monkeypatch: pytest.MonkeyPatch) -> None:
    status.version.cache_clear()
    assert status.version() == metadata.version("penstock")
    monkeypatch.setattr(metadata, "version", None)
    assert status.version()
