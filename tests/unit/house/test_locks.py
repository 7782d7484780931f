"""The locked files install on every Python and machine we support, whichever one they were made on.

Promise: what a locked package asks for on any of them is locked in the same file (else pip, which is told to require
hashes, refuses there), and the base install stays small.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.leave_out import LEFT_OUT, without

LOCKS = Path(__file__).resolve().parents[3] / "requirements"
PYTHONS = ("3.11.0", "3.11.14", "3.12.0", "3.13.0", "3.14.0")
MACHINES = ("x86_64", "aarch64")
BASE_PACKAGES = 50


def locked(name: str) -> set[str]:
    """Return the packages of a locked file."""
    return {
        canonicalize_name(n) for n in re.findall(r"^([\w.-]+)==", (LOCKS / name).read_text(), re.MULTILINE)
    }


def installed() -> dict[str, list[str]]:
    """Return what each installed package asks for."""
    return {canonicalize_name(d.name): list(d.requires or ()) for d in distributions()}


def holes(names: Iterable[str], wants: Mapping[str, list[str]]) -> list[str]:
    """Return what is asked for somewhere and not among `names`."""
    have = set(names)
    asked = ((name, Requirement(text)) for name in sorted(have & set(wants)) for text in wants[name])
    missing = [
        (name, wanted) for name, wanted in asked if canonicalize_name(wanted.name) not in have | set(LEFT_OUT)
    ]
    return [
        f"{name} wants {wanted.name} on Python {python}, {machine}"
        for name, wanted in missing
        for python, machine in itertools.product(PYTHONS, MACHINES)
        if applies(wanted, python, machine)
    ]


def applies(wanted: Requirement, python: str, machine: str) -> bool:
    """Tell whether a requirement holds on that Python and machine, without extras."""
    place = {
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "platform_machine": machine,
        "extra": "",
    }
    return wanted.marker is None or wanted.marker.evaluate(place)


@pytest.mark.parametrize("name", ["base.txt", "local.txt", "test.txt", "check.txt"])
def test_a_lock_is_whole_on_every_python(name: str) -> None:
    assert len(locked(name) & set(installed())) > 10
    assert holes(locked(name), installed()) == []


def test_a_hole_that_shows_on_one_python_only_is_found() -> None:
    wants = {
        "a": ["b; python_full_version < '3.11.3'", "c", "d; extra == 'x'", "e; python_version < '3'"],
        "c": [],
    }
    assert holes({"a", "c"}, wants) == [f"a wants b on Python 3.11.0, {machine}" for machine in MACHINES]


def test_each_lock_holds_the_one_before_it() -> None:
    assert locked("base.txt") < locked("local.txt") < locked("test.txt") < locked("check.txt")


def test_the_base_install_is_small() -> None:
    assert len(locked("base.txt")) <= BASE_PACKAGES


def test_what_is_left_out_is_in_no_lock() -> None:
    left_in = {path.name: locked(path.name) & set(LEFT_OUT) for path in LOCKS.glob("*.txt")}
    for rivals in ("bench.txt", "bench_embedding.txt"):  # what they need, in environments of their own
        del left_in[rivals]
    assert not any(left_in.values()), left_in


def test_what_only_the_left_out_ask_for_goes_with_them() -> None:
    lock = (
        "openvino==1 \\\n    --hash=sha256:00\n    # via penstock (pyproject.toml)\n"
        "openvino-telemetry==1\n    # via openvino\n"
        "loop==1\n    # via\n    #   openvino-telemetry\n    #   pool\n"
        "numpy==1\n    # via\n    #   openvino-telemetry\n    #   openvino\n"
        "pool==1\n    # via loop\n"
    )
    assert re.findall(r"^([\w-]+)==", without(lock), re.MULTILINE) == ["openvino", "numpy"]
