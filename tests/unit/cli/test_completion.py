"""Completion as bash does it: the script is sourced by a real bash, in a function call and at a real prompt."""

from __future__ import annotations

import subprocess

import pytest

from penstock.cli.main import COMMANDS, main
from tests.unit.cli.far import CEILING_S, PENSTOCK, Terminal, environment

ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
$(complete -p penstock | sed 's/.*-F \\([^ ]*\\).*/\\1/')
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """Write the script as `penstock completion bash` prints it."""
    path = tmp_path_factory.mktemp("bash") / "penstock"
    with path.open("w") as file:
        subprocess.run([*PENSTOCK, "completion", "bash"], check=True, stdout=file, env=environment(""))
    return path


def completed(script, *words: str) -> set[str]:
    """Return what bash offers for the last of these words."""
    done = subprocess.run(
        ["bash", "--norc", "-c", ASK, "bash", script, *words],
        check=True, capture_output=True, text=True, timeout=CEILING_S,
    )  # fmt: skip
    assert done.stderr == ""
    return set(done.stdout.split())


def test_every_command_is_offered(script):
    assert completed(script, "penstock", "") == {name for name, _, _ in COMMANDS}


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("req",), {"requests"}), (("requests", ""), {"tail", "list", "score", "show"}), (("requests", "t"), {"tail"}),
        (("people", ""), {"list", "invite", "link", "disable", "enable"}), (("status", "--li"), {"--live"}),
        (("requests", "tail", "--out"), {"--outcome"}),
        (("requests", "tail", "--outcome", ""), {"ok", "refused", "failed"}),
        (("requests", "tail", "--team", "x", "--prov"), {"--provider"}), (("usage", "t"), {"team"}),
        (("usage", "--s"), {"--since"}), (("keys", "create", "--role", "a"), {"admin"}),
        (("completion", ""), {"bash", "zsh", "fish"}), (("nonsense", "--zz"), set()),
    ],
)  # fmt: skip
def test_commands_options_and_choices_are_offered(script, words, offered):
    assert completed(script, "penstock", *words) == offered


def test_at_a_prompt_a_tab_completes(script):
    env = environment("", PS1="> ", TERM="dumb")
    it = Terminal(["bash", "--norc", "--noprofile", "-i"], env, columns=200)
    try:
        it.until(b"> ")
        it.press(f"source {script}\npenstock requ\tta\t--outc\tfai\t".encode())
        it.until(b"penstock requests tail --outcome failed")
    finally:
        it.close()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_get_every_command_too(capsys, shell):
    assert main(["completion", shell]) == 0
    told = capsys.readouterr().out
    for name, _, _ in COMMANDS:
        assert name in told
    assert "--outcome" in told
    assert "\x1b" not in told
