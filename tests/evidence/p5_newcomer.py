"""P5: from a bare machine to the first answer seen in the console: commands and clicks, counted by doing them.

A clone without an environment, `make up` as the README says (everything is installed anew, nothing is taken from this
checkout), the link it prints, a real browser. The counts in the README are compared with what was done.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.theatre import PASSWORD, chromium, visitor
from tests.evidence.registry import ROOT, Result, Scalar, Table

ID = "P5"
TITLE = "A newcomer's path from a bare machine to the first answer seen in the console"
QUESTION = "The gate opens at nine. The mill is shut on Sunday. When does the gate open?"
ANSWER = "The gate opens at nine."
PORT = 8700
START_LIMIT_S = 900.0
COMMANDS = ("git clone ROOT penstock", "cd penstock", "make up")
README_PATH = re.compile(r"(\w+) commands and\s+(\w+) clicks")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass
class Walked:
    """What was done, and how long after the start."""

    began_s: float = field(default_factory=time.monotonic)
    commands: list[str] = field(default_factory=list[str])
    clicks: list[str] = field(default_factory=list[str])
    steps: list[tuple[str, str, float]] = field(default_factory=list[tuple[str, str, float]])

    def did(self, kind: str, what: str) -> None:
        """Note a step."""
        {"command": self.commands, "click": self.clicks}.get(kind, []).append(what)
        self.steps.append((kind, what, round(time.monotonic() - self.began_s, 1)))


def produce(_quick: bool) -> Result:
    """Walk the path; there is no shorter way."""
    path = Walked()
    with tempfile.TemporaryDirectory(prefix="penstock-p5-") as name:
        folder = Path(name) / "penstock"
        subprocess.run(("git", "clone", "--quiet", str(ROOT), str(folder)), check=True)
        for command in COMMANDS[:2]:
            path.did("command", command.replace("ROOT", "…"))
        path.did("command", COMMANDS[2])
        with _Up(folder) as process:
            link = _link(process)
            path.did("wait", "the link is printed")
            with chromium() as browser, visitor(browser) as guest:
                _walk(guest.page, link, path)
                wrong = list(guest.wrong)
    written = README_PATH.search((ROOT / "README.md").read_text())
    counted = (NUMBERS[len(path.commands)], NUMBERS[len(path.clicks)])
    faults = [f"on the pages: {each}" for each in wrong]
    if written is None or (written[1].lower(), written[2].lower()) != counted:
        faults.append(
            f"the README says {written and written[0]!r}, it took {counted[0]} commands and {counted[1]} clicks"
        )
    figures: dict[str, Scalar | dict[str, Scalar]] = {
        "commands": len(path.commands),
        "clicks": len(path.clicks),
        "fields_filled": 5,
        "until_the_link_s": next(at_s for kind, _, at_s in path.steps if kind == "wait"),
        "until_the_answer_s": path.steps[-1][2],
    }
    return Result(
        figures,
        "missed" if faults else "met",
        "; ".join(faults)
        or f"{len(path.commands)} commands, {len(path.clicks)} clicks; everything installed, and the answer seen, "
        f"{path.steps[-1][2]:.0f} s after the first",
        (
            Table(
                title="Step by step", columns=("", "step", "seconds since the start"), rows=tuple(path.steps)
            ),
        ),
    )


class _Up:
    """`make up` in a folder, in a group of its own, with nothing of this environment but what a shell has."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> subprocess.Popen[str]:
        env = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self._process = subprocess.Popen(
            ("make", "up"),
            cwd=self._folder,
            env={**env, "PENSTOCK_DISCOVER": "false"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        return self._process

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, signal.SIGINT)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _link(process: subprocess.Popen[str]) -> str:
    """Return the owner's link that is printed."""
    deadline, said = time.monotonic() + START_LIMIT_S, ""
    while process.stdout is not None and time.monotonic() < deadline and (line := process.stdout.readline()):
        said += line
        if found := re.search(r"(http://\S+/console/link\?token=\S+)", line):
            return found[1]
    raise AssertionError(f"`make up` printed no link:\n{said[-2_000:]}")


def _walk(page: Page, link: str, path: Walked) -> None:
    """Become the owner, ask a question in the playground, see the answer."""
    page.goto(link)
    path.did("click", "the link that `make up` printed")
    page.get_by_label("Your name").fill("Ada Lovelace")
    page.get_by_label("Email").fill("ada@example.org")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("The same again").fill(PASSWORD)
    path.did("typing", "name, email address, password twice")
    page.get_by_role("button", name="Become the owner").click()
    path.did("click", "Become the owner")
    page.get_by_role("link", name="Playground").first.click()
    path.did("click", "Playground")
    page.get_by_label("Message", exact=True).fill(QUESTION)
    path.did("typing", "a question")
    page.get_by_role("button", name="Send").click()
    path.did("click", "Send")
    answers = page.get_by_role("region", name="Conversation with the first model")
    expect(answers.locator("[data-said]").last).to_contain_text(ANSWER, timeout=20_000)
    path.did("seen", "the answer, with what it cost")
