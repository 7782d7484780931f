"""docs/how-to/sdk.md tells the truth: each of its examples runs as it stands against a running platform.

Promise: only the address and the key are put in; an example that fails, or says nothing, fails here.
"""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from penstock.mechanisms.tenancy import KeyDoc
from tests.stage import stage
from tests.support import run

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "sdk.md"
EXAMPLES = re.findall(r"^## (.+?)$.*?^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
SAYS = {
    "Ask a model": [
        r"gate is open",
        r"\d+ tokens, 0 nano-dollars, by local/local/extractive",
        r"\n\d+ tokens\n$",
    ],
    "Without `async`": [r"^\S+\n", r"gate is open"],
    "Keys, limits and what was spent": [
        r"shown only now: pen-\S{30,}\n",
        r"team day \$5(\.0+)? left",
        r"\d+ requests",
    ],
    "See what happens": [r"^local/extractive ok True\n\S.*\n  \S", r"what breaks first: \S"],
    "What can go wrong": [r"^NotFound model_not_found model no-such-model\n$"],
}


def test_every_example_is_run_here():
    assert {heading for heading, _ in EXAMPLES} == set(SAYS)
    assert len(EXAMPLES) == PAGE.read_text().count("```python") == len(SAYS)


@pytest.mark.parametrize(("heading", "code"), EXAMPLES, ids=[heading for heading, _ in EXAMPLES])
def test_an_example_runs_as_it_stands(tmp_path, heading, code):
    async def execute() -> str:
        async with stage(tmp_path) as it:
            owner = KeyDoc(id="", mac="", org="acme", team="ops", project="ops", user="kim", role="owner")
            _, token = await it.platform.tenancy.create_key(owner)
            filled = code.replace("http://127.0.0.1:8700", it.url.removesuffix("/v1")).replace("pen-…", token)
            assert filled.count(token) == code.count("pen-…") == 1
            program = await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "error", "-c", filled),
                env={"PYTHONPATH": str(ROOT / "src")},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, complaints = await program.communicate()
            assert (program.returncode, complaints.decode()) == (0, "")
            return out.decode()

    said = run(execute())
    for pattern in SAYS[heading]:
        assert re.search(pattern, said), f"{pattern!r} is not in:\n{said}"
