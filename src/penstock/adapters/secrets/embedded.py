"""Secrets from a folder of files and from a snapshot of the environment that is passed in.

    folder/<name>                     the secret's text; one newline at the end is not part of it; mode 0600 or 0400
    PENSTOCK_SECRET_<NAME>            the same from the environment: upper case, "-" and "." as "_"

Promises: the port's (`ports/secrets.py`). A file wins over the environment and is read anew each time, so that a
rotated secret is current at once; the mode is checked on the open file, so it cannot change in between. The
environment itself is never read here. A file may be a symbolic link (Kubernetes mounts secrets so): what counts is
the file behind it. No error carries a value.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from penstock.kernel.errors import Forbidden, Invalid, NotFound, Unavailable
from penstock.ports.secrets import Secret

PREFIX = "PENSTOCK_SECRET_"
MAX_SECRET_BYTES = 64 << 10

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SAFE_MODES = frozenset({0o600, 0o400})


def _variable(name: str) -> str:
    return PREFIX + re.sub(r"[.-]", "_", name).upper()


def _read_up_to(file: int, limit: int) -> bytes:
    data = b""
    while len(data) < limit and (more := os.read(file, limit - len(data))):
        data += more
    return data


class FileSecrets:
    """Secrets by name, from files and an environment given once."""

    def __init__(self, folder: Path | None, environment: Mapping[str, str]) -> None:
        """Read files of `folder` (None: none), then the ``PENSTOCK_SECRET_…`` entries of `environment`, copied now."""
        self._folder = folder
        self._given = {name: Secret(text) for name, text in environment.items() if name.startswith(PREFIX)}

    async def read(self, name: str) -> Secret:
        """Return the secret called `name`; NotFound, Forbidden (unsafe mode), Invalid (bad name or empty file)."""
        if not _NAME.fullmatch(name):
            remedy = "Use 1 to 100 of A-Z, a-z, 0-9, '.', '_' and '-', starting with a letter or a digit."
            raise Invalid("This is not a secret's name.", field="name", value=name[:100], remedy=remedy)
        found = await asyncio.to_thread(self._from_file, name) if self._folder is not None else None
        if found is None:
            found = self._given.get(_variable(name))
        if found is None:
            remedy = f"Write it to a file of that name with mode 0600, or set {_variable(name)}."
            raise NotFound(f"There is no secret called {name}.", field="name", value=name, remedy=remedy)
        return found

    def _from_file(self, name: str) -> Secret | None:
        """Return the secret in the file called `name`, or None when there is no such file."""
        path = (self._folder or Path()) / name
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except FileNotFoundError:
            return None
        except PermissionError:
            remedy = f"chown the file to user {os.geteuid()}."
            raise Forbidden(f"The secret file {path} is not readable by this user.", remedy=remedy) from None
        except OSError as error:
            raise Unavailable(f"The secret file {path} cannot be opened: {error.strerror}.") from error
        try:
            self._check(path, os.fstat(file))
            data = _read_up_to(file, MAX_SECRET_BYTES + 1)
        finally:
            os.close(file)
        if len(data) > MAX_SECRET_BYTES:
            raise Invalid(
                f"The secret file {path} is too large.", field="name", value=name, limit=MAX_SECRET_BYTES
            )
        try:
            text = data.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:  # whose text would show the bytes
            raise Invalid(f"The secret file {path} is not UTF-8 text.", field="name", value=name) from None
        if not text:
            raise Invalid(f"The secret file {path} is empty.", field="name", value=name)
        return Secret(text)

    def _check(self, path: Path, facts: os.stat_result) -> None:
        """Refuse what is not a regular file that only its owner, who is us or root, can use."""
        if not stat.S_ISREG(facts.st_mode):
            raise Forbidden(f"The secret {path} is not a regular file.")
        mode = stat.S_IMODE(facts.st_mode)
        if mode not in _SAFE_MODES:
            raise Forbidden(
                f"The secret file {path} has mode {mode:04o}: others may use it.",
                field="mode",
                value=f"{mode:04o}",
                limit="0600 or 0400",
                remedy=f"chmod 600 {path}",
            )
        if facts.st_uid not in {os.geteuid(), 0}:
            remedy = f"chown {os.geteuid()} {path}"
            raise Forbidden(
                f"The secret file {path} belongs to user {facts.st_uid}.", field="owner", remedy=remedy
            )

    async def healthy(self) -> bool:
        """Tell whether the folder is there (when one is used)."""
        return self._folder is None or await asyncio.to_thread(self._folder.is_dir)
