"""S9: the official OpenAI SDKs for Python and for Node, unchanged, as customers of the gateway.

The checks are the journeys of tests/journeys/test_openai_*.py, run here by pytest and counted from its own report.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from importlib.metadata import version
from pathlib import Path

from tests.evidence.registry import ROOT, Result, Table
from tests.journeys.openai_customer import NODE_FOLDER

ID = "S9"
TITLE = "The official OpenAI SDKs for Python and Node, unchanged"

SUITES = {
    "python": ("test_openai_python.py", "test_openai_python_errors.py"),
    "node": ("test_openai_node.py",),
}
LIMIT_S = 300


def produce(quick: bool) -> Result:
    """Run every journey of both SDKs; `quick` changes nothing, they take seconds."""
    rows: list[tuple[str, str, str]] = []
    for sdk, files in SUITES.items():
        rows += [(sdk, name, "failed" if failed else "passed") for name, failed in _run(files)]
    passed = {sdk: sum(row[0] == sdk and row[2] == "passed" for row in rows) for sdk in SUITES}
    failed = [f"{sdk}: {name}" for sdk, name, outcome in rows if outcome == "failed"]
    complete = all(passed.values()) and not failed
    return Result(
        {
            "python_sdk": version("openai"),
            "node_sdk": json.loads((NODE_FOLDER / "node_modules/openai/package.json").read_text())["version"],
            "checks": len(rows),
            "passed": {**passed},
            "failed": len(failed),
        },
        "met" if complete else "missed",
        "; ".join(failed[:5]) or f"{len(rows)} checks passed with the SDKs as published",
        tables=(Table(title="Every check", columns=("SDK", "check", "outcome"), rows=tuple(rows)),),
    )


def _run(files: tuple[str, ...]) -> list[tuple[str, bool]]:
    """Run journeys under pytest; returns each one's name and whether it failed."""
    with tempfile.TemporaryDirectory(prefix="penstock-s9-") as folder:
        report = Path(folder) / "report.xml"
        paths = [f"tests/journeys/{file}" for file in files]
        options = ["-q", "-p", "no:cacheprovider", f"--junit-xml={report}"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *paths, *options],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
        if not report.exists():
            raise RuntimeError(f"pytest did not report: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        cases = ET.parse(report).getroot().iter("testcase")  # noqa: S314 - pytest of ours wrote it a moment ago
        return [(_plain(case.get("name", "")), len(case) > 0) for case in cases]


def _plain(name: str) -> str:
    """Return a test's name as people read it."""
    stem, _, case = name.removeprefix("test_").partition("[")
    words = stem.replace("_", " ")
    return f"{words}: {case[:-1]}" if case else words
