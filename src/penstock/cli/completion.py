"""`penstock completion`: have the shell complete commands and options."""

from __future__ import annotations

from typing import Literal

from penstock.cli.main import app
from penstock.cli.output import PEOPLE, Output, verbatim


def completion(shell: Literal["bash", "zsh", "fish"] = "bash", *, output: Output = PEOPLE) -> None:
    """Print the completion script of a shell.

    Parameters
    ----------
    shell
        Which one. For bash: `penstock completion bash > ~/.local/share/bash-completion/completions/penstock`.
    """
    script = app.generate_completion(prog_name="penstock", shell=shell)
    output.show({"shell": shell, "script": script}, verbatim(script))
