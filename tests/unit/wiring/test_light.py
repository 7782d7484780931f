"""What a deployment does not use costs it no memory: heavy libraries are loaded with their feature, or not at all."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "penstock.wiring.app": (
        "cryptography",
        "joserfc",
        "fastapi",
        "starlette",
        "pydantic",
        "jinja2",
        "opentelemetry.sdk",
        "penstock.gateway.management.application",
        "penstock.console",
    ),
    "penstock.wiring.service": ("cyclopts", "rich"),
    "penstock.gateway.management.application": ("cryptography", "joserfc", "jinja2", "penstock.console"),
}


@pytest.mark.parametrize("module", HEAVY)
def test_a_library_is_loaded_with_its_feature_only(module: str) -> None:
    code = f"import sys, {module}; print([each for each in {HEAVY[module]!r} if each in sys.modules])"
    seen = subprocess.run(
        (sys.executable, "-c", code), capture_output=True, text=True, timeout=60, check=True
    )
    assert seen.stdout.strip() == "[]"
