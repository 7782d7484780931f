"""Documents read in helper processes: text, Markdown, HTML, PDF, tables and source code.

    parse ──▶ one of `at_once` helpers (`worker.py`), started when first needed ──▶ a child of it for this document

Promises, on top of the port's (`ports/parsers.py`): at most `at_once` documents are read at a time and `WAITING_MOST`
wait, one more is `Overloaded`; no process of any document sees another's; an idle one costs no processor time.
"""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import Final

import msgspec

from penstock.adapters import helper_parent
from penstock.adapters.helper_parent import Helper
from penstock.adapters.parsers.reading import Bounds
from penstock.kernel.errors import Invalid, Overloaded, Unavailable
from penstock.ports.parsers import Parsed

BYTES_MOST: Final = 64 << 20
"""Of one document."""
WAITING_MOST: Final = 256
DRIVERS: Final = ("markdown_it", "selectolax", "pypdf", "py3langid", "tree_sitter")
ANSWER_BYTES_MOST: Final = 256 << 20
"""Four million characters may be six times as many bytes in JSON."""


class _Outcome(msgspec.Struct, frozen=True, kw_only=True):
    parsed: Parsed | None = None
    code: str = ""
    message: str = ""
    remedy: str = ""
    late: bool = False


class _Task(msgspec.Struct, frozen=True):
    media_type: str
    name: str
    bounds: Bounds


class IsolatedParser:
    """Reads documents in processes of their own."""

    def __init__(self, *, at_once: int = 2, bounds: Bounds | None = None) -> None:
        """Prepare; nothing runs yet. Raises ModuleNotFoundError when a reader's library is missing."""
        for driver in DRIVERS:
            if find_spec(driver) is None:
                raise ModuleNotFoundError(f"No module named {driver!r}", name=driver)
        self._bounds = bounds or Bounds()
        limits = helper_parent.Bounds(
            waiting_most=1,
            answer_bytes_most=ANSWER_BYTES_MOST,
            answer_timeout_s=self._bounds.wall_s + 10.0,
        )
        self._helpers = [
            Helper(
                helper_parent.worker("penstock.adapters.parsers.worker"),
                name="reader of documents",
                idle=True,
                bounds=limits,
            )
            for _ in range(at_once)
        ]
        self._free = [*self._helpers]
        self._turns = asyncio.Semaphore(at_once)
        self._waiting = 0

    async def parse(self, content: bytes, media_type: str, name: str = "") -> Parsed:
        """Read one document. Raises Invalid with the port's codes, Unavailable."""
        if len(content) > BYTES_MOST:
            raise Invalid(
                "The document is too large.",
                code="too_large",
                field="document",
                value=len(content),
                limit=BYTES_MOST,
                remedy="Split it into several documents.",
            )
        if not content:
            raise Invalid("The document is empty.", code="no_text", field="document")
        head = msgspec.json.encode(_Task(_plain(media_type), _plain(name), self._bounds))
        said = await self._exchanged(len(head).to_bytes(4, "big") + head + content)
        outcome = msgspec.json.decode(said, type=_Outcome)
        if outcome.parsed is not None:
            return outcome.parsed
        if outcome.late:
            raise Unavailable("The document was not read in time.", limit=self._bounds.wall_s)
        raise Invalid(outcome.message, code=outcome.code, field="document", remedy=outcome.remedy)

    async def close(self) -> None:
        """End the helpers."""
        await asyncio.gather(*(each.close() for each in self._helpers))

    async def _exchanged(self, question: bytes) -> bytes:
        """Wait for a helper; one that runs already comes first."""
        if self._waiting >= WAITING_MOST:
            raise Overloaded("Enough documents wait to be read.", limit=WAITING_MOST)
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        reader = max(self._free, key=lambda each: each.running)
        self._free.remove(reader)
        exchange = asyncio.ensure_future(reader.exchange(question))
        exchange.add_done_callback(lambda done: self._freed(reader, done))
        return await asyncio.shield(exchange)

    def _freed(self, reader: Helper, done: asyncio.Future[bytes]) -> None:
        """Give a helper back once its answer is there, whether or not anybody still waits for it."""
        if not done.cancelled():
            done.exception()
        self._free.append(reader)
        self._turns.release()


def _plain(text: str) -> str:
    """Return a text as JSON bears it."""
    return text[:500].encode(errors="replace").decode()
