"""The pepper: made once, private, never shown; a fleet must be given one."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from penstock.adapters.secrets.embedded import FileSecrets
from penstock.kernel.errors import Forbidden, Invalid
from penstock.kernel.settings import Settings, StoreSettings
from penstock.wiring.pepper import load_pepper
from tests.support import run


def loaded(folder: Path, env: dict[str, str] | None = None, records_url: str = "sqlite:") -> bytes:
    settings = Settings(store=StoreSettings(data=str(folder), records_url=records_url))
    return run(load_pepper(FileSecrets(folder / "secrets", env or {}), settings))


def test_it_is_made_once_with_256_bits_and_kept_private(tmp_path):
    first = loaded(tmp_path)
    file = tmp_path / "secrets" / "pepper"
    assert len(bytes.fromhex(first.decode())) == 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert loaded(tmp_path) == first


def test_two_deployments_have_two(tmp_path):
    assert loaded(tmp_path / "a") != loaded(tmp_path / "b")


def test_one_that_others_can_read_is_refused(tmp_path):
    first = loaded(tmp_path)
    (tmp_path / "secrets" / "pepper").chmod(0o644)
    with pytest.raises(Forbidden) as refusal:
        loaded(tmp_path)
    assert first.decode() not in str(refusal.value)


def test_a_fleet_must_be_given_one_and_is_told_how(tmp_path):
    with pytest.raises(Invalid, match="PENSTOCK_SECRET_PEPPER"):
        loaded(tmp_path, records_url="postgresql://db/x")
    assert not (tmp_path / "secrets" / "pepper").exists()
    given = "0123456789abcdef" * 4
    assert loaded(tmp_path, {"PENSTOCK_SECRET_PEPPER": given}, "postgresql://db/x") == given.encode()
