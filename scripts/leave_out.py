"""Take out of a lock what is asked for and never wanted, with everything that only it asked for.

    python -m scripts.leave_out requirements/local.txt

Promise: what stays is as pip-tools wrote it. `scripts/install.sh` installs without asking for more, so a lock need not
hold what nobody imports; tests/unit/house/test_locks.py knows the list.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

LEFT_OUT = {
    "huggingface-hub": "tokenizers asks for it to download tokenizers; ours come with their model",
    "openvino-telemetry": "sends figures of its use to its makers; openvino works without it",
}
PROJECT = "penstock"
_NAME = re.compile(r"^([A-Za-z0-9._-]+)==")
_VIA = re.compile(r"^    #\s+(?:via\s+)?([A-Za-z0-9][A-Za-z0-9._-]*)")


def without(lock: str) -> str:
    """Return the text of a lock with what the project asks for, and what that asks for, past what is left out."""
    blocks = _blocks(lock)
    asked_by = {
        name: {found[1] for found in map(_VIA.match, block.splitlines()) if found}
        for name, block in blocks.items()
    }
    wanted = {PROJECT}
    while more := {name for name in blocks if name not in LEFT_OUT and asked_by[name] & wanted} - wanted:
        wanted |= more
    return "".join(block for name, block in blocks.items() if not name or name in wanted)


def _blocks(lock: str) -> dict[str, str]:
    """Return each package's lines by its name, in order; what stands before the first is under ""."""
    blocks = {"": ""}
    name = ""
    for line in lock.splitlines(keepends=True):
        if found := _NAME.match(line):
            name = found[1]
        blocks[name] = blocks.get(name, "") + line
    return blocks


if __name__ == "__main__":
    for each in map(Path, sys.argv[1:]):
        each.write_text(without(each.read_text()))
