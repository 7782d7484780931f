"""A disk that fails when told to, under SQLite: a VFS that passes everything on until a chosen write.

    disk = FaultyDisk()                    # registers itself under disk.name
    disk.fail(apsw.FullError, after=3)     # the fourth write from now fails, and all after it
    disk.heal()

Promise: `writes` counts writes, syncs and truncations on every file opened through it; `failed` those that
were made to fail; nothing fails unless told to.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import apsw

_NUMBERS = itertools.count(1)


class FaultyDisk(apsw.VFS):
    """A VFS over the system's own. `unregister` it at the end."""

    def __init__(self) -> None:
        self.name = f"faulty-{next(_NUMBERS)}"
        self.writes = 0
        self.failed = 0
        self.on_sync: Callable[[], object] = lambda: None
        self.gate = threading.Event()
        self.gate.set()
        self._error: type[apsw.Error] | None = None
        self._left = 0
        self._once = False
        super().__init__(self.name, "")

    def fail(self, error: type[apsw.Error], *, after: int = 0, once: bool = False) -> None:
        """Fail every write (or `once`) after the next `after` ones."""
        self._error, self._left, self._once = error, after, once

    def heal(self) -> None:
        """Fail no more, and let go what hangs."""
        self._error = None
        self.gate.set()

    def hang(self) -> None:
        """Let writes wait until `heal`."""
        self.gate.clear()

    def pass_or_fail(self) -> None:
        """Count one write; raise if it is one that fails."""
        self.gate.wait(20)
        self.writes += 1
        if self._error is None:
            return
        if self._left > 0:
            self._left -= 1
            return
        error = self._error
        self.failed += 1
        if self._once:
            self._error = None
        raise error(f"drill: {error.__name__}")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's own name for it
        return _File(self, name, flags)


class _File(apsw.VFSFile):
    def __init__(self, disk: FaultyDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's own name for it
        self._disk.pass_or_fail()
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's own name for it
        self._disk.pass_or_fail()
        self._disk.on_sync()
        super().xSync(flags)

    def xTruncate(self, size: int) -> None:  # noqa: N802 - SQLite's own name for it
        self._disk.pass_or_fail()
        super().xTruncate(size)
