"""docs/how-to/terminal.md tells the truth: each of its commands runs as it stands against a running platform.

Promise: only the address, the key and the id of a request are put in; a command that fails, or does not say what it is
for, fails here; a live one is ended by Ctrl-C once it has said it.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import openai

from penstock.cli.request_line import short_id
from penstock.mechanisms.tenancy import KeyDoc
from penstock.sdk.client import Client
from tests.stage import MODEL, Stage, stage, until
from tests.support import run

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "how-to" / "terminal.md").read_text()
BLOCKS = re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SHOWN = [line.removeprefix("$ ") for block in BLOCKS for line in block.splitlines()]
LIVE = ("--live", "requests tail")
SAYS = {
    "penstock status": r"What breaks first\n(.|\n)*requests +[▁-█]",
    "penstock status --live": r"first: \S",
    "penstock requests tail --team search": r"search/kim +sim/model",
    "penstock requests tail --outcome ok --json": r'^{"request_id":"req_.*}\n$',
    "penstock requests list --since 24h --model sim/model --limit 20": r"req_\w+ +search/kim +sim/model",
    "penstock requests show 42edca2968": r"request +req_\w{32}(.|\n)*relay +\S+ m?s +█",
    "penstock usage": r"day +spent(.|\n)*█",
    "penstock usage --by team,model --since 7d": r"cost per day by team(.|\n)*█ search(.|\n)*team +model +cost",
    "penstock usage --by model --day 2026-11": r"model +cost(.|\n)*The ledger says \$",
    'penstock people invite ada@acme.test "Ada Lovelace" --role admin': r"/console/link\?token=penl-per_\w+",
    "penstock people list": r"ada@acme.test +Ada Lovelace +admin",
    "penstock changes --limit 20": r"person.invite",
    "penstock completion bash > ~/.penstock-completion.bash": r"^$",
    "echo 'source ~/.penstock-completion.bash' >> ~/.bashrc": r"^$",
}


def test_every_command_is_run_here() -> None:
    assert list(SAYS) == SHOWN
    assert "completion bash" in (ROOT / "README.md").read_text()


def test_each_command_runs_as_it_stands(tmp_path: Path) -> None:
    async def all_of() -> None:
        async with stage(tmp_path) as it:
            owner = KeyDoc(id="", mac="", org="acme", team="search", project="web", user="kim", role="owner")
            _, token = await it.platform.tenancy.create_key(owner)
            url = it.url.removesuffix("/v1")
            env = environment(tmp_path, url, token)
            request_id = await asked(it, url, token)
            for command in SHOWN:
                filled = command.replace("42edca2968", short_id(request_id))
                said = await said_by(filled, env, it, token)
                assert re.search(SAYS[command], said), f"{command}:\n{said}"

    run(all_of(), ceiling_s=90.0)


def environment(folder: Path, url: str, token: str) -> dict[str, str]:
    """Return the environment of a newcomer: a home, a `penstock` on the path, an address and a key."""
    (folder / "bin").mkdir()
    program = folder / "bin" / "penstock"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m penstock.cli "$@"\n')
    program.chmod(0o755)
    ours = {"PYTHONPATH": str(ROOT / "src"), "PENSTOCK_URL": url, "PENSTOCK_KEY": token, "HOME": str(folder)}
    return ours | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "LANG": "C.UTF-8"}


async def asked(it: Stage, url: str, token: str) -> str:
    """Ask a model once; returns the request's id once it was kept."""
    await ask(it, token)
    found: list[str] = []

    async def kept() -> bool:
        async with Client(url, token) as client:
            found.extend(each.request_id for each in (await client.requests.list()).requests)
        return bool(found)

    await until(kept, 10.0)
    return found[0]


async def ask(it: Stage, token: str) -> None:
    async with openai.AsyncOpenAI(base_url=it.url, api_key=token, max_retries=0) as client:
        question = [{"role": "user", "content": "How much water?"}]
        await client.chat.completions.create(model=MODEL, messages=question, max_tokens=50)


async def said_by(command: str, env: dict[str, str], it: Stage, token: str) -> str:
    """Run a command as a shell does; returns what it said. A live one hears of requests, then of Ctrl-C."""
    live = any(each in command for each in LIVE)
    program = await asyncio.create_subprocess_exec(
        *("bash", "-c", f"exec {command}" if live else command),
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    heard = b""
    if live:
        if "tail" in command and "--json" not in command:
            heard = await program.stdout.readline()  # the heads of the columns
        coming = asyncio.create_task(program.stdout.readline())
        while not coming.done():  # it may not be listening yet
            await ask(it, token)
            await asyncio.wait([coming], timeout=0.2)
        heard += coming.result()
        program.send_signal(signal.SIGINT)
        assert await program.wait() == 0, command
        return heard.decode()
    out, complaints = await program.communicate()
    assert (program.returncode, complaints.decode()) == (0, ""), command
    return out.decode()
