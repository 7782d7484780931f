"""The law of the house holds, and each contract that states it can fail.

Promise: the imports of the package keep every import-linter contract of pyproject.toml; a seeded violation of each is
caught by the contract that names it, type-only imports included; what the package imports from outside is declared.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

import grimp
import pytest
from grimp import ImportGraph
from importlinter.api import read_configuration
from importlinter.contracts.acyclic_siblings import AcyclicSiblingsContract
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.independence import IndependenceContract
from importlinter.contracts.layers import LayersContract
from importlinter.contracts.protected import ProtectedContract

ROOT = Path(__file__).resolve().parent.parent
CONFIG = str(ROOT / "pyproject.toml")
KINDS = {
    kind.type_name: kind
    for kind in (
        AcyclicSiblingsContract,
        ForbiddenContract,
        IndependenceContract,
        LayersContract,
        ProtectedContract,
    )
}
LINES = (
    *("cli", "wiring", "adapters", "apps", "console"),
    *("gateway", "embedding", "prompts", "agents", "planner", "simulator"),
    *("edge", "sdk", "mechanisms", "contracts", "dialects", "ports", "net", "kernel"),
)
EXTRAS = ("redis", "postgres", "otel", "lake", "pii", "local", "index", "documents")
EXTERNAL = (
    "apsw",
    "asyncpg",
    "redis",
    "socket",
    "ssl",
    "subprocess",
    "uvloop",
    "httptools",
    "starlette",
    "fastapi",
)

# The contract that must break, and the imports (importer, imported) that break it.
SEEDS: list[tuple[str, list[tuple[str, str]]]] = [
    ("layers", [("kernel.a", "ports.a")]),
    ("layers", [("ports.a", "net.a")]),
    ("layers", [("ports.a", "dialects.a")]),
    ("layers", [("dialects.a", "mechanisms.a")]),
    ("layers", [("mechanisms.a", "contracts.a")]),
    ("layers", [("edge.a", "sdk.a")]),
    ("layers", [("mechanisms.a", "edge.a")]),
    ("layers", [("gateway.a", "simulator.a")]),
    ("layers", [("gateway.a", "prompts.a")]),
    ("layers", [("gateway.a", "wiring.a")]),
    ("layers", [("adapters.state.redis", "apps.a")]),
    ("layers", [("wiring.a", "cli.a")]),
    ("layers", [("surprise.a", "kernel.a")]),
    ("no-cycles", [("kernel.a", "kernel.b"), ("kernel.b", "kernel.a")]),
    ("no-cycles", [("gateway.faces.a", "gateway.faces.b"), ("gateway.faces.b", "gateway.faces.a")]),
    ("customers", [("apps.a", "gateway.a")]),
    ("customers", [("apps.support.a", "planner.a")]),
    ("customers", [("console.a", "mechanisms.a")]),
    ("thin-adapters", [("adapters.state.redis", "mechanisms.a")]),
    ("thin-adapters", [("adapters.state.redis", "sdk.a")]),
    ("thin-adapters", [("adapters.ledger.sqlite", "contracts.a")]),
    ("one-composition-root", [("cli.a", "adapters.state.redis")]),
    ("separate-adapters", [("adapters.state.redis", "adapters.ledger.sqlite")]),
    ("drivers-in-adapters", [("mechanisms.a", "redis")]),
    ("drivers-in-adapters", [("gateway.a", "asyncpg")]),
    ("pure-core", [("dialects.a", "socket")]),
    ("pure-core", [("ports.a", "fastapi")]),
]
# What the law allows, by its own words.
LAWFUL = [
    ("cli.a", "wiring.a"),
    ("wiring.a", "adapters.state.redis"),
    ("wiring.a", "gateway.a"),
    ("adapters.state.redis", "ports.a"),
    ("adapters.state.redis", "redis"),
    ("adapters.state.redis", "adapters.state.memory"),
    ("apps.a", "sdk.a"),
    ("gateway.a", "edge.a"),
    ("gateway.a", "mechanisms.a"),
    ("edge.a", "net.a"),
    ("net.a", "httptools"),
    ("ports.a", "kernel.a"),
]


def named(module: str) -> str:
    """Return a module's full name; what is not ours keeps its own."""
    return module if module in EXTERNAL else f"penstock.{module}"


def skeleton(imports: Iterable[tuple[str, str]]) -> ImportGraph:
    """Return a graph of every line of the law with two modules each, two ports' adapters, and these imports."""
    graph = ImportGraph()
    leaves = [f"{line}.{leaf}" for line in LINES if line != "adapters" for leaf in "ab"]
    leaves += ["adapters.state.redis", "adapters.state.memory", "adapters.ledger.sqlite"]
    for module in [*leaves, *(end for pair in imports for end in pair if end not in EXTERNAL)]:
        parts = module.split(".")
        for depth in range(len(parts) + 1):
            graph.add_module(".".join(["penstock", *parts[:depth]]))
    for driver in EXTERNAL:
        graph.add_module(driver, is_squashed=True)
    for importer, imported in imports:
        graph.add_import(
            importer=named(importer), imported=named(imported), line_number=1, line_contents="import"
        )
    return graph


