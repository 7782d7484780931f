"""`penstock`: the root of the command line.

Promises: a command's module is imported only when it is called; an error is one line with field, value, limit and
remedy (one JSON object under ``--json``) on standard error, and the exit code of the kernel's error table; nobody is
shown a traceback, and no message holds a secret.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cyclopts import App, CycloptsError, Group

from penstock.cli.output import complain
from penstock.kernel.errors import Broken, Invalid, PenstockError
from penstock.wiring.status import version

INTERRUPTED: Final = 130
"""What shells say of a program ended by Ctrl-C: 128 + SIGINT."""

RUN: Final = Group("Run it", sort_key=1)
MANAGE: Final = Group("Manage a running server", sort_key=2)
LOOK: Final = Group("Check and drill", sort_key=3)

app = App(
    name="penstock",
    help="The gated intake for language models: keys, limits, budgets and an honest ledger before every paid call.",
    version=version,
    help_format="plaintext",
)

# Named by path, so that a command is imported when it is called; `help` is what the list of commands says of it.
COMMANDS: Final = (
    ("up", RUN, "Start Penstock for the first time, or again, on this machine."),
    (
        "serve",
        RUN,
        "Serve until SIGTERM, then drain. With several workers, SIGHUP replaces them one at a time.",
    ),
    (
        "status",
        MANAGE,
        "See how a running server is: what breaks first, latency, errors, spending, dependencies, providers.",
    ),
    ("requests", MANAGE, "See requests: as they end, those of the past, one from inside."),
    ("keys", MANAGE, "Make, list, revoke and rotate keys."),
    ("teams", MANAGE, "Set and list the limits and budgets of organisations, teams, projects and users."),
    ("people", MANAGE, "List and invite those who sign in, make links, disable and enable."),
    ("changes", MANAGE, "See who changed what, with what was before and after."),
    ("budgets", MANAGE, "See what every budget has left."),
    ("usage", MANAGE, "See what was spent, by day or by level, or by anything that a request is."),
    ("routes", MANAGE, "See who would answer a request, and why; nobody is called."),
    ("canaries", MANAGE, "See how canaries do beside production, and how near each is to being taken out."),
    ("prices", MANAGE, "See what a token costs here, today."),
    ("cache", MANAGE, "See what kept answers save, and have them forgotten."),
    ("index", MANAGE, "Put documents into collections, search them, move them to another model."),
    ("contents", MANAGE, "Decide what is known of prompts and answers, read what was kept, forget."),
    ("costs", MANAGE, "See what to charge whom, and what the month comes to."),
    ("reconcile", MANAGE, "Compare an invoice with what was settled on its days."),
    ("alerts", MANAGE, "See what needs looking at, and try who is told of it."),
    ("audit", MANAGE, "Ask the audit of requests, in SQL."),
    ("ledger", MANAGE, "Check that the books are whole."),
    (
        "doctor",
        LOOK,
        "Check this deployment: settings, safety, every store against its promises, every provider.",
    ),
    ("embed", LOOK, "Measure the embedding model of this machine: speed, batch sizes, quality of search."),
    ("plan", LOOK, "Compute what an embedding service would need: bytes, accelerators, money."),
    ("config", LOOK, "Check the configuration; apply, look at and take back versions of its routes."),
    ("completion", LOOK, "Print the completion script of a shell."),
    (
        "simulate",
        LOOK,
        "Run a simulated provider until Ctrl-C. Its first line is JSON with its port and URL.",
    ),
)
for name, group, text in COMMANDS:
    app.command(f"penstock.cli.{name}:{name}", name=name, group=group, help=text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (the process's own by default) and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that knows no such letter is no bug of ours.
            stream.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    try:
        code = app(words, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except PenstockError as error:
        return complain(error, as_json=as_json)
    except CycloptsError as error:
        asked = Invalid(str(error), code="usage", remedy="See `penstock --help`.")
        return complain(asked, as_json=as_json)
    except BrokenPipeError:
        _stop_writing()
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # because people get one line and where it happened, never a traceback
        return complain(Broken(_told(error)), as_json=as_json)
    return code if isinstance(code, int) else 0


def _stop_writing() -> None:
    """Let go of a pipe whose reader has seen enough: Python would flush it at exit, and complain."""
    with contextlib.suppress(OSError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)


def _told(error: Exception) -> str:
    """Name an unforeseen error and the line it came from; not its text, which may hold anything."""
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    place = "" if step is None else f" at {Path(step.tb_frame.f_code.co_filename).name}:{step.tb_lineno}"
    return f"{type(error).__name__}{place}."


if __name__ == "__main__":
    sys.exit(main())
