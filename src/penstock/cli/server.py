"""Which running server a management command talks to, and under which key.

Promises: a key comes from a file or the environment, never from the command line, where every user of the machine
could read it; a key file that others can read is refused; what is watched ends with Ctrl-C, and well.
"""

from __future__ import annotations

import asyncio
import signal
import stat
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated, Final, NoReturn, TypeVar

import uvloop
from cyclopts import Parameter

from penstock.cli.output import Output
from penstock.kernel.errors import Forbidden, Unauthenticated
from penstock.sdk.client import HERE as USUAL_URL
from penstock.sdk.client import Client
from penstock.wiring.owner import KEY_FILE
from penstock.wiring.settings import environment

T = TypeVar("T")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Server(Output):
    """A running server."""

    url: Annotated[
        str, Parameter(help=f"Its address. Without it: PENSTOCK_URL, else {USUAL_URL}.", show_default=False)
    ] = ""
    key_file: Annotated[
        Path | None,
        Parameter(help="File with an admin's or owner's key. Without it: PENSTOCK_KEY, else var/owner.key."),
    ] = None

    def ask(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Run `work` with a client of this server. Raises PenstockError."""
        url, key = self.address(), self._key(environment())

        async def asking() -> T:
            async with Client(url, key) as client:
                return await work(client)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(asking())

    def address(self) -> str:
        """Return the base URL of the server."""
        return self.url or environment().get("PENSTOCK_URL", "") or USUAL_URL

    def watch(self, work: Callable[[Client], Awaitable[None]]) -> int:
        """Run `work`, which has no end of its own, until Ctrl-C; that is how one ends it, so it returns 0.

        On SIGTERM the terminal is put in order too, and the process ends with 128 + 15. Raises PenstockError.
        """
        before = signal.signal(signal.SIGTERM, _end)
        try:
            self.ask(work)
        except KeyboardInterrupt:
            pass
        finally:
            signal.signal(signal.SIGTERM, before)
        return 0

    def _key(self, env: dict[str, str]) -> str:
        if self.key_file is None and env.get("PENSTOCK_KEY"):
            return env["PENSTOCK_KEY"].strip()
        return read_key(self.key_file or Path(env.get("PENSTOCK_STORE_DATA", "var")) / KEY_FILE)


def read_key(path: Path) -> str:
    """Return the key in a file. Raises Unauthenticated when there is none, Forbidden when others can read it."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise Unauthenticated(
            "There is no key to manage the server with.",
            field="key-file",
            value=str(path),
            remedy="Name one with --key-file, set PENSTOCK_KEY, or run this where `penstock up` runs.",
        ) from None
    if mode & 0o077:
        raise Forbidden(
            "Others can read the key file.",
            field="key-file",
            value=f"{path} has mode {mode:04o}",
            limit="0600",
            remedy=f"Run: chmod 600 {path}",
        )
    return text


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


HERE: Final = Server()