@functools.cache
def configuration() -> dict[str, object]:
    """Return the contracts as import-linter reads them."""
    return read_configuration(CONFIG)


def broken_contracts(graph: ImportGraph) -> set[str]:
    """Return the ids of the contracts that this graph breaks."""
    options = configuration()
    broken = set()
    for contract in options["contracts_options"]:
        check = KINDS[contract["type"]](contract["name"], options["session_options"], contract)
        if not check.check(grimp_copy(graph), verbose=False).kept:
            broken.add(contract["id"])
    return broken


def grimp_copy(graph: ImportGraph) -> ImportGraph:
    """Return a copy that a contract may change."""
    return graph.__deepcopy__({})


def lint(path: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter's own command on the package below `path`."""
    command = [
        sys.executable,
        "-c",
        "import sys; from importlinter.cli import lint_imports_command as c; c()",
    ]
    return subprocess.run(
        [*command, "--config", CONFIG, "--no-cache", "--no-logo"],
        env={**os.environ, "PYTHONPATH": str(path), "PYTHONSAFEPATH": "1", "COLUMNS": "120"},
        cwd=path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_package_keeps_the_law() -> None:
    done = lint(ROOT / "src")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_law_has_every_line_of_the_architecture() -> None:
    layers = next(c for c in configuration()["contracts_options"] if c["id"] == "layers")
    declared = {name.strip(" ()") for line in layers["layers"] for name in line.split("|")}
    assert declared == set(LINES)
    assert layers["exhaustive"] is True or str(layers["exhaustive"]).lower() == "true"


def test_what_the_law_allows_breaks_nothing() -> None:
    assert broken_contracts(skeleton(LAWFUL)) == set()


@pytest.mark.parametrize(
    ("contract", "imports"),
    SEEDS,
    ids=[f"{contract}: {imports[0][0]} imports {imports[0][1]}" for contract, imports in SEEDS],
)
def test_a_seeded_violation_is_caught(contract: str, imports: list[tuple[str, str]]) -> None:
    assert contract in broken_contracts(skeleton([*LAWFUL, *imports]))


def test_every_contract_has_a_seed() -> None:
    assert {c["id"] for c in configuration()["contracts_options"]} == {contract for contract, _ in SEEDS}


def test_a_type_only_import_upwards_is_caught_in_real_files(tmp_path: Path) -> None:
    """Given a package whose only fault is under TYPE_CHECKING, when the linter runs, then it names the fault."""
    for line in LINES:
        folder = tmp_path / "penstock" / line
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
    (tmp_path / "penstock" / "__init__.py").touch()
    (tmp_path / "penstock" / "gateway" / "pipeline.py").touch()
    (tmp_path / "penstock" / "adapters" / "state").mkdir()
    (tmp_path / "penstock" / "adapters" / "state" / "__init__.py").touch()
    sound = lint(tmp_path)
    assert sound.returncode == 0, sound.stdout + sound.stderr
    (tmp_path / "penstock" / "kernel" / "money.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from penstock.gateway import pipeline\n"
    )
    faulty = lint(tmp_path)
    assert faulty.returncode == 1
    assert "penstock.kernel is not allowed to import penstock.gateway" in faulty.stdout


def declared_imports(*extras: str) -> set[str]:
    """Return the top-level names that the base dependencies, and those of `extras`, install."""
    project = tomllib.loads(Path(CONFIG).read_text())["project"]
    wanted = [*project["dependencies"]]
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    names = {"".join(c for c in w.split(">")[0].split("=")[0] if c not in "[] ").lower() for w in wanted}
    by_import = packages_distributions()
    return {
        module
        for module, owners in by_import.items()
        if {o.lower().replace("_", "-") for o in owners} & names
    }


def test_what_is_imported_from_outside_is_declared() -> None:
    """The base install runs without extras: only adapters import an extra's driver."""
    graph = grimp.build_graph("penstock", include_external_packages=True, cache_dir=None)
    outside = {m for m in graph.modules if m.split(".")[0] not in {"penstock", *sys.stdlib_module_names}}
    base, full = declared_imports(), declared_imports(*EXTRAS)
    assert {"msgspec", "uvloop"} <= base
    for module in outside:
        importers = graph.find_modules_that_directly_import(module)
        assert module in full, f"{module} is not declared; imported by {sorted(importers)}"
        if module not in base:
            strays = {i for i in importers if not i.startswith("penstock.adapters.")}
            assert not strays, f"{module} comes with an extra, yet {sorted(strays)} import it"
