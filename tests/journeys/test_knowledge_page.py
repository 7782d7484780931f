"""docs/how-to/knowledge.md tells the truth: each of its commands runs as it stands against a running platform.

Promise: only the address and the key are put in; a command that fails, or does not say what it is for, fails here.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from tests.journeys.knowledge_scene import scene
from tests.journeys.test_terminal_page import environment
from tests.support import run

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "how-to" / "knowledge.md").read_text()
BLOCKS = re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [
    each.strip() for block in BLOCKS for each in re.split(r"^\$ ", block, flags=re.MULTILINE) if each.strip()
]
SHOWN = [command for command in COMMANDS if not command.startswith("pip ")]
SAYS = (
    r"indexed +3\n(.|\n)*failed +0\n(.|\n)* complete",
    r"indexed +1\n",
    r"space +local/all-MiniLM-L6-v2@(.|\n)*searchable +4 documents(.|\n)*complete +3/3",
    r"(?s)worth an answer from.*^0\.\d+  stdin\.txt\n.*opens at six",
    r"cosine 0\.\d+.*rrf 0\.",
    r"(?s)guides/b\.html.*guides/a\.md",
    r"indexed +1\n",
    r"minutes\.md",
    r"^0 found",
    r"status +switched(.|\n)*to +passages@1(.|\n)*index recall 1",
    r"status +rolled_back",
    r"handbook +local/all(.|\n)*board|board(.|\n)*handbook +local/all",
    r"guides/a\.md +indexed +1 +en(.|\n)*stdin\.txt +indexed",
    r"^1 documents are deleted",
    r"^The collection is deleted",
    r"(?s)fp32 2\.05 TB, fp16 1\.02 TB, int8 514 GB.*32, with headroom 42.*nodes +11\n.*\$44,968.*8 to 16",
    r"5,416,666,710(.|\n)*fp16 16\.6 TB(.|\n)*16, with headroom 21(.|\n)*\$24,528(.|\n)*54 accelerators",
)


def test_each_command_runs_as_it_stands(tmp_path: Path) -> None:
    guides = tmp_path / "guides"
    (guides / ".hidden").mkdir(parents=True)
    (guides / ".hidden" / "no.md").write_text("# Secret\n\nNobody sends this.\n")
    (guides / "a.md").write_text(
        "# The gate\n\nThe gate meters the water that flows into the turbine hall.\n"
    )
    (guides / "b.html").write_text("<h1>The turbine</h1><p>A turbine makes current out of falling water.")
    (guides / "turbine.py").write_text(
        'def turbine():\n    """Turn the turbine once."""\n    return "turbine"\n'
    )
    (tmp_path / "minutes.md").write_text(
        "# Minutes\n\nAda was chosen to lead the board of the water works.\n"
    )
    assert len(SAYS) == len(SHOWN)

    async def all_of() -> None:
        async with scene(tmp_path / "platform") as it:
            kim = await it.member()
            env = environment(tmp_path, it.it.url.removesuffix("/v1"), kim.caller.token)
            for command, says in zip(SHOWN, SAYS, strict=True):
                program = await asyncio.create_subprocess_exec(
                    "bash", "-c", command,
                    env=env, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                )  # fmt: skip
                out, complaints = await program.communicate()
                assert (program.returncode, complaints.decode()) == (0, ""), f"{command}:\n{out.decode()}"
                said = re.sub(r" +$", "", out.decode(), flags=re.MULTILINE)
                assert re.search(says, said, re.MULTILINE), f"{command}:\n{said}"

    run(all_of(), ceiling_s=120.0)
