"""Server-sent events as the WHATWG HTML standard frames them (section 9.2.6), in two levels.

    SseSplitter   bytes in any pieces -> whole raw event blocks, each with the blank line that ends it (pass-through)
    parse_event   one block -> SseEvent          SseParser   both in one, with the rules on ids kept
    render_event  data -> one block

Promise: the events found are the same at every split of the same bytes, with LF, CR and CRLF line ends in any mixture
and with a byte-order mark; an event over `max_event_bytes` raises, and never costs more memory or time than that.
What an unfinished stream left behind is not an event and is never returned as one.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from penstock.kernel.errors import Upstream

MAX_EVENT_BYTES = 1024 * 1024

_BOM = b"\xef\xbb\xbf"
# Two line ends in a row. A CR at the very end of the data ends its line at once; the LF that may follow it in the next
# piece is then a blank line, a block of its own that means nothing.
_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_LONGEST_BLANK_LINE = 4


class SseEvent(NamedTuple):
    """One event. `data` None: the block had no data field, and the standard does not dispatch such an event."""

    event: bytes
    """Its type; `message` when the block names none."""
    data: bytes | None
    id: bytes | None
    retry: int | None
    """Reconnection time in milliseconds."""


class SseSplitter:
    """Cuts a byte stream into raw event blocks.

    A block may be only comments, or only a blank line; blocks in a row are the stream, less a byte-order mark.
    """

    __slots__ = ("_pending", "_started", "_too_large", "max_event_bytes")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        """Start before the first byte of a stream."""
        self.max_event_bytes = max_event_bytes
        self._pending: bytearray | None = None
        self._started = False
        self._too_large = False

    @property
    def pending_bytes(self) -> int:
        """Bytes of an event that has not ended yet."""
        return len(self._pending) if self._pending is not None else 0

    def feed(self, data: bytes) -> list[bytes]:
        """The blocks that `data` completes.

        Raises Upstream (`sse_event_too_large`) once an event exceeds the bound; blocks before it are returned first.
        """
        plain = self._pending is None and self._started and not self._too_large
        if plain and data.endswith(b"\n\n") and b"\r" not in data and len(data) <= self.max_event_bytes:
            if data.find(b"\n\n") == len(data) - 2:  # the common case: one whole event
                return [data]
            if b"\n\n\n" not in data:
                return [block + b"\n\n" for block in data[:-2].split(b"\n\n")]
        return self._feed(data)

    def finish(self) -> bytes:
        """At the stream's end: the bytes of an event that never ended (not an event). Raises as `feed`."""
        if self._too_large:
            raise self._refusal()
        rest, self._pending = bytes(self._pending or b""), None
        return rest

    def _feed(self, data: bytes) -> list[bytes]:
        """Any case, and the bound."""
        if self._too_large:
            raise self._refusal()
        pending = self._pending
        if pending is None:
            pending = self._pending = bytearray()
        at = max(len(pending) - _LONGEST_BLANK_LINE, 0)
        pending += data
        if not self._started and not self._skip_mark(pending):
            return []
        blocks, start = self._cut(pending, at)
        self._too_large = self._too_large or len(pending) - start > self.max_event_bytes
        del pending[:start]
        if self._too_large or not pending:
            self._pending = None
        if self._too_large and not blocks:
            raise self._refusal()
        return blocks

    def _cut(self, pending: bytearray, at: int) -> tuple[list[bytes], int]:
        """The whole blocks at the front of `pending`, looking from `at` on, and where they end."""
        blocks: list[bytes] = []
        start = 0
        while (end := self._block_end(pending, start, at)) >= 0:
            if end - start > self.max_event_bytes:
                self._too_large = True
                break
            blocks.append(bytes(pending[start:end]))
            start = at = end
        return blocks, start

    def _block_end(self, pending: bytearray, start: int, at: int) -> int:
        """Where the block that starts at `start` ends, or -1; `at` is where to look from."""
        lead = _LINE_END.match(pending, start)
        if lead is not None:
            return lead.end()  # a blank line with nothing before it: a block of its own
        found = _BLANK_LINE.search(pending, max(at, start))
        return -1 if found is None else found.end()

    def _skip_mark(self, pending: bytearray) -> bool:
        """Drop a byte-order mark at the stream's start; False while it cannot be told yet."""
        if len(pending) < len(_BOM) and _BOM.startswith(pending):
            return False
        self._started = True
        if pending.startswith(_BOM):
            del pending[: len(_BOM)]
        return True

    def _refusal(self) -> Upstream:
        return Upstream(
            "The upstream sent an event larger than accepted.",
            code="sse_event_too_large",
            limit=self.max_event_bytes,
        )


class SseParser:
    """Feeds on bytes, returns the events to dispatch."""

    __slots__ = ("_splitter", "last_event_id")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        """Start before the first byte of a stream."""
        self._splitter = SseSplitter(max_event_bytes)
        self.last_event_id = b""
        """The last id seen, of events without data too (the standard's `lastEventId`)."""

    def feed(self, data: bytes) -> list[SseEvent]:
        """The events that `data` completes, those without a data field left out. Raises as SseSplitter."""
        events: list[SseEvent] = []
        for block in self._splitter.feed(data):
            event = parse_event(block)
            if event.id is not None:
                self.last_event_id = event.id
            if event.data is not None:
                events.append(event)
        return events

    def finish(self) -> bytes:
        """At the stream's end: the bytes of an event that never ended (not an event). Raises as `feed`."""
        return self._splitter.finish()


def parse_event(block: bytes) -> SseEvent:
    """One raw block, with or without its final blank line, as an event."""
    if block[:6] == b"data: " and b"\r" not in block and block.find(b"\n") >= len(block) - 2:
        return SseEvent(b"message", block[6:].rstrip(b"\n"), None, None)  # the common case: one data line
    name, event_id, retry = b"", None, None
    data: list[bytes] = []
    for line in _LINE_END.split(block):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
        elif field == b"id":
            event_id = event_id if b"\0" in value else value
        elif field == b"retry" and value.isdigit() and len(value) <= 18:
            retry = int(value)
    return SseEvent(name or b"message", b"\n".join(data) if data else None, event_id, retry)


def render_event(data: bytes, event: bytes | None = None) -> bytes:
    """One block; data with line ends becomes several data lines, which a parser joins again with LF."""
    lead = b"" if event is None else b"event: %b\n" % event
    if b"\n" not in data and b"\r" not in data:
        return b"%bdata: %b\n\n" % (lead, data)
    lines = b"".join(b"data: %b\n" % line for line in _LINE_END.split(data))
    return b"%b%b\n" % (lead, lines)
