"""What `import penstock` gives, and what it does not load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import penstock
from penstock import BlockingClient, Client

ROOT = Path(__file__).resolve().parents[3]


def test_the_clients_are_imported_from_the_top():
    assert (Client.__module__, BlockingClient.__module__) == ("penstock.sdk.client", "penstock.sdk.blocking")
    assert set(penstock.__all__) == {"Client", "BlockingClient"}


def test_a_name_that_is_not_there_is_missed_as_usual():
    with pytest.raises(AttributeError, match="no attribute 'Server'"):
        _ = penstock.Server


def test_importing_the_package_loads_nothing_of_it():
    code = "import sys, penstock; print([name for name in sys.modules if name.startswith('penstock.')])"
    told = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, check=True
    )
    assert told.stdout.strip() == b"[]"
